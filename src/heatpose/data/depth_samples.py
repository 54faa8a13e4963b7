"""Depth of training samples: what stands behind objects, what cameras see of it, what is missing.

Depth draws its chances from generators of its own (`numpy.random.Generator.spawn`), so that the
colours of a sample are the same with depth and without.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.data.augment import random_outline
from heatpose.geometry.arrays import Array, Depth, Image, Mask
from heatpose.geometry.camera import Camera
from heatpose.render.depth_sensors import DepthSensor, measure_depth
from heatpose.render.raycast import Rendering
from heatpose.render.surfaces import camera_rays

FARTHEST = 8000.0  # mm; beyond, depth cameras see nothing
NOTHING_BEHIND = 0.2  # share of samples with nothing behind the objects that could be measured
TOUCHING = 0.5  # share of the others in which the object stands on what is behind it
FLATTEST = np.radians(80.0)  # at which that is seen


@dataclass(frozen=True)
class DepthConfig:
    """How depth of training samples is made."""

    missing: float = 0.15  # share of samples without any
    holes: float = 0.4  # share of the others that lack pieces
    strength: float = 3.0  # of depth cameras (`DepthSensor`), at most; for what is rendered

    def __post_init__(self) -> None:
        for name in ("missing", "holes"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share in [0, 1], got {getattr(self, name)}")
        DepthSensor(strength=self.strength)  # which knows what it may be


def rendered_depth(
    rng: np.random.Generator,
    rendering: Rendering,
    picture: Image,
    camera: Camera,
    corners: Array,
    config: DepthConfig,
) -> Depth:
    """Return what some depth camera measures of rendered objects, (h, w), mm, NaN in its holes.

    Args:
        rng: draws what is behind them, and the camera.
        rendering: the objects.
        picture: the same in colours, (h, w, 3), before lens and sensor: what is dark in it sends
            little light back.
        camera: of both.
        corners: of the box around the object that is looked for, (8, 3), mm, camera frame.
        config: how bad the camera may be.
    """
    behind, normal = background_depth(rng, camera, corners)
    nothing = rendering.instance < 0
    depth = np.where(nothing, behind, rendering.depth).astype(np.float32)
    normals = rendering.normals.copy()
    normals[nothing] = normal
    sensor = DepthSensor.any(rng, config.strength)
    albedo = np.asarray(picture / 255, np.float32)
    return measure_depth(rng, depth, normals, albedo, camera, sensor)


def background_depth(
    rng: np.random.Generator, camera: Camera, corners: Array
) -> tuple[Depth, Array]:
    """Draw a plane behind an object, and things on it.

    Args:
        rng: the generator.
        camera: an ideal pinhole.
        corners: of the box around the object, (8, 3), mm, camera frame.

    Returns:
        Depth (h, w), mm, NaN where nothing is; and the plane's normal (3,), towards the camera.
    """
    size = float(np.linalg.norm(np.ptp(corners, axis=0)))
    angle, turn = rng.uniform(0, FLATTEST), rng.uniform(0, 2 * np.pi)
    sine = np.sin(angle)
    normal = np.array([sine * np.cos(turn), sine * np.sin(turn), -np.cos(angle)])
    gap = 0.0 if rng.random() < TOUCHING else rng.uniform(0, 2) * size
    offset = (corners @ normal).min() - gap  # the plane is where normal . p = offset
    if rng.random() < NOTHING_BEHIND:
        depth = np.full((camera.height, camera.width), np.nan, np.float32)
    else:
        towards = camera_rays(camera) @ normal.astype(np.float32)  # negative where it is met
        with np.errstate(divide="ignore"):
            depth = np.asarray(offset / towards, np.float32)
        depth[(depth <= 0) | (depth > FARTHEST)] = np.nan
    middle = float(corners[:, 2].mean())
    for _ in range(rng.integers(4)):
        where = _piece(rng, depth.shape, 0.4)
        level = np.nan_to_num(depth[where], nan=middle + rng.uniform(0, 2) * size)
        depth[where] = np.maximum(level - rng.uniform(0, 1) * size, 0.2 * middle)
    return depth, normal


def covered_depth(rng: np.random.Generator, crop: Depth, camera: Camera, covered: Mask) -> Depth:
    """Put something flat before what is covered in the picture of a crop, (s, s), mm."""
    if not covered.any() or not np.isfinite(crop).any():
        return crop
    middle = float(np.nanmedian(crop))
    half_width = middle * camera.width / (2 * camera.fx)
    nearer = max(middle - rng.uniform(0.2, 1.5) * half_width, 0.2 * middle)
    return np.where(covered, np.float32(nearer), crop)


def without_parts(rng: np.random.Generator, crop: Depth, config: DepthConfig) -> Depth:
    """Take depth away, all of it or in pieces: a network must not need it."""
    if rng.random() < config.missing:
        return np.full_like(crop, np.nan)
    if rng.random() >= config.holes:
        return crop
    crop = crop.copy()
    for _ in range(rng.integers(1, 4)):
        crop[_piece(rng, crop.shape, 0.35)] = np.nan
    return crop


def _piece(rng: np.random.Generator, shape: tuple[int, ...], largest: float) -> NDArray[np.bool_]:
    """Draw a mask (h, w) of a polygon that spans at most ``largest`` of the sides both ways."""
    height, width = shape
    mask = np.zeros((height, width), np.uint8)
    centre = rng.uniform(0, 1, 2) * [width, height]
    radii = rng.uniform(0.1, 1, 2) * largest / 2 * min(height, width)
    cv2.fillPoly(mask, [random_outline(rng, centre, radii).astype(np.int32)], (1,))
    return mask > 0
