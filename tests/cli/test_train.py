import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heatpose.cli import app
from heatpose.model.weights import load_network
from heatpose.objects.mesh import write_mesh

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
FEW = ["--samples", "8", "--epoch-samples", "8", "--batch-size", "8", "--workers", "0"]
SMALL = ["--crop-size", "64", "--n-keypoints", "6"]


@pytest.fixture
def models(tmp_path, brick_mesh, cube_mesh):
    (tmp_path / "models").mkdir()
    write_mesh(tmp_path / "models" / "obj_000002.ply", brick_mesh)
    write_mesh(tmp_path / "models" / "obj_000004.ply", cube_mesh)
    return tmp_path / "models"


def test_train_keypoints_makes_a_run_and_says_what_comes_next(tmp_path, models):
    run = tmp_path / "run"
    command = ["train", "keypoints", "--objects", str(models), "--out", str(run), *FEW, *SMALL]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert f"heatpose export {run}" in result.output
    assert "labels agree with the rendered surface" in result.output
    assert "generated textures only" in result.output
    assert (run / "network.safetensors").exists()


@pytest.mark.slow
def test_samples_can_be_drawn_on_the_device(tmp_path, models):
    run = tmp_path / "run"
    command = ["train", "keypoints", "--objects", str(models), "--out", str(run), "--on-device"]
    result = CliRunner().invoke(app, [*command, *FEW, "--samples", "16", *SMALL])
    assert result.exit_code == 0, result.output
    assert "samples are drawn on " in result.output
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["samples"] for line in lines] == [8, 16]
    config = json.loads((run / "train.json").read_text())["config"]
    assert config["drawing"]["tables"] == 0.5  # a run says how its samples came about


def test_labels_and_weights_of_the_pose_are_recorded(tmp_path, models, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "heatpose.train.loop.train_keypoints",
        lambda run, maker, network, config, *rest, **more: seen.append(config),
    )
    out = ["--objects", str(models), "--out", str(tmp_path / "run"), *SMALL]
    given = ["--pose-weight", "0.5", "--monte-carlo-weight", "0.02", "--labels", "shape"]
    for options in ([], given):
        result = CliRunner().invoke(app, ["train", "keypoints", *out, *options])
        assert result.exit_code == 0, result.output
    losses = [(config.loss.pose, config.loss.monte_carlo) for config in seen]
    assert losses == [(0.0, 0.0), (0.5, 0.02)]
    assert [config.labels for config in seen] == ["colour", "shape"]


@pytest.mark.slow
def test_cad_files_are_numbered_and_their_unit_is_said(tmp_path, models):
    run = tmp_path / "run"
    files = [option for path in sorted(models.iterdir()) for option in ("--objects", str(path))]
    result = CliRunner().invoke(
        app, ["train", "keypoints", *files, "--out", str(run), *FEW, *SMALL]
    )
    assert result.exit_code == 0, result.output
    assert "taken for millimetres" in result.output
    stored = json.loads((run / "objects.json").read_text())["objects"]
    assert [(one["id"], one["name"]) for one in stored] == [(1, "obj_000002"), (2, "obj_000004")]


@pytest.mark.parametrize(
    ("option", "fusion", "missing"),
    [("none", "none", None), ("cross", "cross", 0.15), ("only", "depth", 0.0)],
)
def test_the_network_may_look_at_depth(tmp_path, models, monkeypatch, option, fusion, missing):
    seen = []
    monkeypatch.setattr(
        "heatpose.train.loop.train_keypoints",
        lambda run, maker, network, config, *rest, **more: seen.append(
            (network.config, config.sample)
        ),
    )
    out = ["--objects", str(models), "--out", str(tmp_path / "run"), "--depth", option]
    result = CliRunner().invoke(app, ["train", "keypoints", *out, *SMALL])
    assert result.exit_code == 0, result.output
    [(network, sample)] = seen
    assert network.fusion == fusion
    assert (sample.depth.missing if sample.depth else None) == missing


def test_samples_can_be_cut_from_scenes(tmp_path, small_bop, monkeypatch):
    makers = []
    monkeypatch.setattr(
        "heatpose.train.loop.train_keypoints",
        lambda run, maker, *others, **more: makers.append(maker),
    )
    scenes = small_bop()
    models = ["--objects", str(scenes / "models_eval"), "--out", str(tmp_path / "run")]
    cut = ["--scenes", str(scenes), "--scenes-split", "test", "--scenes-share", "0.7"]
    result = CliRunner().invoke(app, ["train", "keypoints", *models, *SMALL, *cut])
    assert result.exit_code == 0, result.output
    assert "4 views of 2 objects in 2 images" in result.output
    assert makers[0].shares == pytest.approx([0.7, 0.3])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--scenes", "nowhere"], "nowhere is not a BOP data set: it has no folder train"),
        (["--resume"], "nothing to resume"),
        (["--backgrounds", "nowhere"], "no folder of background photographs at nowhere"),
        (["--init", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--samples", "0"], "samples must be positive, got 0"),
        (["--crop-size", "100"], "crop_size must be divisible by 32, got 100"),
        (["--n-keypoints", "0"], "0"),
        (["--objects", "part.stl"], "models is a folder"),
        (["--frozen", "--depth", "only"], "--depth only does not have"),
        (["--on-device", "--scenes", "some"], "--on-device draws from CAD models: no --scenes"),
        (["--echo", "3"], "--echo 3 is of samples drawn with --on-device, which is not given"),
        (["--upright", "2"], "upright is a share in [0, 1], got 2.0"),
    ],
)
def test_nonsense_is_answered_in_one_line(tmp_path, models, extra, message):
    out = ["--objects", str(models), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, ["train", "keypoints", *out, *FEW, *SMALL, *extra])
    assert result.exit_code == 1
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_train_together(tmp_path, models):
    command = Path(sys.executable).parent / "heatpose"
    run = tmp_path / "run"
    arguments = ["--objects", models, "--out", run, "--devices", "2", "--workers", "0"]
    arguments += ["--samples", "16", "--epoch-samples", "8", "--batch-size", "4", *SMALL]
    done = subprocess.run(
        [command, "train", "keypoints", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["samples"] for line in lines] == [8, 16]
    assert load_network(run / "network.safetensors")[1]["train"]["devices"] == 2
