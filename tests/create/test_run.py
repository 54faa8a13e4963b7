import logging

import pytest

from heatpose.create.plan import STEPS, CreateConfig
from heatpose.create.run import create
from heatpose.errors import BundleError, CheckpointError, DataError, OptionError

CALLS = ["measure", "raycast", "pathtrace", "unseen", "keypoints", "detector"]
CALLS += ["export", "calibration", "evaluation"]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "part.heatpose"


def test_all_steps_run_once_and_a_report_stands_beside_the_bundle(
    stand_ins, meshes, out, config, caplog
):
    caplog.set_level(logging.INFO, "heatpose")
    made = create(meshes, out, config)
    assert stand_ins.calls == CALLS
    assert made.bundle == out and made.report == out.with_name("part.report.html")
    page = made.report.read_text()
    for text in ("0.700", "0.950", "brick", "cube", "path traced images", "data:image/jpeg"):
        assert text in page
    assert "ADD(-S) within 0.1 diameters 0.600" in made.summary
    assert page.count("<img") == 1 + 2 + 2
    for number, title in enumerate(STEPS.values(), start=1):
        assert f"step {number} of 8: {title}" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("place", CALLS[1:])
def test_stopped_anywhere_the_same_command_does_only_what_is_missing(
    stand_ins, meshes, out, config, place
):
    stand_ins.fails_at = place
    with pytest.raises(KeyboardInterrupt):
        create(meshes, out, config)
    assert stand_ins.calls == CALLS[: CALLS.index(place) + 1]
    stand_ins.calls, stand_ins.fails_at = [], None
    create(meshes, out, config)
    # The two engines are one step; what is drawn already is not drawn again within it.
    first = min(CALLS.index(place), 1) if place == "pathtrace" else CALLS.index(place)
    assert stand_ins.calls == CALLS[first:]


def test_what_is_done_is_not_done_again_but_a_bundle_that_is_gone_is_written_again(
    stand_ins, meshes, out, config
):
    create(meshes, out, config)
    stand_ins.calls = []
    create(meshes, out, config)
    assert stand_ins.calls == []
    out.unlink()
    create(meshes, out, config)
    assert stand_ins.calls == ["calibration"]


def test_the_time_of_an_interrupted_step_counts(stand_ins, meshes, out, config):
    stand_ins.fails_at = "detector"
    with pytest.raises(KeyboardInterrupt):
        create(meshes, out, config)
    assert '"detector"' in (out.with_name("part.create") / "seconds.json").read_text()


def test_plan_only_says_the_plan_and_leaves_nothing(stand_ins, meshes, out, config, caplog):
    caplog.set_level(logging.INFO, "heatpose")
    assert create(meshes, out, config, plan_only=True) is None
    assert stand_ins.calls == ["measure"]
    assert "in all 30 min" in caplog.text
    assert sorted(path.name for path in out.parent.iterdir()) == ["brick.ply", "cube.ply"]


def test_the_plan_is_kept_and_nothing_measured_again(stand_ins, meshes, out, config, caplog):
    stand_ins.fails_at = "keypoints"
    with pytest.raises(KeyboardInterrupt):
        create(meshes, out, config)
    caplog.set_level(logging.INFO, "heatpose")
    with pytest.raises(KeyboardInterrupt):
        create(meshes, out, config)
    assert stand_ins.calls.count("measure") == 1
    assert "left" in caplog.text


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("minutes", r"was begun with minutes 30\.0, not 31\.0"),
        ("unit", "was begun with unit None, not 'mm'"),
        ("mesh", "was begun with meshes"),
        ("order", "was begun with meshes"),
    ],
)
def test_another_request_does_not_go_on_in_the_same_folder(
    stand_ins, meshes, out, config, brick_mesh, change, complaint
):
    create(meshes, out, config)
    unit = None
    if change == "minutes":
        config = CreateConfig(minutes=31.0)
    elif change == "unit":
        unit = "mm"
    elif change == "mesh":
        meshes[1].write_bytes(meshes[0].read_bytes())
    else:
        meshes = meshes[::-1]
    with pytest.raises(OptionError, match=complaint):
        create(meshes, out, config, unit=unit)


def test_a_folder_with_other_things_in_it_is_left_alone(stand_ins, meshes, out, config, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("keep me")
    with pytest.raises(DataError, match=r"other is there already and holds no creation\.json"):
        create(meshes, out, config, work=other)
    assert stand_ins.calls == []


def test_nonsense_is_refused_before_anything_is_done(stand_ins, meshes, out, config, tmp_path):
    cases = [
        (OptionError, "NAME.heatpose, got part.zip", (meshes, out.with_name("part.zip"), config)),
        (DataError, "there is no folder", (meshes, tmp_path / "no" / "part.heatpose", config)),
        (DataError, "there is no mesh", ([tmp_path / "no.ply"], out, config)),
        (OptionError, "given twice", ([meshes[0], meshes[0]], out, config)),
        (
            DataError,
            r"no folder .*photos \(backgrounds\)",
            (meshes, out, CreateConfig(backgrounds=tmp_path / "photos")),
        ),
        (
            DataError,
            r"no file .*resnet \(backbone\)",
            (meshes, out, CreateConfig(backbone=tmp_path / "resnet")),
        ),
        (
            BundleError,
            r"other\.heatpose",
            (meshes, out, CreateConfig(init=tmp_path / "other.heatpose")),
        ),
        (
            CheckpointError,
            r"finder\.safetensors",
            (meshes, out, CreateConfig(detector_init=tmp_path / "finder.safetensors")),
        ),
    ]
    for kind, complaint, arguments in cases:
        with pytest.raises(kind, match=complaint):
            create(*arguments)
    (tmp_path / "empty.ply").write_text("ply\n")
    with pytest.raises(DataError, match=r"empty\.ply"):
        create([tmp_path / "empty.ply"], out, config)
    assert stand_ins.calls == [] and not out.with_name("part.create").exists()


def test_warnings_about_a_mesh_are_said_and_stand_in_the_report(
    stand_ins, meshes, out, config, cube_mesh, caplog
):
    from dataclasses import replace

    from heatpose.objects.mesh import write_mesh

    write_mesh(meshes[1], replace(cube_mesh, colours=None))
    made = create(meshes, out, config)
    assert "cube: no colour" in caplog.text
    assert "cube: no colour" in made.report.read_text()


def test_a_models_folder_brings_its_symmetries_and_names(stand_ins, small_bop, out, config):
    from heatpose.create.meshes import look_at, read_written, write_models

    folder = small_bop() / "models_eval"
    parts = look_at([folder], None)
    write_models(parts, out.parent / "written")
    models = read_written(out.parent / "written")
    assert [len(model.symmetries) for model in models] == [1, 2]
    assert [model.object_id for model in models] == [1, 2]
