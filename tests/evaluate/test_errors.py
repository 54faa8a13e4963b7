"""Pose errors: laws, and small cases by hand."""

import numpy as np
import pytest

from heatpose.evaluate.errors import (
    add,
    add_s,
    mspd,
    mssd,
    projection_error,
    turn_and_shift,
    vsd,
)
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform

HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])  # about z
IDENTITY = np.eye(4)[None]
TWOFOLD = np.stack([np.eye(4), HALF_TURN])


def at(x, y, z):
    return make_transform(np.eye(3), np.array([x, y, z], float))


def test_a_shift_is_its_length_in_every_spatial_error(cube):
    estimate, truth = at(3, 4, 800), at(0, 0, 800)  # 3, 4, 5
    assert add(estimate, truth, cube) == pytest.approx(5)
    assert mssd(estimate, truth, cube, IDENTITY) == pytest.approx(5)
    assert add_s(estimate, truth, cube) == pytest.approx(5)  # the corners are 80 mm apart


def test_mean_and_maximum_by_hand():
    # Half a turn about z moves (10, 0, 0) by 20 mm, (0, 30, 0) by 60 mm and (0, 0, 5) not at all.
    points = np.array([[10.0, 0, 0], [0, 30, 0], [0, 0, 5]])
    truth = at(1, 2, 500)
    assert add(truth @ HALF_TURN, truth, points) == pytest.approx(80 / 3)
    assert mssd(truth @ HALF_TURN, truth, points, IDENTITY) == pytest.approx(60)


def test_symmetric_views_are_no_error(cube, camera, random_pose):
    truth = random_pose()
    turned = truth @ HALF_TURN
    assert add(turned, truth, cube) > 50
    assert add_s(turned, truth, cube) == pytest.approx(0, abs=1e-9)
    assert mssd(turned, truth, cube, TWOFOLD) == pytest.approx(0, abs=1e-9)
    assert mspd(turned, truth, cube, TWOFOLD, camera) == pytest.approx(0, abs=1e-9)
    assert projection_error(turned, truth, cube, TWOFOLD, camera) == pytest.approx(0, abs=1e-9)
    assert mspd(turned, truth, cube, IDENTITY, camera) > 5


def test_errors_do_not_depend_on_which_symmetric_truth_is_given(cube, camera, random_pose, rng):
    points = cube + rng.uniform(-5, 5, cube.shape)
    estimate, truth = random_pose(), random_pose()
    for error in (mssd, lambda *a: mspd(*a, camera), lambda *a: projection_error(*a, camera)):
        first = error(estimate, truth, points, TWOFOLD)
        assert error(estimate, truth @ HALF_TURN, points, TWOFOLD) == pytest.approx(first)


def test_add_s_measures_from_the_truth_to_the_estimate():
    # True points at x = 0 and 10; the estimate lies 10 further, at 10 and 20. From the truth the
    # nearest are 10 and 0 away.
    points = np.array([[0.0, 0, 0], [10, 0, 0]])
    assert add_s(at(10, 0, 500), at(0, 0, 500), points) == pytest.approx(5)
    # Points at 0, 1, 10 against 9, 10, 19: 9, 8, 0 from the truth; 1, 0, 9 the other way round.
    points = np.array([[0.0, 0, 0], [1, 0, 0], [10, 0, 0]])
    assert add_s(at(9, 0, 500), at(0, 0, 500), points) == pytest.approx(17 / 3)


def test_projection_errors_by_hand():
    camera = Camera(fx=500, fy=600, cx=320, cy=240, width=640, height=480)
    points = np.array([[0.0, 0, 0], [0, 0, 500]])  # 500 and 1000 mm away
    estimate, truth = at(3, 0, 500), at(0, 0, 500)
    # 3 mm are 500 * 3 / 500 = 3 px near and 1.5 px far; 3 mm along y are 3.6 and 1.8 px.
    assert mspd(estimate, truth, points, IDENTITY, camera) == pytest.approx(3)
    assert projection_error(estimate, truth, points, IDENTITY, camera) == pytest.approx(2.25)
    assert mspd(at(0, 3, 500), truth, points, IDENTITY, camera) == pytest.approx(3.6)


def test_behind_the_camera_is_infinitely_far_on_the_image(cube, camera):
    behind, truth = at(0, 0, -800), at(0, 0, 800)
    assert mspd(behind, truth, cube, IDENTITY, camera) == np.inf
    assert projection_error(behind, truth, cube, IDENTITY, camera) == np.inf


def test_turn_and_shift_by_hand(random_pose):
    truth = random_pose()
    change = make_transform(matrix_from_vector(np.array([0, 0, 0.1])), np.array([0, 3.0, 4.0]))
    angles, shifts = turn_and_shift(truth @ change, truth, TWOFOLD)
    np.testing.assert_allclose(angles, [0.1, np.pi - 0.1])
    np.testing.assert_allclose(shifts, [5, 5])


def test_turn_and_shift_belong_to_the_same_symmetry():
    symmetry = HALF_TURN.copy()
    symmetry[:3, 3] = [20, 0, 0]  # half a turn about an axis 10 mm beside the origin
    angles, shifts = turn_and_shift(
        at(0, 0, 500) @ symmetry, at(0, 0, 500), np.stack([np.eye(4), symmetry])
    )
    np.testing.assert_allclose(angles, [np.pi, 0], atol=1e-9)
    np.testing.assert_allclose(shifts, [20, 0], atol=1e-9)


# This camera sees along its axis, where depth is distance: exactly at pixel 2.
FAR = Camera(fx=1e6, fy=1e6, cx=2, cy=0, width=8, height=1)
TAUS = np.array([5.0, 10.0, 20.0])
GAP = np.nan


def row(*values):
    return np.array([values], np.float32)


def test_vsd_of_the_truth_is_zero():
    depth = row(GAP, 500, 500, 500, GAP, GAP, GAP, GAP)
    np.testing.assert_array_equal(vsd(depth, depth, depth, FAR, TAUS), 0)


def test_vsd_by_hand():
    true = row(500, 500, 500, 500, GAP, GAP, GAP, GAP)
    estimated = row(GAP, GAP, 508, 515, 508, 508, GAP, GAP)
    measured = row(500, 500, 500, 500, GAP, 450, 500, GAP)
    # Pixels 0, 1: only the truth. 2, 3: both, 8 and 15 mm apart. 4: only the estimate, nothing
    # measured, so visible. 5: hidden in both. Wrong beside 0, 1, 4: both, one, none of 2 and 3.
    np.testing.assert_allclose(vsd(estimated, true, measured, FAR, TAUS), [5 / 5, 4 / 5, 3 / 5])


def test_vsd_sees_an_estimate_behind_the_visible_truth():
    true, measured = row(500, *[GAP] * 7), row(500, *[GAP] * 7)
    estimated = row(518, *[GAP] * 7)  # more than delta behind what was measured
    np.testing.assert_allclose(vsd(estimated, true, measured, FAR, TAUS), [1, 1, 0])


@pytest.mark.parametrize(("behind", "visible"), [(14, True), (16, False)])
def test_vsd_allows_for_delta(behind, visible):
    true = row(500, 500 + behind, *[GAP] * 6)
    estimated = row(500, *[GAP] * 7)
    measured = row(*[500] * 8)
    expected = 1 / 2 if visible else 0
    np.testing.assert_allclose(vsd(estimated, true, measured, FAR, TAUS), expected)


def test_vsd_is_one_where_nothing_is_visible():
    true, measured = row(500, *[GAP] * 7), row(*[300] * 8)
    np.testing.assert_array_equal(vsd(true, true, measured, FAR, TAUS), 1)


def test_vsd_measures_along_the_ray():
    # 45 degrees off the axis, 10 mm of depth are 14.1 mm of distance.
    camera = Camera(fx=1, fy=2, cx=0, cy=0, width=2, height=1)
    estimated, true = row(GAP, 510), row(GAP, 500)
    errors = vsd(estimated, true, row(500, 500), camera, np.array([14.0, 14.3]))
    np.testing.assert_array_equal(errors, [1, 0])


def test_vsd_counts_a_distance_of_tau_as_wrong():
    estimated, true = row(GAP, GAP, 510, *[GAP] * 5), row(GAP, GAP, 500, *[GAP] * 5)
    np.testing.assert_array_equal(vsd(estimated, true, true, FAR, TAUS), [1, 1, 0])
