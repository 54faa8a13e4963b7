import numpy as np
import onnx
import pytest
import torch

from heatpose.errors import BundleError
from heatpose.export.onnx import halve_weights, import_network, trace_network
from heatpose.model.network import KeypointNet, NetworkConfig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return KeypointNet(NetworkConfig(3, 4, decoder_channels=16, crop_size=64)).train()


@pytest.fixture(scope="module")
def before(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.fixture(scope="module")
def traced(network, before):
    return trace_network(network)


def shapes(values):
    return {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values
    }


def test_inputs_and_output_are_named_and_the_batch_is_free(traced):
    graph = onnx.load_from_string(traced).graph
    assert shapes(graph.input) == {"crops": ["b", 3, 64, 64], "object_index": ["b"]}
    assert shapes(graph.output) == {"heatmaps": ["b", 4, 16, 16]}


def test_halving_stores_half_the_bytes(traced):
    assert len(halve_weights(traced)) < 0.51 * len(traced)


def test_halving_rounds_weights_and_keeps_the_small_ones(traced):
    before = {w.name: onnx.numpy_helper.to_array(w) for w in weights_of(traced)}
    after = {w.name: onnx.numpy_helper.to_array(w) for w in weights_of(halve_weights(traced))}
    rounded = 0
    for name, values in before.items():
        half = after.get(f"{name}.half")
        if half is None:
            np.testing.assert_array_equal(after[name], values)
        else:
            np.testing.assert_array_equal(half, values.astype(np.float16))
            rounded += half.size
    assert rounded > 0.99 * sum(values.size for values in before.values())


def weights_of(network):
    return onnx.load_from_string(network).graph.initializer


def test_exporting_leaves_the_network_as_it_was(network, before, traced):
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_import_undoes_export(network, before, traced):
    restored = import_network(traced, network.config).state_dict()
    halved = import_network(halve_weights(traced), network.config).state_dict()
    assert restored.keys() == before.keys()
    for name, value in before.items():
        if name.endswith("num_batches_tracked"):
            continue
        assert torch.equal(restored[name], value), name
        rounded = value.half().float() if value.numel() >= 1024 else value
        assert torch.equal(halved[name], rounded), name


def test_a_network_of_another_kind_is_not_imported(traced):
    other = NetworkConfig(4, 4, decoder_channels=16, crop_size=64)
    with pytest.raises(BundleError, match=r"lacks head\.bias, as .* it cannot be trained on"):
        import_network(traced, other)


@pytest.mark.parametrize("activation", ["silu", "mish"])
def test_every_activation_is_exported_as_it_is(activation):
    from heatpose.runtime.predictor import open_predictor
    from heatpose.runtime.torch_predictor import TorchPredictor

    torch.manual_seed(1)
    config = NetworkConfig(1, 4, activation=activation, decoder_channels=16, crop_size=64)
    network = KeypointNet(config).eval()
    crops = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)
    index = np.zeros(2, int)
    expected = TorchPredictor(network)(crops, index)
    for backend in ("openvino", "onnxruntime"):
        predictor = open_predictor(trace_network(network), backend, precision="f32")
        np.testing.assert_allclose(predictor(crops, index), expected, atol=1e-5)
