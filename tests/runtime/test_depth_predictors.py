import cv2
import numpy as np
import onnx
import pytest
import torch

from heatpose.export.onnx import import_network, trace_network
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.runtime.predictor import no_depth, open_predictor
from heatpose.runtime.torch_predictor import TorchPredictor

pytestmark = pytest.mark.slow

SIZE, BATCH = 64, 5
BACKENDS = ["openvino", "onnxruntime"]
TAKES = {
    "none": ["crops", "object_index"],
    "early": ["crops", "object_index", "depth"],
    "late": ["crops", "object_index", "depth"],
    "cross": ["crops", "object_index", "depth"],
    "depth": ["depth", "object_index"],
}


def network_of(fusion):
    """Random weights, those of depth too, and heatmaps that have peaks."""
    torch.manual_seed(0)
    config = NetworkConfig(3, 8, decoder_channels=32, crop_size=SIZE, fusion=fusion)
    network = KeypointNet(config).eval()
    with torch.no_grad():
        network.head.weight.normal_(std=20.0)
        for parameter in network.fusion.parameters() if network.fusion else ():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return network


@pytest.fixture(scope="module", params=list(TAKES))
def network(request):
    return network_of(request.param)


@pytest.fixture(scope="module")
def exact(network):
    return trace_network(network)


@pytest.fixture(scope="module")
def inputs():
    """Crops, objects, and depth that lacks a part in the first and all in the second."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(image, (0, 0), 3) for image in noise])
    crops = ((smooth - 128) * 5 + 128).clip(0, 255).astype(np.uint8)
    depth = np.ones((BATCH, 2, SIZE, SIZE), np.float32)
    depth[:, 0] = (smooth[..., 0] - 128) / 30
    depth[0, :, :20] = 0
    depth[1] = 0
    return crops, np.arange(BATCH) % 3, depth


def test_a_network_takes_what_it_looks_at(network, exact):
    graph = onnx.load_from_string(exact).graph
    assert [one.name for one in graph.input] == TAKES[network.config.fusion]
    assert {"object_index", *network.config.inputs} == set(TAKES[network.config.fusion])


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_agree_with_torch(network, exact, inputs, backend):
    heatmaps = open_predictor(exact, backend, precision="f32")(*inputs)
    truth = TorchPredictor(network)(*inputs)
    np.testing.assert_allclose(heatmaps, truth, atol=2e-4)
    assert truth.max() > 0.05


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_depth_is_depth_that_was_nowhere_measured(exact, inputs, backend):
    predictor = open_predictor(exact, backend, precision="f32")
    crops, index, _ = inputs
    nothing = no_depth(crops)
    assert nothing.shape == (BATCH, 2, SIZE, SIZE) and not nothing.any()
    np.testing.assert_array_equal(predictor(crops, index), predictor(crops, index, nothing))


@pytest.mark.parametrize("backend", BACKENDS)
def test_depth_counts_where_it_is_looked_at(network, exact, inputs, backend):
    crops, index, depth = inputs
    predictor = open_predictor(exact, backend, precision="f32")
    moved = np.abs(predictor(crops, index, depth) - predictor(crops, index)).max(axis=(1, 2, 3))
    counts = "depth" in network.config.inputs
    assert [bool(one > 1e-3) for one in moved] == [counts, False, counts, counts, counts]


def test_import_undoes_export(network, exact):
    before, restored = network.state_dict(), import_network(exact, network.config).state_dict()
    for name, value in before.items():
        assert name.endswith("num_batches_tracked") or torch.equal(restored[name], value), name


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (np.zeros((2, 2, 64, 64)), r"float32 \(2, 2, 64, 64\), got float64"),
        (np.zeros((2, 64, 64), np.float32), r"got float32 \(2, 64, 64\)"),
        (np.zeros((2, 2, 32, 32), np.float32), r"got float32 \(2, 2, 32, 32\)"),
        (np.full((2, 2, 64, 64), np.nan, np.float32), "must be finite"),
    ],
)
def test_depth_that_would_be_misread_is_refused(depth, message):
    crops, index = np.zeros((2, 64, 64, 3), np.uint8), np.zeros(2, int)
    with pytest.raises(ValueError, match=message):
        TorchPredictor(network_of("early"))(crops, index, depth)
