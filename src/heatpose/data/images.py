"""Image and depth files, and the removal of lens distortion."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from heatpose.errors import DataError
from heatpose.files import write_whole
from heatpose.geometry.arrays import Array, Box, Depth, Image, Mask
from heatpose.geometry.boxes import box_of_points
from heatpose.geometry.camera import Camera
from heatpose.types import Observation

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
DEPTH_ENDINGS = (".png", ".tif", ".tiff", ".npy", ".exr")
_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_ORIENTATION = 0x0112  # in EXIF
_PNG_END = b"IEND\xaeB`\x82"
_DAMAGES = (  # what Pillow raises on them, by trial
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Pillow.DecompressionBombError,
)
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".webp": "WEBP"}


def read_image(path: Path) -> Image:
    """Read an 8-bit image file as RGB, turned as its EXIF orientation says.

    Pillow and not OpenCV, which returns half of a truncated file without a word.

    Returns:
        (h, w, 3); grey images have three equal channels, transparency is dropped.

    Raises:
        DataError: there is no such file, or it is truncated, damaged or not an 8-bit image.
    """
    picture = _open(path)
    if picture.mode not in _EIGHT_BIT:
        raise DataError(f"{path} holds pixels of kind {picture.mode}, expected an 8-bit image")
    return np.array(ImageOps.exif_transpose(picture).convert("RGB"), np.uint8)


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height, px, that `read_image` would give; reads little of the file.

    Raises:
        DataError: there is no such file, or it is not an image.
    """
    with _reported(path), Pillow.open(path) as picture:
        width, height = picture.size
        turned = picture.getexif().get(_ORIENTATION, 1) >= 5  # by a quarter
        return (height, width) if turned else (width, height)


def write_image(path: Path, image: Image) -> None:
    """Write an image (h, w, 3), whole or not at all, in the format that its ending names."""
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path} must end in one of {', '.join(_FORMATS)}")
    with write_whole(path) as part:
        Pillow.fromarray(image).save(part, format=kind, quality=92)


def read_depth(path: Path, depth_scale: float = 1.0) -> Depth:
    """Read a depth image; 0, negative or not finite in the file means that nothing was measured.

    Args:
        path: PNG (16 bits), TIFF (16 bits or float32), NumPy's npy, or EXR (with the extra
            ``synth``: OpenCV's wheels cannot read it) with one channel or one called Z.
        depth_scale: mm per unit of the file.

    Returns:
        (h, w), mm, NaN where nothing was measured.

    Raises:
        DataError: there is no such file, or it is truncated, damaged or has several channels.
    """
    path = Path(path)
    read = {".npy": _read_npy, ".exr": _read_exr}.get(path.suffix.lower())
    stored = np.asarray(_open(path)) if read is None else read(path)
    if stored.ndim != 2:
        raise DataError(f"{path} has shape {stored.shape}, expected a depth image (h, w)")
    depth = stored.astype(np.float32) * np.float32(depth_scale)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan))


def read_mask(path: Path) -> Mask:
    """Read a mask (h, w): true where the image file is not black.

    Raises:
        DataError: there is no such file, or it is truncated, damaged or not an image.
    """
    stored = np.asarray(_open(path))
    mask: Mask = (stored if stored.ndim == 2 else stored.max(axis=2)) > 0
    return mask


def undistort(observation: Observation) -> Observation:
    """Remove lens distortion from image and depth; what comes back has an ideal camera.

    Focal lengths and principal point stay as they are. Places that the lens did not see are black,
    and NaN in the depth.
    """
    camera = observation.camera
    if not camera.distortion:
        return observation
    maps = _lens_maps(camera)
    image = cv2.remap(observation.image, *maps, cv2.INTER_LINEAR)
    depth = observation.depth
    if depth is not None:  # nearest: a mean of two depths is a place where nothing is
        moved = cv2.remap(depth, *maps, cv2.INTER_NEAREST, borderValue=float("nan"))
        depth = np.asarray(moved, np.float32)
    return Observation(np.asarray(image, np.uint8), camera.ideal, depth)


def undistort_pixels(pixels: Array, camera: Camera) -> Array:
    """Return where positions (..., 2), px, of an image lie once its distortion is removed."""
    return camera.ideal.project(camera.unproject(pixels, np.ones(pixels.shape[:-1])))


def undistort_box(box: Box, camera: Camera) -> Box:
    """Return the box around what a box shows once distortion is removed."""
    if not camera.distortion:
        return box
    left, top, right, bottom = box
    along_x, along_y = np.linspace(left, right, 9), np.linspace(top, bottom, 9)
    edges = [
        *((x, y) for x in along_x for y in (top, bottom)),
        *((x, y) for y in along_y for x in (left, right)),
    ]
    return box_of_points(undistort_pixels(np.array(edges), camera))


@lru_cache(maxsize=4)
def _lens_maps(camera: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where in the distorted image each pixel of the ideal one is seen, x and y, (h, w)."""
    coefficients = np.array(camera.distortion)
    size = (camera.width, camera.height)
    matrix = camera.matrix
    x, y = cv2.initUndistortRectifyMap(matrix, coefficients, None, matrix, size, cv2.CV_32FC1)
    return np.asarray(x, np.float32), np.asarray(y, np.float32)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Say what is wrong with an image file."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"no image at {path}") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, expected an image file") from None
    except PermissionError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image of a known format") from None
    except _DAMAGES as error:
        raise DataError(f"{path} is truncated or damaged ({error})") from None


def _open(path: Path) -> Pillow.Image:
    """Open and decode an image file to its last byte."""
    with _reported(path):
        content = Path(path).read_bytes()
        picture = Pillow.open(BytesIO(content))
        picture.load()
    # Pillow is content with a PNG that stops after its last pixel.
    if picture.format == "PNG" and _PNG_END not in content:
        raise DataError(f"{path} is truncated or damaged (its end is missing)")
    return picture


def _read_npy(path: Path) -> NDArray[np.generic]:
    """Read an array of numbers."""
    with _reported(path):
        stored = np.load(BytesIO(path.read_bytes()), allow_pickle=False)
    if not isinstance(stored, np.ndarray) or stored.dtype.kind not in "uif":
        raise DataError(f"{path} holds {getattr(stored, 'dtype', 'no array')}, expected numbers")
    return stored


def _read_exr(path: Path) -> NDArray[np.generic]:
    """Read the only channel of an EXR file, or the one called Z."""
    import OpenEXR

    with _reported(path):
        path.open("rb").close()
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: one.pixels for name, one in file.channels().items()}
    except Exception as error:  # the library raises all kinds
        raise DataError(f"{path} cannot be read as OpenEXR: {error}") from None
    name = "Z" if "Z" in channels else next(iter(channels))
    if name != "Z" and len(channels) > 1:
        raise DataError(f"{path} has channels {', '.join(channels)}, expected one, or one called Z")
    return np.asarray(channels[name])
