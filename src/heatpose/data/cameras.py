"""Camera files: BOP's ``camera.json``, and plain files with a calibration matrix K."""

from pathlib import Path
from typing import Any

import numpy as np

from heatpose.data.fields import Record, read_json, read_text, shown, write_json
from heatpose.errors import DataError
from heatpose.geometry.arrays import Array
from heatpose.geometry.camera import Camera

MATRIX_KEYS = ("K", "cam_K", "camera_matrix")
DISTORTION_KEYS = ("distortion", "dist_coeffs")


def read_camera(path: Path, size: tuple[int, int] | None = None) -> Camera:
    """Read a camera file.

    Three kinds: JSON with fx, fy, cx, cy (BOP); JSON with a matrix K, cam_K or camera_matrix,
    nested or flat; text with the nine numbers of K and nothing else. JSON may add OpenCV's 4, 5
    or 8 distortion coefficients as distortion or dist_coeffs.

    Args:
        path: the file.
        size: width and height of the image, px, for files that do not say it.

    Raises:
        DataError: there is no such file, a key is missing or has a value that no camera has, or
            neither the file nor the caller says the size.
    """
    path = Path(path)
    bare = _bare_matrix(path)
    record = Record(str(path), {"K": bare} if bare is not None else read_json(path))
    matrix = _matrix(record)
    width, height = _size(record, size)
    try:
        return Camera.from_matrix(matrix, width, height, _distortion(record))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def write_camera(path: Path, camera: Camera, depth_scale: float = 1.0) -> None:
    """Write BOP's ``camera.json``, with the distortion where there is any.

    Args:
        path: the file.
        camera: what to write.
        depth_scale: mm per unit of the depth images.
    """
    record: dict[str, Any] = {
        "cx": camera.cx,
        "cy": camera.cy,
        "depth_scale": depth_scale,
        "fx": camera.fx,
        "fy": camera.fy,
        "height": camera.height,
        "width": camera.width,
    }
    if camera.distortion:
        record["distortion"] = list(camera.distortion)
    write_json(path, record)


def _bare_matrix(path: Path) -> list[float] | None:
    """Return the nine numbers of a text file that holds nothing else; None for other files."""
    words = read_text(path).replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None
    if len(numbers) != 9:
        raise DataError(f"{path} must hold the 9 numbers of K, got {len(numbers)}")
    return numbers


def _matrix(record: Record) -> Array:
    """Return K, (3, 3), px."""
    for key in MATRIX_KEYS:
        if key in record:
            return record.matrix(key)
    fx, fy, cx, cy = (record.number(key) for key in ("fx", "fy", "cx", "cy"))
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _size(record: Record, size: tuple[int, int] | None) -> tuple[int, int]:
    if size is not None and not ("width" in record and "height" in record):
        return size
    return record.integer("width"), record.integer("height")


def _distortion(record: Record) -> list[float]:
    key = next((key for key in DISTORTION_KEYS if key in record), None)
    if key is None or record.values[key] is None:
        return []
    value = record.values[key]
    count = np.size(value)
    if count not in (0, 4, 5, 8):
        raise DataError(
            f"{record.place}: {key} must have 0, 4, 5 or 8 coefficients, got {shown(value)}"
        )
    coefficients: list[float] = record.numbers(key, count).tolist() if count else []
    return coefficients
