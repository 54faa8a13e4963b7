import json

import pytest
from typer.testing import CliRunner

from heatpose.cli import app

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
FEW = ["--samples", "8", "--epoch-samples", "8", "--batch-size", "8", "--workers", "0"]
SMALL = ["--size", "n", "--image-size", "64", "--split", "test"]


def train(*arguments):
    return CliRunner().invoke(app, ["train", "detector", *map(str, arguments), *FEW, *SMALL])


def test_train_detector_makes_a_run_and_says_its_plan(tmp_path, small_bop):
    data, run = small_bop(), tmp_path / "run"
    result = train("--dataset", data, "--out", run, "--unseen", data)
    assert result.exit_code == 0, result.output
    plan = "YOLOv10n for 2 objects: 8 samples of 64 px in 1 epochs of 1 steps"
    assert plan in result.output
    assert "2 frames with 4 objects of 2 kinds" in result.output
    assert (run / "network.safetensors").exists()
    assert [one["id"] for one in json.loads((run / "objects.json").read_text())["objects"]] == [
        1,
        2,
    ]
    again = train("--dataset", data, "--out", run)
    assert again.exit_code == 1 and "holds a run already" in again.output


@pytest.mark.slow
def test_samples_drawn_on_the_device_take_no_data_set(tmp_path, small_bop):
    models, run = small_bop() / "models_eval", tmp_path / "run"
    result = train("--objects", models, "--on-device", "--out", run)
    assert result.exit_code == 0, result.output
    assert "YOLOv10n for 2 objects: 8 samples of 64 px" in result.output
    assert [one["id"] for one in json.loads((run / "objects.json").read_text())["objects"]] == [
        1,
        2,
    ]
    stored = json.loads((run / "train.json").read_text())["config"]
    assert stored["drawing"]["image_size"] == 64
    record = json.loads((run / "log.jsonl").read_text())
    assert record["samples"] == 8 and record["unseen_loss"] > 0
    assert len(list((run / "contact_sheets").iterdir())) == 1


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([], "give --dataset, or --on-device with --objects"),
        (["--on-device"], "--on-device draws the models of --objects"),
        (["--on-device", "--objects", "nowhere"], "nowhere"),
        (["--on-device", "--dataset", "some"], "and not both"),
        (["--dataset", "some", "--echo", "2"], "--echo 2 is of samples drawn with --on-device"),
    ],
)
def test_what_samples_come_from_must_be_clear(tmp_path, extra, message):
    result = train("--out", tmp_path / "run", *extra)
    assert result.exit_code == 1
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--resume"], "nothing to resume"),
        (["--split", "val"], "one for each: 2 for 1"),
        (["--objects", "nowhere"], "no file at nowhere"),
        (["--backgrounds", "nowhere"], "no folder of background photographs at nowhere"),
        (["--init", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--trunk", "nowhere.heatpose"], "nowhere.heatpose"),
        (["--unseen", "nowhere"], "nowhere is not a BOP data set"),
        (["--mosaic", "2"], "mosaic is a share in [0, 1], got 2.0"),
    ],
)
def test_nonsense_is_answered_in_one_line(tmp_path, small_bop, extra, message):
    result = train("--dataset", small_bop(), "--out", tmp_path / "run", *extra)
    assert result.exit_code == 1
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert not (tmp_path / "run").exists()
