import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from heatpose.data.images import (
    image_size,
    read_depth,
    read_image,
    read_mask,
    undistort,
    undistort_box,
    undistort_pixels,
    write_image,
)
from heatpose.errors import DataError
from heatpose.types import Observation


@pytest.fixture
def picture(rng):
    """Smooth enough for JPEG, with three channels that differ."""
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return cv2.resize(coarse, (50, 40), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(
    ("ending", "most"), [(".png", 0), (".bmp", 0), (".jpg", 30), (".jpeg", 30), (".webp", 60)]
)
def test_a_written_image_is_read_back(tmp_path, picture, ending, most):
    path = tmp_path / f"picture{ending}"
    write_image(path, picture)
    back = read_image(path)
    assert back.dtype == np.uint8 and back.shape == picture.shape
    assert np.abs(back.astype(int) - picture).max() <= most


def test_an_ending_without_a_format_is_a_mistake_of_the_caller(tmp_path, picture):
    with pytest.raises(ValueError, match=r"picture\.txt must end in one of \.png"):
        write_image(tmp_path / "picture.txt", picture)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_every_8_bit_kind_becomes_rgb(tmp_path, picture, mode):
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    stored = Pillow.fromarray(picture).convert(mode)
    stored.save(path)
    np.testing.assert_array_equal(read_image(path), np.array(stored.convert("RGB")))


def test_the_orientation_in_exif_is_followed(tmp_path, picture):
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    Pillow.fromarray(picture).save(tmp_path / "turned.png", exif=exif)
    turned = read_image(tmp_path / "turned.png")
    np.testing.assert_array_equal(turned, np.rot90(picture, -1))
    assert image_size(tmp_path / "turned.png") == turned.shape[1::-1]


def test_the_size_is_known_without_reading_the_image(tmp_path, picture):
    write_image(tmp_path / "picture.png", picture)
    assert image_size(tmp_path / "picture.png") == (50, 40)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp"])
def test_an_image_cut_anywhere_is_refused(tmp_path, picture, ending):
    whole, cut = tmp_path / f"whole{ending}", tmp_path / f"cut{ending}"
    write_image(whole, picture)
    content = whole.read_bytes()
    end = len(content) - (2 if ending == ".bmp" else 0)  # the last row is filled up with 2 bytes
    for length in [*range(0, end, 7), *range(end - 20, end)]:
        cut.write_bytes(content[:length])
        with pytest.raises(DataError, match=rf"cut\{ending} is (truncated|not an image)"):
            read_image(cut)


def test_a_changed_byte_in_a_png_is_refused(tmp_path, picture):
    path = tmp_path / "changed.png"
    write_image(path, picture)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"changed\.png is truncated or damaged"):
        read_image(path)


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "words.png").write_text("no image")
    with pytest.raises(DataError, match=r"no image at .*missing\.png"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(DataError, match=r"is a folder, expected an image"):
        read_image(tmp_path)
    with pytest.raises(DataError, match=r"words\.png is not an image of a known format"):
        read_image(tmp_path / "words.png")


def test_a_depth_file_is_no_picture(tmp_path):
    Pillow.fromarray(np.full((4, 5), 700, np.uint16)).save(tmp_path / "depth.png")
    with pytest.raises(DataError, match=r"depth\.png holds pixels of kind I;16, expected an 8-bit"):
        read_image(tmp_path / "depth.png")


def test_depth_comes_in_mm_with_nan_for_missing(tmp_path):
    stored = np.array([[0, 1], [5000, 65535]], np.uint16)
    Pillow.fromarray(stored).save(tmp_path / "depth.png")
    depth = read_depth(tmp_path / "depth.png", depth_scale=0.1)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [[np.nan, 0.1], [500, 6553.5]], rtol=1e-6)


def test_a_picture_is_no_depth(tmp_path, picture):
    write_image(tmp_path / "picture.png", picture)
    with pytest.raises(DataError, match=r"picture\.png has shape \(40, 50, 3\), expected a depth"):
        read_depth(tmp_path / "picture.png")


def test_undistorted_spots_are_where_the_ideal_camera_sees_them(distorted_camera):
    """Towards the corners, where the lens moves things most."""
    camera = distorted_camera
    rows, cols = np.mgrid[: camera.height, : camera.width]
    for point in np.array([[-420.0, -300, 800], [400, 280, 800], [0, 310, 800], [-30, 20, 800]]):
        x, y = camera.project(point)
        grey = 255 * np.exp(-((cols - x) ** 2 + (rows - y) ** 2) / (2 * 4.0**2))
        image = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)

        ideal = undistort(Observation(image, camera))

        assert ideal.camera == camera.ideal
        weights = ideal.image[..., 0].astype(float)
        centre = np.array([(weights * cols).sum(), (weights * rows).sum()]) / weights.sum()
        np.testing.assert_allclose(centre, camera.ideal.project(point), atol=0.1)


def test_undistorted_depth_keeps_its_values(distorted_camera):
    image = np.zeros((480, 640, 3), np.uint8)
    depth = np.full((480, 640), 700.0, np.float32)
    depth[:, 300:] = 1200.0
    depth[200:220, 100:120] = np.nan
    moved = undistort(Observation(image, distorted_camera, depth)).depth
    assert set(np.unique(moved[np.isfinite(moved)])) == {700.0, 1200.0}
    assert 300 < np.isnan(moved).sum() < 30000  # the hole, and what the lens did not see


def test_without_distortion_nothing_is_touched(camera):
    seen = Observation(np.zeros((480, 640, 3), np.uint8), camera)
    assert undistort(seen) is seen
    assert undistort_box((1.0, 2, 3, 4), camera) == (1.0, 2, 3, 4)


def test_an_undistorted_box_holds_what_the_box_held(distorted_camera, rng):
    box = (20.0, 30.0, 180.0, 220.0)
    inside = rng.uniform(box[:2], box[2:], (500, 2))
    left, top, right, bottom = undistort_box(box, distorted_camera)
    moved = undistort_pixels(inside, distorted_camera)
    assert (moved >= [left - 0.1, top - 0.1]).all() and (moved <= [right + 0.1, bottom + 0.1]).all()
    assert abs(left - box[0]) > 1  # the lens does move it


@pytest.mark.real
def test_real_frames_are_read(real_data):
    path = next((real_data / "lmo" / "test").glob("*/rgb/*"))
    assert read_image(path).shape == (480, 640, 3)


@pytest.mark.parametrize("kind", ["L", "RGB", "1"])
def test_masks_are_true_where_files_are_not_black(tmp_path, kind):
    mask = np.arange(12).reshape(3, 4) % 3 == 1
    Pillow.fromarray(np.uint8(mask) * 255).convert(kind).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), mask)
