from dataclasses import replace

import numpy as np
import pytest

from heatpose.draw.overlay import AXES, INLIER, OUTLIER, OUTLINES, Overlay, how_sure
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.types import Observation, PoseEstimate

CAMERA = Camera(fx=300.0, fy=300, cx=79.5, cy=59.5, width=160, height=120)
POSE = make_transform(np.eye(3), [20.0, 0, 600])


@pytest.fixture
def cube_model(cube_mesh):
    return ObjectModel(7, "cube", cube_mesh, np.zeros((2, 3)), np.eye(4)[None], 138.0)


def seen(camera=CAMERA):
    return Observation(np.full((camera.height, camera.width, 3), 128, np.uint8), camera)


def estimate(keypoints=((30.0, 100.0), (30.0, 20.0)), pose=POSE, box=(65.0, 35.0, 115.0, 85.0)):
    return PoseEstimate(
        object_id=7,
        camera_from_object=pose,
        score=0.875,
        covariance=np.eye(6),
        keypoints=np.array(keypoints),
        inliers=np.array([True, False]),
        box=box,
    )


def test_a_pose_is_as_sure_as_its_probability_and_else_its_score():
    assert how_sure(estimate()) == "0.88"
    assert how_sure(replace(estimate(), probability=0.246)) == "25%"


def places(picture, colour, tolerance=40):
    """Return where a colour is, (n, 2) as (x, y), px."""
    near = np.abs(picture.astype(int) - colour).max(axis=2) < tolerance
    return np.argwhere(near)[:, ::-1]


@pytest.mark.parametrize("factor", [1, 8])
def test_the_outline_runs_where_the_camera_sees_the_edges(cube_model, factor):
    """Small images are drawn twice as large: position p of the image is at 2 p + 0.5."""
    camera = CAMERA.warped(factor, np.full(2, (factor - 1) / 2), 160 * factor, 120 * factor)
    scale = 2 if factor == 1 else 1
    box = tuple(factor * edge for edge in (5.0, 5.0, 150.0, 110.0))
    nothing = np.full((2, 2), np.nan)
    picture = Overlay([cube_model]).draw(seen(camera), [estimate(nothing, box=box)])

    assert picture.shape == (120 * factor * scale, 160 * factor * scale, 3)
    found = places(picture, OUTLINES[0])
    corners = camera.project(transform_points(POSE, cube_model.mesh.vertices))
    low, high = corners.min(axis=0), corners.max(axis=0)
    inside = (found > scale * (low - 8 * factor)).all(axis=1)
    inside &= (found < scale * (high + 8 * factor)).all(axis=1)
    outline = found[inside]  # not the marks of the box, nor the label
    np.testing.assert_allclose(outline.min(axis=0), scale * low, atol=2.5)
    np.testing.assert_allclose(outline.max(axis=0), scale * high, atol=2.5)


def test_axes_point_where_they_do(cube_model):
    nothing = np.full((2, 2), np.nan)
    picture = Overlay([cube_model]).draw(seen(), [estimate(nothing)])
    origin = 2 * CAMERA.project(POSE[:3, 3]) + 0.5
    for axis, colour in enumerate(AXES[:2]):
        reached = places(picture, colour)
        far = reached[np.abs(reached - origin).sum(axis=1).argmax()]
        tip = 2 * CAMERA.project(POSE[:3, 3] + 69.0 * np.eye(3)[axis]) + 0.5
        np.testing.assert_allclose(far, tip, atol=3)


def test_keypoints_that_agree_are_dots_and_others_crosses(cube_model):
    picture = Overlay([cube_model]).draw(seen(), [estimate()])
    away = picture[:, :90]  # from the object and its axes
    np.testing.assert_allclose(places(away, INLIER).mean(axis=0), [60.5, 200.5], atol=0.6)
    np.testing.assert_allclose(places(away, OUTLIER, 90).mean(axis=0), [60.5, 40.5], atol=0.6)


@pytest.mark.parametrize("box", [(65.0, 35, 115, 85), (-50.0, -40, 10, 20), (150.0, 110, 190, 150)])
def test_the_label_stays_in_the_picture(cube_model, box):
    without = Overlay([cube_model]).draw(seen(), [])
    picture = Overlay([cube_model]).draw(seen(), [estimate(box=box)])
    assert (picture[places(picture, (25, 25, 25), 3)[:, 1]] != without[0, 0]).any()
    paper = places(picture, (25, 25, 25), 3)
    width = paper[:, 0].max() - paper[:, 0].min()
    assert len(paper) > 300 and width > 40


def test_poses_out_of_sight_are_no_trouble(cube_model):
    overlay = Overlay([cube_model])
    beside = make_transform(np.eye(3), [2000.0, 0, 600])
    around = make_transform(np.eye(3), [0.0, 0, 10])
    picture = overlay.draw(seen(), [estimate(pose=beside), estimate(pose=around)])
    assert picture.shape == (240, 320, 3)


def test_the_image_itself_is_left_alone(cube_model):
    observation = seen()
    Overlay([cube_model]).draw(observation, [estimate()])
    assert (observation.image == 128).all()
