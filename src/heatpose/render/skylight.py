"""Light from all around as quick engines use it: a sun, soft light on surfaces, reflections."""

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array
from heatpose.geometry.transforms import make_transform
from heatpose.render.scene import AreaLight, Environment

Floats = NDArray[np.float32]

SUN = 6.0  # times the mean radiance: what is brighter belongs to the sun
SUN_DISTANCE = 1e6  # mm
SUN_SPREAD = 0.06  # half of the angle that the sun takes, rad: windows and lamps are wider
BLURS = (0.0, 0.08, 0.2, 0.35, 0.55, 0.8, 1.2)  # rad, of maps that rougher surfaces reflect
COARSE = 24  # px, height of maps for wide blurs


def split_sun(environment: Environment) -> tuple[AreaLight | None, Environment]:
    """Take the brightest light out of an environment, so that it can throw shadows.

    What exceeds SUN times the mean becomes one far rectangle in the mean direction of it; all of
    it where there is one bright place, and less the more it is spread over several.

    Returns:
        The light, None where nothing is that bright, and the environment without it.
    """
    radiance = environment.radiance
    area = _areas(radiance.shape[0])
    bright = radiance.mean(axis=2)
    limit = SUN * float((bright * area).sum() / (4 * np.pi))
    excess = radiance * np.maximum(1 - limit / np.maximum(bright, 1e-9), 0)[..., None]
    weights = excess.mean(axis=2) * area
    towards = np.einsum("hw,hwi->i", weights, environment.directions)
    length = float(np.linalg.norm(towards))
    if length <= 1e-3 * limit:
        return None, environment
    together = length / float(weights.sum())  # 1: one place; near 0: from all sides
    excess *= together
    rest = radiance - excess
    side = 2 * SUN_DISTANCE * np.tan(SUN_SPREAD)
    # Moved to one direction, light falls as it did on what faces all of it only as a vector sum.
    flux = (excess * area[..., None]).sum(axis=(0, 1)) * environment.strength
    irradiance = flux * together
    z = -towards / length
    x = np.linalg.svd(z[None])[2][1]
    sun = AreaLight(
        world_from_light=make_transform(
            np.stack([x, np.cross(z, x), z], axis=1), -z * SUN_DISTANCE
        ),
        width=side,
        height=side,
        radiance=irradiance.astype(float) * (SUN_DISTANCE / side) ** 2,
    )
    return sun, replace(environment, radiance=rest.astype(np.float32))


def _areas(height: int) -> Array:
    """Return how much of the sphere each pixel of a map takes, (h, 2 h), steradian."""
    rows = np.sin((np.arange(height) + 0.5) / height * np.pi)
    areas: Array = np.repeat((rows * (np.pi / height) ** 2)[:, None], 2 * height, axis=1)
    return areas


class Skylight:
    """An environment, prepared to light surfaces and to be reflected by them."""

    def __init__(self, environment: Environment) -> None:
        self._azimuth = environment.azimuth
        self._maps = [_blurred(environment.radiance, angle) for angle in BLURS]
        self._maps = [np.float32(environment.strength) * one for one in self._maps]
        resized = cv2.resize(self._maps[0], (64, 32), interpolation=cv2.INTER_AREA)
        small = np.asarray(resized, np.float32)
        directions = replace(environment, radiance=small).directions.reshape(-1, 3)
        weights = _areas(32).reshape(-1, 1) * small.reshape(-1, 3)
        self._harmonics = (_harmonics(directions).T @ weights * _COSINE[:, None]).astype(np.float32)

    def irradiance(self, normals: Floats) -> Floats:
        """Return the light (n, 3) that falls on surfaces with these normals, (n, 3).

        By nine spherical harmonics (Ramamoorthi and Hanrahan, 2001), good to some per cent.
        """
        light: Floats = np.maximum(_harmonics(normals) @ self._harmonics, 0)
        return light

    def seen(self, directions: Floats, blur: int = 0) -> Floats:
        """Return the radiance (n, 3) from directions, (n, 3), unit, through blur number `blur`."""
        around = np.arctan2(directions[:, 1], directions[:, 0]) - np.float32(self._azimuth)
        height, width = self._maps[blur].shape[:2]
        x = ((0.5 - around / (2 * np.pi)) % 1) * width - 0.5
        y = np.arccos(np.clip(directions[:, 2], -1, 1)) / np.pi * height - 0.5
        return look_up(self._maps[blur], x, y)


def look_up(picture: Floats | NDArray[np.uint8], x: Floats, y: Floats) -> Floats:
    """Sample a picture (h, w, 3) bilinearly at pixels x, y, (n,) each, repeated to the sides."""
    columns = 1024  # OpenCV makes no picture wider than 32767
    if not len(x):
        return np.zeros((0, 3), np.float32)
    inside = np.clip(y, 0, len(picture) - 1)
    maps = [
        np.pad(np.asarray(one, np.float32), (0, -len(x) % columns)).reshape(-1, columns)
        for one in (x, inside)
    ]
    found = cv2.remap(picture, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(found, np.float32).reshape(-1, 3)[: len(x)]


# The cosine of Lambert's law in the same basis (ibid., equation 8): pi, 2 pi / 3, pi / 4 by degree.
_COSINE = np.pi * np.array([1, *[2 / 3] * 3, *[1 / 4] * 5])


def _harmonics(directions: NDArray[np.floating]) -> Floats:
    """Return the first nine real spherical harmonics, (n, 9), of unit vectors (n, 3)."""
    x, y, z = np.asarray(directions, np.float32).T
    return np.stack(
        [
            np.full_like(x, 0.282095),
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3 * z**2 - 1),
            1.092548 * x * z,
            0.546274 * (x**2 - y**2),
        ],
        axis=1,
    ).astype(np.float32)


def _blurred(radiance: Floats, angle: float) -> Floats:
    """Blur a map by about this angle, rad; wide blurs at low resolution."""
    if not angle:
        return radiance
    height = 64 if angle < np.pi / COARSE else COARSE
    size = (2 * height, height)
    small = np.asarray(cv2.resize(radiance, size, interpolation=cv2.INTER_AREA), np.float32)
    if height == COARSE:
        return (_kernel(angle) @ small.reshape(-1, 3)).reshape(small.shape)
    wrapped = cv2.copyMakeBorder(small, 0, 0, 32, 32, cv2.BORDER_WRAP)
    return np.asarray(cv2.GaussianBlur(wrapped, (0, 0), angle / np.pi * 64)[:, 32:-32], np.float32)


@lru_cache(maxsize=len(BLURS))
def _kernel(angle: float) -> Floats:
    """Return what each pixel of a coarse map takes from each other one, (n, n), on the sphere.

    A von Mises-Fisher distribution: on the map itself a blur would grow narrow near the zenith.
    """
    flat = Environment(np.zeros((COARSE, 2 * COARSE, 3), np.float32)).directions.reshape(-1, 3)
    weights = np.exp((flat @ flat.T - 1) / angle**2) * _areas(COARSE).ravel()
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
