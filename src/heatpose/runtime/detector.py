"""Finding objects in a picture with a detection network, ours or anyone's."""

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.errors import DataError
from heatpose.geometry.arrays import Image
from heatpose.geometry.boxes import clip_box
from heatpose.runtime.box_predictor import open_box_predictor
from heatpose.runtime.bundle import BundledDetector
from heatpose.runtime.joined_boxes import joined
from heatpose.runtime.predictor import Backend, Precision
from heatpose.types import Detection, Observation

STRIDE = 32  # networks want sides that are multiples of it
GREY = 114  # around pictures that do not fill the network's input


class ObjectDetector:
    """Finds the boxes of known objects in a picture.

    The network is any ONNX file with one image as input, (1, 3, h, w), RGB in [0, 1], and with
    boxes as output, (n, 6) or (1, n, 6): left, top, right, bottom in px of that input (its corner
    is 0, 0), score in [0, 1] and class index. Doubles must be suppressed already.
    """

    def __init__(
        self,
        network: bytes,
        object_ids: Sequence[int],
        *,
        image_sizes: Sequence[int] = (640,),
        mirrored: bool = False,
        threshold: float = 0.25,
        backend: Backend = "openvino",
        threads: int | None = None,
        precision: Precision | None = None,
    ) -> None:
        """Make a network ready to run.

        Args:
            network: ONNX file.
            object_ids: BOP's id of each of the network's classes.
            image_sizes: longer sides that pictures are scaled to, px, where the network leaves
                its input size free; what it finds in several is joined.
            mirrored: it looks at each picture in a mirror too, at every size: twice the time.
            threshold: least score of what is returned.
            backend: what runs it.
            threads: how many threads it may use; None leaves that to the backend.
            precision: what it computes in, as for `open_predictor`.

        Raises:
            DataError: the file is not such a network.
        """
        if not image_sizes or min(image_sizes) < STRIDE:
            raise ValueError(f"image_sizes must be at least {STRIDE}, got {list(image_sizes)}")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
        self.object_ids = tuple(object_ids)
        self.views = tuple(itertools.product(image_sizes, (False, True) if mirrored else (False,)))
        self.threshold = threshold
        self._predict = open_box_predictor(network, backend, threads=threads, precision=precision)

    def __call__(self, observation: Observation) -> list[Detection]:
        """Return what is seen, best first, with boxes in px of the picture as it was taken.

        Raises:
            DataError: the network gives what no detection can be made of.
        """
        image = observation.image
        looks = [self._look(image, size, mirrored) for size, mirrored in self.views]
        found = joined(looks) if len(looks) > 1 else looks[0]
        found = found[found[:, 4] >= self.threshold]
        found = found[np.argsort(-found[:, 4], kind="stable")]
        height, width = image.shape[:2]
        return [seen for row in found if (seen := self._detection(row, width, height))]

    def _look(self, image: Image, size: int, mirrored: bool) -> NDArray[np.float32]:
        """Return what is found at one size, perhaps in a mirror, (n, 6), in px of the image.

        Of several looks one may be less sure of a box than the threshold, and another more.
        """
        shown = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
        fitted, scales = fit_image(shown, self._predict.input_size, size)
        rows = self._predict(fitted)
        found = rows[rows[:, 4] >= self.threshold / len(self.views)]
        if not np.isfinite(rows).all() or (found[:, 4] > 1).any():
            raise DataError(
                "the detector's rows must be left, top, right, bottom, score in [0, 1] and "
                f"class, all finite, got scores of {rows[:, 4].min():g} to {rows[:, 4].max():g}"
            )
        # Our pixel centres lie at whole numbers, so the image's corner is at -0.5.
        found[:, :4] = found[:, :4] / np.tile(scales, 2) - 0.5
        if mirrored:
            found[:, [0, 2]] = image.shape[1] - 1 - found[:, [2, 0]]
        return found

    def _detection(self, row: NDArray[np.float32], width: int, height: int) -> Detection | None:
        """Return what a row (6,) stands for, or None where its box has no part in the picture."""
        left, top, right, bottom, score, label = (float(value) for value in row)
        if label not in range(len(self.object_ids)):
            raise DataError(
                f"the detector found class {label:g}, but {len(self.object_ids)} object ids "
                f"are given: {list(self.object_ids)}"
            )
        box = clip_box((left, top, right, bottom), width, height)
        if box[0] >= box[2] or box[1] >= box[3]:
            return None
        return Detection(self.object_ids[int(label)], box, score)


def open_bundled(
    bundled: BundledDetector,
    threshold: float | None = None,
    *,
    mirrored: bool = False,
    backend: Backend = "openvino",
    threads: int | None = None,
    precision: Precision | None = None,
) -> ObjectDetector:
    """Make the detector of a bundle ready to run; its own threshold counts unless one is given."""
    settings = bundled.settings
    return ObjectDetector(
        bundled.network,
        settings.object_ids,
        image_sizes=settings.image_sizes,
        mirrored=mirrored,
        threshold=settings.threshold if threshold is None else threshold,
        backend=backend,
        threads=threads,
        precision=precision,
    )


def fit_image(
    image: Image, input_size: tuple[int | None, int | None], longest: int
) -> tuple[Image, NDArray[np.float64]]:
    """Scale an image to what a network takes, and fill it up with grey to the right and below.

    Args:
        image: (h, w, 3).
        input_size: sides (h, w) that the network insists on, px, None where it does not.
        longest: side of the scaled image, px, where the network leaves its sides free.

    Returns:
        The network's image, (h', w', 3), sides as it insists or divisible by 32; and the scales
        in x and y, (2,): a position counted from the image's outer corner times these.
    """
    rooms = [longest if side is None else side for side in input_size]
    scale = min(room / side for room, side in zip(rooms, image.shape[:2], strict=True))
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    scales = np.array([width / image.shape[1], height / image.shape[0]])
    if (height, width) != image.shape[:2]:
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, (width, height), interpolation=way), np.uint8)
    sides = [
        -(-side // STRIDE) * STRIDE if given is None else given
        for side, given in zip((height, width), input_size, strict=True)
    ]
    if sides == [height, width]:
        return image, scales
    padded = np.full((*sides, 3), GREY, np.uint8)
    padded[:height, :width] = image
    return padded, scales
