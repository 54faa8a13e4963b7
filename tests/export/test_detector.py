import sys

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch import nn

from heatpose.errors import MissingExtraError
from heatpose.export.detector import (
    detection_difference,
    export_detector,
    largest_difference,
    quantise_detector,
    trace_detector,
)
from heatpose.export.onnx import halve_weights, restore_weights
from heatpose.model.detector_weights import load_published
from heatpose.model.yolov10 import YoloConfig, YoloV10
from heatpose.runtime.box_predictor import open_box_predictor

pytestmark = pytest.mark.slow

BACKENDS = ["openvino", "onnxruntime"]


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(4)]
    return [cv2.GaussianBlur(image, (0, 0), 2) for image in noise]


@pytest.fixture(scope="module")
def network(pictures):
    """Random weights, with boxes and scores that depend on the picture as trained ones do."""
    torch.manual_seed(0)
    net = YoloV10(YoloConfig(3, "n")).train()
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for level in [*net.one2one.classes, *net.one2one.boxes]:
            nn.init.normal_(level[-1].weight, std=0.3)
        for level in net.one2one.classes:
            nn.init.constant_(level[-1].bias, -2.0)
        for norm in norms:
            norm.momentum = 1.0
        net(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255)
    return net


@pytest.fixture(scope="module")
def traced(network):
    return trace_detector(network)


def shapes(values):
    return {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values
    }


def test_the_batch_and_both_sides_are_free(traced):
    graph = onnx.load_from_string(traced).graph
    assert shapes(graph.input) == {"images": ["b", 3, "h", "w"]}
    ((name, shape),) = shapes(graph.output).items()
    assert (name, shape[0], shape[2]) == ("detections", "b", 6)


def test_only_the_deployed_half_is_exported(network, traced):
    stored = sum(
        onnx.numpy_helper.to_array(w).size for w in onnx.load_from_string(traced).graph.initializer
    )
    deployed = sum(p.numel() for p in network.deployed().parameters())
    assert 0.99 * deployed < stored < deployed + 1000  # tensors that are alike are stored once
    assert network.training and network.one2many is not None  # and nothing happened to it


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(96, 128), (128, 96), (64, 64), (32, 352)])
def test_files_see_what_torch_sees_in_any_size(network, traced, pictures, backend, size):
    resized = [cv2.resize(image, size[::-1]) for image in pictures[:2]]
    difference = largest_difference(traced, network, resized, backend, least=0.4)
    assert difference.n_detections > 10
    # Weights by chance make logits that round differently; half a pixel would still be seen.
    assert difference.boxes < 0.4 and difference.scores < 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_stored_in_half_cost_little(network, traced, pictures, backend):
    exported = halve_weights(traced)
    assert len(exported) < 0.6 * len(traced)
    difference = largest_difference(exported, network, pictures, backend, least=0.4)
    assert 0.1 < difference.boxes < 20 and 1e-3 < difference.scores < 0.05  # chance forgives little


def test_restoring_undoes_halving_but_for_the_digits(traced):
    halved = halve_weights(traced)
    restored = onnx.load_from_string(restore_weights(halved)).graph
    before = onnx.load_from_string(traced).graph
    assert [n.name for n in restored.node] == [n.name for n in before.node]
    for one, other in zip(restored.initializer, before.initializer, strict=True):
        values, expected = (onnx.numpy_helper.to_array(w) for w in (one, other))
        assert (one.name, values.dtype) == (other.name, expected.dtype)
        np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-7)
    assert halve_weights(restore_weights(halved)) == halved


@pytest.fixture(scope="module")
def quantised(traced, pictures):
    return quantise_detector(halve_weights(traced), pictures, image_size=128)


def test_both_runtimes_mean_the_same_by_int8(quantised, pictures):
    """Rounded in other places, scores of random weights are 0.02 apart; misread, 0.1 to 0.4."""
    first, second = (open_box_predictor(quantised, name, precision="f32") for name in BACKENDS)
    apart = [np.abs(first(image)[:100, 4] - second(image)[:100, 4]).mean() for image in pictures]
    assert np.mean(apart) < 0.05


def test_int8_keeps_boxes_in_float_and_weights_in_a_quarter_of_the_bytes(traced, quantised):
    assert len(quantised) < 0.4 * len(traced)
    graph = onnx.load_from_string(quantised).graph
    maker = {output: node for node in graph.node for output in node.output}

    def is_int8(node):
        return any(getattr(maker.get(i), "op_type", "") == "DequantizeLinear" for i in node.input)

    kinds = {
        kind: [is_int8(n) for n in graph.node if n.op_type == kind]
        for kind in ("Conv", "Softmax", "MatMul", "TopK", "GatherElements", "Sigmoid")
    }
    assert all(kinds["Conv"])
    for kind in ("Softmax", "MatMul", "TopK", "GatherElements"):
        assert not any(kinds[kind]), kind


def test_int8_without_nncf_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        quantise_detector(b"", [])


def test_a_difference_is_that_of_the_nearest_of_the_same_class():
    reference = np.array(
        [[0, 0, 10, 10, 0.9, 1], [50, 50, 60, 60, 0.6, 0], [0, 0, 9, 9, 0.01, 0]], np.float32
    )
    found = np.array(
        [[50, 50, 60, 60.5, 0.5, 0], [0, 0, 10, 10, 0.8, 0], [0, 0.25, 10, 10, 0.7, 1]], np.float32
    )
    difference = detection_difference(found, reference)
    assert (difference.boxes, difference.n_detections) == (0.5, 2)
    assert difference.scores == pytest.approx(0.2)
    assert detection_difference(found, reference[:0]).boxes == 0
    assert detection_difference(found[:2], reference[:1]).boxes == np.inf


@pytest.mark.real
def test_the_exported_published_network_sees_the_same_in_photographs(real_data):
    network = YoloV10(YoloConfig(80, "n")).eval()
    load_published(network, real_data / "weights" / "yolov10n_coco.safetensors")
    photos = sorted((real_data / "backgrounds" / "photos").glob("*.jpg"))[:40]
    images = [
        cv2.resize(cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB), (640, 480)) for p in photos
    ]
    exported = export_detector(network)
    difference = largest_difference(exported, network, images[:4])
    assert difference.n_detections > 10
    assert difference.boxes < 0.5 and difference.scores < 0.02

    predict = open_box_predictor(exported, precision="f32")
    quantised = open_box_predictor(quantise_detector(exported, images[8:]), precision="f32")
    for image in images[:4]:
        sure = predict(image)[:1]
        difference = detection_difference(quantised(image), sure)
        assert difference.boxes < 15 and difference.scores < 0.2
