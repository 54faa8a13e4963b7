import numpy as np
import pytest

from heatpose.model.heatmaps import (
    SIGMA,
    crop_from_heatmap,
    decode,
    encode,
    heatmap_camera,
    heatmap_from_crop,
    keypoints_in_crop,
)


@pytest.mark.parametrize("sigma", [1.0, SIGMA, 2.5])
def test_decode_undoes_encode_anywhere_inside(rng, sigma):
    reach = 3.5 * sigma + 1
    truth = rng.uniform([reach, reach], [71 - reach, 47 - reach], (500, 2))
    found = decode(encode(truth, 48, 72, sigma).astype(np.float32), sigma)
    np.testing.assert_allclose(found.pixels, truth, atol=2e-3)
    # 3.5 sigma both ways hold (1 - 4.7e-4)^2 of the mass
    np.testing.assert_allclose(found.confidences, 1, atol=2e-3)
    # The spread of the Gaussian and that of a pixel, less the tails beyond the window.
    spread = np.broadcast_to((sigma**2 + 1 / 12) * np.eye(2), (500, 2, 2))
    np.testing.assert_allclose(found.covariances, spread, atol=0.02 * sigma**2)


def test_a_heatmap_sums_to_one_and_is_highest_at_its_keypoint():
    heatmap = encode(np.array([[5.0, 2.0]]), 8, 12)[0]
    assert heatmap.shape == (8, 12)
    assert heatmap.sum() == pytest.approx(1)
    assert np.unravel_index(heatmap.argmax(), heatmap.shape) == (2, 5)
    # By hand: one pixel to the side it is lower by exp(-1 / (2 * 1.5^2)).
    assert heatmap[2, 6] / heatmap[2, 5] == pytest.approx(np.exp(-1 / 4.5))


@pytest.mark.parametrize("missing", [(np.nan, np.nan), (np.nan, 3.0), (3.0, np.nan)])
def test_keypoints_that_are_not_there_give_empty_maps_and_nan_back(missing):
    heatmaps = encode(np.array([missing, (10.0, 9.0)]), 20, 20)
    assert not heatmaps[0].any() and heatmaps[1].any()
    found = decode(heatmaps)
    assert np.isnan(found.pixels[0]).all() and np.isnan(found.covariances[0]).all()
    assert found.confidences[0] == 0
    np.testing.assert_allclose(found.pixels[1], [10, 9], atol=1e-3)


def test_at_the_border_positions_stay_sensible():
    edge = np.array([(0, 0), (-0.5, 12.3), (31.4, 31.4), (16, -0.4), (31.5, 3.0), (0.7, 30.6)])
    found = decode(encode(edge, 32, 32))
    # Half of the Gaussian is cut off: the rest lies 0.8 sigma further inside on average.
    np.testing.assert_allclose(found.pixels, edge, atol=SIGMA)
    assert (found.confidences > 0.99).all()


def test_far_outside_points_land_on_the_border_without_underflow():
    heatmaps = encode(np.array([[-500.0, 10.0]]), 20, 20)
    assert heatmaps.sum() == pytest.approx(1)
    assert decode(heatmaps).pixels[0, 0] == pytest.approx(0, abs=1e-6)


def test_a_second_weaker_peak_lowers_the_confidence_and_moves_nothing():
    one, other = encode(np.array([[10.2, 20.7], [40.0, 40.0]]), 64, 64)
    found = decode((0.7 * one + 0.3 * other)[None])
    np.testing.assert_allclose(found.pixels[0], [10.2, 20.7], atol=2e-3)
    assert found.confidences[0] == pytest.approx(0.7, abs=2e-3)


def test_a_lone_bright_pixel_does_not_beat_a_peak_with_neighbours():
    heatmap = 0.9 * encode(np.array([[20.0, 20.0]]), 40, 40)[0]
    heatmap[5, 5] = 0.1  # the Gaussian's highest pixel has 0.9 / (2 pi 1.5^2) = 0.064
    np.testing.assert_allclose(decode(heatmap[None]).pixels[0], [20, 20], atol=2e-3)


def test_the_peak_has_the_heaviest_neighbourhood_wherever_it_is(rng):
    """Noise, where most maxima lie between worse ones; by hand, all nine pixels added."""
    maps = rng.random((40, 6, 9)).astype(np.float32)
    around = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    sums = maps / 2 + sum(around[:, y : y + 6, x : x + 9] for y in range(3) for x in range(3))
    y, x = np.unravel_index(sums.reshape(40, -1).argmax(axis=1), (6, 9))
    assert len(set(zip(y, x, strict=True))) > 10
    assert np.abs(decode(maps).pixels - np.stack([x, y], axis=1)).max() <= 1


def test_covariance_is_about_the_mean_of_a_lopsided_map():
    """Two pixels beside each other, three quarters of the mass in the left one."""
    heatmap = np.zeros((1, 15, 15))
    heatmap[0, 7, 7:9] = 0.75, 0.25
    spread = decode(heatmap).covariances[0]
    np.testing.assert_allclose(spread, np.diag([0.75 * 0.25, 0]) + np.eye(2) / 12, atol=1e-12)


def test_covariance_is_that_of_an_oblong_map():
    y, x = np.mgrid[:41, :41] - 20.0
    covariance = np.array([[1.6, 0.5], [0.5, 0.7]])  # longer along x, leaning to the lower right
    a, b, _, d = np.linalg.inv(covariance).ravel()
    heatmap = np.exp(-(a * x**2 + 2 * b * x * y + d * y**2) / 2)
    found = decode(heatmap[None] / heatmap.sum()).covariances[0]
    np.testing.assert_allclose(found, covariance + np.eye(2) / 12, atol=0.01)


def test_what_lies_beyond_the_border_does_not_count():
    heatmap = np.zeros((1, 16, 16))
    heatmap[0, 0, [0, 2]] = 0.5
    found = decode(heatmap)
    np.testing.assert_allclose(found.pixels, [[1, 0]], atol=1e-12)
    np.testing.assert_allclose(found.confidences, 1)


def test_a_map_of_a_single_pixel_still_has_a_covariance_that_inverts():
    heatmap = np.zeros((1, 16, 16))
    heatmap[0, 4, 9] = 1
    found = decode(heatmap)
    np.testing.assert_allclose(found.pixels, [[9, 4]])
    np.testing.assert_allclose(found.covariances[0], np.eye(2) / 12)


def test_maps_are_read_independently(rng):
    heatmaps = encode(rng.uniform(6, 25, (9, 2)), 32, 32)
    together = decode(heatmaps)
    for i in range(9):
        np.testing.assert_allclose(
            decode(heatmaps[i : i + 1]).pixels[0], together.pixels[i], atol=1e-9
        )


def test_crop_and_heatmap_positions_undo_each_other(rng):
    # By hand: heatmap pixel 0 covers crop pixels 0 to 3, whose middle is 1.5.
    np.testing.assert_allclose(crop_from_heatmap(np.array([0.0, 1.0])), [1.5, 5.5])
    pixels = rng.uniform(-10, 266, (50, 2))
    np.testing.assert_allclose(heatmap_from_crop(crop_from_heatmap(pixels)), pixels)


def test_the_camera_of_the_heatmap_sees_points_where_the_heatmap_has_them(camera, cube):
    crop_camera = camera.warped(0.4, np.array([3.0, -2.0]), 256, 128)
    seen = heatmap_camera(crop_camera)
    assert (seen.width, seen.height) == (64, 32)
    points = cube + [10, 20, 700]
    expected = heatmap_from_crop(crop_camera.project(points))
    np.testing.assert_allclose(seen.project(points), expected)


def test_keypoints_move_into_the_crop_with_their_covariances():
    found = decode(encode(np.array([[10.25, 20.5]]), 64, 64))
    moved = keypoints_in_crop(found)
    np.testing.assert_allclose(moved.pixels, [[42.5, 83.5]], atol=1e-2)
    np.testing.assert_allclose(moved.covariances, 16 * found.covariances)
    assert moved.confidences is found.confidences
