"""Directions spread evenly over the sphere, and those square to one."""

import numpy as np

from heatpose.geometry.directions import even_directions, tangents


def test_directions_are_unit_vectors_that_leave_no_gaps_and_do_not_crowd() -> None:
    directions = even_directions(400)
    assert np.allclose(np.linalg.norm(directions, axis=1), 1)
    apart = np.arccos(np.clip(directions @ directions.T, -1, 1)) + 10 * np.eye(400)
    mean = np.sqrt(4 * np.pi / 400)  # side of the square that each has of the sphere's area
    assert apart.min() > 0.7 * mean
    anywhere = np.random.default_rng(0).normal(size=(2000, 3))
    anywhere /= np.linalg.norm(anywhere, axis=1, keepdims=True)
    assert np.arccos((anywhere @ directions.T).max(axis=1)).max() < mean


def test_the_first_half_is_the_upper_half_of_the_sphere() -> None:
    directions = even_directions(600)
    assert (directions[:300, 2] > 0).all()
    assert (directions[300:, 2] < 0).all()


def test_tangents_are_square_to_a_direction_and_to_each_other(rng):
    for direction in [*np.eye(3), *rng.standard_normal((5, 3))]:
        direction = direction / np.linalg.norm(direction)
        frame = np.vstack([tangents(direction), direction])
        np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
