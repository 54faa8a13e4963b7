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


@pytest.mark.parametrize(
    "name", ["blur", "sharpen", "change_colour", "add_noise", "compress", "degrade"]
)
def test_nothing_moves_so_labels_stay_true(name, spot):
    change = getattr(augment, name)
    changed = [change(np.random.default_rng(seed), spot) for seed in range(60)]
    assert all(image.dtype == np.uint8 and image.shape == spot.shape for image in changed)
    shifts = np.array([centre(image) for image in changed]) - [30, 20]
    np.testing.assert_allclose(np.median(shifts, axis=0), 0, atol=0.1)
    assert np.abs(shifts).max() < 2


@pytest.mark.parametrize(
    "name",
    [
        "blur",
        "change_light",
        "sharpen",
        "exaggerate_colour",
        "change_colour",
        "add_noise",
        "compress",
        "degrade",
    ],
)
def test_the_same_seed_gives_the_same_picture_and_another_a_different_one(name, spot):
    change = getattr(augment, name)
    first = [change(np.random.default_rng(seed), spot) for seed in range(8)]
    again = [change(np.random.default_rng(seed), spot) for seed in range(8)]
    np.testing.assert_array_equal(first, again)
    assert any(not np.array_equal(first[0], other) for other in first[1:])


def edges(image):
    """Where the picture changes most from column to column."""
    return np.abs(np.diff(image.astype(float).mean(axis=2), axis=1)).argmax(axis=1)


def test_harsh_pictures_keep_their_edges_where_they_were():
    image = np.full((40, 60, 3), 70, np.uint8)
    image[:, 30:] = (190, 150, 110)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        changed = augment.exaggerate_colour(rng, augment.sharpen(rng, image))
        if np.ptp(changed) > 40:
            assert np.median(np.abs(edges(changed) - 29)) <= 1


def test_harsh_colours_go_where_others_do_not(spot):
    coloured = np.uint8(spot * [1.0, 0.7, 0.5])

    def saturation(harsh):
        pictures = [
            augment.degrade(np.random.default_rng(seed), coloured, harsh) for seed in range(80)
        ]
        return [np.ptp(picture.reshape(-1, 3).mean(axis=0)) for picture in pictures]

    mild, harsh = saturation(0.0), saturation(1.0)
    assert np.std(harsh) > 1.5 * np.std(mild)
    assert max(harsh) > max(mild)


def test_light_falls_off_slowly_or_ends_at_a_shadow_and_never_adds_colour():
    grey = np.full((48, 64, 3), 100, np.uint8)
    lit = [augment.change_light(np.random.default_rng(seed), grey) for seed in range(60)]
    assert all((picture == picture[..., :1]).all() for picture in lit)
    spread = [np.ptp(picture) for picture in lit]
    assert min(spread) == 0 and max(spread) > 60  # some are left alone, some change much


def test_the_input_is_left_as_it_was(spot):
    before = spot.copy()
    for seed in range(10):
        augment.degrade(np.random.default_rng(seed), spot, harsh=1.0)
        augment.cut_out(np.random.default_rng(seed), spot, Backgrounds())[0]
    np.testing.assert_array_equal(spot, before)


def test_cut_outs_cover_something_but_never_most(spot):
    shares = []
    for seed in range(50):
        covered = augment.cut_out(np.random.default_rng(seed), spot, Backgrounds())[0]
        shares.append((covered != spot).any(axis=2).mean())
    assert 0.005 < np.mean(shares) < 0.2
    assert max(shares) < 0.5
