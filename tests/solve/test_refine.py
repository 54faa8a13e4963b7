import numpy as np
import pytest

from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector, vector_from_matrix
from heatpose.geometry.transforms import invert, make_transform, transform_points
from heatpose.solve.refine import (
    Sightings,
    descend,
    masked_median,
    refine_pose,
    whitening,
)


def moved(pose, rng, degrees=4.0, mm=(5, 5, 40)):
    """Turn an object about itself and move it a little."""
    turn = matrix_from_vector(np.radians(degrees) * rng.standard_normal(3))
    return make_transform(turn @ pose[:3, :3], pose[:3, 3] + mm * rng.standard_normal(3))


def left_perturbation(after, before):
    """Return (6,) with after = perturbation @ before, to first order exact."""
    change = after @ invert(before)
    return np.concatenate([vector_from_matrix(change[:3, :3]), change[:3, 3]])


@pytest.fixture
def points(rng):
    return rng.uniform(-50, 50, (32, 3))


@pytest.fixture
def crop_camera():
    return Camera(fx=1700.0, fy=1720.0, cx=-300.0, cy=200.0, width=256, height=256)


@pytest.fixture
def pose(random_pose):
    drawn = random_pose()
    drawn[:3, 3] = [170.0, -30.0, 700.0]
    return drawn


UNIT = np.tile(np.eye(2), (32, 1, 1))


def test_medians_are_of_what_is_there(rng):
    values, there = rng.random((6, 9)), rng.random((6, 9)) < 0.6
    there[:2] = [np.arange(9) < 1, np.arange(9) >= 1]  # one, and an even number
    expected = [np.median(row[mask]) for row, mask in zip(values, there, strict=True)]
    assert masked_median(values, there) == pytest.approx(expected)


def test_finds_the_pose_that_made_exact_pixels(points, crop_camera, pose, rng):
    pixels = crop_camera.project(transform_points(pose, points))
    for _ in range(10):
        found, covariance = refine_pose(points, pixels, UNIT, crop_camera.matrix, moved(pose, rng))
        np.testing.assert_allclose(found, pose, atol=1e-4)
        assert np.sqrt(np.diag(covariance)).max() < 1e-2


def test_the_jacobian_is_the_slope_of_the_residuals(points, crop_camera, pose, rng):
    spread = rng.uniform(0.5, 2, (32, 2, 2))
    covariances = spread @ spread.transpose(0, 2, 1) + np.eye(2) * 0.1
    sightings = Sightings(points, np.zeros((32, 2)), whitening(covariances), crop_camera.matrix)
    slopes = sightings.jacobian(pose[None])[0]
    for axis in range(6):
        step = np.zeros(6)
        step[axis] = 1e-5
        ends = []
        for sign in (1, -1):
            turn = matrix_from_vector(sign * step[:3])
            there = make_transform(turn @ pose[:3, :3], pose[:3, 3] + sign * step[3:])
            ends.append(sightings.residuals(there[None])[0])
        np.testing.assert_allclose(
            slopes[..., axis], (ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-4
        )


def test_whitened_noise_has_the_same_spread_in_every_direction(rng):
    factors = rng.standard_normal((5, 2, 2)) + 2 * np.eye(2)
    covariances = factors @ factors.transpose(0, 2, 1)
    white = whitening(covariances)
    after = white @ covariances @ white.transpose(0, 2, 1)
    np.testing.assert_allclose(after, np.tile(after[0, 0, 0] * np.eye(2), (5, 1, 1)), atol=1e-9)
    # in px: that of the keypoint in the middle
    assert after[0, 0, 0] == pytest.approx(np.median(np.sqrt(np.linalg.det(covariances))))


@pytest.mark.parametrize("factor", [0.04, 1.0, 25.0])
def test_the_covariance_is_that_of_many_trials(points, crop_camera, pose, rng, factor):
    """Whatever the common factor of the covariances given: it is measured, not believed."""
    spread = rng.uniform(0.5, 3.0, 32)
    covariances = (spread**2)[:, None, None] * np.eye(2)
    exact = crop_camera.project(transform_points(pose, points))
    changes, stated = [], []
    for _ in range(300):
        pixels = exact + spread[:, None] * rng.standard_normal((32, 2))
        found, covariance = refine_pose(
            points, pixels, factor * covariances, crop_camera.matrix, pose
        )
        changes.append(left_perturbation(found, pose))
        stated.append(covariance)
    true, stated = np.cov(np.array(changes).T), np.mean(stated, axis=0)
    ratio = np.linalg.eigvals(np.linalg.solve(true, stated)).real  # 1 in all six directions
    assert ratio.min() > 0.65 and ratio.max() < 1.5


def test_a_wrong_point_hardly_pulls(points, crop_camera, pose):
    pixels = crop_camera.project(transform_points(pose, points))
    pixels += np.random.default_rng(1).standard_normal((32, 2))
    without, _ = refine_pose(points[1:], pixels[1:], UNIT[1:], crop_camera.matrix, pose)
    pixels[0] += 100.0
    with_it, covariance = refine_pose(points, pixels, UNIT, crop_camera.matrix, pose)
    pull = left_perturbation(with_it, without)
    assert pull @ np.linalg.solve(covariance, pull) < 1.0


def test_never_goes_uphill(points, crop_camera, pose, rng):
    pixels = crop_camera.project(transform_points(pose, points)) + rng.standard_normal((32, 2))
    sightings = Sightings(points, pixels, UNIT, crop_camera.matrix)

    def loss(poses):
        squares = (sightings.residuals(poses) ** 2).sum(axis=-1)
        return np.log1p(squares / 9.0).sum(axis=-1)

    starts = np.stack([moved(pose, rng, degrees=90, mm=(80, 80, 200)) for _ in range(100)])
    for n_steps in (1, 2, 8):  # the first step from far away is often a wrong one
        assert (loss(descend(sightings, starts, 3.0, n_steps)) <= loss(starts)).all()


def test_poses_do_not_influence_each_other(points, crop_camera, pose, rng):
    pixels = crop_camera.project(transform_points(pose, points)) + rng.standard_normal((32, 2))
    sightings = Sightings(points, pixels, UNIT, crop_camera.matrix)
    starts = np.stack([moved(pose, rng) for _ in range(3)])
    together = descend(sightings, starts, reach=3.0, n_steps=3)
    alone = np.concatenate([descend(sightings, one[None], 3.0, n_steps=3) for one in starts])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_points_that_do_not_fix_the_pose_have_no_covariance(crop_camera, pose):
    """On a line: free to turn about it."""
    line = np.linspace(-50, 50, 8)[:, None] * [1.0, 0.5, 0.2]
    pixels = crop_camera.project(transform_points(pose, line))
    pixels += 0.1 * np.random.default_rng(0).standard_normal((8, 2))
    _, covariance = refine_pose(line, pixels, UNIT[:8], crop_camera.matrix, pose)
    assert np.isnan(covariance).all()


@pytest.mark.parametrize("depth", [-700.0, 0.0])
def test_poses_with_points_behind_the_camera_have_infinite_residuals(
    points, crop_camera, pose, depth
):
    """With all of them there, or some, whatever the others say."""
    behind = pose.copy()
    behind[2, 3] = depth
    sightings = Sightings(points, np.zeros((32, 2)), UNIT, crop_camera.matrix)
    residuals = sightings.residuals(np.stack([behind, pose]))
    assert np.isinf(residuals[0]).all() and np.isfinite(residuals[1]).all()
