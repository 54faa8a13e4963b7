"""The keypoint network through OpenVINO: the default, and the fastest on a processor."""

from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino.preprocess import PrePostProcessor

from heatpose.geometry.arrays import Image
from heatpose.runtime.predictor import Precision, check_inputs


class OpenVinoPredictor:
    """Runs an exported network; see `KeypointPredictor`."""

    def __init__(
        self, network: bytes, *, threads: int | None = None, precision: Precision | None = None
    ) -> None:
        core = openvino.Core()
        model = _fed_with_bytes(core.read_model(network, b""))
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        if precision is not None:
            settings["INFERENCE_PRECISION_HINT"] = precision
        self._compiled = core.compile_model(model, "CPU", settings)

    @property
    def precision(self) -> str:
        """What the network computes in, as OpenVINO names it: f32, bf16 or f16."""
        return str(self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())

    def __call__(self, crops: Image, object_index: NDArray[np.integer]) -> NDArray[np.float32]:
        """Predict heatmaps (b, k, s / 4, s / 4) from crops (b, s, s, 3) and objects (b,)."""
        check_inputs(crops, object_index)
        inputs = {
            "crops": np.ascontiguousarray(crops),
            "object_index": object_index.astype(np.int64),
        }
        return np.asarray(self._compiled(inputs)["heatmaps"], np.float32)


def _fed_with_bytes(model: openvino.Model) -> openvino.Model:
    """Put the way from bytes (b, s, s, 3) to numbers (b, 3, s, s) in [0, 1] into the network."""
    steps = PrePostProcessor(model)
    crops = steps.input("crops")
    crops.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    crops.model().set_layout(openvino.Layout("NCHW"))
    crops.preprocess().convert_element_type(openvino.Type.f32).scale(255.0)
    return steps.build()
