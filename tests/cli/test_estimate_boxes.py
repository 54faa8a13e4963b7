import json

import numpy as np
import pytest

from heatpose.data.bop_files import read_detections
from heatpose.data.images import write_image
from heatpose.data.results import read_results


def test_without_boxes_the_detector_of_the_bundle_finds_them(toys):
    """Two instances, a sure one and one that is not; an object that the network does not know."""
    toys.add_detector((1, toys.box, 0.9), (1, (30, 20, 90, 70), 0.5), (0, toys.box, 0.8))
    write_image(toys.images / "night.png", np.zeros((120, 160, 3), np.uint8))
    result = toys.on_images("--no-overlays", boxes=None)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("4 poses of 4 boxes in 3 images")
    assert toys.left_behind() == ["detections.json", "poses.json", "results.csv"]
    out = toys.folder / "out"
    poses = {
        i["image_id"]: i["poses"] for i in json.loads((out / "poses.json").read_text())["images"]
    }
    assert [len(poses[i]) for i in range(3)] == [2, 0, 2]  # desk, night, table
    np.testing.assert_allclose(poses[0][0]["box"], toys.box, atol=1e-3)
    np.testing.assert_allclose(poses[0][0]["camera_from_object"], toys.pose, atol=0.3)
    found = read_detections(out / "detections.json")
    assert [d.object_id for d in found[0, 2]] == [7, 7] and (0, 1) not in found
    seconds = {
        image["image_id"]: image["seconds"]
        for image in json.loads((out / "poses.json").read_text())["images"]
    }
    detect = json.loads((out / "detections.json").read_text())[0]["time"]
    assert 0 < detect < max(seconds.values())


def test_the_threshold_is_the_bundles_unless_told_otherwise(toys):
    toys.add_detector((1, toys.box, 0.6), (1, (9, 9, 70, 60), 0.4), threshold=0.5)
    assert toys.on_images(boxes=None).stdout.startswith("2 poses of 2 boxes in 2 images")
    result = toys.on_images("--threshold", "0.3", boxes=None)
    assert result.stdout.startswith("4 poses of 4 boxes in 2 images")


def test_targets_take_the_best_detections_however_unsure(toys):
    """One instance of object 7 is asked for: both detections are posed, the better pose stays."""
    toys.add_detector((1, (0, 0, 9, 9), 0.02), (1, toys.box, 0.03), (0, toys.box, 0.9))
    result = toys.on_dataset(boxes=None)
    assert result.stdout.startswith("2 poses of 4 boxes in 2 images"), result.output
    for found in read_results(toys.folder / "out" / "results.csv"):
        assert found.score == pytest.approx(0.03, rel=0.1)
        np.testing.assert_allclose(found.camera_from_object, toys.pose, atol=0.3)
    found = read_detections(toys.folder / "out" / "detections.json")
    assert {key: [d.score for d in each] for key, each in found.items()} == {
        (2, 4): pytest.approx([0.03, 0.02]),
        (2, 9): pytest.approx([0.03, 0.02]),
    }


@pytest.mark.parametrize(("options", "boxes"), [((), 2), (("--candidates", "1"), 1)])
def test_two_candidates_of_a_file_are_looked_into_unless_said_otherwise(toys, options, boxes):
    result = toys.on_dataset("--no-overlays", *options)
    assert result.stdout.startswith(f"1 poses of {boxes} boxes in 2 images: "), result.output


def test_any_onnx_detector_can_be_plugged_in(toys):
    """It has a will of its own: pictures are enlarged to 640 px, and the cube is its class 2."""
    toys.add_detector((1, (0, 0, 9, 9), 0.9))
    (toys.folder / "other.onnx").write_bytes(toys.onnx_detector((2, toys.box, 0.8), scale=4))
    result = toys.on_images(
        "--detector", toys.folder / "other.onnx", "--detector-objects", "3,1,7", boxes=None
    )
    assert result.stdout.startswith("2 poses of 2 boxes"), result.output
    [first, _] = read_results(toys.folder / "out" / "results.csv")
    np.testing.assert_allclose(first.camera_from_object, toys.pose, atol=0.3)


@pytest.mark.parametrize("foreign", [False, True])
def test_with_several_looks_detectors_see_a_mirror_too(toys, foreign):
    """What these two see stands where it stands, whatever the picture shows."""
    box, mirrored = (10, 20, 60, 70), (99, 20, 149, 70)
    toys.add_detector((1, box, 0.6))
    options = []
    if foreign:
        (toys.folder / "other.onnx").write_bytes(toys.onnx_detector((0, box, 0.6), scale=4))
        options = ["--detector", toys.folder / "other.onnx", "--detector-objects", "7"]
    for looks, seen in [(1, {box: 0.6}), (2, {box: 0.3, mirrored: 0.3})]:
        result = toys.on_images("--looks", looks, *options, boxes=None)
        assert result.exit_code == 0, result.output
        found = read_detections(toys.folder / "out" / "detections.json")
        for each in found.values():
            assert {one.box: one.score for one in each} == pytest.approx(seen)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the bundle toys holds no detector: say where objects are with --boxes"),
        (["--detector", "a.onnx"], "--detector and --detector-objects go together"),
        (["--detector", "a.onnx", "--detector-objects", "7"], "cannot read a.onnx"),
        (["--detector", "a.onnx", "--detector-objects", "7,x"], "ids as in 1,5,6, got '7,x'"),
        (["--detector", "a.onnx", "--detector-objects", "7,7"], "ids as in 1,5,6, got '7,7'"),
    ],
)
def test_where_boxes_come_from_must_be_said_once(toys, arguments, message):
    result = toys.on_images(*arguments, boxes=None)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert message in result.stderr
    assert toys.left_behind() is None


def test_boxes_and_a_threshold_of_a_detector_contradict_each_other(toys):
    result = toys.on_images("--threshold", "0.5")
    assert result.exit_code == 1 and "say nothing where boxes" in result.stderr


def test_true_boxes_show_what_is_lost_after_detection(toys):
    left, top, right, bottom = toys.box
    seen = {"bbox_visib": [left, top, right - left, bottom - top]}
    seen |= {"bbox_obj": seen["bbox_visib"], "px_count_all": 9, "px_count_valid": 9}
    seen |= {"px_count_visib": 8, "visib_fract": 0.8}
    info = toys.dataset / "test" / "000002" / "scene_gt_info.json"
    info.write_text(json.dumps({"4": [seen], "9": [seen]}))
    result = toys.on_dataset("--true-boxes", "--no-overlays", boxes=None)
    assert result.stdout.startswith("2 poses of 2 boxes in 2 images"), result.output
    assert toys.left_behind() == ["poses.json", "results.csv"]
    for found in read_results(toys.folder / "out" / "results.csv"):
        np.testing.assert_allclose(found.camera_from_object, toys.pose, atol=10)  # BOP: whole px


def test_true_boxes_are_of_data_sets_alone(toys):
    for result in (toys.on_images("--true-boxes", boxes=None), toys.on_dataset("--true-boxes")):
        assert result.exit_code == 1 and "--true-boxes goes with --dataset" in result.stderr
