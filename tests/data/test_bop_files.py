"""The files of a BOP data set: what is written is read, and what is wrong is named."""

import json

import numpy as np
import pytest

from heatpose.data import bop
from heatpose.errors import DataError
from heatpose.types import Detection


@pytest.fixture
def file(tmp_path):
    """A function that writes JSON to a file and returns its path."""

    def write(value):
        (tmp_path / "file.json").write_text(json.dumps(value))
        return tmp_path / "file.json"

    return write


def test_scene_cameras_come_back(tmp_path, camera, random_pose):
    frames = {3: bop.FrameCamera(camera.matrix, 0.1), 12: bop.FrameCamera(camera.matrix)}
    frames[40] = bop.FrameCamera(camera.matrix, 1.0, random_pose())
    bop.write_scene_camera(tmp_path / "file.json", frames)
    back = bop.read_scene_camera(tmp_path / "file.json")
    assert list(back) == [3, 12, 40]
    for image_id, frame in frames.items():
        np.testing.assert_array_equal(back[image_id].matrix, frame.matrix)
        assert back[image_id].depth_scale == frame.depth_scale
    assert back[3].camera_from_world is None
    np.testing.assert_array_equal(back[40].camera_from_world, frames[40].camera_from_world)


def test_a_scene_camera_as_bop_writes_it(file):
    k = [572.4, 0.0, 325.3, 0.0, 573.6, 242.0, 0.0, 0.0, 1.0]
    frame = bop.read_scene_camera(file({"3": {"cam_K": k, "depth_scale": 0.5}}))[3]
    np.testing.assert_array_equal(frame.matrix, [[572.4, 0, 325.3], [0, 573.6, 242], [0, 0, 1]])
    assert frame.depth_scale == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cam_K": None}, r"file.json, image 3: cam_K must be 9 finite numbers, got None"),
        ({"cam_K": [1.0] * 8}, "image 3: cam_K must be 9 finite numbers"),
        ({"cam_K": [1.0] * 9}, r"image 3: cam_K must be \[fx, 0, cx, 0, fy, cy, 0, 0, 1\]"),
        ({"depth_scale": 0}, "image 3: depth_scale must be positive, got 0"),
        ({"cam_R_w2c": [1.0] * 9, "cam_t_w2c": [0, 0, 0]}, "cam_R_w2c is not a rotation"),
    ],
)
def test_wrong_scene_cameras_are_named(file, change, message):
    good = {"cam_K": [500, 0, 320, 0, 500, 240, 0, 0, 1], "depth_scale": 1.0}
    bop.read_scene_camera(file({"3": good}))
    with pytest.raises(DataError, match=message):
        bop.read_scene_camera(file({"3": good | change}))


def test_true_poses_come_back(tmp_path, random_pose):
    scene = {3: [bop.GroundTruth(1, random_pose()), bop.GroundTruth(1, random_pose())], 4: []}
    bop.write_scene_gt(tmp_path / "file.json", scene)
    back = bop.read_scene_gt(tmp_path / "file.json")
    assert {i: [t.object_id for t in ts] for i, ts in back.items()} == {3: [1, 1], 4: []}
    for truth, expected in zip(back[3], scene[3], strict=True):
        np.testing.assert_array_equal(truth.camera_from_object, expected.camera_from_object)


def test_a_true_pose_as_bop_writes_it(file):
    # A quarter turn about z takes x to y, written row by row.
    entry = {"obj_id": 8, "cam_R_m2c": [0, -1, 0, 1, 0, 0, 0, 0, 1], "cam_t_m2c": [1, 2, 3]}
    ((object_id, pose),) = bop.read_scene_gt(file({"3": [entry]}))[3]
    assert object_id == 8
    np.testing.assert_array_equal(pose @ [1, 0, 0, 1], [1, 3, 3, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"obj_id": None}, "file.json, image 3, entry 1: obj_id must be a whole number, got None"),
        ({"cam_R_m2c": [1, 0, 0, 0, 1, 0, 0, 0, -1]}, "entry 1: cam_R_m2c is not a rotation"),
        ({"cam_t_m2c": [1, 2]}, "entry 1: cam_t_m2c must be 3 finite numbers"),
        ({"cam_t_m2c": [1, 2, float("nan")]}, "cam_t_m2c must be 3 finite numbers, got"),
    ],
)
def test_wrong_true_poses_are_named(file, change, message):
    good = {"obj_id": 8, "cam_R_m2c": [1, 0, 0, 0, 1, 0, 0, 0, 1], "cam_t_m2c": [1, 2, 3]}
    with pytest.raises(DataError, match=message):
        bop.read_scene_gt(file({"3": [good, good | change]}))


def test_a_missing_part_of_a_pose_is_named(file):
    with pytest.raises(DataError, match=r"file.json, image 3, entry 0 lacks cam_R_m2c"):
        bop.read_scene_gt(file({"3": [{"obj_id": 8}]}))


def test_visibility_comes_back(tmp_path):
    hidden = bop.Visibility((-3.5, 4.5, 20.5, 30.5), None, 300, 290, 0, 0.0)
    seen = bop.Visibility((0.5, 1.5, 9.5, 11.5), (2.5, 1.5, 9.5, 11.5), 80, 80, 70, 0.875)
    bop.write_scene_gt_info(tmp_path / "file.json", {3: [hidden, seen], 4: []})
    assert bop.read_scene_gt_info(tmp_path / "file.json") == {3: [hidden, seen], 4: []}


def test_the_box_of_a_single_pixel_has_no_width_in_the_file(tmp_path):
    # As the BOP toolkit has it: first pixel, then the way to the last one.
    pixel = bop.Visibility((2.5, 4.5, 3.5, 5.5), None, 1, 1, 0, 0.0)
    bop.write_scene_gt_info(tmp_path / "file.json", {3: [pixel]})
    record = json.loads((tmp_path / "file.json").read_text())["3"][0]
    assert (record["bbox_obj"], record["bbox_visib"]) == ([3, 5, 0, 0], [-1, -1, -1, -1])


def test_targets_come_back(tmp_path):
    targets = [bop.Target(2, 3, 8), bop.Target(2, 3, 1, 4)]
    bop.write_targets(tmp_path / "file.json", targets)
    assert bop.read_targets(tmp_path / "file.json") == targets


def test_a_target_without_count_is_one_instance(file):
    targets = bop.read_targets(file([{"scene_id": 2, "im_id": 3, "obj_id": 8}]))
    assert targets == [bop.Target(2, 3, 8, 1)]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"im_id": 4}, "file.json, entry 1 lacks scene_id"),
        (
            {"scene_id": 2, "im_id": 3, "obj_id": 8},
            "entry 1: object 8 in image 3 is there twice",
        ),
        (
            {"scene_id": 2, "im_id": 4, "obj_id": 8, "inst_count": 0},
            "entry 1: inst_count must be at least 1, got 0",
        ),
    ],
)
def test_wrong_targets_are_named(file, second, message):
    with pytest.raises(DataError, match=message):
        bop.read_targets(file([{"scene_id": 2, "im_id": 3, "obj_id": 8}, second]))


def test_models_info_comes_back_as_it_was(tmp_path):
    infos = {1: {"diameter": 102.099, "name": "ape"}, 10: {"diameter": 1.5, "min_x": -2.0}}
    bop.write_models_info(tmp_path / "file.json", infos)
    assert bop.read_models_info(tmp_path / "file.json") == infos


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({}, "file.json, object 10 lacks diameter"),
        ({"diameter": -1}, "object 10: diameter must be positive, got -1"),
        ([], "object 10 must be a JSON object"),
    ],
)
def test_wrong_models_info_is_named(file, info, message):
    with pytest.raises(DataError, match=message):
        bop.read_models_info(file({"10": info}))


def test_detections_come_back(tmp_path):
    found = {
        (2, 3): [Detection(1, (10.5, 20.0, 30.25, 50.5), 0.5), Detection(1, (0, 0, 5, 5), 1.0)],
        (2, 4): [Detection(8, (-3.0, -4.0, 100.0, 90.0), 0.0)],
    }
    bop.write_detections(tmp_path / "file.json", found)
    assert bop.read_detections(tmp_path / "file.json") == found


def test_the_corner_of_the_image_is_zero_in_detections(file):
    # COCO's pixel (0, 0) spans [0, 1]; ours [-0.5, 0.5].
    entry = {"scene_id": 2, "image_id": 3, "category_id": 8, "score": 0.9, "bbox": [0, 0, 640, 480]}
    ((found,),) = bop.read_detections(file([entry])).values()
    assert found == Detection(8, (-0.5, -0.5, 639.5, 479.5), 0.9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, float("nan"), 4]}, "file.json, entry 0: bbox must be 4 finite numbers"),
        ({"bbox": [1, 2, 0, 4]}, "bbox must be x, y and a positive width and height, got"),
        ({"score": 1.5}, r"entry 0: score must be in \[0, 1\], got 1.5"),
        ({"category_id": "ape"}, "entry 0: category_id must be a whole number, got 'ape'"),
        ({"image_id": None}, "entry 0: image_id must be a whole number, got None"),
    ],
)
def test_wrong_detections_are_named(file, change, message):
    good = {"scene_id": 2, "image_id": 3, "category_id": 8, "score": 0.9, "bbox": [1, 2, 3, 4]}
    with pytest.raises(DataError, match=message):
        bop.read_detections(file([good | change]))
