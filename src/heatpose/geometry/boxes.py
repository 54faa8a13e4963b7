"""Boxes as left, top, right, bottom in pixels.

The edges are positions, not pixel indices: a box around the single pixel (3, 5) is
(2.5, 4.5, 3.5, 5.5), because pixel centres lie at whole numbers.
"""

import numpy as np

from heatpose.geometry.arrays import Array, Box, Mask


def box_of_mask(mask: Mask) -> Box | None:
    """Return the box around the true pixels of a mask (h, w), or None where there are none."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return (
        float(cols[0]) - 0.5,
        float(rows[0]) - 0.5,
        float(cols[-1]) + 0.5,
        float(rows[-1]) + 0.5,
    )


def box_of_points(pixels: Array) -> Box:
    """Return the box around image positions (n, 2), px; NaN rows do not count."""
    left, top = np.nanmin(pixels, axis=0)
    right, bottom = np.nanmax(pixels, axis=0)
    return float(left), float(top), float(right), float(bottom)


def area(boxes: Array) -> Array:
    """Return the areas (...,) of boxes (..., 4), px^2; zero for boxes turned inside out."""
    boxes = np.asarray(boxes, float)
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    product: Array = sides.prod(axis=-1)
    return product


def intersection_over_union(first: Array, second: Array) -> Array:
    """Compare boxes (n, 4) with boxes (m, 4).

    Returns:
        Intersection over union of each pair, (n, m), in [0, 1]; 0 for two empty boxes.
    """
    first, second = np.asarray(first, float)[:, None], np.asarray(second, float)[None]
    corner = np.maximum(first[..., :2], second[..., :2])
    opposite = np.minimum(first[..., 2:], second[..., 2:])
    common = area(np.concatenate([corner, opposite], axis=-1))
    union = area(first) + area(second) - common
    ratio: Array = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return ratio


def clip_box(box: Box, width: int, height: int) -> Box:
    """Return the part of a box that lies inside an image of the given size, px."""
    left, top, right, bottom = box
    return (
        min(max(left, -0.5), width - 0.5),
        min(max(top, -0.5), height - 0.5),
        min(max(right, -0.5), width - 0.5),
        min(max(bottom, -0.5), height - 0.5),
    )
