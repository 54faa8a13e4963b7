"""Networks through OpenVINO: the default, and the fastest on a processor."""

import functools
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino.preprocess import InputInfo, PrePostProcessor

from heatpose.errors import DataError
from heatpose.geometry.arrays import Image
from heatpose.runtime.box_predictor import as_rows, check_signature, unreadable
from heatpose.runtime.predictor import Precision, checked_inputs

MOST_SIZES = 8  # of pictures that a detection network is kept ready for
MOST_STREAMS = 4  # crops at a time; on more cores each gets more threads


class OpenVinoPredictor:
    """Runs an exported network; see `KeypointPredictor`."""

    def __init__(
        self, network: bytes, *, threads: int | None = None, precision: Precision | None = None
    ) -> None:
        self._model = _fed_with_bytes(_core().read_model(network, b""))
        self._inputs = {port.any_name for port in self._model.inputs}
        # Crops side by side, each on few threads, are done sooner than one after the other on
        # all: 8 crops on 2 threads took 61 ms so, 79 ms as one batch.
        self._streams = min(threads or os.cpu_count() or 1, MOST_STREAMS)
        self._options = (threads, precision)
        self._compiled: dict[int, tuple[openvino.CompiledModel, openvino.AsyncInferQueue]] = {}
        self._request: openvino.InferRequest | None = None
        self._alone_at_a_time = threading.Lock()
        self._in_streams(self._streams)

    @property
    def precision(self) -> str:
        """What the network computes in, as OpenVINO names it: f32, bf16 or f16."""
        compiled, _ = self._in_streams(self._streams)
        return str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())

    def __call__(
        self,
        crops: Image,
        object_index: NDArray[np.integer],
        depth: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Predict heatmaps (b, k, s / 4, s / 4) from crops (b, s, s, 3) and objects (b,)."""
        given = checked_inputs(self._inputs, crops, object_index, depth)
        if len(crops) == 1:
            return self._alone(given)
        compiled, queue = self._in_streams(self._streams)
        heatmaps = np.empty((len(crops), *compiled.output().shape[1:]), np.float32)
        for i in range(len(crops)):
            one = {name: values[i, None] for name, values in given.items()}
            queue.start_async(one, heatmaps[i])
        queue.wait_all()
        return heatmaps

    def _alone(self, given: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Predict the heatmaps of one crop, on all threads; a queue would hand it on to another."""
        with self._alone_at_a_time:
            if self._request is None:
                self._request = self._in_streams(1)[0].create_infer_request()
            self._request.infer(dict(given))
            return np.array(self._request.get_output_tensor().data, np.float32)

    def _in_streams(self, n: int) -> tuple[openvino.CompiledModel, openvino.AsyncInferQueue]:
        """Return the network for n crops at a time; compiled when first needed."""
        if n not in self._compiled:
            compiled = _core().compile_model(self._model, "CPU", _settings(n, *self._options))
            queue = openvino.AsyncInferQueue(compiled, n)
            queue.set_callback(_keep)
            self._compiled[n] = compiled, queue
        return self._compiled[n]


class OpenVinoBoxPredictor:
    """Runs a detection network; see `BoxPredictor`."""

    def __init__(
        self, network: bytes, *, threads: int | None = None, precision: Precision | None = None
    ) -> None:
        self._settings = _settings(1, threads, precision)
        try:
            model = _core().read_model(network, b"")
        except RuntimeError as error:
            raise unreadable(error) from None
        self.input_size = check_signature(_shapes(model.inputs), _shapes(model.outputs))
        self._model = _fed_with_image(model)
        self._requests: dict[tuple[int, ...], openvino.InferRequest] = {}

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """Predict boxes (n, 6) in an image (h, w, 3)."""
        request = self._request(image.shape)
        request.infer([np.ascontiguousarray(image[None])])
        return as_rows(request.get_output_tensor().data)

    def _request(self, shape: tuple[int, ...]) -> openvino.InferRequest:
        """Return the network for one size of image; compiled for all sizes it would be slower."""
        if shape not in self._requests:
            if len(self._requests) == MOST_SIZES:
                self._requests.pop(next(iter(self._requests)))
            model = self._model.clone()
            model.reshape([1, *shape])
            compiled = _core().compile_model(model, "CPU", self._settings)
            self._requests[shape] = compiled.create_infer_request()
        return self._requests[shape]


@functools.cache
def _core() -> openvino.Core:
    """Return the one core of this process, which stays.

    OpenVINO's CPU plugin gives a thread a stack of its own for signals, which goes with the core,
    and puts back what was there before. What the second of two cores puts back may have gone with
    the first: the next signal, as that of a process which ends, would end this one.
    """
    return openvino.Core()


def _settings(streams: int, threads: int | None, precision: Precision | None) -> dict[str, Any]:
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": str(streams)}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    if precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = precision
    return settings


def _keep(request: openvino.InferRequest, heatmaps: NDArray[np.float32]) -> None:
    """Copy what a request gave, (1, k, h, w), to its place among the heatmaps, (k, h, w)."""
    heatmaps[:] = request.get_output_tensor().data[0]


def _fed_with_bytes(model: openvino.Model) -> openvino.Model:
    """Return the network for one crop, from bytes (1, s, s, 3) on, not numbers (b, 3, s, s)."""
    names = {port.any_name for port in model.inputs}
    steps = PrePostProcessor(model)
    if "crops" in names:
        _take_bytes(steps.input("crops"))
    if "depth" in names:
        steps.input("depth").model().set_layout(openvino.Layout("NCHW"))
    steps.input("object_index").model().set_layout(openvino.Layout("N"))
    fed = steps.build()
    openvino.set_batch(fed, 1)
    return fed


def _fed_with_image(model: openvino.Model) -> openvino.Model:
    """Return a detection network from bytes (1, h, w, 3) on, not numbers (1, 3, h, w)."""
    steps = PrePostProcessor(model)
    _take_bytes(steps.input())
    return steps.build()


def _take_bytes(images: InputInfo) -> None:
    """Let an input (b, 3, h, w), numbers in [0, 1], take bytes (b, h, w, 3)."""
    images.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    images.model().set_layout(openvino.Layout("NCHW"))
    images.preprocess().convert_element_type(openvino.Type.f32).scale(255.0)


def _shapes(ports: Sequence[Any]) -> list[list[int | None]]:
    """Return the shapes of a network's inputs or outputs, None where a side is free."""
    shapes = [port.get_partial_shape() for port in ports]
    if not all(shape.rank.is_static for shape in shapes):
        raise DataError("the detector leaves open how many dimensions its input and output have")
    return [[d.get_length() if d.is_static else None for d in shape] for shape in shapes]
