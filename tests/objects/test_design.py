from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from heatpose.geometry.rotations import matrix_from_vector, random_rotation, skew
from heatpose.objects import design
from heatpose.objects.design import (
    CandidateViews,
    choose_candidates,
    expected_error,
    mobility,
    pose_covariances,
    view_candidates,
)

FOCAL, DISTANCE, DIAMETER = 600.0, 900.0, 100.0  # px, mm, mm
DISTANCES = 8.0  # diameters


def views_of(points, spreads, rotations, diameter=DIAMETER, distance=DISTANCE):
    """What points (n, 3) that are read with spreads (n,), px, say from sides (v, 3, 3)."""
    seen = np.swapaxes(rotations @ points.T, 1, 2)  # (v, n, 3), mm from the object's centre
    z = seen[..., 2] + distance
    slopes = np.zeros((*z.shape, 2, 3))  # of pixels by mm along the camera's axes
    slopes[..., 0, 0] = slopes[..., 1, 1] = FOCAL / z
    slopes[..., :, 2] = -FOCAL * seen[..., :2] / z[..., None] ** 2
    # R (w x p) = -R [p]x w
    turned = -rotations[:, None] @ skew(points)
    jacobians = np.concatenate([slopes @ turned, slopes * diameter], axis=-1)
    precisions = np.eye(2) / np.asarray(spreads)[:, None, None] ** 2
    return CandidateViews(
        points, jacobians, np.tile(precisions, (len(z), 1, 1, 1)), mobility(points, diameter)
    )


def test_jacobians_say_how_positions_change_with_the_pose(points, sides, rng):
    """Turned about the centre of the surface, along the object's axes; moved along the camera's."""
    surface = points + rng.normal(0, 20, 3)
    views = view_candidates(points, surface, DIAMETER, sides, np.zeros((len(sides), 40, 2, 2)))
    change = rng.standard_normal(6) * 1e-5
    lever = (points - surface.mean(axis=0)) / DIAMETER
    turned = lever @ matrix_from_vector(change[:3]).T
    for rotation, jacobian in zip(sides, views.jacobians, strict=True):
        before = lever @ rotation.T + [0, 0, DISTANCES]
        after = turned @ rotation.T + change[3:] + [0, 0, DISTANCES]
        moved = after[:, :2] / after[:, 2:] - before[:, :2] / before[:, 2:]
        np.testing.assert_allclose(jacobian @ change, moved * before[:, 2:], rtol=1e-3, atol=1e-8)


@pytest.fixture
def sides(rng):
    return np.stack([random_rotation(rng) for _ in range(25)])


@pytest.fixture
def points(rng):
    """Points on a ball around the origin."""
    directions = rng.standard_normal((40, 3))
    points = 45 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return points - points.mean(axis=0)


def test_mobility_is_what_points_move_in_the_mean(points, rng):
    change, rotation = rng.standard_normal(6), random_rotation(rng)
    moved = np.cross(change[:3], points / DIAMETER) @ rotation.T + change[3:]
    expected = (moved**2).sum(axis=1).mean()
    assert change @ mobility(points, DIAMETER) @ change == pytest.approx(expected)


def test_covariances_are_those_of_least_squares_on_noisy_pixels(points, sides, rng):
    views = views_of(points, np.full(40, 2.0), sides[:1])
    jacobian = views.jacobians[0].reshape(80, 6)
    # The prior is six more measurements of the pose itself.
    rows = np.concatenate([jacobian / 2.0, np.eye(6)])
    changes = np.linalg.lstsq(rows, rng.standard_normal((86, 20_000)), rcond=None)[0]
    [covariance] = pose_covariances(views, np.arange(40))
    spreads = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(
        np.cov(changes) / np.outer(spreads, spreads),
        covariance / np.outer(spreads, spreads),
        atol=0.03,
    )


@pytest.mark.parametrize("criterion", ["A", "D"])
@pytest.mark.parametrize("noise", [1, 100])  # pixels say far more than the prior, or about as much
def test_the_choice_of_one_is_the_best_there_is(points, sides, rng, criterion, noise):
    """Gains by 2 x 2 matrices against the criterion itself by 6 x 6 ones."""
    views = views_of(points, noise * rng.uniform(0.5, 1.5, 40), sides)

    def worth(chosen):
        covariances = pose_covariances(views, np.array(chosen))
        if criterion == "A":
            return np.trace(views.mobility @ covariances.mean(axis=0))
        return np.log(np.linalg.det(covariances)).mean()

    first, second, third = choose_candidates(views, 3, criterion)
    assert first == min(range(40), key=lambda i: worth([i]))
    others = [i for i in range(40) if i not in (first, second)]
    assert third == min(others, key=lambda i: worth([first, second, i]))


def test_a_gain_is_what_the_criterion_falls_by(points, sides, rng):
    views = views_of(points, rng.uniform(20, 60, 40), sides)
    before, after = (pose_covariances(views, np.arange(n)) for n in (4, 5))
    fall = np.trace(views.mobility @ (before - after).mean(axis=0))
    assert design._gains(views, before, "A")[4] == pytest.approx(fall)
    shrunk = np.log(np.linalg.det(before) / np.linalg.det(after)).mean()
    assert design._gains(views, before, "D")[4] == pytest.approx(shrunk)


@pytest.mark.parametrize("criterion", ["A", "D"])
def test_a_point_with_ten_times_the_noise_never_comes_before_its_precise_neighbour(
    points, sides, rng, criterion
):
    beside = points + rng.normal(0, 0.1, points.shape)
    views = views_of(np.concatenate([beside, points]), np.repeat([10.0, 1.0], 40), sides)
    order = choose_candidates(views, 80, criterion).tolist()
    assert all(order.index(i + 40) < order.index(i) for i in range(40))


@pytest.mark.parametrize(("criterion", "count"), [("A", 8), ("A", 16), ("D", 4), ("D", 8)])
def test_a_greedy_choice_is_better_than_any_random_one(points, sides, rng, criterion, count):
    views = views_of(points, rng.uniform(1, 2, 40), sides)
    chosen = expected_error(views, choose_candidates(views, count, criterion)).displacement
    draws = [rng.choice(40, count, replace=False) for _ in range(100)]
    assert chosen < min(expected_error(views, draw).displacement for draw in draws)


def test_a_greedy_choice_is_within_a_twentieth_of_the_best_of_all(points, sides, rng):
    views = views_of(points[:12], rng.uniform(1, 3, 12), sides)
    best = min(
        expected_error(views, np.array(some)).displacement for some in combinations(range(12), 5)
    )
    assert expected_error(views, choose_candidates(views, 5)).displacement < 1.05 * best


@pytest.mark.parametrize("criterion", ["A", "D"])
def test_turning_the_object_changes_nothing(points, sides, rng, criterion):
    spreads, turn = rng.uniform(0.5, 4, 40), random_rotation(rng)
    views = views_of(points, spreads, sides)
    turned = views_of(points @ turn.T, spreads, sides @ turn.T)
    order = choose_candidates(views, 12, criterion, gap=5.0)
    np.testing.assert_array_equal(choose_candidates(turned, 12, criterion, gap=5.0), order)
    one, other = expected_error(views, order), expected_error(turned, order)
    assert one.displacement == pytest.approx(other.displacement)
    assert one.rotation == pytest.approx(other.rotation)


@pytest.mark.parametrize("criterion", ["A", "D"])
def test_the_unit_of_length_changes_nothing(points, sides, rng, criterion):
    spreads = rng.uniform(0.5, 4, 40)
    mm, metres = (
        views_of(points * unit, spreads, sides, DIAMETER * unit, DISTANCE * unit)
        for unit in (1.0, 0.001)
    )
    order = choose_candidates(mm, 12, criterion)
    np.testing.assert_array_equal(choose_candidates(metres, 12, criterion), order)
    assert expected_error(mm, order).translation == pytest.approx(
        expected_error(metres, order).translation
    )


def test_points_of_one_plane_are_left_for_those_that_give_depth(sides, rng):
    """Thirty points of a plate and three of a post on it, which says how the plate is tilted."""
    plate = np.column_stack([rng.uniform(-40, 40, (30, 2)), np.full(30, -10.0)])
    post = np.array([[0, 0, 60.0], [4, 0, 70.0], [0, 4, 65.0]])
    head_on = sides[:1] * 0 + np.eye(3)
    views = views_of(np.concatenate([plate, post]), np.full(33, 1.0), head_on)
    assert (choose_candidates(views, 4, "A") >= 30).any()
    assert (choose_candidates(views, 4, "D") >= 30).any()


def test_a_point_that_is_never_seen_comes_last(points, sides):
    views = views_of(points, np.ones(40), sides)
    precisions = views.precisions.copy()
    precisions[:, 7] = 0
    assert choose_candidates(replace(views, precisions=precisions), 40)[-1] == 7


def test_points_seen_from_one_side_only_are_spread_over_all_sides(rng):
    """Each of two halves is seen by half of the views: both get as many keypoints."""
    points = 45 * np.array([[0, 0, s] for s in (-1.0, 1.0)])[np.repeat([0, 1], 20)]
    points = points + rng.normal(0, 15, points.shape)
    sides = np.stack([random_rotation(rng) for _ in range(60)])
    views = views_of(points, np.ones(40), sides)
    near = (sides[:, 2, 2] < 0)[:, None] == (np.arange(40) >= 20)  # z of the object to the camera
    views = replace(views, precisions=views.precisions * near[..., None, None])
    chosen = choose_candidates(views, 10)
    assert 4 <= (chosen < 20).sum() <= 6


def test_chosen_points_keep_their_distance_as_long_as_there_are_enough(points, sides):
    views = views_of(points, np.ones(40), sides)
    chosen = points[choose_candidates(views, 6, gap=30.0)]
    assert min(np.linalg.norm(a - b) for a, b in combinations(chosen, 2)) >= 30
    assert sorted(choose_candidates(views, 40, gap=30.0)) == list(range(40))


def test_the_same_point_twice_is_taken_once_before_all_others_are(points, sides):
    twice = views_of(np.concatenate([points, points]), np.ones(80), sides)
    order = choose_candidates(twice, 80, gap=1.0)
    assert sorted(order[:40] % 40) == list(range(40)) and sorted(order) == list(range(80))


def test_a_choice_of_fewer_is_the_beginning_of_one_of_more(points, sides):
    views = views_of(points, np.ones(40), sides)
    np.testing.assert_array_equal(choose_candidates(views, 8), choose_candidates(views, 20)[:8])


def test_what_makes_no_sense_is_refused_with_the_value(points, sides):
    views = views_of(points, np.ones(40), sides)
    with pytest.raises(ValueError, match=r"count must lie in \[1, 40\], got 41"):
        choose_candidates(views, 41)
    with pytest.raises(ValueError, match=r"criterion must be one of .*, got 'E'"):
        choose_candidates(views, 3, "E")
    with pytest.raises(ValueError, match=r"points must be \(39, 3\)|jacobians must be"):
        replace(views, points=points[:39])
    with pytest.raises(ValueError, match="at least one view"):
        replace(views, jacobians=views.jacobians[:0], precisions=views.precisions[:0])
