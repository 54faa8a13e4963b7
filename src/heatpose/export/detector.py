"""Detectors as ONNX: the half that is deployed, in float or with int8 arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn

from heatpose.export.int8 import quantise
from heatpose.export.onnx import halve_weights, trace
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
    pixels = [fit_image(image, (None, None), image_size)[0] for image in images]
    inputs = [{INPUT: one.transpose(2, 0, 1)[None].astype(np.float32) / 255} for one in pixels]
    return quantise(network, inputs, _kept_in_float)


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
