import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from heatpose.data.bop import BopDataset, FrameCamera, Target, write_detections
from heatpose.data.bop_files import write_scene_camera, write_targets
from heatpose.data.cameras import write_camera
from heatpose.data.frames import (
    frames_of_images,
    frames_of_targets,
    usual_candidates,
    with_depth_of,
)
from heatpose.data.images import write_image
from heatpose.errors import DataError, UnknownObjectError
from heatpose.geometry.camera import Camera
from heatpose.types import Detection, Evidence, PoseEstimate

CAMERA = Camera(fx=100.0, fy=100, cx=20, cy=15, width=40, height=30)
BOX = (5.0, 6.0, 25.0, 20.0)


@pytest.fixture
def photos(tmp_path):
    """Three photographs with camera and boxes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("table.png", "desk.png", "floor.jpg"):
        write_image(folder / name, np.zeros((30, 40, 3), np.uint8))
    (folder / "notes.txt").write_text("not an image")
    write_camera(tmp_path / "camera.json", CAMERA)
    boxes = {"desk.png": [{"object_id": 5, "box": BOX}, {"object_id": 9, "box": BOX}]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    return tmp_path


@pytest.fixture
def dataset(tmp_path):
    """One scene with two images, each with its own focal length."""
    root = tmp_path / "toys"
    folder = root / "test" / "000004" / "rgb"
    folder.mkdir(parents=True)
    matrices = {3: np.diag([100.0, 100, 1]), 12: np.diag([120.0, 120, 1])}
    for image_id in matrices:
        write_image(folder / f"{image_id:06d}.png", np.zeros((30, 40, 3), np.uint8))
    cameras = {i: FrameCamera(matrix) for i, matrix in matrices.items()}
    write_scene_camera(folder.parent / "scene_camera.json", cameras)
    targets = [Target(4, 12, 5, 2), Target(4, 3, 5, 1), Target(4, 3, 9, 1)]
    write_targets(root / "test_targets_bop19.json", targets)
    return BopDataset(root)


def moved(object_id, score, by=0.0):
    return Detection(object_id, tuple(edge + by for edge in BOX), score)


def test_a_folder_stands_for_its_images(photos):
    frames = frames_of_images(
        [photos / "photos"], photos / "camera.json", photos / "boxes.json", {5, 9}
    )
    assert [f.path.name for f in frames] == ["desk.png", "floor.jpg", "table.png"]
    assert [len(f.detections) for f in frames] == [2, 0, 0]
    assert [(f.scene_id, f.image_id) for f in frames] == [(0, 0), (0, 1), (0, 2)]
    observation = frames[0].read()
    assert observation.camera == CAMERA and observation.image.shape == (30, 40, 3)


def test_a_camera_file_without_size_takes_that_of_the_image(photos):
    (photos / "K.txt").write_text("100 0 20 0 100 15 0 0 1")
    frames = frames_of_images([photos / "photos"], photos / "K.txt", photos / "boxes.json", {5, 9})
    assert frames[0].camera == CAMERA


def test_an_image_of_another_size_than_its_camera_is_refused(photos):
    write_image(photos / "photos" / "table.png", np.zeros((60, 80, 3), np.uint8))
    frames = frames_of_images(
        [photos / "photos"], photos / "camera.json", photos / "boxes.json", {5, 9}
    )
    with pytest.raises(DataError, match=r"table\.png has 80 x 60 pixels, but its camera 40 x 30"):
        frames[2].read()


def test_unknown_objects_are_refused_or_passed_over(photos):
    inputs = ([photos / "photos"], photos / "camera.json", photos / "boxes.json", [1, 5])
    with pytest.raises(UnknownObjectError, match=r"boxes\.json asks for object 9, .* \[1, 5\]"):
        frames_of_images(*inputs)
    frames = frames_of_images(*inputs, known_only=True)
    assert [d.object_id for d in frames[0].detections] == [5]


def test_what_is_missing_is_named(photos):
    with pytest.raises(DataError, match=r"no image at .*chair\.png"):
        frames_of_images(
            [photos / "chair.png"], photos / "camera.json", photos / "boxes.json", {5, 9}
        )
    (photos / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no images \(\.png"):
        frames_of_images([photos / "empty"], photos / "camera.json", photos / "boxes.json", {5, 9})


def test_images_named_by_numbers_keep_them(photos):
    for name, number in [("table.png", "000017.png"), ("desk.png", "4.png")]:
        (photos / "photos" / name).rename(photos / "photos" / number)
    (photos / "photos" / "floor.jpg").unlink()
    (photos / "boxes.json").write_text(json.dumps({"4.png": [{"object_id": 5, "box": BOX}]}))
    frames = frames_of_images(
        [photos / "photos"], photos / "camera.json", photos / "boxes.json", {5}
    )
    assert [(f.scene_id, f.image_id) for f in frames] == [(0, 17), (0, 4)]
    # the same number twice is no number
    write_image(photos / "17.png", np.zeros((30, 40, 3), np.uint8))
    frames = frames_of_images(
        [photos / "photos", photos / "17.png"], photos / "camera.json", photos / "boxes.json", {5}
    )
    assert [(f.scene_id, f.image_id) for f in frames] == [(0, 0), (0, 1), (0, 2)]


def test_each_target_takes_its_best_detections(dataset, tmp_path):
    detections = {
        (4, 12): [moved(5, 0.3), moved(5, 0.9, 1), moved(5, 0.6, 2), moved(9, 1.0, 3)],
        (4, 3): [moved(5, 0.1), moved(2, 0.8), moved(5, 0.2, 1)],
        (4, 99): [moved(77, 0.5)],
    }
    write_detections(tmp_path / "boxes.json", detections)
    first, second = frames_of_targets(dataset, tmp_path / "boxes.json", {5, 9})
    assert (first.scene_id, first.image_id) == (4, 3)
    assert [(d.object_id, d.score) for d in first.detections] == [(5, 0.2)]  # 9 was not detected
    assert (second.scene_id, second.image_id) == (4, 12)
    assert [(d.object_id, d.score) for d in second.detections] == [(5, 0.9), (5, 0.6)]
    assert (first.camera.fx, second.camera.fx) == (100.0, 120.0)
    assert second.read().image.shape == (30, 40, 3)


def test_an_unknown_target_is_refused_or_passed_over(dataset, tmp_path):
    write_detections(tmp_path / "boxes.json", {(4, 3): [moved(5, 0.1), moved(9, 0.4)]})
    with pytest.raises(UnknownObjectError, match=r"test_targets_bop19\.json asks for object 9"):
        frames_of_targets(dataset, tmp_path / "boxes.json", {5})
    first, _ = frames_of_targets(dataset, tmp_path / "boxes.json", {5}, known_only=True)
    assert [d.object_id for d in first.detections] == [5]


def test_without_a_file_a_detector_is_to_be_asked(photos, dataset):
    frames = frames_of_images([photos / "photos"], photos / "camera.json", None, {5})
    assert [f.detections for f in frames] == [None, None, None]
    found = [moved(5, 0.1), moved(5, 0.7, 1), moved(9, 0.4)]
    assert [d.score for d in frames[0].choose(found)] == [0.7, 0.4, 0.1]  # all that are there


def test_targets_choose_from_what_is_found_as_from_a_file(dataset, tmp_path):
    found = {
        (4, 12): [moved(5, 0.3), moved(5, 0.9, 1), moved(5, 0.6, 2), moved(9, 1.0, 3)],
        (4, 3): [moved(5, 0.1), moved(2, 0.8), moved(5, 0.2, 1)],
    }
    write_detections(tmp_path / "boxes.json", found)
    given = frames_of_targets(dataset, tmp_path / "boxes.json", {5, 9})
    asked = frames_of_targets(dataset, None, {5, 9})
    assert [f.detections for f in asked] == [None, None]
    for one, other in zip(given, asked, strict=True):
        assert other.choose(found[other.ids]) == list(one.detections)


def posed(object_id, score, support):
    return PoseEstimate(
        object_id=object_id,
        camera_from_object=np.eye(4),
        score=score,
        covariance=np.eye(6),
        keypoints=np.zeros((1, 2)),
        inliers=np.full(1, True),
        box=BOX,
        evidence=Evidence(support, 1.0, 0.5, 1.0, 1.0, 0.1),
    )


def test_candidates_are_several_boxes_for_each_instance_but_no_doubles(dataset):
    """Object 5 is wanted twice in image 12; of four boxes two cover each other."""
    *_, frame = frames_of_targets(dataset, None, {5, 9}, candidates=2)
    found = [moved(5, 0.9), moved(5, 0.8, 0.5), moved(5, 0.5, 12), moved(5, 0.4, 24)]
    assert [d.score for d in frame.choose(found)] == [0.9, 0.5, 0.4]
    assert frame.wanted[5] == 2


def test_more_boxes_of_the_own_detector_are_looked_into_than_of_a_file_and_of_true_ones_none():
    own, given = usual_candidates(None, False), usual_candidates(Path("boxes.json"), False)
    assert own > given > 1
    assert usual_candidates(None, True) == 1


def test_beside_candidates_the_best_of_other_objects_is_looked_at_where_it_is_surely_there(dataset):
    *_, frame = frames_of_targets(dataset, None, {5, 9}, candidates=2)
    chosen = [moved(5, 0.05), moved(5, 0.04, 12)]
    others = [moved(7, 0.4), moved(7, 0.9, 30), moved(8, 0.21), moved(6, 0.19)]
    assert 7 not in frame.wanted
    assert frame.look_at([*others, *chosen]) == [*chosen, others[1], others[2]]
    assert frame.look_at(others[:2]) == [others[1]]
    everything = replace(frame, wanted=None)
    assert everything.look_at(others) == everything.choose(others)


def test_of_candidates_those_stay_that_keypoints_agree_with(dataset):
    """Scores 0.3, 0.2, 0.1 times support 0.1, 0.5, 0.8; all of a frame without targets."""
    frame, _ = frames_of_targets(dataset, None, {5}, known_only=True)
    poses = [posed(5, 0.3, 0.1), posed(5, 0.2, 0.5), posed(5, 0.1, 0.8), posed(9, 1.0, 1.0)]
    assert frame.wanted == {5: 1}
    assert frame.choose_poses(poses) == [poses[1]]
    assert replace(frame, wanted=None).choose_poses(poses) == [poses[i] for i in (3, 1, 2, 0)]


def test_of_candidates_those_stay_that_depth_agrees_with_too(dataset):
    """Ranks 0.9 and 0.5; with depth the first loses to the second, unless that is unknown too."""
    frame, _ = frames_of_targets(dataset, None, {5}, known_only=True)
    sure, right = posed(5, 0.9, 1.0), posed(5, 0.5, 1.0)

    def chosen(*agreements):
        poses = [
            replace(one, depth_agreement=agreement)
            for one, agreement in zip((sure, right), agreements, strict=True)
        ]
        [best] = frame.choose_poses(poses)
        return best.score

    assert chosen(None, None) == chosen(0.9, 0.9) == 0.9
    assert chosen(0.3, 0.9) == chosen(None, 0.9) == chosen(0.0, None) == 0.5
    assert chosen(0.9, None) == 0.9


def test_frames_of_a_data_set_have_its_depth_where_there_is_one(dataset):
    folder = dataset.root / "test" / "000004" / "depth"
    folder.mkdir()
    Pillow.fromarray(np.full((30, 40), 6000, np.uint16)).save(folder / "000012.png")
    cameras = {i: FrameCamera(np.diag([100.0, 100, 1]), 0.1) for i in (3, 12)}
    write_scene_camera(folder.parent / "scene_camera.json", cameras)
    first, second = with_depth_of(frames_of_targets(dataset, None, {5, 9}), dataset)
    assert first.depth is None and first.read().depth is None
    np.testing.assert_allclose(second.read().depth, 600)
    Pillow.fromarray(np.full((15, 20), 6000, np.uint16)).save(folder / "000012.png")
    with pytest.raises(DataError, match=r"000012\.png has 20 x 15 pixels, but the colour image 40"):
        second.read()


def test_the_best_detection_of_a_frame_is_that_of_the_highest_score(photos):
    path = photos / "photos" / "desk.png"
    (frame,) = frames_of_images([path], photos / "camera.json", None, {5})
    assert frame.with_best_detection() is frame  # nothing is known of it yet
    few = tuple(Detection(5, BOX, score) for score in (0.2, 0.9, 0.5))
    assert replace(frame, detections=few).with_best_detection().detections == (few[1],)
    empty = replace(frame, detections=())
    assert empty.with_best_detection() is empty
