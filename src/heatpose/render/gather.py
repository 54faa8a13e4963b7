"""How much of each light, and of the sky, reaches the surfaces in a picture.

Computed at half the resolution by interleaved sampling (Keller and Heidrich, 2001): neighbours
try different points of a light, and a small filter that stays on a surface brings them together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array
from heatpose.render.occlusion import BLOCK, Occluders, directions_around, frames, points_on
from heatpose.render.scene import AreaLight
from heatpose.render.surfaces import Surfaces

Floats = NDArray[np.float32]

FAR = 1e5  # mm: what hides the sky may be this far away


def visibilities(
    seen: Surfaces, lights: Sequence[AreaLight], occluders: Occluders, lifts: Array
) -> Floats:
    """Return the share of each light and of the sky that reaches each pixel, (h, w, l + 1).

    Args:
        seen: the surfaces.
        lights: the lights, l of them.
        occluders: what stands in the way.
        lifts: how far off a surface rays start, by its index, mm.
    """
    index, normals = seen.index[::2, ::2], seen.normals[::2, ::2]
    lit = (index >= 0) & (index < len(lifts))
    rows, cols = np.nonzero(lit)
    pattern = rows % BLOCK * BLOCK + cols % BLOCK
    facing = normals[lit]
    lifted = seen.points[::2, ::2][lit] + facing * lifts[index[lit], None].astype(np.float32)
    shares = np.zeros((*lit.shape, len(lights) + 1), np.float32)
    for number, light in enumerate(lights):
        ways = points_on(light)[pattern] - lifted
        turned = np.einsum("ni,ni->n", ways, facing) > 0
        shares[..., number][lit] = _reached(occluders, lifted, ways, turned)
    x, y, z = directions_around()[pattern].T[..., None]
    first, second = frames(facing)
    ways = np.float32(FAR) * (x * first + y * second + z * facing)
    shares[..., -1][lit] = _reached(occluders, lifted, ways, np.ones(len(ways), bool))
    return _spread(_smoothed(shares, index, normals), seen.index)


def _reached(
    occluders: Occluders, origins: Floats, ways: Floats, asked: NDArray[np.bool_]
) -> Floats:
    """Return 1 where nothing is in the way, (n,); 0 too where it is not asked."""
    free = np.zeros(len(origins), np.float32)
    free[asked] = ~occluders.between(origins[asked], ways[asked])
    return free


def _smoothed(shares: Floats, index: NDArray[np.int16], normals: Floats) -> Floats:
    """Average (h, w, c) over BLOCK x BLOCK pixels of the same surface that face the same way."""
    height, width = index.shape
    edge = (BLOCK // 2, BLOCK - 1 - BLOCK // 2)
    wide = (edge, edge)
    padded, padded_normals = (np.pad(one, (*wide, (0, 0))) for one in (shares, normals))
    padded_index = np.pad(index, wide, constant_values=-2)
    total, weight = np.zeros_like(shares), np.zeros((height, width, 1), np.float32)
    for down in range(BLOCK):
        for right in range(BLOCK):
            part = np.s_[down : down + height, right : right + width]
            same = padded_index[part] == index
            same &= np.einsum("hwi,hwi->hw", padded_normals[part], normals) > 0.8
            total += padded[part] * same[..., None]
            weight += same[..., None]
    return np.asarray(total / np.maximum(weight, 1), np.float32)


def _spread(shares: Floats, index: NDArray[np.int16]) -> Floats:
    """Bring values of every second pixel, (h', w', c), to all, from those of the same surface."""
    height, width = index.shape
    own = index[::2, ::2]
    total = np.zeros((height, width, shares.shape[2]), np.float32)
    weight = np.zeros((height, width, 1), np.float32)
    rows, cols = np.arange(height), np.arange(width)
    for down in (0, 1):
        for right in (0, 1):
            # Pixels that have a value use it; those between take both neighbours.
            row = np.minimum(rows // 2 + down * (rows % 2), len(own) - 1)[:, None]
            col = np.minimum(cols // 2 + right * (cols % 2), own.shape[1] - 1)
            trust = np.where(own[row, col] == index, np.float32(1), np.float32(1e-3))[..., None]
            total += shares[row, col] * trust
            weight += trust
    return np.asarray(total / weight, np.float32)
