"""Image files of a data set in memory, for training that comes back to each of them often."""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.data.images import image_size, read_image
from heatpose.geometry.arrays import Image

LOG = logging.getLogger(__name__)
# Colour at full resolution: no training sample is as good as this, but crops enlarge it.
JPEG = [
    cv2.IMWRITE_JPEG_QUALITY,
    95,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
]

T = TypeVar("T")
R = TypeVar("R")


class ImageMemory:
    """Image files by number: decoded where all fit, else as JPEG, what is left from the disk.

    It is filled when it is made, so that processes forked later share it.
    """

    def __init__(self, paths: Sequence[Path], limit: float) -> None:
        """Read image files.

        Args:
            paths: the files.
            limit: what they may take, bytes.

        Raises:
            DataError: a file is missing or damaged.
        """
        self.paths = list(paths)
        width, height = image_size(self.paths[0])
        decoded = len(self.paths) * width * height * 3 <= limit
        self._kept: list[Image | NDArray[np.uint8]] = []
        room = limit
        for start in range(0, len(self.paths), 64):  # in portions: all at once might not fit
            read = read_image if decoded else _read_code
            portion = in_threads(read, self.paths[start : start + 64])
            room -= sum(one.nbytes for one in portion)
            if room < 0:
                break
            self._kept += portion
        if len(self._kept) < len(self.paths):
            LOG.warning(
                "%d of %d images fit into %.1f GB of memory: the others are read again each time",
                len(self._kept),
                len(self.paths),
                limit / 1e9,
            )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Image:
        """Return an image (h, w, 3), RGB, which is not to be written to."""
        if number >= len(self._kept):
            return read_image(self.paths[number])
        kept = self._kept[number]
        return kept if kept.ndim == 3 else _decode(kept)


def in_threads(function: Callable[[T], R], values: Iterable[T]) -> list[R]:
    """Call a function that waits for files and decoders with each value, several at a time."""
    with ThreadPoolExecutor(min(cpu_count() or 1, 16)) as pool:
        return list(pool.map(function, values))


def _read_code(path: Path) -> NDArray[np.uint8]:
    """Return an image as the bytes of a JPEG file, (n,)."""
    image = read_image(path)  # JPEG files too: training would meet a damaged one after hours
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return np.fromfile(path, np.uint8)
    _, code = cv2.imencode(".jpg", image[..., ::-1], JPEG)
    return np.asarray(code, np.uint8).ravel()


def _decode(code: NDArray[np.uint8]) -> Image:
    image = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(image[..., ::-1])
