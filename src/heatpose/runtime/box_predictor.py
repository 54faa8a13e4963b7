"""What a detection network looks like to the rest, whatever runs it.

A predictor takes the bytes of one image and gives its boxes, as the network's own pixels have it.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heatpose.errors import DataError
from heatpose.geometry.arrays import Image
from heatpose.runtime.predictor import Backend, Precision

Shape: TypeAlias = Sequence[int | None]  # None where a network leaves a side free


class BoxPredictor(Protocol):
    """A detection network, ready to run."""

    input_size: tuple[int | None, int | None]  # h, w it insists on, px

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """Predict boxes in an image (h, w, 3) of a size that the network accepts.

        Returns:
            left, top, right, bottom in px of the image, score and class index, (n, 6).
        """
        ...


def open_box_predictor(
    network: bytes,
    backend: Backend = "openvino",
    *,
    threads: int | None = None,
    precision: Precision | None = None,
) -> BoxPredictor:
    """Make a detection network ready to run; see `heatpose.runtime.predictor.open_predictor`.

    Raises:
        DataError: the file is not ONNX, or does not turn one image into boxes (n, 6).
    """
    if backend == "openvino":
        from heatpose.runtime.openvino_predictor import OpenVinoBoxPredictor

        return OpenVinoBoxPredictor(network, threads=threads, precision=precision)
    if backend == "onnxruntime":
        from heatpose.runtime.onnx_predictor import OnnxBoxPredictor

        if precision not in (None, "f32"):
            raise ValueError(f"onnxruntime computes in f32, not in {precision}")
        return OnnxBoxPredictor(network, threads=threads)
    raise ValueError(f"backend must be openvino or onnxruntime, got {backend!r}")


def check_signature(
    inputs: Sequence[Shape], outputs: Sequence[Shape]
) -> tuple[int | None, int | None]:
    """Return the height and width that a network's image must have, None where they are free.

    Raises:
        DataError: its inputs are not one image, or its outputs not one list of boxes.
    """
    if len(inputs) != 1 or not _fits(inputs[0], (1, 3, None, None)):
        raise DataError(f"a detector must take one image (1, 3, h, w), this takes {_named(inputs)}")
    if len(outputs) != 1 or not (_fits(outputs[0], (None, 6)) or _fits(outputs[0], (1, None, 6))):
        raise DataError(
            "a detector must give boxes (n, 6) or (1, n, 6): left, top, right, bottom, score, "
            f"class; this gives {_named(outputs)}"
        )
    return inputs[0][2], inputs[0][3]


def as_rows(boxes: NDArray[Any]) -> NDArray[np.float32]:
    """Return what a network gave, (n, 6) or (1, n, 6), as (n, 6)."""
    if boxes.shape[-1:] != (6,) or not (boxes.ndim == 2 or (boxes.ndim, len(boxes)) == (3, 1)):
        raise DataError(f"a detector must give boxes (n, 6) or (1, n, 6), this gave {boxes.shape}")
    return boxes.reshape(-1, 6).astype(np.float32)


def unreadable(error: Exception) -> DataError:
    """Return what to raise for a file that a backend does not understand, in one line."""
    reason = [line.strip() for line in str(error).splitlines() if line.strip()]
    return DataError(f"the detector cannot be read as ONNX: {' '.join(reason[-1:])}")


def _fits(shape: Shape, wanted: Shape) -> bool:
    """Say whether a shape can become the wanted one; None fits everything."""
    return len(shape) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True)
    )


def _named(shapes: Sequence[Shape]) -> str:
    """Return shapes for people, with ? for what is free."""
    texts = (", ".join("?" if side is None else str(side) for side in one) for one in shapes)
    return ", ".join(f"({text})" for text in texts) or "nothing"
