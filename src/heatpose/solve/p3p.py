"""The poses, at most four, at which three points are seen along three rays; many triples at once.

Distances from the camera to the points follow from Grunert's quartic (R. M. Haralick, C.-N. Lee,
K. Ottenberg, M. Noelle, "Review and Analysis of Solutions of the Three Point Perspective Pose
Estimation Problem", IJCV 13(3), 1994, section 2.1 and table of coefficients), solved by Ferrari's
formula. A step of Newton's method gives back the digits that closed formulas lose.
"""

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array
from heatpose.geometry.transforms import make_transform

_EXACT = 1e-6  # squared sides may be off by this share; more, and there was no root
_REAL = 1e-3  # imaginary part over absolute value below which a root is meant to be real
_STARTS, _ENDS = [1, 0, 0], [2, 2, 1]  # points at the ends of the sides a, b, c


def solve_p3p(points: Array, rays: Array) -> Array:
    """Solve many triples at once.

    Args:
        points: triples of object points, (m, 3, 3), mm.
        rays: unit vectors towards them, camera frame, (m, 3, 3).

    Returns:
        Transforms camera_from_object, (m, 4, 4, 4): four for each triple, NaN where it has fewer.
    """
    with np.errstate(all="ignore"):  # what cannot be solved becomes NaN
        sides, cosines = _squared_sides(points), _cosines(rays)  # (m, 3)
        distances = _distances(sides, cosines)  # (m, 4, 3)
        sides, cosines = sides[:, None], cosines[:, None]
        distances = _polished(distances, sides, cosines)
        fit = np.abs(_excess(distances, sides, cosines)) < _EXACT * sides
        distances[~((distances > 0) & fit).all(axis=-1)] = np.nan
        seen = distances[..., None] * rays[:, None]  # (m, 4, 3, 3), camera frame
        frames = _frame(np.concatenate([points[:, None], seen], axis=1))  # (m, 5, 3, 3)
        rotation = frames[:, 1:] @ frames[:, :1].swapaxes(-1, -2)
        moved = rotation @ points[:, None, 0, :, None]
        return make_transform(rotation, seen[..., 0, :] - moved[..., 0])


def _distances(sides: Array, cosines: Array) -> Array:
    """Return the distances from the camera to the points of each triple, (m, 4, 3), mm."""
    (aa, bb, cc), (cos_a, cos_b, cos_c) = sides.T, cosines.T
    diff, total = (aa - cc) / bb, (aa + cc) / bb
    quartic = [
        (diff - 1) ** 2 - 4 * cc / bb * cos_a**2,
        4 * (diff * (1 - diff) * cos_b - (1 - total) * cos_a * cos_c)
        + 8 * cc / bb * cos_a**2 * cos_b,
        2 * (diff**2 - 1 + 2 * diff**2 * cos_b**2 + 2 * (bb - cc) / bb * cos_a**2)
        + 4 * ((bb - aa) / bb * cos_c**2 - 2 * total * cos_a * cos_b * cos_c),
        4 * (-diff * (1 + diff) * cos_b - (1 - total) * cos_a * cos_c)
        + 8 * aa / bb * cos_c**2 * cos_b,
        (1 + diff) ** 2 - 4 * aa / bb * cos_c**2,
    ]
    v = solve_quartics(np.stack(quartic, axis=1))  # third distance over first
    diff, cos_a, cos_b, cos_c, bb = (x[:, None] for x in (diff, cos_a, cos_b, cos_c, bb))
    u = ((diff - 1) * v**2 - 2 * diff * cos_b * v + 1 + diff) / (2 * (cos_c - v * cos_a))
    first = np.sqrt(bb / (1 + v**2 - 2 * v * cos_b))
    return np.stack([first, u * first, v * first], axis=-1)


def _squared_sides(points: Array) -> Array:
    """Return the squared sides opposite the first, second and third point, (m, 3)."""
    sides = points[:, _STARTS] - points[:, _ENDS]
    squares: Array = (sides * sides).sum(axis=2)
    return squares


def _cosines(rays: Array) -> Array:
    """Return the cosines of the angles under which those sides are seen, (m, 3)."""
    cosines: Array = (rays[:, _STARTS] * rays[:, _ENDS]).sum(axis=2)
    return cosines


def _excess(distances: Array, sides: Array, cosines: Array) -> Array:
    """Return by how much squared sides (..., 3) are too long at some distances (..., 3)."""
    p, q = _ends(distances)
    excess: Array = p**2 + q**2 - 2 * p * q * cosines - sides
    return excess


def _ends(distances: Array) -> tuple[Array, Array]:
    """Return the distances of the ends of the sides a, b, c, both (..., 3)."""
    return distances[..., _STARTS], distances[..., _ENDS]


def _polished(distances: Array, sides: Array, cosines: Array) -> Array:
    """Bring distances (m, 4, 3) nearer to where the three laws of cosines hold."""
    wrong = _excess(distances, sides, cosines)
    p, q = _ends(distances)
    by_p, by_q = 2 * (p - q * cosines), 2 * (q - p * cosines)
    # Rows are the sides a, b, c; the side opposite a point does not depend on its distance.
    # [0 p q] [p 0 q] [p q 0]: solved by hand, since a step may be singular for one of many.
    a2, a3 = by_p[..., 0], by_q[..., 0]
    b1, b3 = by_p[..., 1], by_q[..., 1]
    c1, c2 = by_p[..., 2], by_q[..., 2]
    fa, fb, fc = (wrong[..., i] for i in range(3))
    determinant = a2 * b3 * c1 + a3 * b1 * c2
    step = np.stack(
        [
            -b3 * c2 * fa + a3 * c2 * fb + a2 * b3 * fc,
            b3 * c1 * fa - a3 * c1 * fb + a3 * b1 * fc,
            b1 * c2 * fa + a2 * c1 * fb - a2 * b1 * fc,
        ],
        axis=-1,
    )
    polished: Array = distances - step / determinant[..., None]
    return polished


def _frame(triangles: Array) -> Array:
    """Return a right-handed frame fixed to triangles (..., 3, 3), as columns, (..., 3, 3)."""
    first, second, third = (triangles[..., i, :] for i in range(3))
    along = _unit(second - first)
    normal = _unit(_cross(along, third - first))
    frame: Array = np.stack([along, _cross(normal, along), normal], axis=-1)
    return frame


def _cross(p: Array, q: Array) -> Array:
    """Return cross products of (..., 3); numpy's own take longer for few."""
    (x, y, z), (u, v, w) = np.moveaxis(p, -1, 0), np.moveaxis(q, -1, 0)
    product: Array = np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-1)
    return product


def _unit(vectors: Array) -> Array:
    """Return vectors (..., 3) at length one."""
    unit: Array = vectors / np.sqrt(np.einsum("...i,...i->...", vectors, vectors))[..., None]
    return unit


def solve_quartics(coefficients: Array) -> Array:
    """Return the real roots of quartics, (m, 4), NaN where there are fewer.

    Ferrari's formula in complex numbers.

    Args:
        coefficients: highest power first, (m, 5).
    """
    a, b, c, d = (coefficients[:, 1:] / coefficients[:, :1]).T.astype(complex)
    # x = y - a / 4 takes the cubic term away.
    p = b - 3 * a**2 / 8
    q = c - a * b / 2 + a**3 / 8
    r = d - a * c / 4 + a**2 * b / 16 - 3 * a**4 / 256
    w = np.sqrt(2 * _resolvent_root(p, q, r))
    roots = []
    for sign in (1, -1):
        inside = np.sqrt(-2 * p - w**2 - sign * 2 * q / w)
        roots += [(sign * w + inside) / 2, (sign * w - inside) / 2]
    found = np.stack(roots, axis=1) - a[:, None] / 4
    real: Array = np.where(np.abs(found.imag) < _REAL * np.abs(found), found.real, np.nan)
    return real


def _resolvent_root(
    p: NDArray[np.complex128], q: NDArray[np.complex128], r: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    """Return the largest root of m^3 + p m^2 + (p^2 / 4 - r) m - q^2 / 8 for each, (m,)."""
    # m = z - p / 3 takes the square term away; then Cardano, with the sum that does not cancel.
    linear = -(p**2) / 12 - r
    constant = -(p**3) / 108 + p * r / 3 - q**2 / 8
    root = np.sqrt(constant**2 / 4 + linear**3 / 27)
    ends = np.stack([-constant / 2 + root, -constant / 2 - root])
    cube = np.where(np.abs(ends[0]) > np.abs(ends[1]), ends[0], ends[1]) ** (1 / 3)
    turns = np.exp(2j * np.pi * np.arange(3) / 3)[:, None]
    candidates = cube * turns
    candidates = candidates - linear / (3 * np.where(candidates == 0, 1, candidates)) - p / 3
    best = np.abs(candidates).argmax(axis=0)
    chosen: NDArray[np.complex128] = np.take_along_axis(candidates, best[None], axis=0)[0]
    return chosen
