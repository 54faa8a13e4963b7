"""The two poses at which three points are seen along three rays; many triples at once.

A small triangle is seen as if from far away, and so in one of two ways, which are mirror images
of each other in depth (T. D. Alter, "3-D Pose from 3 Points Using Weak-Perspective", TPAMI 16(8),
1994, section III). From there a few of Newton's steps lead to the distances at which the three
laws of cosines hold (R. M. Haralick, C.-N. Lee, K. Ottenberg, M. Noelle, "Review and Analysis of
Solutions of the Three Point Perspective Pose Estimation Problem", IJCV 13(3), 1994, section 2).
Those laws may hold at two more, which are of triangles seen from very near; they are not looked
for.

Inside, points, their coordinates, and the two ways come first, and the m triples last.
"""

import numpy as np

from heatpose.geometry.arrays import Array
from heatpose.geometry.transforms import make_transform

_N_STEPS = 3  # of Newton's method
_CLOSE = 1e-2  # squared sides may be off by this share; more, and no pose was near
_STARTS, _ENDS = [1, 0, 0], [2, 2, 1]  # points at the ends of the sides a, b, c


def solve_p3p(points: Array, rays: Array) -> Array:
    """Solve many triples at once.

    Args:
        points: triples of object points, (m, 3, 3), mm.
        rays: unit vectors towards them, camera frame, (m, 3, 3).

    Returns:
        Transforms camera_from_object, (m, 2, 4, 4): two for each triple, NaN where there is none.
    """
    with np.errstate(all="ignore"):  # what cannot be solved becomes NaN
        points, rays = points.transpose(1, 2, 0), rays.transpose(1, 2, 0)
        sides = points[_STARTS] - points[_ENDS]
        sides = (sides * sides).sum(axis=1)  # (3, m), squared
        cosines = (rays[_STARTS] * rays[_ENDS]).sum(axis=1)
        distances = _from_far_away(sides, 2 - 2 * cosines)
        sides, cosines = sides[:, None], cosines[:, None]
        for _ in range(_N_STEPS):
            distances = _newton_step(distances, sides, cosines)
        fit = np.abs(_excess(distances, sides, cosines)) < _CLOSE * sides
        distances[:, ~((distances > 0) & fit).all(axis=0)] = np.nan
        return _poses(points[:, :, None], distances[:, None] * rays[:, :, None])


def _from_far_away(sides: Array, chords: Array) -> Array:
    """Return the distances (3, 2, m), mm, of triangles whose rays are taken for parallel.

    Args:
        sides: squared, (3, m), mm^2.
        chords: squared, of the rays that end there, (3, m).
    """
    # At distance s, sides differ in depth by squares of sides - s^2 chords, of which one is the
    # sum of the other two: a quadratic equation in s^2, the smaller root of which can be seen.
    form, mixed = _form(sides, sides), _form(sides, chords)
    root = np.sqrt(np.maximum(mixed**2 - form * _form(chords, chords), 0))
    squared = form / (mixed + root)
    a, b, c = np.maximum(sides - squared * chords, 0)
    second, third = np.where(b + c < a, -1, 1) * np.sqrt(c), np.sqrt(b)
    depths = np.stack([-second - third, 2 * second - third, 2 * third - second]) / 3
    return np.sqrt(squared) + np.stack([depths, -depths], axis=1)


def _form(p: Array, q: Array) -> Array:
    """Return sixteen times the product of areas, (m,), where (3, m) are one triangle's squares."""
    form: Array = p.sum(axis=0) * q.sum(axis=0) - 2 * (p * q).sum(axis=0)
    return form


def _excess(distances: Array, sides: Array, cosines: Array) -> Array:
    """Return by how much squared sides (3, ...) are too long at some distances (3, ...)."""
    p, q = distances[_STARTS], distances[_ENDS]
    excess: Array = p * p + q * q - 2 * p * q * cosines - sides
    return excess


def _newton_step(distances: Array, sides: Array, cosines: Array) -> Array:
    """Bring distances (3, 2, m) nearer to where the three laws of cosines hold."""
    p, q = distances[_STARTS], distances[_ENDS]
    by_p, by_q = p - q * cosines, q - p * cosines  # half of the slopes
    # Rows are the sides a, b, c; the side opposite a point does not depend on its distance.
    # [0 p q] [p 0 q] [p q 0]: solved by hand, since a step may be singular for one of many.
    (a2, b1, c1), (a3, b3, c2) = by_p, by_q
    fa, fb, fc = (p * by_p + q * by_q - sides) / (2 * (a2 * b3 * c1 + a3 * b1 * c2))
    step = np.stack(
        [
            -b3 * c2 * fa + a3 * c2 * fb + a2 * b3 * fc,
            b3 * c1 * fa - a3 * c1 * fb + a3 * b1 * fc,
            b1 * c2 * fa + a2 * c1 * fb - a2 * b1 * fc,
        ]
    )
    nearer: Array = distances - step
    return nearer


def _poses(points: Array, seen: Array) -> Array:
    """Return the poses (m, 2, 4, 4) that bring points (3, 3, 1, m) to where they are seen."""
    frames = _frames(np.concatenate([points, seen], axis=2))
    rotation = np.einsum("kism,kjm->msij", frames[:, :, 1:], frames[:, :, 0])
    moved = rotation @ points[0].T[..., None]  # (m, 2, 3, 1)
    return make_transform(rotation, seen[0].T - moved[..., 0])


def _frames(triangles: Array) -> Array:
    """Return right-handed frames fixed to triangles (3, 3, ...): axes, and their coordinates."""
    first, second, third = triangles
    along = _unit(second - first)
    normal = _unit(_cross(along, third - first))
    return np.stack([along, _cross(normal, along), normal])


def _cross(p: Array, q: Array) -> Array:
    """Return cross products of (3, ...); numpy's own take longer for few."""
    (x, y, z), (u, v, w) = p, q
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u])


def _unit(vectors: Array) -> Array:
    """Return vectors (3, ...) at length one."""
    unit: Array = vectors / np.sqrt((vectors * vectors).sum(axis=0))
    return unit
