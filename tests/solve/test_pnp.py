import numpy as np
import pytest

from heatpose.geometry.boxes import box_of_points
from heatpose.geometry.rotations import random_rotation
from heatpose.geometry.transforms import invert, make_transform, rotation_angle, transform_points
from heatpose.solve.pnp import Correspondences, _best, join_looks, solve_pnp


def solve_one(*correspondences, **options):
    """Return the solution of one object."""
    [solution] = solve_pnp([Correspondences(*correspondences)], **options)
    return solution


def difference(first, second):
    """Return degrees and mm between two transforms."""
    between = first @ invert(second)
    return np.degrees(rotation_angle(between[:3, :3])), np.linalg.norm(first[:3, 3] - second[:3, 3])


@pytest.fixture
def points(rng):
    """Keypoints as on a small object, (32, 3), mm."""
    direction = rng.standard_normal((32, 3))
    return direction / np.linalg.norm(direction, axis=1, keepdims=True) * [60, 40, 50]


def crop_camera(camera, pixels):
    """Return the camera of a crop of 256 px around what is seen."""
    left, top, right, bottom = box_of_points(pixels)
    scale = 256 / (1.2 * max(right - left, bottom - top))
    shift = 127.5 - scale * np.array([left + right, top + bottom]) / 2
    return camera.warped(scale, shift, 256, 256)


@pytest.mark.parametrize("n_wrong", [0, 1, 2, 3])
def test_recovers_the_pose_and_names_the_wrong_keypoints(camera, cube, random_pose, n_wrong):
    for _ in range(20):
        truth = random_pose()
        pixels = camera.project(transform_points(truth, cube))
        # each in its own direction: a common one is close to another pose
        pixels[:n_wrong] += np.array([[60.0, 40], [-70, 50], [10, -80]])[:n_wrong]
        solution = solve_one(cube, pixels, camera, max_error=3.0)
        degrees, mm = difference(solution.camera_from_object, truth)
        assert degrees < 1e-3 and mm < 1e-2
        np.testing.assert_array_equal(solution.inliers, np.arange(8) >= n_wrong)


def test_half_of_all_keypoints_may_be_anywhere(camera, points, random_pose, rng):
    for _ in range(20):
        truth = random_pose()
        where = transform_points(truth, points)
        crop = crop_camera(camera, camera.project(where))
        pixels = crop.project(where)
        wrong = rng.permutation(32) < 16
        pixels[wrong] = rng.uniform(0, 256, (16, 2))
        solution = solve_one(points, pixels, crop)
        degrees, mm = difference(solution.camera_from_object, truth)
        assert degrees < 0.05 and mm < 0.5
        assert solution.inliers[~wrong].all()


def test_a_keypoint_that_was_not_seen_may_lie_behind_the_camera(camera, cube, random_pose):
    """The other end of something long, of which the near end is seen."""
    truth = random_pose()
    behind = transform_points(invert(truth), np.array([[0.0, 0, -300]]))
    pixels = np.concatenate([[[np.nan, np.nan]], camera.project(transform_points(truth, cube))])
    solution = solve_one(np.concatenate([behind, cube]), pixels, camera)
    degrees, mm = difference(solution.camera_from_object, truth)
    assert degrees < 1e-3 and mm < 1e-2


def test_the_best_poses_take_the_place_of_those_that_nothing_supports(rng):
    poses = rng.random((2, 5, 4, 4))
    support = np.array([[0.0, 3, 0, 0, 1], [2, 0, 5, 4, 3]])
    best = _best(poses, support, 3)
    np.testing.assert_array_equal(best, poses[[[0], [1]], [[1, 4, 1], [2, 3, 4]]])


def test_the_inliers_are_those_within_the_largest_error(camera, points, random_pose):
    truth = random_pose()
    where = transform_points(truth, points)
    crop = crop_camera(camera, camera.project(where))
    pixels = crop.project(where)
    pixels[:4] += np.array([[9.0, 0], [0, -9.0], [11.0, 0], [0, -11.0]])
    solution = solve_one(points, pixels, crop, max_error=10.0)
    np.testing.assert_array_equal(np.flatnonzero(~solution.inliers), [2, 3])


def test_covariances_say_which_keypoints_to_believe(camera, points, random_pose, rng):
    """Half of the keypoints are ten times as noisy: knowing that must pay."""
    spread = np.where(np.arange(32) % 2, 0.5, 5.0)
    covariances = spread[:, None, None] ** 2 * np.eye(2)
    errors = {True: [], False: []}
    for _ in range(30):
        truth = random_pose()
        where = transform_points(truth, points)
        crop = crop_camera(camera, camera.project(where))
        pixels = crop.project(where) + spread[:, None] * rng.standard_normal((32, 2))
        for told in (True, False):
            solution = solve_one(points, pixels, crop, covariances if told else None)
            errors[told].append(difference(solution.camera_from_object, truth)[1])
    assert np.mean(errors[True]) < 0.6 * np.mean(errors[False])


def test_confidences_say_which_of_two_poses_is_meant(camera, points, random_pose):
    """Twelve trusted keypoints (10.8 in all) agree on one pose, twenty (4.0) on another."""
    confidences = np.where(np.arange(32) < 12, 0.9, 0.2)
    for _ in range(8):
        truth = random_pose()
        pixels = camera.project(transform_points(truth, points))
        pixels[12:] = camera.project(transform_points(random_pose(), points))[12:]
        solution = solve_one(points, pixels, camera, None, confidences, max_error=3.0)
        degrees, mm = difference(solution.camera_from_object, truth)
        assert degrees < 1e-3 and mm < 1e-2


def test_trusted_keypoints_are_tried_first(camera, points, random_pose, rng):
    """Six of 32 are right: 1 triple in 250 if drawn blindly, most if drawn by confidence."""
    confidences = np.where(np.arange(32) < 6, 1.0, 0.02)
    for _ in range(8):
        truth = random_pose()
        pixels = camera.project(transform_points(truth, points))
        pixels[6:] = rng.uniform(0, 480, (26, 2))
        solution = solve_one(points, pixels, camera, None, confidences, max_error=3.0)
        degrees, mm = difference(solution.camera_from_object, truth)
        assert degrees < 0.01 and mm < 0.2


def test_an_unsure_inlier_may_be_farther_off_than_a_sure_one(camera, points, random_pose):
    truth = random_pose()
    where = transform_points(truth, points)
    crop = crop_camera(camera, camera.project(where))
    pixels = crop.project(where)
    off = np.array([15.0, 25.0, 3.0, 7.0])  # of at most 10 times 2, 2, 0.5, 0.5
    pixels[:4, 0] += off
    spread = np.ones(32)
    spread[:4] = [2.0, 2.0, 0.5, 0.5]
    covariances = spread[:, None, None] ** 2 * np.eye(2)
    solution = solve_one(points, pixels, crop, covariances, max_error=10.0)
    np.testing.assert_array_equal(np.flatnonzero(~solution.inliers), [1, 3])


def test_trusted_keypoints_weigh_more_in_the_last_fit(camera, points, random_pose, rng):
    """The untrusted half is noisy, but not so much that it is left out."""
    confidences = np.where(np.arange(32) % 2, 0.9, 0.05)
    noise = np.where(np.arange(32) % 2, 0.3, 3.0)[:, None]
    errors = {True: [], False: []}
    for _ in range(30):
        truth = random_pose()
        where = transform_points(truth, points)
        crop = crop_camera(camera, camera.project(where))
        pixels = crop.project(where) + noise * rng.standard_normal((32, 2))
        for told in (True, False):
            trust = confidences if told else None
            solution = solve_one(points, pixels, crop, None, trust)
            errors[told].append(difference(solution.camera_from_object, truth)[1])
    assert np.mean(errors[True]) < 0.7 * np.mean(errors[False])


def test_keypoints_not_there_or_without_confidence_do_not_count(camera, cube, random_pose):
    truth = random_pose()
    pixels = camera.project(transform_points(truth, cube))
    pixels[0] = np.nan
    pixels[1] += 5.0
    covariances = np.tile(np.eye(2), (8, 1, 1))
    covariances[0] = np.nan
    confidences = np.where(np.arange(8) == 1, 0.0, 0.8)
    solution = solve_one(cube, pixels, camera, covariances, confidences)
    np.testing.assert_array_equal(solution.inliers, np.arange(8) >= 2)
    degrees, mm = difference(solution.camera_from_object, truth)
    assert degrees < 1e-6 and mm < 1e-4


def test_less_than_four_keypoints_are_no_pose(camera, cube, random_pose):
    pixels = camera.project(transform_points(random_pose(), cube))
    pixels[3:] = np.nan
    assert solve_one(cube, pixels, camera) is None


def test_keypoints_that_agree_on_nothing_are_no_pose(camera, points, rng):
    """A hair's breadth is asked for, of random positions."""
    pixels = rng.uniform(0, 256, (32, 2))
    assert solve_one(points, pixels, camera, max_error=1e-3) is None


@pytest.mark.parametrize("spot", ["image", "object"])
def test_degenerate_keypoints_are_no_pose_or_a_finite_one(camera, points, spot):
    pixels = camera.project(points + np.array([0, 0, 800]))
    if spot == "image":
        pixels[:] = [100.0, 100.0]  # all seen in one place
    else:
        points = np.tile([1.0, 2.0, 3.0], (32, 1))
    solution = solve_one(points, pixels, camera)
    assert solution is None or np.isfinite(solution.camera_from_object).all()


def test_the_same_seed_gives_the_same_pose(camera, points, random_pose, rng):
    pixels = camera.project(transform_points(random_pose(), points))
    pixels += 3 * rng.standard_normal((32, 2))
    one, two = (solve_one(points, pixels, camera, seed=7) for _ in range(2))
    np.testing.assert_array_equal(one.camera_from_object, two.camera_from_object)


def test_shapes_that_do_not_fit_are_named(camera, cube):
    with pytest.raises(ValueError, match=r"got \(8, 3\) and \(7, 2\)"):
        solve_one(cube, np.zeros((7, 2)), camera)


def test_planar_keypoints_are_solved(camera, rng):
    points = np.column_stack([rng.uniform(-60, 60, (20, 2)), np.zeros(20)])
    for _ in range(10):
        truth = make_transform(random_rotation(rng), [20.0, -30.0, 700.0])
        if abs(truth[2, 2]) < 0.3:
            continue  # seen from the side a plane is a line
        pixels = camera.project(transform_points(truth, points))
        degrees, mm = difference(solve_one(points, pixels, camera).camera_from_object, truth)
        assert degrees < 0.01 and mm < 0.05


def test_no_object_has_a_part_in_the_pose_of_another(camera, cube, points, random_pose, rng):
    """Objects with different numbers of keypoints, some not seen, one that has no pose at all."""
    objects = []
    for one in (points, cube, points, points, cube):
        pixels = camera.project(transform_points(random_pose(), one))
        pixels += rng.standard_normal(pixels.shape)
        confidences, covariances = (
            rng.uniform(0.3, 1, len(one)),
            np.tile(np.eye(2), (len(one), 1, 1)),
        )
        objects.append(Correspondences(one, pixels, camera, covariances, confidences))
    objects[2].pixels[5:20] = np.nan
    objects[3].pixels[2:] = np.nan
    together = solve_pnp(objects)
    assert [one is None for one in together] == [False, False, False, True, False]
    for one, solution in zip(objects, together, strict=True):
        [alone] = solve_pnp([one])
        if solution is None:
            assert alone is None
            continue
        np.testing.assert_allclose(solution.camera_from_object, alone.camera_from_object, atol=1e-6)
        np.testing.assert_array_equal(solution.inliers, alone.inliers)
        assert solution.inliers.shape == (len(one.points),)
    assert not together[2].inliers[5:20].any()


def test_nothing_asked_is_nothing_solved():
    assert solve_pnp([]) == []


def test_looks_from_two_crops_are_one_in_px_of_the_first(camera, points, random_pose, rng):
    truth = random_pose()
    seen = camera.project(transform_points(truth, points))
    nearer = camera.warped(2.0, np.array([-30.0, 12.0]), camera.width, camera.height)
    first = Correspondences(points, seen, camera, np.tile(np.eye(2), (len(points), 1, 1)))
    second = Correspondences(
        points,
        nearer.project(transform_points(truth, points)),
        nearer,
        np.tile(4 * np.eye(2), (len(points), 1, 1)),
    )
    both = join_looks([first, second])
    np.testing.assert_allclose(both.pixels, np.tile(seen, (2, 1)), atol=1e-9)
    # 4 px^2 at twice the size are 1 px^2; two looks are taken for one.
    np.testing.assert_allclose(both.covariances, np.tile(2 * np.eye(2), (2 * len(points), 1, 1)))
    assert both.confidences is None and join_looks([first]) is first
    [solution] = solve_pnp([both])
    degrees, mm = difference(solution.camera_from_object, truth)
    assert degrees < 0.01 and mm < 0.1
