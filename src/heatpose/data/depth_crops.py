"""Depth of one object's crop, as it was measured and as a network takes it.

A network is shown shape, not distance. Relative depth of a crop is

    (z - z0) / w,    w = z0 s / (2 f),

with z0 a depth in the middle of the crop, where the object is, s the side of the crop and
f its focal length in px: w is half of what the crop shows at z0, in mm. So the three axes have one
unit, in which the crop reaches from -1 to 1 along x and y: an object looks the same from near and
from far away, and a slope is that of its surface, however tightly the crop is cut. In diameters
the same surface would be steeper in a wider crop. Values are clipped to [-2, 2]: what is farther
from z0 than the crop is wide is another thing, wherever it is.

Normals are left out: in this unit they are differences of neighbouring pixels, which a first
convolution finds by itself, and over as many pixels as the noise of the sensor asks for.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.data.crops import crop_from_image, square_around
from heatpose.geometry.arrays import Box, Depth
from heatpose.geometry.camera import Camera

LARGEST = 2.0  # of relative depth
# What is in the middle and not the object lies behind it more often than before. Of 150 rendered
# crops the median was another surface's in 7 %, this quantile in 4 %.
CENTRE = 0.35
STEEPEST = 2.0  # px: how far interpolation may move a surface from the nearest measured place


def crop_depth_around(
    depth: Depth, camera: Camera, box: Box, size: int, margin: float = 1.2
) -> tuple[Depth, Camera]:
    """Cut a square of depth around a box and resize it, as `crop_around` does with colours.

    Between places that were measured on one surface depth is linear. Across an edge it is that
    of the nearest pixel: a mean of two depths is a place where nothing is. An edge is where the two
    differ by more than the width of two pixels of the image, as on surfaces that are seen at 76
    degrees or more.

    Args:
        depth: (h, w), mm along z, NaN where nothing was measured.
        camera: of the depth.
        box: left, top, right, bottom, px.
        size: side of the result, px.
        margin: side of the square over the longer side of the box.

    Returns:
        The crop, (size, size), mm, NaN where nothing was measured and outside of the image; and
        the camera that sees it.
    """
    square = square_around(box, margin)
    scale, shift = crop_from_image(square, size)
    patch, left, top = _patch(depth, square)
    crop = np.full((size, size), np.nan, np.float32)
    if patch.size:
        moved = shift + scale * np.array([left, top])
        crop_from_patch = np.array([[scale, 0, moved[0]], [0, scale, moved[1]]])
        nearest, linear = (
            np.asarray(
                cv2.warpAffine(
                    patch, crop_from_patch, (size, size), flags=way, borderValue=float("nan")
                ),
                np.float32,
            )
            for way in (cv2.INTER_NEAREST, cv2.INTER_LINEAR)
        )
        # NaN is not smaller: where a neighbour is missing it is the nearest pixel, too.
        smooth = np.abs(linear - nearest) < STEEPEST / camera.fx * nearest
        crop = np.where(smooth, linear, nearest)
    return crop, camera.warped(scale, shift, size, size)


def network_depths(
    depth: Depth, camera: Camera, boxes: Sequence[Box], size: int, margin: float = 1.2
) -> NDArray[np.float32]:
    """Cut out the depth around each box, (b, 2, s, s), as networks take it.

    Args: those of `crop_depth_around`, with several boxes.
    """
    crops = [crop_depth_around(depth, camera, box, size, margin) for box in boxes]
    return np.stack([network_depth(*crop) for crop in crops])


def network_depth(crop: Depth, camera: Camera) -> NDArray[np.float32]:
    """Return depth as networks take it.

    Args:
        crop: (s, s), mm along z, NaN where nothing was measured.
        camera: that sees it.

    Returns:
        (2, s, s): relative depth, in [-2, 2], and 1 where it was measured. Both are 0 where it
        was not.
    """
    measured = crop > 0  # NaN is not
    centre = _middle(crop, measured)
    if centre is None:
        return np.zeros((2, *crop.shape), np.float32)
    half_width = centre * camera.width / (2 * camera.fx)
    relative = ((crop - centre) / half_width).clip(-LARGEST, LARGEST)
    return np.stack([np.where(measured, relative, 0), measured]).astype(np.float32)


def _middle(crop: Depth, measured: NDArray[np.bool_]) -> float | None:
    """Return a quantile of the depth, mm, in the middle of a crop, half as wide and high.

    That is inside of the box, which the object fills for the most part. Where nothing was measured
    there, it is that of the whole crop; None where nothing was measured at all.
    """
    rows, cols = (slice(side // 4, side - side // 4) for side in crop.shape)
    for part in ((rows, cols), (slice(None), slice(None))):
        found = crop[part][measured[part]]
        if len(found):
            return float(np.quantile(found, CENTRE))
    return None


def _patch(depth: Depth, square: Box) -> tuple[Depth, int, int]:
    """Return the part of a depth image that a square needs, and its left and top, px."""
    height, width = depth.shape
    left, top = (max(int(np.floor(edge)) - 2, 0) for edge in square[:2])
    right, bottom = (int(np.ceil(edge)) + 3 for edge in square[2:])
    patch = depth[top : max(min(bottom, height), top), left : max(min(right, width), left)]
    return np.ascontiguousarray(patch, np.float32), left, top
