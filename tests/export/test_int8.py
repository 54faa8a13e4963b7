"""Keypoint networks in eight bits."""

import numpy as np
import onnx
import pytest
import torch

from heatpose.export.agreement import compare
from heatpose.export.int8 import quantise_network
from heatpose.export.onnx import export_network
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.runtime.predictor import open_predictor

pytestmark = pytest.mark.slow

SIZE = 64


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 255, (12, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = KeypointNet(NetworkConfig(2, 4, decoder_channels=16, crop_size=SIZE)).eval()
    with torch.no_grad():
        network.head.weight.normal_(std=20.0)
    return network


@pytest.fixture(scope="module")
def exported(network):
    return export_network(network)


@pytest.fixture(scope="module")
def quantised(network, crops):
    pytest.importorskip("nncf")
    return quantise_network(network, crops, np.arange(12) % 2)


def test_convolutions_compute_in_int8_and_heads_in_float(exported, quantised):
    assert len(quantised) < 0.7 * len(exported)  # of float16
    graph = onnx.load_from_string(quantised).graph
    maker = {output: node.op_type for node in graph.node for output in node.output}

    def is_int8(node):
        return any(maker.get(name) == "DequantizeLinear" for name in node.input)

    assert all(is_int8(node) for node in graph.node if node.op_type == "Conv")
    behind = [n for n in graph.node if n.op_type in ("MatMul", "Softmax", "Gather")]
    assert behind and not any(is_int8(node) for node in behind)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_heatmaps_stay_nearly_the_same_in_both_runtimes(exported, quantised, crops, backend):
    index = np.arange(12) % 2
    before = open_predictor(exported, backend, precision="f32")(crops, index)
    after = open_predictor(quantised, backend, precision="f32")(crops, index)
    assert compare(after, before).median < 1.0  # px of the crop: a quarter of a heatmap's
    wrong = open_predictor(quantised, backend, precision="f32")(crops, 1 - index)
    assert np.abs(after - before).mean() < 0.3 * np.abs(wrong - before).mean()
