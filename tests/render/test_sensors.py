import numpy as np
import pytest

from heatpose.render.sensors import (
    ColourSensor,
    add_sensor_noise,
    balance,
    compress,
    defocus,
    expose,
    photograph,
    saturate,
    smear,
    through_mosaic,
    tone,
    vignette,
)


@pytest.fixture
def radiance(rng):
    """Random blocks of colour, (96, 128, 3), at an odd scale."""
    return np.kron(rng.uniform(0.1, 30, (12, 16, 3)), np.ones((8, 8, 1))).astype(np.float32)


def spot(size=41):
    light = np.zeros((size, size, 3), np.float32)
    light[size // 2, size // 2] = 1
    return light


def centre_and_sum(light):
    weights = light[..., 1].astype(float)
    rows, cols = np.indices(weights.shape)
    total = weights.sum()
    return (cols * weights).sum() / total, (rows * weights).sum() / total, total


def test_the_same_seed_takes_the_same_picture_and_another_another(radiance):
    first, again, other = (photograph(np.random.default_rng(s), radiance) for s in (1, 1, 2))
    assert first.dtype == np.uint8 and first.shape == radiance.shape
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_a_step_that_happens_by_chance_changes_no_later_draw(radiance):
    still, moved = ColourSensor(moved=0.0, compressed=0.0), ColourSensor(moved=1.0, compressed=0.0)
    flat = np.full_like(radiance, 3.0)  # motion does not show on it
    pictures = [photograph(np.random.default_rng(3), flat, config) for config in (still, moved)]
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 1


def test_pictures_look_alike_whatever_the_scale_of_the_light(radiance):
    pictures = [photograph(np.random.default_rng(4), radiance * s) for s in (1.0, 1e-3)]
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 1


def test_a_black_scene_stays_dark():
    assert photograph(np.random.default_rng(0), np.zeros((32, 32, 3), np.float32)).max() < 60


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2])
@pytest.mark.parametrize("length", [1.5, 3.0, 4.0])
def test_blur_moves_nothing_and_loses_no_light(length, angle):
    for blurred in (smear(spot(), length, angle), defocus(spot(), length / 3)):
        np.testing.assert_allclose(centre_and_sum(blurred), [20, 20, 1], atol=1e-3)


def test_motion_spreads_along_its_line():
    smeared = smear(spot(), 4.0, 0.0)[..., 0]
    assert (smeared.sum(axis=1) > 1e-6).sum() == 1
    assert (smeared.sum(axis=0) > 1e-6).sum() == 5


def test_corners_darken_by_the_fourth_power_of_the_cosine():
    darkened = vignette(np.ones((61, 81, 3), np.float32), 1.2)
    assert darkened[30, 40, 0] == pytest.approx(1)
    # The middle of a corner's pixel lies a little nearer than the corner the field is given for.
    half_angle = np.arctan(np.tan(0.6) * np.hypot(80, 60) / np.hypot(81, 61))
    assert darkened[0, 0, 0] == pytest.approx(np.cos(half_angle) ** 4, rel=1e-4)


def test_exposure_puts_the_mean_on_middle_grey_and_stops_double_it():
    light = np.full((8, 8, 3), 5.0, np.float32)
    assert expose(light, 0.18, 0.0).mean() == pytest.approx(0.18, rel=0.01)
    assert expose(light, 0.18, 1.0).mean() == pytest.approx(0.36, rel=0.01)


def test_bright_things_hold_exposure_back():
    light = np.full((10, 10, 3), 1e-4, np.float32)
    light[:3] = 50.0
    assert expose(light, 0.18, 0.0).max() == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize("level", [0.1, 0.5])
def test_the_variance_of_noise_is_gain_times_light_plus_read_noise(rng, level):
    noisy = add_sensor_noise(rng, np.full((300, 300, 3), level, np.float32), 0.004, 0.01)
    assert noisy.var() == pytest.approx(0.004 * level + 0.01**2, rel=0.02)
    assert noisy.mean() == pytest.approx(level, abs=0.001)


def test_a_bayer_pattern_keeps_colours_in_place_and_ties_neighbours(rng):
    flat = np.broadcast_to(np.float32([0.8, 0.5, 0.1]), (16, 16, 3))
    np.testing.assert_allclose(through_mosaic(flat), flat, atol=1e-4)
    noise = through_mosaic(rng.uniform(0, 1, (200, 200, 3)).astype(np.float32))[2:-2, 2:-2, 0]
    assert np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1] > 0.4
    ramp = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32)[:, None], (64, 64))
    grey = np.ascontiguousarray(np.dstack([ramp] * 3))
    np.testing.assert_allclose(through_mosaic(grey)[2:-2, 2:-2], grey[2:-2, 2:-2], atol=1e-4)


def test_white_balance_follows_two_black_bodies():
    # 5000 K taken for 6000 K, by Planck's law at 610, 550 and 465 nm.
    def planck(kelvin):
        nm = np.array([610.0, 550.0, 465.0])
        return nm**-5.0 / np.expm1(1.4388e7 / (nm * kelvin))

    ratio = planck(5000) / planck(6000)
    grey = np.full((1, 1, 3), 0.3, np.float32)
    seen = balance(grey, 1e6 / 5000 - 1e6 / 6000, 1.0)[0, 0] / 0.3
    np.testing.assert_allclose(seen, ratio / ratio[1], rtol=0.01)
    assert seen[0] > 1 > seen[2]  # warmer is redder


def test_saturation_keeps_grey_and_its_brightness():
    colour = np.float32([[[0.2, 0.4, 0.6]]])
    np.testing.assert_allclose(saturate(colour, 0.0), 0.4, rtol=1e-6)
    np.testing.assert_allclose(saturate(colour, 1.5).mean(), 0.4, rtol=1e-6)
    np.testing.assert_allclose(saturate(colour, 1.0), colour, rtol=1e-6)


def test_without_contrast_the_curve_is_srgbs():
    linear = np.float32([0.0, 0.001, 0.0031308, 0.05, 0.2140, 0.5, 1.0])[None, :, None]
    picture = tone(np.repeat(linear, 3, axis=2), 0.0)
    np.testing.assert_array_equal(picture[0, :, 0], [0, 3, 10, 63, 127, 188, 255])


def test_contrast_bends_around_the_middle_and_keeps_both_ends():
    linear = np.float32([0.0, 0.05, 0.2140, 0.6, 1.0])[None, :, None]
    plain, bent = (tone(np.repeat(linear, 3, axis=2), c)[0, :, 0].astype(int) for c in (0, 0.7))
    assert bent[0] == 0 and bent[-1] == 255 and abs(bent[2] - plain[2]) <= 1
    assert bent[1] < plain[1] and bent[3] > plain[3]


def test_jpeg_keeps_red_red_and_loses_more_at_low_quality(rng):
    picture = np.full((32, 32, 3), (200, 40, 90), np.uint8)
    assert np.abs(compress(picture, 95).astype(int) - picture).max() < 6
    picture = rng.integers(0, 256, (32, 32, 3), np.uint8)
    loss = [np.abs(compress(picture, q).astype(int) - picture).mean() for q in (95, 40)]
    assert loss[0] < loss[1]
