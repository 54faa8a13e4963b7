"""Rotations as matrices, rotation vectors and unit quaternions (w, x, y, z)."""

import numpy as np

from heatpose.geometry.arrays import Array

_SKEW = np.zeros((3, 3, 3))  # what multiplies like the cross product with x, with y, and with z
_SKEW[0, 2, 1] = _SKEW[1, 0, 2] = _SKEW[2, 1, 0] = 1
_SKEW[0, 1, 2] = _SKEW[1, 2, 0] = _SKEW[2, 0, 1] = -1


def skew(vector: Array) -> Array:
    """Return the matrices (..., 3, 3) that multiply like the cross product with (..., 3)."""
    vector = np.asarray(vector, float)
    cross: Array = vector @ _SKEW.reshape(3, 9)
    return cross.reshape(*vector.shape, 3)


def matrix_from_vector(vector: Array) -> Array:
    """Turn rotation vectors (..., 3), axis times angle in radians, into matrices (..., 3, 3).

    By way of quaternions; angles are never quite 0, so that their limit needs no branch.
    """
    vector = np.asarray(vector, float)
    angle = np.sqrt(np.einsum("...i,...i->...", vector, vector))[..., None] + 1e-150
    half = angle / 2
    cross = skew(vector * (np.sin(half) / angle))
    matrix: Array = np.eye(3) + 2 * (np.cos(half)[..., None] * cross + cross @ cross)
    return matrix


def vector_from_matrix(rotation: Array) -> Array:
    """Turn a rotation matrix (3, 3) into its rotation vector (3,), radians.

    Goes through the quaternion, which is well conditioned from tiny angles to half turns.
    """
    w, *xyz = quaternion_from_matrix(rotation)
    axis = np.array(xyz)
    sine = np.linalg.norm(axis)
    if sine < 1e-12:
        return 2.0 * axis
    vector: Array = axis / sine * 2.0 * np.arctan2(sine, w)
    return vector


def matrix_from_quaternion(quaternion: Array) -> Array:
    """Turn quaternions (..., 4) as (w, x, y, z), of any length, into matrices (..., 3, 3)."""
    unit = np.asarray(quaternion, float)
    unit = unit / np.linalg.norm(unit, axis=-1, keepdims=True)
    cross = skew(unit[..., 1:])
    matrix: Array = np.eye(3) + 2 * unit[..., :1, None] * cross + 2 * cross @ cross
    return matrix


def quaternion_from_matrix(rotation: Array) -> Array:
    """Turn a rotation matrix (3, 3) into its unit quaternion (w, x, y, z) with w >= 0.

    Divides by the largest of the four components (Shepperd's method).
    """
    r = np.asarray(rotation, float)
    squares = np.array(
        [
            1 + r[0, 0] + r[1, 1] + r[2, 2],
            1 + r[0, 0] - r[1, 1] - r[2, 2],
            1 - r[0, 0] + r[1, 1] - r[2, 2],
            1 - r[0, 0] - r[1, 1] + r[2, 2],
        ]
    )
    products = np.array(
        [
            [squares[0], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], squares[1], r[1, 0] + r[0, 1], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[1, 0] + r[0, 1], squares[2], r[2, 1] + r[1, 2]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[2, 1] + r[1, 2], squares[3]],
        ]
    )
    best = products[squares.argmax()]
    quaternion: Array = best / np.linalg.norm(best)
    return quaternion if quaternion[0] >= 0 else -quaternion


def random_rotation(rng: np.random.Generator) -> Array:
    """Draw a rotation matrix (3, 3), uniform over all rotations."""
    return matrix_from_quaternion(rng.standard_normal(4))


def nearest_rotation(matrix: Array) -> Array:
    """Return the rotation (3, 3) nearest to a matrix (3, 3) in the Frobenius norm (Kabsch)."""
    u, _, vt = np.linalg.svd(matrix)
    signs = np.array([1.0, 1.0, np.linalg.det(u @ vt)])
    rotation: Array = (u * signs) @ vt
    return rotation
