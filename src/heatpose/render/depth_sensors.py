"""What depth cameras make of true depth: noise, steps, shadows, holes.

Three kinds, each after published measurements of common devices: structured light (the first
Kinect), stereo (RealSense D400), time of flight (Kinect v2). At strength 1 the numbers are those of
the device, at 2 noise and steps are twice as large; 0 gives the truth back. A pixel without depth
never gets one.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.errors import OptionError
from heatpose.geometry.arrays import Array, Depth, Mask
from heatpose.geometry.camera import Camera

Floats = NDArray[np.float32]
Kind = Literal["structured_light", "stereo", "time_of_flight"]

KINDS: tuple[Kind, ...] = ("structured_light", "stereo", "time_of_flight")
STRENGTHS = (0.5, 1.0, 2.0, 4.0)  # that bundles are measured at; 1 is the device itself
ANY_STRENGTH = 2.0  # of a device that can be any: twice as bad as measured at most
GRAZING = np.radians(78.0)  # beyond it little light comes back (Nguyen et al. 2012)
LIGHT_SPEED = 299_792_458e3  # mm / s
BLOCK = 3  # side of what stereo matches, px; devices use more, and smaller pixels
MODULATION = 16e6  # Hz, Kinect v2's lowest: unambiguous up to 9.4 m


@dataclass(frozen=True)
class DepthSensor:
    """A kind of depth camera and how bad it is."""

    kind: Kind = "structured_light"
    strength: float = 1.0  # 1 is the device as measured, up to 4; 0 is a perfect one

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise OptionError(f"a depth camera is one of {', '.join(KINDS)}, not {self.kind!r}")
        if not 0 <= self.strength <= 4:
            raise OptionError(f"a depth camera's strength is from 0 to 4, got {self.strength}")

    @classmethod
    def any(cls, rng: np.random.Generator, strongest: float) -> "DepthSensor":
        """Draw a kind and a strength from 0 to the strongest."""
        return cls(KINDS[rng.integers(len(KINDS))], rng.uniform(0, strongest))

    @property
    def name(self) -> str:
        """Kind and strength in one word: structured_light_0.5."""
        return f"{self.kind}_{self.strength:g}"

    @property
    def baseline(self) -> float:
        """From the camera to its projector, or to the other camera, along x, mm."""
        return {"structured_light": 75.0, "stereo": 50.0, "time_of_flight": 0.0}[self.kind]


# What measures a scene: a depth camera, any (another for each picture), or nothing: depth is exact.
MeasuredBy: TypeAlias = DepthSensor | Literal["any"] | None


def measure_depth(
    rng: np.random.Generator,
    depth: Depth,
    normals: Floats,
    albedo: Floats,
    camera: Camera,
    sensor: DepthSensor,
    shine: Floats | None = None,
) -> Depth:
    """Return what a depth camera measures, (h, w), mm, NaN in its holes.

    Args:
        rng: draws the noise.
        depth: the truth, (h, w), mm along z, NaN where nothing is.
        normals: of the surfaces, (h, w, 3), unit, camera frame, towards the camera; 0 where they
            are not known, which is taken as facing the camera.
        albedo: of the surfaces, (h, w, 3), in [0, 1].
        camera: an ideal pinhole.
        sensor: its kind and strength.
        shine: share of light that a surface mirrors instead of scattering, (h, w), in [0, 1].
    """
    if sensor.strength == 0:
        return depth.copy()
    cosine = _cosine_to_camera(normals, camera)
    scattered = albedo.mean(axis=2) * (1 - (0 if shine is None else shine))
    measured, holes = {
        "structured_light": _structured_light,
        "stereo": _stereo,
        "time_of_flight": _time_of_flight,
    }[sensor.kind](rng, depth, cosine, scattered.astype(np.float32), camera, sensor)
    holes |= _too_slanted(rng, cosine, sensor)
    if shine is not None:
        holes |= (shine > 0.5) & (cosine > np.cos(np.radians(8)))  # blinded by the own lamp
    measured = np.where(holes | np.isnan(depth), np.nan, measured).astype(np.float32)
    return measured


def _structured_light(
    rng: np.random.Generator,
    depth: Depth,
    cosine: Floats,
    scattered: Floats,
    camera: Camera,
    sensor: DepthSensor,
) -> tuple[Depth, Mask]:
    """Measure as the first Kinect does.

    Pixels take the depth of a place nearby, sigma 0.5 px (Barron and Malik 2013; Handa et al.
    2014), axial noise is Nguyen et al. 2012's, and disparities come in steps of an eighth
    of a pixel, which makes steps of ``z^2 / (8 f b)`` in depth (Khoshelham and Elberink
    2012). The dots do not reach what the projector does not see, and dark surfaces do not
    return them.
    """
    shadow = hidden_from(depth, camera, sensor.baseline)
    moved = _displace(rng, depth, 0.5 * sensor.strength)
    sigma = axial_noise(moved, np.arccos(np.clip(cosine, 0, 1))) * sensor.strength
    noisy = moved + sigma * rng.standard_normal(depth.shape, np.float32)
    measured = quantise(noisy, camera.fx * sensor.baseline, sensor.strength / 8)
    dark = scattered * cosine < 0.04 * sensor.strength * _patches(rng, depth.shape)
    return measured, shadow | dark


def _stereo(
    rng: np.random.Generator,
    depth: Depth,
    cosine: Floats,
    scattered: Floats,
    camera: Camera,
    sensor: DepthSensor,
) -> tuple[Depth, Mask]:
    """Measure as a pair of cameras does that match blocks of pixels.

    Errors of a twelfth of a pixel in disparity, alike within a block, make errors of
    ``z^2 / (12 f b)`` (Keselman et al. 2017), in steps of 1/32 px. Near things grow by
    a pixel, half a block. What the other camera does not see has no match, and neither has what is
    without texture (Scharstein and Szeliski 2002); a projected pattern helps in part.
    """
    hidden = hidden_from(depth, camera, sensor.baseline)
    near = cv2.erode(np.nan_to_num(depth, nan=np.inf), np.ones((BLOCK, BLOCK), np.uint8))
    moved = _displace(rng, np.where(np.isfinite(near), near, np.nan), 0.5 * sensor.strength)
    noise = cv2.blur(rng.standard_normal(depth.shape, np.float32), (BLOCK, BLOCK))
    noise = noise * (BLOCK * sensor.strength / 12)  # the mean over a block is quieter by its side
    fb = camera.fx * sensor.baseline
    measured = quantise(np.asarray(fb / (fb / moved + noise), np.float32), fb, sensor.strength / 32)
    mean, square = cv2.blur(scattered, (9, 9)), cv2.blur(scattered**2, (9, 9))
    contrast = np.sqrt(np.maximum(square - mean**2, 0)) + 0.05 * scattered * cosine  # the pattern
    plain = contrast < 0.006 * sensor.strength * _patches(rng, depth.shape)
    return measured, hidden | plain


def _time_of_flight(
    rng: np.random.Generator,
    depth: Depth,
    cosine: Floats,
    scattered: Floats,
    camera: Camera,
    sensor: DepthSensor,
) -> tuple[Depth, Mask]:
    """Measure as a modulated lamp does, by the phase of what comes back.

    The signal is a phasor of amplitude ``albedo cos / z^2`` whose phase is the depth. A pixel adds
    up what its surroundings send, which makes flying pixels at edges (Sarbolandi et al.
    2015); its noise in mm grows as the amplitude falls (Lange and Seitz 2001),
    1.5 mm for half of the light from one metre. In concave corners light takes a way round, and
    they look farther (Fuchs 2010); here by a tenth of how deep they lie in their surroundings.
    """
    lit = np.nan_to_num(scattered * cosine * (1000.0 / depth) ** 2, nan=0.0)
    per_mm = 4 * np.pi * MODULATION / LIGHT_SPEED
    longer = np.nan_to_num(depth) + 0.1 * sensor.strength * _hollow(depth)
    real, imaginary = lit * np.cos(per_mm * longer), lit * np.sin(per_mm * longer)
    sigma = 1.5 * sensor.strength * per_mm * 0.5
    parts = []
    for part in (real, imaginary):
        seen = cv2.GaussianBlur(part.astype(np.float32), (0, 0), 0.4 + 0.1 * sensor.strength)
        parts.append(seen + sigma * rng.standard_normal(depth.shape, np.float32))
    phase = np.mod(np.arctan2(parts[1], parts[0]), 2 * np.pi)
    weak = lit < 0.02 * sensor.strength * _patches(rng, depth.shape)
    return (phase / per_mm).astype(np.float32), weak


def axial_noise(depth: Depth, angle: Floats) -> Floats:
    """Return the first Kinect's sigma along z, mm (Nguyen et al. 2012, there in metres).

    Args:
        depth: (h, w), mm.
        angle: between the surface's normal and the way to the camera, (h, w), rad.
    """
    metres = depth / 1000
    slanted = np.minimum(angle, np.radians(85))
    sigma = 0.0012 + 0.0019 * (metres - 0.4) ** 2
    sigma = sigma + 0.0001 / np.sqrt(metres) * slanted**2 / (np.pi / 2 - slanted) ** 2
    return np.asarray(1000 * sigma, np.float32)


def quantise(depth: Depth, focal_baseline: float, step: float) -> Depth:
    """Round disparities ``f b / z`` to whole steps.

    Args:
        depth: (h, w), mm.
        focal_baseline: f b, px mm.
        step: px.

    Returns:
        Depth, (h, w), mm; NaN beyond the last step.
    """
    steps = np.round(focal_baseline / (depth * step))
    return np.asarray(focal_baseline / (np.where(steps > 0, steps, np.nan) * step), np.float32)


def hidden_from(depth: Depth, camera: Camera, baseline: float) -> Mask:
    """Return what a second eye at +x does not see of the picture, (h, w).

    Everything is carried over to the second eye's columns, ``x - f b / z``, where nearer things
    cover farther ones; shadows narrower than a pixel and a half are let go.
    """
    disparity = np.nan_to_num(camera.fx * baseline / depth, nan=0.0).astype(np.float32)
    height, width = depth.shape
    column = np.arange(width, dtype=np.float32) - disparity
    left = int(np.floor(column.min())) - 1
    span = width - left + 1
    nearest = np.zeros((height, span), np.float32)
    row = np.broadcast_to(np.arange(height)[:, None], depth.shape)
    for side in (np.floor(column), np.ceil(column)):
        np.maximum.at(nearest, (row, side.astype(int) - left), disparity)
    covering = nearest[row, np.round(column).astype(int) - left]
    hidden: Mask = covering > disparity + 1.5
    return hidden


def _cosine_to_camera(normals: Floats, camera: Camera) -> Floats:
    """Return the cosine of the angle between each normal and the way to the camera, (h, w)."""
    rays = np.ones(normals.shape, np.float32)
    rays[..., 0] = (np.arange(camera.width) - camera.cx) / camera.fx
    rays[..., 1] = ((np.arange(camera.height) - camera.cy) / camera.fy)[:, None]
    rays /= np.linalg.norm(rays, axis=2, keepdims=True)
    cosine = -(normals * rays).sum(axis=2)
    return np.where((normals == 0).all(axis=2), np.float32(1), cosine)


def _too_slanted(rng: np.random.Generator, cosine: Floats, sensor: DepthSensor) -> Mask:
    """Return where a surface is seen too flatly, (h, w); the limit varies by about 3 degrees."""
    limit = GRAZING - np.radians(4) * (sensor.strength - 1)
    varied = limit + np.radians(6) * (_patches(rng, cosine.shape) - 1)
    slanted: Mask = np.arccos(np.clip(cosine, 0, 1)) > varied
    return slanted


def _displace(rng: np.random.Generator, depth: Depth, sigma: float) -> Depth:
    """Let every pixel take the value of one nearby; no value that was not there."""
    height, width = depth.shape
    aside = np.round(rng.normal(0, sigma, (2, height, width))).astype(int)
    rows = np.clip(np.arange(height)[:, None] + aside[0], 0, height - 1)
    cols = np.clip(np.arange(width) + aside[1], 0, width - 1)
    moved = depth[rows, cols]
    return np.where(np.isnan(moved), depth, moved)


def _patches(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return factors around 1, in [0.5, 1.5], that change smoothly: holes have shapes."""
    height, width = shape
    coarse = rng.uniform(0.5, 1.5, (height // 8 + 2, width // 8 + 2))
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))


def _hollow(depth: Depth) -> Floats:
    """Return how much deeper each pixel lies than its surroundings, (h, w), at most 50 mm."""
    known = np.isfinite(depth).astype(np.float32)
    total = cv2.blur(np.nan_to_num(depth), (15, 15))
    mean = total / np.maximum(cv2.blur(known, (15, 15)), 1e-6)
    return np.clip(np.nan_to_num(depth) - mean, 0, 50).astype(np.float32)
