import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

from heatpose.errors import MissingExtraError
from heatpose.export.onnx import halve_weights, trace_network
from heatpose.model.heatmaps import STRIDE, decode
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.runtime.predictor import open_predictor
from heatpose.runtime.torch_predictor import TorchPredictor

pytestmark = pytest.mark.slow

SIZE, BATCH = 96, 9


@pytest.fixture(scope="module")
def network():
    """Random weights, with a head so strong that heatmaps have peaks as trained ones have."""
    torch.manual_seed(0)
    net = KeypointNet(NetworkConfig(3, 8, decoder_channels=32, crop_size=SIZE)).eval()
    with torch.no_grad():
        net.head.weight.normal_(std=30.0)
    return net


@pytest.fixture(scope="module")
def exact(network):
    """The network as ONNX, weights untouched."""
    return trace_network(network)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), dtype=np.uint8)
    smooth = np.stack([cv2.GaussianBlur(image, (0, 0), 3) for image in noise]).astype(float)
    crops = ((smooth - 128) * 5 + 128).clip(0, 255).astype(np.uint8)
    return crops, np.arange(BATCH) % 3


@pytest.fixture(scope="module")
def truth(network, inputs):
    return TorchPredictor(network)(*inputs)


def moved(heatmaps, truth):
    """How far keypoints that torch is sure of lie from where torch sees them, px of the crop."""
    shape = (-1, *truth.shape[-2:])
    expected, found = decode(truth.reshape(shape)), decode(heatmaps.reshape(shape))
    sure = expected.confidences > 0.5
    assert sure.sum() > 30
    return STRIDE * np.linalg.norm(found.pixels - expected.pixels, axis=1)[sure]


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_backends_agree_with_torch(exact, inputs, truth, backend):
    heatmaps = open_predictor(exact, backend, precision="f32")(*inputs)
    assert heatmaps.shape == truth.shape and heatmaps.dtype == np.float32
    np.testing.assert_allclose(heatmaps, truth, atol=1e-4)
    assert moved(heatmaps, truth).max() < 1e-3


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_weights_stored_in_half_cost_hundredths_of_a_pixel(exact, inputs, truth, backend):
    heatmaps = open_predictor(halve_weights(exact), backend, precision="f32")(*inputs)
    cost = moved(heatmaps, truth)
    assert np.median(cost) < 0.01 and cost.max() < 0.1
    assert np.median(cost) > 1e-4  # or the weights were not halved


def test_computing_in_bf16_costs_tenths_of_a_pixel(exact, inputs, truth):
    predictor = open_predictor(exact, precision="bf16")
    if predictor.precision != "bf16":
        pytest.skip("this processor has no bf16")
    cost = moved(predictor(*inputs), truth)
    assert np.median(cost) < 0.15 and np.quantile(cost, 0.9) < 0.5


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("threads", [1, 2])
def test_each_crop_is_predicted_as_if_alone(exact, inputs, backend, threads):
    predictor = open_predictor(exact, backend, precision="f32", threads=threads)
    crops, index = inputs
    together = predictor(crops, index)
    for one in (0, BATCH - 1):
        alone = predictor(crops[one : one + 1], index[one : one + 1])
        np.testing.assert_allclose(alone[0], together[one], atol=1e-4)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_results_stay_when_the_predictor_is_called_again(exact, inputs, backend):
    predictor = open_predictor(exact, backend, precision="f32")
    crops, index = inputs
    first = predictor(crops, index)
    kept = first.copy()
    predictor(crops[::-1], index)
    np.testing.assert_array_equal(first, kept)


def test_the_object_picks_its_own_keypoints(exact, inputs):
    predictor = open_predictor(exact, precision="f32")
    crops = np.repeat(inputs[0][:1], 3, axis=0)
    one, other, again = predictor(crops, np.array([0, 2, 0]))
    np.testing.assert_allclose(one, again, atol=1e-6)
    assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize(
    ("crops", "index", "message"),
    [
        (np.zeros((2, 64, 64, 3), np.float32), np.zeros(2, int), "got float32"),
        (np.zeros((2, 3, 64, 64), np.uint8), np.zeros(2, int), r"\(2, 3, 64, 64\)"),
        (np.zeros((0, 64, 64, 3), np.uint8), np.zeros(0, int), r"\(0, 64, 64, 3\)"),
        (np.zeros((2, 64, 64, 3), np.uint8), np.zeros(3, int), r"integers \(2,\), got int64 \(3"),
        (np.zeros((2, 64, 64, 3), np.uint8), np.zeros(2), "got float64"),
    ],
)
def test_what_would_be_misread_is_refused(network, crops, index, message):
    with pytest.raises(ValueError, match=message):
        TorchPredictor(network)(crops, index)


def test_unknown_ways_to_run_are_refused():
    with pytest.raises(ValueError, match="openvino or onnxruntime, got 'tensorrt'"):
        open_predictor(b"", "tensorrt")
    with pytest.raises(ValueError, match="not in bf16"):
        open_predictor(b"", "onnxruntime", precision="bf16")


def test_a_missing_runtime_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r'pip install "heatpose\[onnx\]"'):
        open_predictor(b"", "onnxruntime")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_several_threads_may_ask_for_a_crop_each(exact, inputs, backend):
    predict, (crops, objects) = open_predictor(exact, backend, threads=2), inputs

    def ask(i):
        return predict(crops[i % BATCH, None], objects[i % BATCH, None])

    alone = [ask(i) for i in range(BATCH)]
    with ThreadPoolExecutor(4) as pool:
        for i, found in enumerate(pool.map(ask, range(8 * BATCH))):
            np.testing.assert_array_equal(found, alone[i % BATCH])
