"""Networks through ONNX Runtime."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatpose.errors import DataError, MissingExtraError
from heatpose.geometry.arrays import Image
from heatpose.runtime.box_predictor import as_rows, check_signature, unreadable
from heatpose.runtime.predictor import checked_inputs


class OnnxPredictor:
    """Runs an exported network; see `KeypointPredictor`.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(self, network: bytes, *, threads: int | None = None) -> None:
        self._session = _open_session(network, threads)
        self._inputs = {one.name for one in self._session.get_inputs()}

    def __call__(
        self,
        crops: Image,
        object_index: NDArray[np.integer],
        depth: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Predict heatmaps (b, k, s / 4, s / 4) from crops (b, s, s, 3) and objects (b,)."""
        inputs = checked_inputs(self._inputs, crops, object_index, depth)
        if "crops" in inputs:
            inputs["crops"] = _numbers(crops)
        heatmaps: NDArray[np.float32] = self._session.run(["heatmaps"], inputs)[0]
        return heatmaps


class OnnxBoxPredictor:
    """Runs a detection network; see `BoxPredictor`.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(self, network: bytes, *, threads: int | None = None) -> None:
        try:
            self._session = _open_session(network, threads)
        except MissingExtraError:
            raise
        except Exception as error:  # of many kinds, with no parent of their own
            raise unreadable(error) from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.input_size = check_signature(_shapes(inputs), _shapes(outputs))
        if inputs[0].type != "tensor(float)":
            raise DataError(f"a detector must take float32, this takes {inputs[0].type}")
        self._name = inputs[0].name

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """Predict boxes (n, 6) in an image (h, w, 3)."""
        return as_rows(self._session.run(None, {self._name: _numbers(image[None])})[0])


def _open_session(network: bytes, threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError(
            'the backend onnxruntime needs: pip install "heatpose[onnx]"'
        ) from None
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def _numbers(images: Image) -> NDArray[np.float32]:
    """Return bytes (b, h, w, 3) as numbers in [0, 1], (b, 3, h, w)."""
    return images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def _shapes(values: Sequence[Any]) -> list[list[int | None]]:
    """Return the shapes of a network's inputs or outputs, None where a side is free."""
    return [[side if isinstance(side, int) else None for side in v.shape] for v in values]
