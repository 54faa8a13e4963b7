import numpy as np
import pytest
import torch

from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector, random_rotation
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.train.pose_targets import PoseTargets, displace, linearise

CAMERA = Camera(fx=150, fy=160, cx=21.3, cy=14.2, width=40, height=32)
DIAMETER = 110.0


@pytest.fixture
def points(rng):
    return rng.uniform(-40, 40, (3, 6, 3))


@pytest.fixture
def poses(rng):
    """(3, 4, 4), mm, in view of the camera."""
    places = rng.uniform([-30, -20, 700], [30, 20, 900], (3, 3))
    return np.stack([make_transform(random_rotation(rng), place) for place in places])


@pytest.fixture
def pose_targets(points, poses):
    return PoseTargets(
        heatmap_camera=torch.tensor(CAMERA.matrix).expand(3, 3, 3),
        camera_from_object=torch.tensor(poses)[:, None],
        points=torch.tensor(points),
        diameters=torch.full((3,), DIAMETER),
    )


def test_a_change_turns_about_the_centre_of_the_points_and_shifts_by_diameters(
    rng, points, poses, pose_targets
):
    changes = rng.normal(size=(3, 4, 6)) * 0.5
    found, allowed = displace(
        pose_targets, torch.tensor(poses).float(), torch.tensor(changes).float()
    )
    assert allowed.all()
    for pose, cloud, own, pixels in zip(poses, points, changes, found.numpy(), strict=True):
        true = transform_points(pose, cloud)
        centre = true.mean(axis=0)
        for change, moved in zip(own, pixels, strict=True):
            turned = (true - centre) @ matrix_from_vector(change[:3]).T + centre
            there = CAMERA.project(turned + change[3:] * DIAMETER)
            np.testing.assert_allclose(moved.T, there - CAMERA.project(true), atol=1e-3)


def test_small_changes_move_pixels_as_the_derivatives_say(rng, poses, pose_targets):
    poses = torch.tensor(poses).float()
    _, slopes = linearise(pose_targets, poses)
    change = torch.tensor(rng.normal(size=(3, 1, 6))).float() * 1e-3
    moved, _ = displace(pose_targets, poses, change)
    expected = torch.einsum("bkci,bi->bck", slopes, change[:, 0])
    torch.testing.assert_close(moved[:, 0], expected, atol=2e-3, rtol=0)  # of 0.2 px


def test_no_change_moves_nothing(poses, pose_targets):
    moved, allowed = displace(pose_targets, torch.tensor(poses).float(), torch.zeros(3, 1, 6))
    assert allowed.all() and moved.abs().max() < 1e-5


@pytest.mark.parametrize(
    ("change", "is_pose"),
    [
        ([0.0, 0, 3.1, 0, 0, 0], True),
        ([0.0, 0, 3.2, 0, 0, 0], False),  # more than half a turn
        ([0.0, 0, 0, 0, 0, -5], True),  # 550 mm nearer, of at least 700
        ([0.0, 0, 0, 0, 0, -9], False),  # behind the camera
    ],
)
def test_changes_behind_the_camera_or_beyond_half_a_turn_are_no_poses(
    poses, pose_targets, change, is_pose
):
    changes = torch.tensor(change).expand(3, 1, 6)
    moved, allowed = displace(pose_targets, torch.tensor(poses).float(), changes)
    assert allowed.tolist() == [[is_pose]] * 3
    assert moved.isfinite().all()
