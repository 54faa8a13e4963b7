"""What a keypoint network looks like to the rest, whatever runs it.

A predictor turns crops into heatmaps. It takes bytes as they come out of an image, so that no
caller can scale or transpose them wrongly, and gives probabilities, so that none has to know
what the network's numbers mean. Depth comes as `heatpose.data.depth_crops.network_depth` gives it.
"""

from collections.abc import Container
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Image

Indices: TypeAlias = NDArray[np.integer]
Floats: TypeAlias = NDArray[np.float32]
Backend: TypeAlias = Literal["openvino", "onnxruntime"]
Precision: TypeAlias = Literal["f32", "bf16", "f16"]


class KeypointPredictor(Protocol):
    """A keypoint network, ready to run."""

    def __call__(
        self,
        crops: Image,
        object_index: NDArray[np.integer],
        depth: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Predict where the keypoints of the object in each crop are.

        Args:
            crops: (b, s, s, 3), RGB.
            object_index: which of the network's objects each crop shows, (b,).
            depth: (b, 2, s, s), relative depth and where it was measured; None where it was
                nowhere. A network of colours does not look at it.

        Returns:
            Heatmaps, (b, k, s / 4, s / 4): probabilities over the pixels of each map.
        """
        ...


def open_predictor(
    network: bytes,
    backend: Backend = "openvino",
    *,
    threads: int | None = None,
    precision: Precision | None = None,
) -> KeypointPredictor:
    """Make an exported network ready to run.

    Args:
        network: an ONNX file as written by `heatpose.export.onnx.export_network`.
        backend: what runs it.
        threads: how many threads it may use; None leaves that to the backend.
        precision: what it computes in. None lets OpenVINO choose the fastest that the processor
            has, which on many is bf16; ONNX Runtime knows f32 only.
    """
    if backend == "openvino":
        from heatpose.runtime.openvino_predictor import OpenVinoPredictor

        return OpenVinoPredictor(network, threads=threads, precision=precision)
    if backend == "onnxruntime":
        from heatpose.runtime.onnx_predictor import OnnxPredictor

        if precision not in (None, "f32"):
            raise ValueError(f"onnxruntime computes in f32, not in {precision}")
        return OnnxPredictor(network, threads=threads)
    raise ValueError(f"backend must be openvino or onnxruntime, got {backend!r}")


def checked_inputs(
    names: Container[str], crops: Image, object_index: Indices, depth: Floats | None = None
) -> dict[str, NDArray[Any]]:
    """Return what a network takes, by name, and refuse what it would misread without a word.

    Args:
        names: of its inputs, among ``crops``, ``object_index`` and ``depth``.
        crops: as for `KeypointPredictor`, and the next two.
        object_index: likewise.
        depth: likewise.

    Returns:
        Crops as bytes (b, s, s, 3), objects as int64 (b,), depth (b, 2, s, s); all contiguous.

    Raises:
        ValueError: the crops are not uint8 (b, s, s, 3), or there is not one object for each, or
            the depth is not float32 (b, 2, s, s) or not finite.
    """
    square = crops.ndim == 4 and crops.shape[1] == crops.shape[2] and crops.shape[3] == 3
    if crops.dtype != np.uint8 or not square or len(crops) == 0:
        raise ValueError(f"crops must be uint8 (b, s, s, 3), got {crops.dtype} {crops.shape}")
    if object_index.shape != crops.shape[:1] or object_index.dtype.kind not in "iu":
        raise ValueError(
            f"object_index must be integers ({len(crops)},), "
            f"got {object_index.dtype} {object_index.shape}"
        )
    if depth is not None:
        _check_depth(depth, crops)
    given = {"crops": crops, "object_index": object_index.astype(np.int64)}
    if "depth" in names:
        given["depth"] = no_depth(crops) if depth is None else depth
    return {name: np.ascontiguousarray(one) for name, one in given.items() if name in names}


def _check_depth(depth: Floats, crops: Image) -> None:
    expected = (len(crops), 2, *crops.shape[1:3])
    if depth.dtype != np.float32 or depth.shape != expected:
        raise ValueError(f"depth must be float32 {expected}, got {depth.dtype} {depth.shape}")
    if not np.isfinite(depth).all():
        raise ValueError("depth must be finite: 0 in both channels where nothing was measured")


def no_depth(crops: Image) -> NDArray[np.float32]:
    """Return the depth (b, 2, s, s) of crops (b, s, s, 3) in which nothing was measured."""
    return np.zeros((len(crops), 2, *crops.shape[1:3]), np.float32)
