"""Heatmaps: what the network gives for each keypoint, and how a position is read from it.

A heatmap is a probability for each of its pixels, summing to 1. It has a quarter of the crop's
resolution. Positions are (x, y) with pixel centres at whole numbers, in crop and heatmap alike.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array
from heatpose.geometry.camera import Camera

STRIDE = 4  # crop pixels per heatmap pixel
SIGMA = 1.5  # spread of the Gaussians that the network is trained to draw, heatmap px
WINDOW = 3.5  # half the side of the window that spread and mass are read from, in sigmas

Heatmaps = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Positions read from n heatmaps; `crop_from_heatmap` moves them into the crop."""

    pixels: Array  # (n, 2), px; NaN where a map holds nothing
    covariances: Array  # of the mass in the window, (n, 2, 2), px^2; NaN where pixels are
    confidences: Array  # the mass in the window, (n,), in [0, 1]


def crop_from_heatmap(pixels: Array) -> Array:
    """Move positions (..., 2) from heatmap px to crop px."""
    return (pixels + 0.5) * STRIDE - 0.5


def heatmap_from_crop(pixels: Array) -> Array:
    """Move positions (..., 2) from crop px to heatmap px: the inverse of `crop_from_heatmap`."""
    return (pixels + 0.5) / STRIDE - 0.5


def keypoints_in_crop(keypoints: Keypoints) -> Keypoints:
    """Express keypoints read from heatmaps in px of the crop."""
    return replace(
        keypoints,
        pixels=crop_from_heatmap(keypoints.pixels),
        covariances=keypoints.covariances * STRIDE**2,
    )


def heatmap_camera(crop_camera: Camera) -> Camera:
    """Return the camera that sees the heatmaps of a crop as its image."""
    shift = heatmap_from_crop(np.zeros(2))
    width, height = crop_camera.width // STRIDE, crop_camera.height // STRIDE
    return crop_camera.warped(1 / STRIDE, shift, width, height)


def encode(keypoints: Array, height: int, width: int, sigma: float = SIGMA) -> Array:
    """Draw one Gaussian per keypoint, summing to 1.

    Args:
        keypoints: (n, 2) as (x, y), heatmap px. NaN marks a keypoint that is not there.
        height: of the heatmaps, px.
        width: of the heatmaps, px.
        sigma: spread of the Gaussians, px.

    Returns:
        Heatmaps, (n, height, width). All zero for a keypoint that is not there: such a map is
        the one exception to the sum of 1.
    """
    along_x = _gaussian(np.arange(width) - keypoints[:, :1], sigma)
    along_y = _gaussian(np.arange(height) - keypoints[:, 1:], sigma)
    return along_y[:, :, None] * along_x[:, None, :]


def decode(heatmaps: Heatmaps, sigma: float = SIGMA) -> Keypoints:
    """Read the position of each keypoint to a small fraction of a pixel.

    The position is the top of the parabola through the logarithm of the peak and its
    neighbours, which is exact for Gaussians (DARK: Zhang et al., 2020, equation 9). The mean of
    a window is exact for Gaussians too, but where the network is unsure the mass leans towards
    the middle of the object: all keypoints contract, and the object seems farther away. How
    sure it is comes from such a window.

    Args:
        heatmaps: (n, h, w), each summing to 1, or all zero for 'not there'.
        sigma: spread of the Gaussians the network was trained to draw, px; sets the window.
    """
    pixels = _tops(heatmaps, _peaks(heatmaps))
    _, covariances, masses = _window_moments(heatmaps, pixels, WINDOW * sigma)
    pixels = np.where(masses[:, None] > 0, pixels, np.nan)
    return Keypoints(pixels, covariances, masses)


def _gaussian(offsets: Array, sigma: float) -> Array:
    """Return Gaussians over offsets (n, w) from their centres, rows summing to 1, NaN to 0."""
    # Relative to the nearest pixel, so that a centre outside the map does not underflow.
    exponents = -(offsets**2) / (2 * sigma**2)
    heights = np.nan_to_num(np.exp(exponents - exponents.max(axis=1, keepdims=True)))
    weights: Array = heights / np.maximum(heights.sum(axis=1, keepdims=True), 1e-300)
    return weights


def _peaks(heatmaps: Heatmaps) -> Array:
    """Return the pixels (x, y), (n, 2), with the most mass in the 3 x 3 around them."""
    # A single pixel may stand out by noise; its neighbours must agree.
    n, height, width = heatmaps.shape
    rows = np.array(heatmaps)
    rows[:, 1:] += heatmaps[:, :-1]
    rows[:, :-1] += heatmaps[:, 1:]
    sums = rows.copy()
    sums[:, :, 1:] += rows[:, :, :-1]
    sums[:, :, :-1] += rows[:, :, 1:]
    sums += heatmaps / 2  # of equal neighbourhoods, the one with the higher middle
    y, x = np.unravel_index(sums.reshape(n, height * width).argmax(axis=1), (height, width))
    return np.stack([x, y], axis=1).astype(float)


def _parabola() -> Array:
    """Return (5, 9): the slopes and curvatures x, y, xx, xy, yy that fit 3 x 3 values best."""
    y, x = (axis.ravel() for axis in np.mgrid[-1:2, -1:2].astype(float))
    terms = np.stack([np.ones(9), x, y, x**2 / 2, x * y, y**2 / 2], axis=1)
    return np.linalg.pinv(terms)[1:]


_PARABOLA = _parabola()


def _tops(heatmaps: Heatmaps, peaks: Array) -> Array:
    """Return the tops (n, 2), px, of parabolas through the logarithms around whole pixels (n, 2).

    Where there is no top within a pixel (borders, flat or empty maps) the pixel stays.
    """
    height, width = heatmaps.shape[1:]
    each = np.arange(len(heatmaps))[:, None, None]
    inner = np.clip(peaks, 1, [width - 2, height - 2]).astype(int)
    rows = inner[:, 1, None, None] + np.array([-1, 0, 1])[:, None]
    cols = inner[:, 0, None, None] + np.array([-1, 0, 1])
    logs = np.log(np.maximum(heatmaps[each, rows, cols].astype(float), 1e-30))
    slope_x, slope_y, xx, xy, yy = (logs.reshape(-1, 9) @ _PARABOLA.T).T
    determinant = xx * yy - xy**2
    curved = (xx < 0) & (determinant > 1e-12)
    scale = np.where(curved, determinant, 1.0)[:, None]
    offsets = np.stack([xy * slope_y - yy * slope_x, xy * slope_x - xx * slope_y], axis=1) / scale
    has_top = curved & (np.abs(offsets) <= 1).all(axis=1) & (inner == peaks).all(axis=1)
    return np.where(has_top[:, None], peaks + offsets, peaks)


def _window_moments(
    heatmaps: Heatmaps, centres: Array, radius: float
) -> tuple[Array, Array, Array]:
    """Return mean (n, 2), covariance (n, 2, 2) and mass (n,) of the maps in square windows.

    The window spans ``centre - radius`` to ``centre + radius`` (centres (n, 2), px). A pixel
    counts by the share of it that lies inside, so that the result is smooth in the centre.
    """
    n, height, width = heatmaps.shape
    x, weight_x = _window_axis(centres[:, 0], radius, width)
    y, weight_y = _window_axis(centres[:, 1], radius, height)
    # float64: 121 small numbers, and second moments want the digits
    values = heatmaps[np.arange(n)[:, None, None], y[:, :, None], x[:, None, :]].astype(float)
    values *= weight_y[:, :, None] * weight_x[:, None, :]
    mass = values.sum(axis=(1, 2))
    mass = np.where(mass > 0, mass, 0.0)
    share = np.divide(
        values, mass[:, None, None], out=np.full_like(values, np.nan), where=mass[:, None, None] > 0
    )
    offset_x, offset_y = x - centres[:, :1], y - centres[:, 1:]
    along_x, along_y = share.sum(axis=1), share.sum(axis=2)  # (n, window)
    mean = np.stack([(along_x * offset_x).sum(axis=1), (along_y * offset_y).sum(axis=1)], axis=1)
    from_mean_x, from_mean_y = offset_x - mean[:, :1], offset_y - mean[:, 1:]
    xx = (along_x * from_mean_x**2).sum(axis=1)
    yy = (along_y * from_mean_y**2).sum(axis=1)
    xy = np.einsum("nyx,ny,nx->n", share, from_mean_y, from_mean_x)
    covariance = np.stack([xx, xy, xy, yy], axis=1).reshape(n, 2, 2)
    # The mass of a pixel is spread over the pixel: 1/12 px^2 more, and never singular.
    return centres + mean, covariance + np.eye(2) / 12, mass


def _window_axis(centre: Array, radius: float, size: int) -> tuple[NDArray[np.intp], Array]:
    """Return the pixels of windows along one axis, (n, window), and their weights in [0, 1].

    Pixels outside of the map come back as ones on its border with weight 0.
    """
    reach = int(np.ceil(radius + 0.5))
    index = np.rint(centre).astype(np.intp)[:, None] + np.arange(-reach, reach + 1)
    weight = np.clip(radius + 0.5 - np.abs(index - centre[:, None]), 0.0, 1.0)
    inside = (index >= 0) & (index < size)
    return np.clip(index, 0, size - 1), weight * inside
