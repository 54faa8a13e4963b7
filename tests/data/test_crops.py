import numpy as np
import pytest

from heatpose.data.crops import crop_around, crop_stretched, square_around
from heatpose.geometry.camera import Camera

CAMERA = Camera(fx=600, fy=610, cx=100.0, cy=80.0, width=200, height=160)


def spot(height, width, x, y, spread):
    """A soft white spot around an image position."""
    dx, dy = np.arange(width) - x, np.arange(height)[:, None] - y
    grey = 255 * np.exp(-(dx**2 + dy**2) / (2 * spread**2))
    return np.repeat(np.round(grey)[..., None], 3, axis=2).astype(np.uint8)


def centre_of_mass(image):
    grey = image[..., 0].astype(float)
    rows, cols = np.mgrid[: grey.shape[0], : grey.shape[1]]
    return np.array([(grey * cols).sum(), (grey * rows).sum()]) / grey.sum()


def test_a_square_keeps_the_centre_and_the_longer_side():
    # centre (20, 40), longer side 60, times 1.5 is 90
    assert square_around((0, 10, 40, 70), margin=1.5) == (-25, -5, 65, 85)


@pytest.mark.parametrize("size", [16, 33, 64, 256])
def test_what_the_crop_shows_is_where_its_camera_says(size):
    """From strong shrinking, with its blur, to enlarging."""
    point = np.array([12.5, -3.25, 500.0])  # seen between pixels
    x, y = CAMERA.project(point)
    image = spot(160, 200, x, y, spread=5)

    crop, crop_camera = crop_around(image, CAMERA, (x - 30, y - 20, x + 35, y + 25), size)

    assert crop.shape == (size, size, 3)
    assert (crop_camera.width, crop_camera.height) == (size, size)
    np.testing.assert_allclose(
        centre_of_mass(crop), crop_camera.project(point), atol=0.02 * max(1, size / 65)
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_image_shrunk_by_a_whole_number_is_the_mean_of_its_pixels(seed):
    """A box filter that starts half a pixel off would show as the gradient times that shift."""
    ramp = 20 + np.arange(160) + 0 * np.arange(160)[:, None]
    noise = np.random.default_rng(seed).integers(-20, 21, (160, 160))
    image = np.repeat((ramp + noise)[..., None], 3, axis=2).astype(np.uint8)
    camera = Camera(fx=600, fy=610, cx=100.0, cy=80.0, width=160, height=160)

    crop, _ = crop_around(image, camera, (-0.5, -0.5, 159.5, 159.5), 20, margin=1.0)

    means = image.astype(float).reshape(20, 8, 20, 8, 3).mean(axis=(1, 3))
    off = (crop.astype(float) - means)[2:-2, 2:-2]
    assert abs(off.mean()) < 0.5  # grey values; one pixel of shift would make 1.0
    assert off.std() < 3.0  # single pixels, as without the blur, leave 12


def test_shrinking_leaves_no_moire():
    """Stripes too fine for the crop turn grey; taken pixel by pixel they would come back coarse."""
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    camera = Camera(fx=600, fy=600, cx=128, cy=128, width=256, height=256)
    crop, _ = crop_around(stripes, camera, (10.0, 10.0, 240.0, 240.0), 64, margin=1.0)
    assert crop.std() < 4


def test_a_crop_of_the_image_itself_is_the_image(rng):
    image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    camera = Camera(fx=600, fy=600, cx=30, cy=31, width=64, height=64)
    crop, crop_camera = crop_around(image, camera, (-0.5, -0.5, 63.5, 63.5), 64, margin=1.0)
    np.testing.assert_array_equal(crop, image)
    assert crop_camera == camera


@pytest.mark.parametrize(
    "box",
    [(-300, -300, -200, -200), (500, 20, 600, 90), (50, 400, 80, 420), (-400, 300, -300, 400)],
)
def test_a_crop_beside_the_image_is_black(box):
    image = np.full((160, 200, 3), 255, np.uint8)
    crop, _ = crop_around(image, CAMERA, box, 32)
    assert crop.max() == 0


@pytest.mark.parametrize("size", [24, 96])
def test_a_crop_over_the_edge_is_black_outside(size):
    image = np.full((160, 200, 3), 255, np.uint8)
    crop, _ = crop_around(image, CAMERA, (-40.5, 40, 39.5, 120), size, margin=1.0)
    assert crop[:, : size // 2 - 1].max() == 0
    assert crop[:, size // 2 + 1 :].min() == 255


@pytest.mark.parametrize("size", [33, 64, 256])
def test_what_a_stretched_crop_shows_is_where_its_camera_says(size):
    point = np.array([12.5, -3.25, 500.0])
    x, y = CAMERA.project(point)
    image = spot(160, 200, x, y, spread=4)

    box = (x - 35, y - 18, x + 30, y + 25)
    crop, crop_camera = crop_stretched(image, CAMERA, box, size, margin=1.1)

    assert crop.shape == (size, size, 3)
    assert crop_camera.fx / CAMERA.fx == pytest.approx(size / 71.5)
    assert crop_camera.fy / CAMERA.fy == pytest.approx(size / 47.3)
    np.testing.assert_allclose(centre_of_mass(crop), crop_camera.project(point), atol=0.1)


def test_a_stretched_crop_of_a_square_is_a_square_crop(rng):
    image, box = rng.integers(0, 255, (160, 200, 3), np.uint8), (30.0, 20.0, 90.0, 80.0)
    square, stretched = (cut(image, CAMERA, box, 96, 1.2) for cut in (crop_around, crop_stretched))
    np.testing.assert_array_equal(square[0], stretched[0])
    np.testing.assert_allclose(square[1].matrix, stretched[1].matrix)
