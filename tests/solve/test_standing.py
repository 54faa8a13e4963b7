"""Objects that a depth camera does not see, put onto what they stand on."""

import cv2
import numpy as np
import pytest

from heatpose.geometry.rotations import matrix_from_vector, skew
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.render.surfaces import camera_rays
from heatpose.solve.depth import DepthFit, PosedObject
from heatpose.solve.depth_poses import correct_with_depth
from heatpose.solve.depth_search import DepthSearch
from heatpose.solve.standing import find_plane, stand
from heatpose.types import PoseEstimate

BRICK = 3
POSE = make_transform(matrix_from_vector(np.array([2.3, 0.3, -0.2])), np.array([40.0, -30, 800]))


@pytest.fixture
def model(brick_mesh):
    corners = brick_mesh.corners
    size = float(np.linalg.norm(np.ptp(corners, axis=0)))
    return ObjectModel(BRICK, "", brick_mesh, corners, np.eye(4)[None], size)


@pytest.fixture
def renderer(model):
    return Renderer({BRICK: model.mesh})


def table(model, camera, normal=(0.0, -0.8, -0.6), pose=POSE):
    """The depth of a plane that an object touches, (h, w), mm."""
    normal = np.array(normal) / np.linalg.norm(normal)
    lowest = (transform_points(pose, model.mesh.vertices) @ normal).min()
    with np.errstate(divide="ignore"):
        depth = lowest / (camera_rays(camera) @ normal)
    return np.where((depth > 0) & (depth < 5000), depth, np.nan).astype(np.float32)


def unseen(depth, model, renderer, camera, pose=POSE):
    """The same with a hole where the object is."""
    return np.where(np.isfinite(renderer.depth(BRICK, pose, camera)), np.float32(np.nan), depth)


def at(share):
    """The object that many times as far away."""
    pose = POSE.copy()
    pose[:3, 3] *= share
    own = np.diag([2e-3] * 3 + [0.5] * 3) ** 2  # of turns about its origin and of shifts
    left_from_own = np.eye(6)
    left_from_own[3:, :3] = skew(pose[:3, 3])
    return PosedObject(BRICK, pose, left_from_own @ own @ left_from_own.T)


@pytest.mark.parametrize("share", [0.97, 0.99, 1.0, 1.02, 1.04])
def test_an_object_comes_down_to_what_it_stands_on(model, renderer, camera, share):
    depth = unseen(table(model, camera), model, renderer, camera)
    found = stand(at(share), model, depth, camera, renderer)
    assert found.camera_from_object[:3, 3] == pytest.approx(POSE[:3, 3], abs=3.0)
    assert np.linalg.eigvalsh(found.covariance).min() > 0


def seen(posed, model, renderer, camera):
    """An estimate with that pose, and with box and keypoints of the true one."""
    rows, cols = np.nonzero(np.isfinite(renderer.depth(BRICK, POSE, camera)))
    return PoseEstimate(
        object_id=BRICK,
        camera_from_object=posed.camera_from_object,
        score=0.5,
        covariance=posed.covariance,
        keypoints=camera.project(transform_points(POSE, model.keypoints)),
        inliers=np.zeros(8, bool),
        box=(cols.min() - 0.5, rows.min() - 0.5, cols.max() + 0.5, rows.max() + 0.5),
        keypoint_spreads=np.full(8, 0.1),
    )


def test_estimates_of_what_was_not_measured_come_down(model, renderer, camera):
    depth = unseen(table(model, camera), model, renderer, camera)
    estimate = seen(at(1.03), model, renderer, camera)
    search = DepthSearch({BRICK: model}, renderer)
    image = np.full((*depth.shape, 3), 128, np.uint8)
    [found] = correct_with_depth([estimate], depth, image, camera, renderer, search=search)
    assert found.camera_from_object[2, 3] == pytest.approx(POSE[2, 3], abs=3.0)
    assert found.inliers.all()


def test_noise_and_things_around_it_change_little(model, renderer, camera, rng):
    depth = unseen(table(model, camera), model, renderer, camera)
    depth += np.float32(4) * rng.standard_normal(depth.shape, np.float32)
    depth[:, 430:] = 700.0  # another thing, to one side and nearer
    found = stand(at(1.03), model, depth, camera, renderer)
    assert found.camera_from_object[2, 3] == pytest.approx(POSE[2, 3], abs=5.0)


def test_an_object_that_was_measured_stays(model, renderer, camera):
    """Where it was measured, that says more than what it stands on."""
    depth = np.fmin(table(model, camera), renderer.depth(BRICK, POSE, camera))
    assert stand(at(1.0), model, depth, camera, renderer) is None


def test_an_object_that_was_measured_as_well_as_what_is_around_it_stays(
    model, renderer, camera, rng
):
    """A camera that measures one pixel of fourteen: those of the object say more than its table."""
    depth = np.fmin(table(model, camera), renderer.depth(BRICK, POSE, camera))
    depth[rng.random(depth.shape) < 0.93] = np.nan
    assert stand(at(0.99), model, depth, camera, renderer) is None


@pytest.mark.parametrize(("part", "stands"), [(0.5, True), (0.95, False)])
def test_an_object_that_all_but_nothing_is_seen_of_may_be_elsewhere(
    model, renderer, camera, part, stands
):
    depth = unseen(table(model, camera), model, renderer, camera)
    rows, cols = np.nonzero(np.isfinite(renderer.depth(BRICK, POSE, camera)))
    hidden = cols < np.quantile(cols, part)
    depth[rows[hidden], cols[hidden]] = 500
    assert (stand(at(1.02), model, depth, camera, renderer) is not None) == stands


def test_an_object_that_floats_stays(model, renderer, camera):
    far = POSE.copy()
    far[:3, 3] *= 1.2
    depth = unseen(table(model, camera, pose=far), model, renderer, camera)
    assert stand(at(1.0), model, depth, camera, renderer) is None


def test_where_no_plane_is_nothing_stands(model, renderer, camera, rng):
    depth = unseen(table(model, camera), model, renderer, camera)
    heaps = cv2.resize(rng.uniform(0.8, 1.2, (24, 32)), depth.shape[::-1])
    rough = depth * heaps.astype(np.float32)
    assert stand(at(1.0), model, rough, camera, renderer) is None
    nothing = np.full_like(depth, np.nan)
    assert stand(at(1.0), model, nothing, camera, renderer) is None


def test_a_plane_that_ends_before_the_lowest_point_holds_nothing(model, renderer, camera):
    normal = np.array([0.0, -0.8, -0.6])
    vertices = transform_points(POSE, model.mesh.vertices)
    x, y = camera.project(vertices[np.argmin(vertices @ normal)][None])[0]
    cols, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    depth = table(model, camera)
    depth[np.hypot(cols - x, rows - y) < 40] = 2000.0  # a hole in it
    depth = unseen(depth, model, renderer, camera)
    assert stand(at(1.0), model, depth, camera, renderer) is None


def test_other_things_before_the_lowest_point_do_not_hide_that_it_stands(model, renderer, camera):
    """All but little of what was measured around the lowest point is nearer than the plane."""
    normal = np.array([0.0, -0.8, -0.6])
    vertices = transform_points(POSE, model.mesh.vertices)
    x, y = camera.project(vertices[np.argmin(vertices @ normal)][None])[0]
    cols, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    depth = unseen(table(model, camera), model, renderer, camera)
    others = (np.hypot(cols - x, rows - y) < 60) & (cols < x + 35)
    depth[others & np.isfinite(depth)] = 600.0
    found = stand(at(1.03), model, depth, camera, renderer)
    assert found.camera_from_object[2, 3] == pytest.approx(POSE[2, 3], abs=4.0)


def test_what_depth_has_pulled_to_something_else_goes_back_and_stands(
    model, renderer, camera, monkeypatch
):
    """Depth sees nothing of it and fits it to a thing nearby. Not so where what was measured of it
    lies behind where it would stand."""
    hole = unseen(table(model, camera), model, renderer, camera)
    behind = np.fmin(hole, renderer.depth(BRICK, at(1.015).camera_from_object, camera))
    pulled = at(0.85)
    monkeypatch.setattr(
        "heatpose.solve.depth_poses.refine_with_depth",
        lambda posed, *_: [DepthFit(pulled.camera_from_object, pulled.covariance, 0.2)],
    )
    search = DepthSearch({BRICK: model}, renderer)
    monkeypatch.setattr(DepthSearch, "__call__", lambda *_: None)
    image = np.full((*hole.shape, 3), 128, np.uint8)
    found = [
        correct_with_depth(
            [seen(at(1.03), model, renderer, camera)], depth, image, camera, renderer, search=search
        )[0]
        for depth in (hole, behind)
    ]
    assert found[0].camera_from_object[2, 3] == pytest.approx(POSE[2, 3], abs=3.0)
    assert np.array_equal(found[1].camera_from_object, pulled.camera_from_object)


def test_an_object_beside_or_behind_the_camera_stays(model, renderer, camera):
    depth = table(model, camera)
    aside, behind = at(1.0), at(-1.0)
    aside.camera_from_object[0, 3] = 5000.0
    assert stand(aside, model, depth, camera, renderer) is None
    assert stand(behind, model, depth, camera, renderer) is None


def test_the_plane_of_most_points_is_found(rng):
    normal = np.array([0.3, -0.8, -0.5]) / np.linalg.norm([0.3, -0.8, -0.5])
    points = rng.uniform(-200, 200, (500, 3)) + [0, 0, 900]
    points[:300] -= np.outer(points[:300] @ normal + 600.0, normal)
    found, offset = find_plane(points)
    assert found == pytest.approx(normal, abs=1e-2)
    assert offset == pytest.approx(-600.0, abs=2.0)
    assert find_plane(points[:50]) is None
    assert find_plane(rng.uniform(-200, 200, (500, 3)) + [0, 0, 900]) is None
    few = rng.uniform(-200, 200, (60, 3)) + [0, 0, 900]  # the same point is drawn twice at times
    assert find_plane(few) is None
