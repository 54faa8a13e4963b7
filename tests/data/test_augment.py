import numpy as np
import pytest

from heatpose.data import augment
from heatpose.data.backgrounds import Backgrounds


@pytest.fixture
def spot():
    """A bright, wide spot at (30, 20) on grey."""
    y, x = np.mgrid[:48, :64]
    bump = np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / (2 * 3.0**2))
    return np.uint8(60 + 150 * bump)[..., None].repeat(3, axis=2)


def centre(image):
    weights = np.clip(image.mean(axis=2) - np.median(image), 0, None) ** 2
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


@pytest.mark.parametrize("name", ["blur", "change_colour", "add_noise", "compress", "degrade"])
def test_nothing_moves_so_labels_stay_true(name, spot):
    change = getattr(augment, name)
    changed = [change(np.random.default_rng(seed), spot) for seed in range(60)]
    assert all(image.dtype == np.uint8 and image.shape == spot.shape for image in changed)
    shifts = np.array([centre(image) for image in changed]) - [30, 20]
    np.testing.assert_allclose(np.median(shifts, axis=0), 0, atol=0.1)
    assert np.abs(shifts).max() < 2


@pytest.mark.parametrize("name", ["blur", "change_colour", "add_noise", "compress", "degrade"])
def test_the_same_seed_gives_the_same_picture_and_another_a_different_one(name, spot):
    change = getattr(augment, name)
    first = [change(np.random.default_rng(seed), spot) for seed in range(8)]
    again = [change(np.random.default_rng(seed), spot) for seed in range(8)]
    np.testing.assert_array_equal(first, again)
    assert any(not np.array_equal(first[0], other) for other in first[1:])


def test_the_input_is_left_as_it_was(spot):
    before = spot.copy()
    for seed in range(10):
        augment.degrade(np.random.default_rng(seed), spot)
        augment.cut_out(np.random.default_rng(seed), spot, Backgrounds())[0]
    np.testing.assert_array_equal(spot, before)


def test_cut_outs_cover_something_but_never_most(spot):
    shares = []
    for seed in range(50):
        covered = augment.cut_out(np.random.default_rng(seed), spot, Backgrounds())[0]
        shares.append((covered != spot).any(axis=2).mean())
    assert 0.005 < np.mean(shares) < 0.2
    assert max(shares) < 0.5
