"""Directions in space."""

import numpy as np

from heatpose.geometry.arrays import Array


def even_directions(count: int) -> Array:
    """Return unit vectors spread evenly over the sphere, (count, 3), from top to bottom.

    Fibonacci's lattice: heights in equal steps, each a golden angle further around, so that any
    part of the list between two heights is even, too.
    """
    number = np.arange(count) + 0.5
    z = 1 - 2 * number / count
    around = np.pi * (1 + 5**0.5) * number
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(around), radius * np.sin(around), z], axis=1)


def tangents(direction: Array) -> Array:
    """Return two unit vectors (2, 3) square to a unit vector (3,) and to each other."""
    first = np.cross(direction, np.eye(3)[np.argmin(np.abs(direction))])
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(direction, first)])
