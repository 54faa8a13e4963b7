"""What lens, sensor and camera software make of light: from radiance to a file's sRGB.

Each step is one function, in the order in which a camera works. All but the last two see linear
values, where light adds up and noise has its physical form; none moves anything, so labels stay
true. How much of each step is drawn from the ranges of a `ColourSensor`.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Image

Floats = NDArray[np.float32]
Range = tuple[float, float]

WIEN = 1.4388e7  # second radiation constant, nm K
WAVELENGTHS = np.array([610.0, 550.0, 465.0])  # nm, where sRGB's red, green and blue peak
RED_GREEN_GREEN_BLUE = cv2.COLOR_BayerBG2RGB  # OpenCV names the pattern by its second row


@dataclass(frozen=True)
class ColourSensor:
    """How much cameras differ: (least, most) of what is drawn anew for each picture."""

    field_of_view: Range = (0.6, 1.3)  # across the diagonal, rad; the wider, the darker corners
    defocus: Range = (0.3, 0.9)  # sigma of the blur, px; no lens is perfect
    moved: float = 0.1  # share of pictures blurred by motion
    motion: Range = (1.5, 4.0)  # its length, px
    key: float = 0.18  # where exposure puts the mean of the picture, in linear values
    exposure: Range = (-1.0, 0.7)  # its error, stops
    gain: Range = (0.0003, 0.004)  # variance of a white pixel's shot noise: low to high ISO
    read_noise: Range = (0.0003, 0.0015)  # sigma at the lowest gain; it grows with the gain's root
    mosaic: float = 0.5  # share of pictures taken through a Bayer pattern
    white_balance: Range = (-45.0, 45.0)  # error of the colour temperature, mired
    tint: Range = (0.96, 1.04)  # what is left of green or magenta
    saturation: Range = (0.6, 1.3)
    contrast: Range = (-0.25, 0.7)  # 1 is the full S of a film, 0 sRGB's plain curve
    compressed: float = 0.5  # share of pictures that are written as JPEG
    quality: tuple[int, int] = (40, 97)  # of the JPEG


def photograph(
    rng: np.random.Generator, radiance: Floats, config: ColourSensor | None = None
) -> Image:
    """Take a picture.

    Args:
        rng: draws the camera's state and its noise.
        radiance: what comes through the lens, (h, w, 3), linear RGB, any scale.
        config: the range of cameras.

    Returns:
        The picture as its file shows it, (h, w, 3), sRGB.
    """
    c = config or ColourSensor()
    light = vignette(radiance, rng.uniform(*c.field_of_view))
    light = defocus(light, rng.uniform(*c.defocus))
    length, angle, moved = rng.uniform(*c.motion), rng.uniform(0, np.pi), rng.random()
    light = smear(light, length, angle) if moved < c.moved else light
    light = expose(light, c.key, rng.uniform(*c.exposure))
    gain, read = _log_uniform(rng, *c.gain), rng.uniform(*c.read_noise)
    signal = add_sensor_noise(rng, light, gain, read * np.sqrt(gain / c.gain[0]))
    signal = through_mosaic(signal) if rng.random() < c.mosaic else signal
    signal = balance(signal, rng.uniform(*c.white_balance), rng.uniform(*c.tint))
    signal = saturate(signal, rng.uniform(*c.saturation))
    picture = tone(signal, rng.uniform(*c.contrast))
    quality, compressed = int(rng.integers(c.quality[0], c.quality[1] + 1)), rng.random()
    return compress(picture, quality) if compressed < c.compressed else picture


def vignette(light: Floats, field_of_view: float) -> Floats:
    """Darken the corners by the fourth power of the cosine of the angle to the axis.

    The natural vignetting of a thin lens (Szeliski, Computer Vision, section 2.2).

    Args:
        light: (h, w, 3), linear.
        field_of_view: of the lens across the diagonal, rad. The picture need not be its crop.
    """
    height, width = light.shape[:2]
    x = np.arange(width, dtype=np.float32) - (width - 1) / 2
    y = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    focal = np.hypot(width, height) / 2 / np.tan(field_of_view / 2)
    cosine_squared = 1 / (1 + (x**2 + y**2) / focal**2)
    darkened: Floats = light * (cosine_squared**2)[..., None].astype(np.float32)
    return darkened


def defocus(light: Floats, sigma: float) -> Floats:
    """Blur by a Gaussian of sigma px: lens, its focus and the anti-aliasing filter together."""
    return np.asarray(cv2.GaussianBlur(light, (0, 0), sigma), np.float32)


def smear(light: Floats, length: float, angle: float) -> Floats:
    """Blur along a line of this length, px, at this angle, rad, centred so that nothing moves."""
    half = int(np.ceil(length / 2)) + 1
    along = np.linspace(-length / 2, length / 2, 4 * half + 1)
    x, y = half + along * np.cos(angle), half + along * np.sin(angle)
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):  # spread between the four pixels around
        weight = np.abs(1 - right - (x - left)) * np.abs(1 - down - (y - top))
        np.add.at(kernel, (top + down, left + right), weight)
    smeared = cv2.filter2D(light, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)
    return np.asarray(smeared, np.float32)


def expose(light: Floats, key: float, stops: float) -> Floats:
    """Scale as automatic exposure does, missed by some stops.

    The logarithmic mean goes to ``key`` (Reinhard et al. 2002, eq. 1 and 2), but bright pictures
    are held back: the 98th percentile stays within twice what the sensor holds.

    Args:
        light: (h, w, 3), linear, any scale.
        key: linear value of the mean, 0.18 is middle grey.
        stops: error, each doubles the light.

    Returns:
        (h, w, 3), linear, 1 is where the sensor is full. What is black stays black.
    """
    luminance = light @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    bright = float(np.percentile(luminance, 98))
    if bright <= 0:
        return light
    mean = float(np.exp(np.log(luminance + 1e-3 * bright).mean()))
    exposed: Floats = light * np.float32(min(key / mean, 2.0 / bright) * 2.0**stops)
    return exposed


def add_sensor_noise(
    rng: np.random.Generator, light: Floats, gain: float, read_noise: float
) -> Floats:
    """Add shot and read noise, then clip at an empty and a full well.

    Poisson-Gaussian noise with its Poisson part as a normal of the same variance: a pixel of
    expectation y has variance ``gain * y + read_noise ** 2`` (Foi et al. 2008).

    Args:
        rng: draws the noise.
        light: (h, w, 3), linear, 1 is where the sensor is full.
        gain: share of the full well that one electron counts for: the larger, the noisier.
        read_noise: sigma in the dark, same scale as the light.
    """
    light = np.minimum(light, 4.0)  # far over full; fireflies would make infinite noise
    sigma = np.sqrt(gain * light + read_noise**2)
    noise = rng.standard_normal(light.shape, np.float32)
    clipped: Floats = np.clip(light + sigma * noise, 0, 1).astype(np.float32)
    return clipped


def through_mosaic(signal: Floats) -> Floats:
    """Keep one colour per pixel (red, green; green, blue) and interpolate the others bilinearly.

    This ties the noise of neighbours together, as in all cameras with one chip (Bayer 1976).
    """
    mosaic = signal[..., 1].copy()
    mosaic[0::2, 0::2] = signal[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = signal[1::2, 1::2, 2]
    raw = np.round(mosaic * 65535).astype(np.uint16)
    return np.asarray(cv2.cvtColor(raw, RED_GREEN_GREEN_BLUE), np.float32) / np.float32(65535)


def balance(signal: Floats, mired: float, tint: float) -> Floats:
    """Balance white for a light of the wrong colour temperature.

    The ratio of two black bodies by Wien's law, which is exact enough for daylight and lamps:
    ``exp(-c2 (1/T1 - 1/T2) / wavelength)``, relative to green.

    Args:
        signal: (h, w, 3), linear.
        mired: 1e6 times the difference of the inverse temperatures, 1/K; above zero is warmer.
        tint: factor on green.
    """
    gains = np.exp(-WIEN * mired * 1e-6 * (1 / WAVELENGTHS - 1 / WAVELENGTHS[1]))
    gains[1] *= tint
    balanced: Floats = np.clip(signal * gains.astype(np.float32), 0, 1)
    return balanced


def saturate(signal: Floats, factor: float) -> Floats:
    """Move colours away from grey (above 1) or towards it, as colour matrices of cameras do."""
    grey = signal.mean(axis=2, keepdims=True)
    moved: Floats = np.clip(grey + np.float32(factor) * (signal - grey), 0, 1)
    return moved


def tone(signal: Floats, contrast: float) -> Image:
    """Encode as sRGB (IEC 61966-2-1), bent into an S by contrast, and round to 8 bits.

    Args:
        signal: (h, w, 3), linear in [0, 1].
        contrast: share of the S ``3 x^2 - 2 x^3`` on top of sRGB's curve; below zero is flatter.
    """
    powers = 1.055 * np.maximum(signal, 0.0031308) ** np.float32(1 / 2.4) - 0.055
    encoded = np.where(signal <= 0.0031308, 12.92 * signal, powers)
    bent = encoded + contrast * (encoded**2 * (3 - 2 * encoded) - encoded)
    return np.asarray(np.round(np.clip(bent, 0, 1) * 255), np.uint8)


def compress(picture: Image, quality: int) -> Image:
    """Write and read a picture (h, w, 3) as JPEG of this quality."""
    _, code = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def _log_uniform(rng: np.random.Generator, least: float, most: float) -> float:
    """Draw from a range in which each doubling is as likely as any other."""
    return float(np.exp(rng.uniform(np.log(least), np.log(most))))
