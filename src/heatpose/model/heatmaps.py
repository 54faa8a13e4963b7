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
_AT_ONCE = 8  # maps whose peaks are looked for together: what all need is more than a cache holds

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
    covariances, masses = _window_moments(heatmaps, pixels, WINDOW * sigma)
    pixels = np.where(masses[:, None] > 0, pixels, np.nan)
    return Keypoints(pixels, covariances, masses)


def _gaussian(offsets: Array, sigma: float) -> Array:
    """Return Gaussians over offsets (n, w) from their centres, rows summing to 1, NaN to 0."""
    # Relative to the nearest pixel, so that a centre outside the map does not underflow.
    exponents = -(offsets**2) / (2 * sigma**2)
    heights = np.nan_to_num(np.exp(exponents - exponents.max(axis=1, keepdims=True)))
    weights: Array = heights / np.maximum(heights.sum(axis=1, keepdims=True), 1e-300)
    return weights


def _peaks(heatmaps: Heatmaps) -> NDArray[np.intp]:
    """Return the pixels (x, y), (n, 2), with the most mass in the 3 x 3 around them."""
    n, height, width = heatmaps.shape
    peaks = np.zeros((n, 2), np.intp)
    for start in range(0, n, _AT_ONCE):
        few = heatmaps[start : start + _AT_ONCE]
        # A column and a row of zeros, so that all maps are one long row of pixels.
        padded = np.zeros((len(few), height + 1, width + 1), heatmaps.dtype)
        padded[:, :height, :width] = few
        row, below = padded.ravel(), width + 1
        # A single pixel may stand out by noise; its neighbours must agree.
        thirds = row.copy()
        thirds[1:] += row[:-1]
        thirds[:-1] += row[1:]
        sums = thirds + row / 2  # of equal neighbourhoods, the one with the higher middle
        sums[below:] += thirds[:-below]
        sums[:-below] += thirds[below:]
        y, x = np.divmod(sums.reshape(len(few), -1).argmax(axis=1), below)
        peaks[start : start + _AT_ONCE] = np.stack([x, y], axis=1)
    return peaks


def _parabola() -> Array:
    """Return (5, 9): the slopes and curvatures x, y, xx, xy, yy that fit 3 x 3 values best."""
    y, x = (axis.ravel() for axis in np.mgrid[-1:2, -1:2].astype(float))
    terms = np.stack([np.ones(9), x, y, x**2 / 2, x * y, y**2 / 2], axis=1)
    return np.linalg.pinv(terms)[1:]


_PARABOLA = _parabola()


def _tops(heatmaps: Heatmaps, peaks: NDArray[np.intp]) -> Array:
    """Return the tops (n, 2), px, of parabolas through the logarithms around whole pixels (n, 2).

    Where there is no top within a pixel (borders, flat or empty maps) the pixel stays.
    """
    height, width = heatmaps.shape[1:]
    inner = np.clip(peaks, 1, [width - 2, height - 2])
    middle = (np.arange(len(heatmaps)) * height + inner[:, 1]) * width + inner[:, 0]
    around = (np.array([[-1], [0], [1]]) * width + np.array([-1, 0, 1])).ravel()
    values = heatmaps.reshape(-1)[middle[:, None] + around].astype(float)  # (n, 9)
    logs = np.log(np.maximum(values, 1e-30))
    slope_x, slope_y, xx, xy, yy = (logs @ _PARABOLA.T).T
    determinant = xx * yy - xy**2
    curved = (xx < 0) & (determinant > 1e-12)
    scale = np.where(curved, determinant, 1.0)[:, None]
    offsets = np.stack([xy * slope_y - yy * slope_x, xy * slope_x - xx * slope_y], axis=1) / scale
    has_top = curved & (np.abs(offsets) <= 1).all(axis=1) & (inner == peaks).all(axis=1)
    return np.where(has_top[:, None], peaks + offsets, peaks)


def _window_moments(heatmaps: Heatmaps, centres: Array, radius: float) -> tuple[Array, Array]:
    """Return covariance (n, 2, 2), px^2, and mass (n,) of the maps in square windows.

    The window spans ``centre - radius`` to ``centre + radius`` (centres (n, 2), px). A pixel
    counts by the share of it that lies inside, so that the result is smooth in the centre.
    """
    n, height, width = heatmaps.shape
    reach = int(np.ceil(radius + 0.5))
    pixels = np.rint(centres)[:, None] + np.arange(-reach, reach + 1)[:, None]  # (n, window, 2)
    offsets = pixels - centres[:, None]
    inside = np.clip(pixels, 0, [width - 1, height - 1])
    weights = np.clip(radius + 0.5 - np.abs(offsets), 0.0, 1.0) * (inside == pixels)
    x, y = np.moveaxis(inside.astype(np.intp), 2, 0)
    rows = np.arange(n)[:, None] * height + y
    values = heatmaps.reshape(-1)[rows[:, :, None] * width + x[:, None, :]]
    # Of each pixel along x and y its weight, and that times its offset and the square of it.
    first = weights * offsets
    by_x, by_y = np.moveaxis(np.stack([weights, first, first * offsets], axis=2), 3, 0)
    # float64: 121 small numbers, and second moments want the digits
    moments = by_y.swapaxes(1, 2) @ (values @ by_x)  # (n, power of y, power of x)
    masses = np.where(moments[:, 0, 0] > 0, moments[:, 0, 0], 0.0)
    moments /= np.where(masses > 0, masses, np.nan)[:, None, None]
    means = np.stack([moments[:, 0, 1], moments[:, 1, 0]], axis=1)
    squares = np.stack([moments[:, 0, 2], moments[:, 1, 1], moments[:, 1, 1], moments[:, 2, 0]], 1)
    covariances = squares.reshape(n, 2, 2) - means[:, :, None] * means[:, None]
    # The mass of a pixel is spread over the pixel: 1/12 px^2 more, and never singular.
    return covariances + np.eye(2) / 12, masses
