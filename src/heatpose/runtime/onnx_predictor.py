"""The keypoint network through ONNX Runtime."""

import numpy as np
from numpy.typing import NDArray

from heatpose.errors import MissingExtraError
from heatpose.geometry.arrays import Image
from heatpose.runtime.predictor import check_inputs


class OnnxPredictor:
    """Runs an exported network; see `KeypointPredictor`.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(self, network: bytes, *, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError(
                'the backend onnxruntime needs: pip install "heatpose[onnx]"'
            ) from None
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            network, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, crops: Image, object_index: NDArray[np.integer]) -> NDArray[np.float32]:
        """Predict heatmaps (b, k, s / 4, s / 4) from crops (b, s, s, 3) and objects (b,)."""
        check_inputs(crops, object_index)
        inputs = {
            "crops": crops.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255),
            "object_index": object_index.astype(np.int64),
        }
        heatmaps: NDArray[np.float32] = self._session.run(["heatmaps"], inputs)[0]
        return heatmaps
