"""The part of a depth image around an object: noise goes, edges stay."""

import numpy as np
import pytest

from heatpose.geometry.camera import Camera
from heatpose.solve.depth_view import SIDE, cut_depth

CAMERA = Camera(500.0, 500, 160, 120, width=320, height=240)
WHOLE = (
    slice(96, 144),
    slice(136, 184),
)  # with a margin, less than SIDE


def step(rows, cols, height):
    """A slanted surface, and before it another that ends in the middle of the columns."""
    plane = 1000 + 0.5 * np.arange(CAMERA.width, dtype=np.float32) * np.ones((CAMERA.height, 1))
    middle = (cols.start + cols.stop) // 2
    plane[:, middle:] -= height
    return plane.astype(np.float32)


def part_of(image, view):
    top, left = round(CAMERA.cy - view.camera.cy), round(CAMERA.cx - view.camera.cx)
    height, width = view.depth.shape
    return image[top : top + height, left : left + width]


@pytest.mark.parametrize("sigma", [1.0, 5.0, 30.0])
def test_noise_of_any_size_becomes_a_third_and_edges_stay(rng, sigma):
    height = max(40.0, 8 * sigma)
    truth = step(*WHOLE, height)
    noisy = truth + np.float32(sigma) * rng.standard_normal(truth.shape, np.float32)
    view = cut_depth(*WHOLE, noisy, CAMERA)
    assert view.depth.shape <= (SIDE, SIDE)
    off = view.depth - part_of(truth, view)
    assert off.std() < sigma / 3
    at_edge = np.abs(np.diff(part_of(truth, view), axis=1)) > height / 2
    beside = off[:, 1:][at_edge]
    assert np.median(np.abs(beside)) < sigma and (np.abs(beside) < height / 2).mean() > 0.95


def test_noise_is_that_of_the_middle(rng):
    """A dark object before a bright wall: what is around it says nothing of its noise."""
    truth = step(*WHOLE, 0.0)
    sigma = np.full(truth.shape, 1, np.float32)
    sigma[104:136, 144:176] = 30
    noisy = truth + sigma * rng.standard_normal(truth.shape, np.float32)
    view = cut_depth(*WHOLE, noisy, CAMERA)
    dark = part_of(sigma, view) == 30
    assert dark.mean() < 0.4  # so that the median of all would be that of the wall
    assert (view.depth - part_of(truth, view))[dark].std() < 10


def test_holes_stay_holes_and_nothing_at_all_is_no_error():
    truth = step(*WHOLE, 100.0)
    truth[100:120, 140:150] = np.nan
    view = cut_depth(*WHOLE, truth, CAMERA)
    np.testing.assert_array_equal(np.isnan(view.depth), np.isnan(part_of(truth, view)))
    assert np.isnan(cut_depth(*WHOLE, np.full_like(truth, np.nan), CAMERA).depth).all()
    assert cut_depth(slice(5, 6), slice(7, 8), truth, CAMERA).depth.size
