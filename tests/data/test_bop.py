"""A BOP data set as a folder."""

import json

import numpy as np
import pytest

from heatpose.data.bop import BopDataset, Target, read_camera
from heatpose.data.images import read_depth, read_image
from heatpose.errors import DataError


@pytest.fixture
def dataset(small_bop):
    return BopDataset(small_bop())


def test_the_folder_is_read_as_it_was_written(dataset):
    assert dataset.scene_ids() == [5]
    assert dataset.image_ids(5) == [3, 12]
    assert dataset.targets() == [Target(5, i, o) for i in (3, 12) for o in (1, 2)]
    assert list(dataset.models_info()) == [1, 2]
    assert dataset.model_path(2).is_file()
    assert [t.object_id for t in dataset.ground_truth(5, 12)] == [1, 2]
    assert read_image(dataset.image_path(5, 3)).shape == (120, 160, 3)


def test_true_poses_project_into_their_boxes(dataset):
    camera = dataset.camera(5, 3)
    for truth, seen in zip(dataset.ground_truth(5, 3), dataset.gt_info(5, 3), strict=True):
        x, y = camera.project(truth.camera_from_object[:3, 3])
        left, top, right, bottom = seen.box
        assert left < x < right and top < y < bottom


def test_depth_is_there_or_none(dataset, small_bop):
    depth = read_depth(dataset.depth_path(5, 3), dataset.frame_camera(5, 3).depth_scale)
    assert 500 < np.nanmin(depth) < np.nanmax(depth) < 750
    dataset.depth_path(5, 3).unlink()
    assert dataset.depth_path(5, 3) is None


def test_the_camera_is_that_of_the_frame(dataset):
    assert dataset.camera(5, 3) == read_camera(dataset.root / "camera.json")
    path = dataset.scene_folder(5) / "scene_camera.json"
    record = json.loads(path.read_text())
    record["3"]["cam_K"][0] = 999.0
    path.write_text(json.dumps(record))
    fresh = BopDataset(dataset.root)
    assert (fresh.camera(5, 3).fx, fresh.camera(5, 12).fx) == (999.0, 150.0)


def test_without_camera_json_the_image_says_its_size(dataset):
    (dataset.root / "camera.json").unlink()
    camera = dataset.camera(5, 3)
    assert (camera.width, camera.height) == (160, 120)
    dataset.image_path(5, 12).write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"cannot read .*000012\.png"):
        dataset.camera(5, 12)


@pytest.mark.parametrize("place", ["rgb/000003.jpg", "gray/000003.png", "gray/000003.tif"])
def test_images_may_be_jpeg_or_grey(dataset, place):
    path = dataset.scene_folder(5) / place
    path.parent.mkdir(exist_ok=True)
    dataset.image_path(5, 3).rename(path)
    assert dataset.image_path(5, 3) == path


def test_models_eval_stands_in_for_models_in_evaluation_only(dataset):
    (dataset.root / "models").mkdir()
    assert dataset.models_folder().name == "models_eval"
    assert dataset.models_folder(evaluate=False).name == "models"
    (dataset.root / "models_eval").rename(dataset.root / "elsewhere")
    assert dataset.models_folder().name == "models"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda d: d.image_path(5, 4), r"no image 000004 \(.png, .jpg, .tif\) in .*/rgb or gray"),
        (lambda d: d.ground_truth(5, 4), r"scene_gt\.json lacks image 4"),
        (lambda d: d.camera(5, 4), r"scene_camera\.json lacks image 4"),
        (lambda d: d.camera(6, 3), r"no file at .*000006/scene_camera\.json"),
        (lambda d: BopDataset(d.root, "val"), "small is not a BOP data set: it has no folder val"),
        (
            lambda d: BopDataset(d.root, targets_file="other.json").targets(),
            r"no file at .*other\.json",
        ),
    ],
)
def test_what_is_missing_is_named(dataset, ask, message):
    with pytest.raises(DataError, match=message):
        ask(dataset)


def test_a_skewed_camera_is_named(dataset):
    path = dataset.scene_folder(5) / "scene_camera.json"
    record = json.loads(path.read_text())
    record["3"]["cam_K"][1] = 0.5
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"scene_camera\.json, image 3: K must be \[\[fx, 0, cx\]"):
        BopDataset(dataset.root).camera(5, 3)


@pytest.mark.real
@pytest.mark.parametrize("name", ["lmo", "lm", "lm_rgbd", "ycbv"])
def test_real_data_sets_are_read(real_data, name):
    dataset = BopDataset(real_data / name)
    inside = []
    for scene_id, image_id, object_id, _ in dataset.targets():
        camera = dataset.camera(scene_id, image_id)
        truths = dict(dataset.ground_truth(scene_id, image_id))
        x, y = camera.project(truths[object_id][:3, 3])
        inside.append(0 < x < camera.width and 0 < y < camera.height)
        assert dataset.image_path(scene_id, image_id).is_file()
    assert np.mean(inside) > 0.95  # a few objects are cut by the border
