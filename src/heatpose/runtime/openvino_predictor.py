"""The keypoint network through OpenVINO: the default, and the fastest on a processor."""

import os
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino.preprocess import PrePostProcessor

from heatpose.geometry.arrays import Image
from heatpose.runtime.predictor import Precision, check_inputs

MOST_STREAMS = 4  # crops at a time; on more cores each gets more threads


class OpenVinoPredictor:
    """Runs an exported network; see `KeypointPredictor`."""

    def __init__(
        self, network: bytes, *, threads: int | None = None, precision: Precision | None = None
    ) -> None:
        core = openvino.Core()
        model = _fed_with_bytes(core.read_model(network, b""))
        # Crops side by side, each on few threads, are done sooner than one after the other on
        # all: 8 crops on 2 threads took 61 ms so, 79 ms as one batch.
        streams = min(threads or os.cpu_count() or 1, MOST_STREAMS)
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": str(streams)}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        if precision is not None:
            settings["INFERENCE_PRECISION_HINT"] = precision
        self._compiled = core.compile_model(model, "CPU", settings)
        self._queue = openvino.AsyncInferQueue(self._compiled, streams)
        self._queue.set_callback(_keep)

    @property
    def precision(self) -> str:
        """What the network computes in, as OpenVINO names it: f32, bf16 or f16."""
        return str(self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())

    def __call__(self, crops: Image, object_index: NDArray[np.integer]) -> NDArray[np.float32]:
        """Predict heatmaps (b, k, s / 4, s / 4) from crops (b, s, s, 3) and objects (b,)."""
        check_inputs(crops, object_index)
        heatmaps = np.empty((len(crops), *self._compiled.output().shape[1:]), np.float32)
        indices = object_index.astype(np.int64)
        for i, crop in enumerate(crops):
            inputs = {"crops": np.ascontiguousarray(crop[None]), "object_index": indices[i, None]}
            self._queue.start_async(inputs, heatmaps[i])
        self._queue.wait_all()
        return heatmaps


def _keep(request: openvino.InferRequest, heatmaps: NDArray[np.float32]) -> None:
    """Copy what a request gave, (1, k, h, w), to its place among the heatmaps, (k, h, w)."""
    heatmaps[:] = request.get_output_tensor().data[0]


def _fed_with_bytes(model: openvino.Model) -> openvino.Model:
    """Return the network for one crop, from bytes (1, s, s, 3) on, not numbers (b, 3, s, s)."""
    steps = PrePostProcessor(model)
    crops = steps.input("crops")
    crops.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    crops.model().set_layout(openvino.Layout("NCHW"))
    crops.preprocess().convert_element_type(openvino.Type.f32).scale(255.0)
    steps.input("object_index").model().set_layout(openvino.Layout("N"))
    fed = steps.build()
    openvino.set_batch(fed, 1)
    return fed
