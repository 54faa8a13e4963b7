import numpy as np
import pytest

from heatpose.types import Detection, Observation, PoseEstimate


def observation(camera, **changes):
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    return Observation(**{"image": image, "camera": camera} | changes)


def test_an_observation_may_have_depth(camera):
    depth = np.full((480, 640), np.nan, np.float32)
    assert observation(camera).depth is None
    assert observation(camera, depth=depth).depth is depth


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image": np.zeros((480, 640, 3))},
            r"image must be uint8 \(h, w, 3\), got float64 \(480, 640, 3\)",
        ),
        ({"image": np.zeros((480, 640), np.uint8)}, r"got uint8 \(480, 640\)"),
        ({"image": np.zeros((480, 640, 4), np.uint8)}, r"got uint8 \(480, 640, 4\)"),
        (
            {"image": np.zeros((640, 480, 3), np.uint8)},
            r"image is \(640, 480\) but its camera says \(480, 640\)",
        ),
        (
            {"depth": np.zeros((240, 320), np.float32)},
            r"depth is \(240, 320\) but the image is \(480, 640\)",
        ),
    ],
    ids=["float", "grey", "alpha", "turned", "depth"],
)
def test_an_observation_whose_parts_do_not_fit_is_refused(camera, changes, message):
    with pytest.raises(ValueError, match=message):
        observation(camera, **changes)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_detection_may_lie_partly_outside_the_image(score):
    assert Detection(8, (-20.0, 5.0, 30.0, 700.0), score).score == score


@pytest.mark.parametrize(
    "box",
    [(0.0, 0.0, np.nan, 5.0), (0.0, 0.0, np.inf, 5.0), (5.0, 0.0, 5.0, 9.0), (0.0, 9.0, 5.0, 0.0)],
    ids=["nan", "infinite", "no width", "upside down"],
)
def test_a_detection_needs_a_box_with_an_inside(box):
    with pytest.raises(ValueError, match=r"box must be finite with right > left.*got \("):
        Detection(8, box, 0.5)


@pytest.mark.parametrize("score", [-0.1, 1.1, np.nan])
def test_a_score_lies_between_zero_and_one(score):
    with pytest.raises(ValueError, match=rf"score must lie in \[0, 1\], got {score}"):
        Detection(8, (0.0, 0.0, 1.0, 1.0), score)


def estimate(**changes):
    values = {
        "object_id": 8,
        "camera_from_object": np.eye(4),
        "score": 0.9,
        "covariance": np.eye(6),
        "keypoints": np.zeros((5, 2)),
        "inliers": np.ones(5, bool),
        "box": (0.0, 0.0, 10.0, 10.0),
    }
    return PoseEstimate(**values | changes)


def test_a_pose_estimate_holds_what_it_is_given():
    assert estimate().object_id == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"camera_from_object": np.eye(3)}, r"camera_from_object must be \(4, 4\), got \(3, 3\)"),
        ({"covariance": np.eye(3)}, r"covariance must be \(6, 6\), got \(3, 3\)"),
        ({"inliers": np.ones(4, bool)}, "5 keypoints but 4 inlier flags"),
    ],
)
def test_a_pose_estimate_whose_parts_do_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        estimate(**changes)
