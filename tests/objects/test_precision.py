import numpy as np
import pytest

from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector, random_rotation
from heatpose.geometry.transforms import make_transform
from heatpose.objects.precision import MeasuredViews, candidate_precision

DIAMETER, CAMERA = 100.0, Camera(600.0, 600.0, 100.0, 90.0, 200, 200)
POINTS = np.array([[40.0, 0, 0], [0, 40, 0], [0, 0, 40]])
PIXELS = 600 * DIAMETER / 900  # of a diameter at the object's centre


def measured(rng, errors_of, n_views=400):
    """Views from all sides; errors_of(poses) gives the errors (v, n, 2), px."""
    places = rng.uniform([-30, -30, 600], [30, 30, 1200], (n_views, 3))
    poses = make_transform(np.stack([random_rotation(rng) for _ in range(n_views)]), places)
    return MeasuredViews(poses, np.tile(CAMERA.matrix, (n_views, 1, 1)), errors_of(poses))


def sizes(poses):
    """Pixels of a diameter where the points are, (v, 3, 1)."""
    depth = (poses[:, :3, :3] @ POINTS.T)[:, 2] + poses[:, 2, 3, None]
    return (600 * DIAMETER / depth)[..., None]


def test_noise_is_found_again_from_whatever_distance(rng):
    spreads = np.array([0.005, 0.01, 0.02])[:, None]  # diameters
    views = measured(rng, lambda p: rng.standard_normal((400, 3, 2)) * spreads * sizes(p))
    found = candidate_precision(POINTS, DIAMETER, views)
    np.testing.assert_allclose(found.spread, spreads[:, 0], rtol=0.1)
    assert (found.systematic < 0.3 * found.spread).all()
    variances = np.linalg.inv(found.precisions)[..., [0, 1], [0, 1]]
    np.testing.assert_allclose(np.sqrt(np.median(variances, axis=(0, 2))), spreads[:, 0], rtol=0.1)
    np.testing.assert_array_equal(found.found, 1.0)


def test_an_error_that_the_object_carries_with_it_is_systematic(rng):
    """Found 2 mm beside, always the same way on the object, whatever the roll of the camera."""
    beside = np.array([0, 0, 2.0])

    def errors(poses):
        shown = (poses[:, :3, :3] @ beside)[:, None, :2] / DIAMETER
        return shown * sizes(poses)

    found = candidate_precision(POINTS, DIAMETER, measured(rng, errors))
    # Two thirds of it lie in the picture, half of these along an axis of it.
    np.testing.assert_allclose(found.systematic, 0.02 * np.sqrt(1 / 3), rtol=0.15)
    assert (found.spread < 0.5 * found.systematic).all()


def test_noise_along_one_direction_of_the_object_is_so_in_each_view(rng):
    along = np.array([1.0, 0, 0])

    def errors(poses):
        shown = (poses[:, :3, :3] @ along)[:, None, :2]
        return rng.normal(0, 0.02, (400, 3, 1)) * shown * sizes(poses)

    views = measured(rng, errors)
    found = candidate_precision(POINTS, DIAMETER, views)
    across = views.poses[:, :2, 0]  # of the noise, in the picture
    sideways = np.abs(across) @ np.array([1, 1]) > 0.9  # it is seen at length
    unit = across / np.linalg.norm(across, axis=1, keepdims=True)
    normal = np.stack([-unit[:, 1], unit[:, 0]], axis=1)
    covariances = np.linalg.inv(found.precisions[:, 0])
    there, beside = (np.einsum("vi,vij,vj->v", d, covariances, d)[sideways] for d in (unit, normal))
    assert np.median(there / beside) > 4


def test_precision_is_that_of_the_side_it_is_seen_from(rng):
    """Ten times the noise seen from behind: z of the object away from the camera."""

    def errors(poses):
        behind = poses[:, 2, 2] > 0
        spread = np.where(behind, 0.02, 0.002)[:, None, None]
        return rng.standard_normal((400, 3, 2)) * spread * sizes(poses)

    views = measured(rng, errors)
    found = candidate_precision(POINTS, DIAMETER, views)
    spread = np.sqrt(np.linalg.inv(found.precisions)[:, 0, 0, 0])
    assert np.median(spread[views.poses[:, 2, 2] > 0.8]) == pytest.approx(0.02, rel=0.2)
    assert np.median(spread[views.poses[:, 2, 2] < -0.8]) < 0.006


def test_what_is_lost_or_out_of_the_picture_is_not_found(rng):
    def errors(poses):
        pixels = rng.standard_normal((400, 3, 2)) * 0.005 * sizes(poses)
        pixels[:200, 1] = 5 * PIXELS
        pixels[:, 2] = np.nan
        return pixels

    found = candidate_precision(POINTS, DIAMETER, measured(rng, errors))
    np.testing.assert_allclose(found.found, [1, 0.5, 0])
    np.testing.assert_allclose(found.spread[:2], 0.005, rtol=0.15)
    half = np.median(found.precisions[:, 1, 0, 0]) / np.median(found.precisions[:, 0, 0, 0])
    assert half == pytest.approx(0.5, rel=0.2)
    assert (found.precisions[:, 2] == 0).all()


def test_rolling_the_camera_changes_no_precision(rng):
    views = measured(rng, lambda p: rng.standard_normal((400, 3, 2)) * [0.02, 0.004] * sizes(p))
    roll = matrix_from_vector(np.array([0, 0, 0.7]))
    rolled = MeasuredViews(
        make_transform(roll, np.zeros(3)) @ views.poses,
        views.intrinsics,
        views.errors @ roll[:2, :2].T,
    )
    one = candidate_precision(POINTS, DIAMETER, views).precisions
    other = candidate_precision(POINTS, DIAMETER, rolled).precisions
    np.testing.assert_allclose(other, roll[:2, :2] @ one @ roll[:2, :2].T, rtol=1e-6)
