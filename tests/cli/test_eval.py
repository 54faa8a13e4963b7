"""heatpose eval, as a user calls it."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from heatpose.cli import app
from heatpose.data.bop import BopDataset, Result, write_detections, write_results
from heatpose.evaluate.detections import true_boxes
from heatpose.evaluate.scores import KEYS
from heatpose.types import Detection


@pytest.fixture
def truth(small_bop, tmp_path):
    """A data set, and a results file with its true poses."""
    dataset = BopDataset(small_bop())
    poses = [
        Result(5, image_id, object_id, 1.0, pose)
        for image_id in (3, 12)
        for object_id, pose in dataset.ground_truth(5, image_id)
    ]
    write_results(tmp_path / "poses.csv", poses)
    return str(tmp_path / "poses.csv"), str(dataset.root)


def evaluate(*arguments):
    return CliRunner().invoke(app, ["eval", *arguments])


def test_it_prints_a_table_and_a_sentence(truth):
    results, dataset = truth
    answer = evaluate(results, "--dataset", dataset)
    assert answer.exit_code == 0, answer.output
    last = answer.stdout.splitlines()[-1]
    assert last.startswith("AR_MSSD 1.0000 (1.0000 to 1.0000), AR_MSPD 1.0000")
    assert "over 4 targets" in last and "draws of 2 images" in last
    assert answer.stdout.count("1.0000") == 4 * 3 + 3 * len(KEYS)


def test_another_method_is_held_beside(truth, tmp_path):
    results, dataset = truth
    read = Path(results).read_text().splitlines(keepends=True)
    (tmp_path / "less.csv").write_text("".join(read[:3]))  # two of four poses
    answer = evaluate(results, "--dataset", dataset, "--against", str(tmp_path / "less.csv"))
    assert answer.exit_code == 0, answer.output
    assert "ours less theirs" in answer.stdout and "0.500" in answer.stdout


def test_detections_are_not_held_beside_poses(truth, boxes):
    answer = evaluate(boxes, "--dataset", truth[1], "--against", truth[0])
    assert answer.exit_code != 0 and "--against compares poses" in answer.stderr


def test_json_is_all_that_it_prints(truth):
    results, dataset = truth
    answer = evaluate(results, "--dataset", dataset, "--json")
    record = json.loads(answer.stdout)
    assert record == {
        "targets": 4,
        "mean": dict.fromkeys(KEYS, 1.0),
        "interval": {key: [1.0, 1.0] for key in KEYS},
        "objects": {"1": dict.fromkeys(KEYS, 1.0), "2": dict.fromkeys(KEYS, 1.0)},
    }


def test_bad_input_is_one_line_and_status_1(truth, tmp_path):
    results, dataset = truth
    broken = tmp_path / "broken.csv"
    write_results(broken, [Result(5, 3, 1, 1.0, np.eye(4))])
    broken.write_text(broken.read_text().replace("1.0 0.0", "nan 0.0", 1))
    for arguments, message in [
        ((str(broken), "--dataset", dataset), "line 2: R must be 9 finite numbers"),
        ((results, "--dataset", str(tmp_path)), "is not a BOP data set: it has no folder test"),
        ((results, "--dataset", dataset, "--targets", "no.json"), "no file at"),
        ((str(tmp_path / "no.csv"), "--dataset", dataset), "no file at"),
    ]:
        answer = evaluate(*arguments)
        assert answer.exit_code == 1
        assert not answer.stdout
        (line,) = answer.stderr.splitlines()
        assert line.startswith("error: ") and message in line


@pytest.fixture
def boxes(truth, tmp_path):
    """A file of detections at the boxes that are visible."""
    dataset = BopDataset(truth[1])
    found = {
        (5, i): [Detection(t.object_id, t.box, 0.9) for t in true_boxes(dataset, (5, i))]
        for i in (3, 12)
    }
    write_detections(tmp_path / "boxes.json", found)
    return str(tmp_path / "boxes.json")


def test_detections_are_scored_too(truth, boxes):
    answer = evaluate(boxes, "--dataset", truth[1])
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.splitlines()[-1] == (
        "mAP 50-95 1.0000, mAP 50 1.0000, recall IoU 0.5 1.0000, recall IoU 0.75 1.0000 "
        "over 4 targets"
    )
    record = json.loads(evaluate(boxes, "--dataset", truth[1], "--json").stdout)
    ones = {"ap": 1.0, "ap50": 1.0, "recall50": 1.0, "recall75": 1.0}
    assert record["mean"] == {**ones, "targets": 4}
    assert record["objects"]["2"] == {**ones, "targets": 2}


def test_it_says_what_is_wrong_with_detections(truth, tmp_path):
    (tmp_path / "broken.json").write_text('[{"scene_id": 5}]')
    answer = evaluate(str(tmp_path / "broken.json"), "--dataset", truth[1])
    assert answer.exit_code == 1
    assert "broken.json, entry 0 lacks image_id" in answer.stderr
