"""The part of a depth image around an object, as far as poses need it."""

from dataclasses import dataclass

import cv2
import numpy as np

from heatpose.geometry.arrays import Depth
from heatpose.geometry.camera import Camera

SIDE = 64  # most pixels of the part, either way; of larger ones every second, third, ... is taken
WINDOW, SPREAD = 7, 2.0  # of the filter of depth, px
# Depths differ by noise, not by an edge, up to so many mm or, if more, so many times the noise.
EDGE, NOISES = 10.0, 3.0


@dataclass(frozen=True, eq=False)
class DepthView:
    """The part of a depth image around an object."""

    camera: Camera
    depth: Depth  # (h, w), mm, NaN where nothing was measured


def cut_depth(rows: slice, cols: slice, depth: Depth, camera: Camera) -> DepthView:
    """Cut rows and columns, and a margin for what moves nearer, out of a depth image.

    Args:
        rows: from 0 to h, at least one.
        cols: from 0 to w, at least one.
        depth: (h, w), mm along z, NaN where nothing was measured.
        camera: of the depth image, without distortion.

    Returns:
        The part, smoothed, of at most `SIDE` rows and columns, and the camera that sees it.
    """
    side = max(rows.stop - rows.start, cols.stop - cols.start)
    margin = 1 + side // 16
    top, left = max(rows.start - margin, 0), max(cols.start - margin, 0)
    step = -(-(side + 2 * margin) // SIDE)
    fine = max(1, step // 2)  # the filter sees more of a large object, but not all: it takes long
    step = -(-step // fine)
    part = _smoothed(depth[top : rows.stop + margin : fine, left : cols.stop + margin : fine])
    part, step = part[::step, ::step], step * fine
    shift = -np.array([left, top]) / step
    return DepthView(camera.warped(1 / step, shift, part.shape[1], part.shape[0]), part)


def _smoothed(depth: Depth) -> Depth:
    """Take noise and steps out of depth, (h, w), mm, but no edges; holes stay holes.

    A bilateral filter (Tomasi and Manduchi, ICCV 1998), as Newcombe et al. (KinectFusion, ISMAR
    2011) use it for this. A hole, 0 here, is too far off to count in its neighbours' means.
    """
    edge = max(EDGE, NOISES * _noise(depth))
    filtered = cv2.bilateralFilter(np.nan_to_num(depth), WINDOW, edge, SPREAD)
    return np.where(np.isnan(depth), np.float32(np.nan), np.asarray(filtered, np.float32))


def _noise(depth: Depth) -> float:
    """Return the spread of noise in the middle of depth, (h, w), mm: a dark object has its own.

    From second differences along rows and columns, which shapes have little part in, and edges
    none in the median (the idea of Immerkaer, CVIU 1996).
    """
    height, width = depth.shape
    middle = depth[height // 4 : height - height // 4, width // 4 : width - width // 4]
    bends = np.concatenate([np.diff(middle, 2, axis=axis).ravel() for axis in (0, 1)])
    known = np.abs(bends[np.isfinite(bends)])
    return 1.4826 / np.sqrt(6) * float(np.median(known)) if len(known) else 0.0
