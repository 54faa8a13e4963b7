"""Depth images on disk: whose they are, and seen by the colour camera.

A depth camera stands beside the colour camera and has a lens of its own. Unless its images come
registered, as those of BOP do, `register_depth` moves what it measured to where the colour camera
sees it.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heatpose.data.cameras import read_camera
from heatpose.data.fields import Record, read_json, rotation_problem
from heatpose.data.images import DEPTH_ENDINGS, read_depth
from heatpose.errors import DataError
from heatpose.geometry.arrays import Array, Depth
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import transform_points

# Neighbouring depths that differ by more than this share of the nearer one are two surfaces.
JUMP = 0.02
# Depths at one pixel that differ by less than this share of the nearest one are one surface.
ALIKE = 0.01

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DepthCamera:
    """A depth camera beside a colour camera."""

    camera: Camera
    colour_from_depth: Array  # (4, 4), mm: from its frame to that of the colour camera


@dataclass(frozen=True, eq=False)
class DepthFile:
    """One depth image file, with what it takes to make use of it."""

    path: Path
    scale: float = 1.0  # mm per unit of the file
    taken_by: DepthCamera | None = None  # None: it is registered to the colour image

    def read(self, colour: Camera) -> Depth | None:
        """Read it as the colour camera sees it, (h, w), mm, NaN where nothing was measured.

        Returns:
            None, after a warning, where nothing was measured at all: poses can do without.

        Raises:
            DataError: it cannot be read, or does not have the size of its camera.
        """
        depth = read_depth(self.path, self.scale)
        camera = colour if self.taken_by is None else self.taken_by.camera
        if depth.shape != (camera.height, camera.width):
            raise DataError(
                f"{self.path} has {depth.shape[1]} x {depth.shape[0]} pixels, but "
                f"{'the colour image' if self.taken_by is None else 'its camera'} "
                f"{camera.width} x {camera.height}"
            )
        if not np.isfinite(depth).any():
            log.warning("%s holds no measured depth: it is passed over", self.path)
            return None
        if self.taken_by is None:
            return depth
        return register_depth(depth, camera, colour, self.taken_by.colour_from_depth)


def depth_files(
    images: Sequence[Path],
    given: Path,
    scale: float = 1.0,
    taken_by: DepthCamera | None = None,
) -> list[DepthFile]:
    """Find the depth image of each image.

    Args:
        images: files of colour images.
        given: a depth image, if there is one image, or a folder of files named like the images.
        scale: mm per unit of the files.
        taken_by: the depth camera, unless its images are registered to the colour images.

    Raises:
        DataError: an image has none.
    """
    if not given.is_dir():
        if len(images) != 1:
            raise DataError(f"{given} is one depth image (or missing), for {len(images)} images")
        return [DepthFile(given, scale, taken_by)]
    return [DepthFile(_of_the_same_name(image, given), scale, taken_by) for image in images]


def read_depth_camera(path: Path) -> DepthCamera:
    """Read a camera file that also says colour_from_depth: 4 x 4 numbers, mm, row by row.

    Raises:
        DataError: there is no such file, or a value is missing or none that a camera has.
    """
    camera = read_camera(path)
    record = Record(str(path), read_json(path))
    transform = record.numbers("colour_from_depth", 16).reshape(4, 4)
    problem = rotation_problem(transform[:3, :3])
    if problem is None and not np.array_equal(transform[3], [0, 0, 0, 1]):
        problem = f"its last row is {transform[3].tolist()}"
    if problem is not None:
        raise DataError(f"{path}: colour_from_depth is not a rigid transform: {problem}")
    return DepthCamera(camera, transform)


def read_depth_scale(path: Path) -> float:
    """Return the mm per unit of depth images that a camera file says (BOP's depth_scale), or 1."""
    try:
        record = Record(str(path), read_json(path))
    except DataError:  # a bare K; whether it is one, `read_camera` says
        return 1.0
    if "depth_scale" not in record:
        return 1.0
    scale = record.number("depth_scale")
    if scale <= 0:
        raise record.wrong("depth_scale", "positive")
    return scale


def register_depth(depth: Depth, camera: Camera, colour: Camera, colour_from_depth: Array) -> Depth:
    """Return what a depth camera measured as the colour camera sees it.

    Surfaces are sampled between the measured pixels too, so that none has gaps in the new image.
    Where several land on one pixel the nearest hides the others (z-buffer); what only the colour
    camera sees stays unknown.

    Args:
        depth: (h, w), mm, NaN where nothing was measured.
        camera: that took it.
        colour: the camera to see it with.
        colour_from_depth: (4, 4), mm.

    Returns:
        Depth of the colour camera, (h', w'), mm, NaN where nothing is known.
    """
    zoom = max(colour.fx / camera.fx, colour.fy / camera.fy)
    pixels, depths = _samples(depth, 1 + int(np.ceil(zoom)))
    points = transform_points(colour_from_depth, camera.unproject(pixels, depths))
    seen = colour.project(points)
    cols, rows = np.rint(np.nan_to_num(seen, nan=-1)).astype(int).T
    inside = (cols >= 0) & (cols < colour.width) & (rows >= 0) & (rows < colour.height)
    inside &= points[:, 2] > 0
    index, z = (rows * colour.width + cols)[inside], points[inside, 2]
    return _nearest(index, z, colour.width * colour.height).reshape(colour.height, colour.width)


def _nearest(index: NDArray[np.int_], z: Array, size: int) -> Depth:
    """Return for each of so many places the mean of what is nearest there, NaN for nothing."""
    nearest = np.full(size, np.inf)
    np.minimum.at(nearest, index, z)
    front = z < nearest[index] * (1 + ALIKE)
    counts = np.bincount(index[front], minlength=size)
    sums = np.bincount(index[front], weights=z[front], minlength=size)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts, np.float32)


def _samples(depth: Depth, fine: int) -> tuple[Array, Array]:
    """Sample surfaces in steps of 1 / fine px: pixels (n, 2) and depths (n,), mm, none missing.

    Inverse depth is linear on a plane. Between two surfaces, and beside holes, only the measured
    pixels themselves are taken.
    """
    rows, cols = np.nonzero(np.isfinite(depth))
    pixels = [np.stack([cols, rows], axis=1).astype(float)]
    depths = [depth[rows, cols].astype(float)]
    corners = np.stack([depth[:-1, :-1], depth[:-1, 1:], depth[1:, :-1], depth[1:, 1:]])
    nearest = corners.min(axis=0)  # NaN where one is
    with np.errstate(invalid="ignore"):
        rows, cols = np.nonzero(corners.max(axis=0) - nearest < JUMP * nearest)
    inverse = 1 / corners[:, rows, cols].astype(float)
    for down in range(fine):
        for along in range(fine):
            x, y = along / fine, down / fine
            if x == y == 0:
                continue
            weights = np.array([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])
            pixels.append(np.stack([cols + x, rows + y], axis=1))
            depths.append(1 / (weights @ inverse))
    return np.concatenate(pixels), np.concatenate(depths)


def _of_the_same_name(image: Path, folder: Path) -> Path:
    """Return the depth image in a folder that is called like an image, whatever its ending."""
    found = [path for ending in DEPTH_ENDINGS if (path := folder / (image.stem + ending)).is_file()]
    if not found:
        raise DataError(
            f"no depth image {image.stem} ({', '.join(DEPTH_ENDINGS)}) for {image} in {folder}"
        )
    return found[0]
