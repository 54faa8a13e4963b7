"""Detectors as ONNX: the half that is deployed, in float or with int8 arithmetic."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper
from torch import Tensor, nn

from heatpose.errors import MissingExtraError
from heatpose.export.onnx import halve_weights, restore_weights, trace
from heatpose.geometry.arrays import Image
from heatpose.model.yolov10 import YoloV10
from heatpose.runtime.box_predictor import open_box_predictor
from heatpose.runtime.detector import fit_image
from heatpose.runtime.predictor import Backend

INPUT, OUTPUT = "images", "detections"


class _Exported(nn.Module):
    """The detector as it is used: with boxes as output."""

    def __init__(self, network: YoloV10) -> None:
        super().__init__()
        self.network = network.deployed().cpu()

    def forward(self, images: Tensor) -> Tensor:
        """Return the detections (b, n, 6)."""
        return self.network.detect(images)


def export_detector(network: YoloV10) -> bytes:
    """Return a detector as an ONNX file.

    Its input is ``images``, float32 (b, 3, h, w), RGB in [0, 1], h and w divisible by 32 and free.
    Its output is ``detections``, float32 (b, n, 6), as `YoloV10.detect` gives them: n is 300, or
    less where a small image has fewer places. Weights are stored as float16.
    """
    return halve_weights(trace_detector(network))


def trace_detector(network: YoloV10) -> bytes:
    """Return a detector as `export_detector` does, with its weights as they are, float32."""
    images = torch.zeros(2, 3, 96, 160)  # of sides so odd that none is taken for a constant
    free = {0: "b", 2: "h", 3: "w"}
    return trace(_Exported(network), {INPUT: (images, free)}, OUTPUT, optimize=True)


def quantise_detector(network: bytes, images: Sequence[Image], image_size: int = 640) -> bytes:
    """Return an exported detector whose convolutions compute in int8.

    What makes boxes and scores of their results stays in float, and so does the attention.

    Args:
        network: as `export_detector` writes it.
        images: like those that it will see, (h, w, 3) each; their statistics choose the scales.
        image_size: longer side that the images are scaled to, px.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    try:
        with _silence():
            import nncf
            from nncf.quantization import advanced_parameters as advanced
    except ImportError:
        raise MissingExtraError('int8 networks need nncf: pip install "heatpose[int8]"') from None
    model = onnx.load_from_string(restore_weights(network))
    batches = [
        fit_image(image, (None, None), image_size)[0].transpose(2, 0, 1)[None] for image in images
    ]
    scope = nncf.IgnoredScope(names=sorted(_kept_in_float(model)))
    # One scale for all channels of a value: ONNX Runtime has no convolution that takes several.
    together = advanced.AdvancedQuantizationParameters(
        activations_quantization_params=advanced.QuantizationParameters(per_channel=False)
    )
    with _silence():
        quantised = nncf.quantize(
            model,
            nncf.Dataset(batches, lambda batch: {INPUT: batch.astype(np.float32) / 255}),
            preset=nncf.QuantizationPreset.MIXED,  # activations below and above 0 differ (SiLU)
            subset_size=len(batches),
            ignored_scope=scope,
            advanced_parameters=together,
        )
    _use_unsigned(quantised)
    onnx.checker.check_model(quantised)
    return bytes(quantised.SerializeToString())


def _kept_in_float(model: ModelProto) -> set[str]:
    """Return the nodes behind the last convolutions, and those of the attention."""
    maker = {output: node for node in model.graph.node for output in node.output}
    kept = {node.name for node in model.graph.node if node.op_type in ("MatMul", "Softmax")}
    seen, values = set(), [output.name for output in model.graph.output]
    while values:
        node = maker.get(values.pop())
        if node is not None and node.op_type != "Conv" and node.name not in seen:
            seen.add(node.name)
            values += node.input
    return kept | seen


def _use_unsigned(model: ModelProto) -> None:
    """Count activations from 0 to 255 rather than from -128 to 127: the same numbers.

    OpenVINO 2026.4 computes rubbish from signed ones whose zero is not in the middle.
    """
    zeros = {node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for stored in model.graph.initializer:
        if stored.name in zeros and stored.data_type == TensorProto.INT8:
            values = numpy_helper.to_array(stored).astype(np.int16) + 128
            stored.CopyFrom(numpy_helper.from_array(values.astype(np.uint8), stored.name))
    del model.graph.value_info[:]  # it says that they are signed


@dataclass(frozen=True)
class Difference:
    """How far the detections of a network lie from those of a reference."""

    boxes: float  # largest of any side, px
    scores: float  # largest
    n_detections: int  # of the reference that were looked for


def detection_difference(
    found: NDArray[np.float32], reference: NDArray[np.float32], least: float = 0.05
) -> Difference:
    """Compare detections (n, 6) with a reference (m, 6): each with the nearest of its class.

    Args:
        found: left, top, right, bottom, score, class; in any order.
        reference: likewise.
        least: score from which on the reference counts.
    """
    looked_for = reference[reference[:, 4] >= least]
    apart = np.abs(found[None, :, :4] - looked_for[:, None, :4]).max(axis=2)
    apart[found[None, :, 5] != looked_for[:, None, 5]] = np.inf
    scores = np.abs(found[None, :, 4] - looked_for[:, None, 4])
    # Boxes that lie on each other are told apart by their scores.
    nearest = (apart + scores).argmin(axis=1)
    rows = np.arange(len(looked_for))
    return Difference(
        boxes=float(apart[rows, nearest].max(initial=0.0)),
        scores=float(scores[rows, nearest].max(initial=0.0)),
        n_detections=len(looked_for),
    )


def largest_difference(
    exported: bytes,
    network: YoloV10,
    images: Sequence[Image],
    backend: Backend = "openvino",
    least: float = 0.05,
) -> Difference:
    """Compare what an exported detector sees with what the network in torch sees.

    Args:
        exported: ONNX file.
        network: what it was made of.
        images: (h, w, 3) each, h and w divisible by 32.
        backend: what runs the file, in float32.
        least: score from which on a detection of torch is looked for.
    """
    predict = open_box_predictor(exported, backend, precision="f32")
    network = network.deployed().cpu()
    each = []
    for image in images:
        with torch.no_grad():
            inputs = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
            reference = network.detect(inputs)[0].numpy()
        each.append(detection_difference(predict(image), reference, least))
    return Difference(
        boxes=max(one.boxes for one in each),
        scores=max(one.scores for one in each),
        n_detections=sum(one.n_detections for one in each),
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the log, the warnings and the progress bars of NNCF from people."""
    log = logging.getLogger("nncf")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
