"""Rigid transforms as (4, 4) arrays.

A transform is named for what it does, target first: ``camera_from_object @ object_from_marker``
is ``camera_from_marker``. Lengths are in millimetres and angles in radians.
"""

import numpy as np

from heatpose.geometry.arrays import Array


def make_transform(rotation: Array, translation: Array) -> Array:
    """Put rotations (..., 3, 3) and translations (..., 3), mm, together as (..., 4, 4)."""
    rotation, translation = np.asarray(rotation, float), np.asarray(translation, float)
    b_from_a = np.zeros((*rotation.shape[:-2], 4, 4))
    b_from_a[..., :3, :3] = rotation
    b_from_a[..., :3, 3] = translation
    b_from_a[..., 3, 3] = 1.0
    return b_from_a


def invert(b_from_a: Array) -> Array:
    """Return a_from_b for rigid transforms b_from_a, (..., 4, 4)."""
    back = np.swapaxes(b_from_a[..., :3, :3], -1, -2)
    return make_transform(back, -(back @ b_from_a[..., :3, 3:])[..., 0])


def transform_points(b_from_a: Array, points_a: Array) -> Array:
    """Express points given in frame a in frame b.

    Args:
        b_from_a: rigid transforms, (..., 4, 4).
        points_a: points, (..., n, 3), mm.

    Returns:
        The same points seen from frame b, (..., n, 3), mm.
    """
    rotation, translation = b_from_a[..., :3, :3], b_from_a[..., :3, 3]
    points_b: Array = points_a @ np.swapaxes(rotation, -1, -2) + translation[..., None, :]
    return points_b


def rotation_angle(rotation: Array) -> Array:
    """Return how far each rotation turns, in [0, pi] radians.

    Uses atan2 of the sine and cosine parts: ``arccos`` of the trace loses half of the digits
    near the identity, which is where a good estimate is compared with the truth.

    Args:
        rotation: rotation matrices, (..., 3, 3).

    Returns:
        Angles, (...).
    """
    twice_sine = np.stack(
        [
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ],
        axis=-1,
    )
    twice_cosine = np.trace(rotation, axis1=-2, axis2=-1) - 1.0
    angle: Array = np.arctan2(np.linalg.norm(twice_sine, axis=-1), twice_cosine)
    return angle
