import json
import re
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from heatpose.cli import app
from heatpose.data.bop import BopDataset
from heatpose.data.cameras import write_camera
from heatpose.geometry.camera import Camera
from heatpose.objects.mesh import write_mesh
from heatpose.synth import benchmark

CAMERA = Camera(fx=150.0, fy=150.0, cx=79.5, cy=59.5, width=160, height=120)


@pytest.fixture
def command(tmp_path, cube_mesh, brick_mesh):
    """A function that runs ``heatpose synth`` for a cube and a brick, small and quick."""
    (tmp_path / "models").mkdir()
    write_mesh(tmp_path / "models" / "obj_000002.ply", brick_mesh)
    write_mesh(tmp_path / "models" / "obj_000004.ply", cube_mesh)
    write_camera(tmp_path / "camera.json", CAMERA)
    (tmp_path / "empty").mkdir()

    def run(*options, scenes=2):
        paths = {"objects": "models", "out": "out", "camera": "camera.json"}
        given = [word for name, path in paths.items() for word in (f"--{name}", tmp_path / path)]
        small = ["--scenes", scenes, "--engine", "raycast", "--views", 2, "--workers", 1]
        return CliRunner().invoke(app, ["synth", *map(str, [*given, *small, *options])])

    return run


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_a_data_set_is_drawn_and_goes_on_where_it_was(tmp_path, command):
    result = command()
    assert result.exit_code == 0, result.output
    assert "2 scenes of 2 images, 160 x 120, by raycast, on 1 process" in result.output
    assert f"4 images in {tmp_path / 'out' / 'train'}" in result.output
    assert (tmp_path / "out" / "preview.jpg").is_file()
    data = BopDataset(tmp_path / "out", "train")
    assert data.scene_ids() == [0, 1] and data.image_ids(1) == [0, 1]
    assert {t.object_id for t in data.targets()} <= {2, 4}
    for scene in data.scene_ids():
        for image in data.image_ids(scene):
            assert data.gt_info(scene, image)

    before = files_of(tmp_path / "out" / "train")
    more = command(scenes=3)
    assert more.exit_code == 0, more.output
    assert "2 scenes are there already" in more.output
    after = files_of(tmp_path / "out" / "train")
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"000002"}

    other = command("--seed", 1, scenes=3)
    assert other.exit_code == 1 and "was begun with seed 0, not 1" in other.output

    alone = command("--first-scene", 2, "--out", tmp_path / "other", scenes=1)
    assert alone.exit_code == 0, alone.output
    others = files_of(tmp_path / "other" / "train")
    assert others == {name: data for name, data in after.items() if name.startswith("000002")}


def test_the_true_depth_is_kept_beside_what_a_sensor_measures(tmp_path, command):
    result = command("--depth-sensor", "structured-light", scenes=1)
    assert result.exit_code == 0, result.output
    scene = tmp_path / "out" / "train" / "000000"
    assert len(list((scene / "depth").iterdir())) == len(list((scene / "depth_clean").iterdir()))
    recipe = json.loads((tmp_path / "out" / "synth.json").read_text())["recipe"]
    assert recipe["depth"]["kind"] == "structured_light"

    result = command("--depth-sensor", "any", "--out", tmp_path / "any", scenes=1)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "any" / "train" / "000000" / "depth_clean").is_dir()
    assert json.loads((tmp_path / "any" / "synth.json").read_text())["recipe"]["depth"] == "any"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scenes", 0], "scenes must be positive, got 0"),
        (["--views", 0], "views must be positive, got (0, 0)"),
        (["--sizes", 0, 50], "sizes must be positive, got (0.0, 50.0)"),
        (["--standing", 2], "standing is a share in [0, 1], got 2.0"),
        (["--instances", 5, 3], "objects must be 0 <= low <= high, got 5, 3"),
        (["--workers", 0], "workers must be positive, got 0"),
        (["--samples", 0], "samples must be positive, got 0"),
        (["--seed", -1], "seed must not be negative, got -1"),
        (["--first-scene", -1], "first_scene must not be negative, got -1"),
        (["--split", "a/b"], "split must be the name of a folder, got 'a/b'"),
        (["--backgrounds", "nowhere"], "no folder at nowhere"),
        (["--environments", "nowhere"], "no folder at nowhere"),
        (["--objects", "part.stl"], "models is a folder"),
        (["--camera", "nowhere.json"], "no file at nowhere.json"),
        (["--out", "/proc/heatpose"], "cannot write /proc/heatpose"),
        (["--engine", "pathtrace", "--variant", "abacus"], "abacus"),
    ],
)
def test_nonsense_is_answered_in_one_line_and_leaves_nothing(tmp_path, command, options, message):
    result = command(*options)
    assert result.exit_code == 1
    last = result.output.strip().splitlines()[-1]
    assert re.match("error: ", last) and message in last
    assert not (tmp_path / "out").exists()


def test_pictures_that_are_none_are_named_by_the_process_that_reads_them(tmp_path, command):
    result = command("--backgrounds", tmp_path / "empty")
    assert result.exit_code == 1
    assert "error: " in result.output and "holds no .jpg or .png" in result.output


def test_a_benchmark_says_itself_what_is_drawn(tmp_path, command):
    result = command("--benchmark", "rgbd-lmo")
    assert result.exit_code == 1
    assert (
        "the benchmark rgbd-lmo says itself what --camera, --engine, --scenes, --views would"
        in (" ".join(result.stderr.split()))
    )
    only = ["synth", "--objects", str(tmp_path / "models"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*only, "--benchmark", "depth"])
    assert result.exit_code == 1 and "--benchmark is one of rgbd-lmo, not 'depth'" in result.stderr
    result = CliRunner().invoke(app, only)
    assert result.exit_code == 2 and "give --scenes, or --benchmark" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_drawn_benchmark_is_held_against_what_it_should_be(tmp_path, command, monkeypatch):
    recipe = benchmark.RGBD_LMO
    scene = replace(recipe.config.scene, camera=CAMERA, views=(1, 1), objects=(2, 2))
    small = replace(recipe, config=replace(recipe.config, scene=scene), scenes=1, digest="0" * 64)
    monkeypatch.setattr(benchmark, "BENCHMARKS", {"rgbd-lmo": small})
    options = ["--objects", tmp_path / "models", "--out", tmp_path / "out", "--workers", 1]
    line = ["synth", "--benchmark", "rgbd-lmo", *map(str, options)]
    first = CliRunner().invoke(app, line)
    assert first.exit_code == 0, first.output
    assert re.search(r"\d objects to find: \d+\.\d% of each is seen", first.stdout)
    [digest] = re.findall(r"SHA-256 of images and labels: (\w{64})", first.stdout)
    assert f"{small.digest} was expected" in first.stderr
    monkeypatch.setattr(benchmark, "BENCHMARKS", {"rgbd-lmo": replace(small, digest=digest)})
    again = CliRunner().invoke(app, line)
    assert digest in again.stdout and "expected" not in again.stderr
