import json

import numpy as np
from PIL import Image as Pillow
from typer.testing import CliRunner

from heatpose.cli import app
from heatpose.pipeline import PoseEstimator

STAGES = ["read", "crop", "network", "decode", "solve", "outline", "total"]


def bench(toys, *arguments, boxes=True):
    fixed = ["--bundle", toys.bundle, "--dataset", toys.dataset]
    fixed += ["--boxes", toys.dataset / "boxes.json"] if boxes else []
    return CliRunner().invoke(app, ["bench", *map(str, [*fixed, *arguments])])


def test_every_stage_is_printed_with_the_machine(toys):
    result = bench(toys)
    assert result.exit_code == 0, result.output
    rows = [line.split("│") for line in result.stdout.splitlines() if "│" in line]
    assert [row[1].strip() for row in rows] == STAGES
    assert all(float(row[2]) >= 0 and float(row[3]) >= 0 for row in rows)
    last = result.stdout.splitlines()[-1]
    assert last.startswith("toys ") and "in openvino, 2 threads on " in last
    assert last.endswith("1 poses a frame in the median of 1 frames")


def test_as_json(toys):
    result = bench(toys, "--json", "--threads", "1")
    record = json.loads(result.stdout)
    assert list(record["stages"]) == STAGES
    parts = sum(record["stages"][name]["median"] for name in STAGES[1:-1])
    assert 0 < parts <= record["stages"]["total"]["median"]
    assert (record["threads"], record["n_frames"], record["runtime"]) == (1, 1, "openvino")
    assert "core" in record["machine"]


def test_passes_add_up(toys, monkeypatch):
    """Crops are cut in each pass, in the frame that warms up and in the one that is timed."""
    asked = []
    look = PoseEstimator.crop

    def crop(estimator, observation, detections):
        asked.append(len(detections))
        return look(estimator, observation, detections)

    monkeypatch.setattr(PoseEstimator, "crop", crop)
    record = json.loads(bench(toys, "--json", "--passes", 3).stdout)
    assert list(record["stages"]) == [*STAGES[:-1], "patches", STAGES[-1]]
    assert record["poses_per_frame"] == 1
    assert asked == [1] * 3 * 2
    asked.clear()
    assert bench(toys, "--looks", 4).exit_code == 2
    assert not asked


def test_outlines_can_be_left_out(toys):
    medians = [
        json.loads(bench(toys, "--json", *options).stdout)["stages"]["outline"]["median"]
        for options in ([], ["--no-outline"])
    ]
    assert medians[0] > 10 * medians[1]  # some milliseconds, and what it takes to skip them


def test_without_boxes_there_is_nothing_to_time(toys):
    (toys.dataset / "boxes.json").write_text("[]")
    result = bench(toys)
    assert result.exit_code == 1
    assert result.stderr == "error: there is nothing to time: no frame has boxes\n"


def test_the_detector_is_timed_where_no_boxes_are_given(toys):
    toys.add_detector((1, toys.box, 0.9), (1, (9, 9, 70, 60), 0.8))
    record = json.loads(bench(toys, "--json", boxes=False).stdout)
    assert list(record["stages"]) == ["read", "detect", *STAGES[1:]]
    assert record["stages"]["detect"]["median"] > 0
    assert (record["n_frames"], record["poses_per_frame"]) == (2, 2)


def test_a_single_object_a_frame_is_timed_where_that_is_asked_for(toys):
    boxes = json.loads((toys.dataset / "boxes.json").read_text())
    more = [{**boxes[0], "score": score} for score in (0.2, 0.9, 0.5)]
    (toys.dataset / "boxes.json").write_text(json.dumps(more))
    assert json.loads(bench(toys, "--json", "--single").stdout)["poses_per_frame"] == 1
    result = bench(toys, "--single", boxes=False)
    assert result.exit_code == 1
    assert "--single needs --boxes" in result.stderr


def test_without_a_detector_boxes_are_asked_for(toys):
    result = bench(toys, boxes=False)
    assert result.exit_code == 1 and "toys holds no detector" in result.stderr


def test_depth_is_timed_where_the_data_set_has_it(toys):
    folder = toys.dataset / "test" / "000002" / "depth"
    folder.mkdir()
    for image_id in (4, 9):
        Pillow.fromarray(np.full((120, 160), 600, np.uint16)).save(folder / f"{image_id:06d}.png")
    stages = json.loads(bench(toys, "--json").stdout)["stages"]
    assert list(stages) == [*STAGES[:-1], "depth", "total"]
    assert list(json.loads(bench(toys, "--json", "--no-depth").stdout)["stages"]) == STAGES
