"""The keypoint network as ONNX, with its weights stored in half the bytes."""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from heatpose.errors import BundleError
from heatpose.model.network import KeypointNet, NetworkConfig, heatmaps_of

OPSET = 18
# Smaller tensors save nothing, and batch normalisation's own must keep their digits.
LEAST_HALVED = 1024


class _Exported(nn.Module):
    """The network as it is used: with probabilities as output."""

    def __init__(self, network: KeypointNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor, object_index: Tensor) -> Tensor:
        """Return the heatmaps (b, k, s / 4, s / 4)."""
        return heatmaps_of(self.network(crops, object_index))


def export_network(network: KeypointNet) -> bytes:
    """Return a network as an ONNX file.

    Its inputs are ``crops``, float32 (b, 3, s, s) in [0, 1] with s the network's crop size, and
    ``object_index``, int64 (b,). Its output is ``heatmaps``, float32 (b, k, s / 4, s / 4),
    probabilities over the pixels of each map. The batch b is free. Weights are stored as
    float16, which halves the file, and computed with as float32.
    """
    return halve_weights(trace_network(network))


def trace_network(network: KeypointNet) -> bytes:
    """Return a network as `export_network` does, with its weights as they are, float32."""
    network = copy.deepcopy(network).cpu().eval()
    size = network.config.crop_size
    example = (torch.zeros(2, 3, size, size), torch.zeros(2, dtype=torch.int64))
    with _quiet_torch(), torch.no_grad():
        program = torch.onnx.export(
            _Exported(network),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=["crops", "object_index"],
            output_names=["heatmaps"],
            dynamic_shapes={"crops": {0: "b"}, "object_index": {0: "b"}},
            verbose=False,
            optimize=False,  # the runtimes do it; batch norms kept apart can be trained on
        )
    assert program is not None  # the exporter of old gives None
    return bytes(program.model_proto.SerializeToString())


def halve_weights(network: bytes) -> bytes:
    """Store the large weights of an ONNX network as float16, cast to float32 where they are used.

    Both runtimes undo the cast once, when they load the network.
    """
    model = onnx.load_from_string(network)
    casts = []
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.dtype != np.float32 or values.size < LEAST_HALVED:
            continue
        name, stored = weights.name, f"{weights.name}.half"
        weights.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def import_network(network: bytes, config: NetworkConfig) -> KeypointNet:
    """Return the network that `export_network` made an ONNX file of, to train it on.

    Its weights have the digits of the file: those of float16 where they were halved.

    Raises:
        BundleError: the file does not hold a network of this config.
    """
    restored = KeypointNet(config)
    tensors = dict(restored.state_dict())
    missing = {name for name in tensors if not name.endswith("num_batches_tracked")}
    for stored in onnx.load_from_string(network).graph.initializer:
        name = stored.name.removeprefix("network.").removesuffix(".half")
        if name in missing and tuple(stored.dims) == tuple(tensors[name].shape):
            values = numpy_helper.to_array(stored).astype(np.float32)
            tensors[name] = torch.from_numpy(values)
            missing.remove(name)
    if missing:
        raise BundleError(f"the bundle's network lacks {min(missing)}: it cannot be trained on")
    restored.load_state_dict(tensors)
    return restored


@contextlib.contextmanager
def _quiet_torch() -> Iterator[None]:
    """Keep what the exporter says of its own inner workings from people."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
