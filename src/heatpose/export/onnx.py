"""The keypoint network as ONNX, with its weights stored in half the bytes."""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from heatpose.errors import BundleError
from heatpose.model.fusion import DEPTH_CHANNELS
from heatpose.model.network import KeypointNet, NetworkConfig, heatmaps_of

OPSET = 18
# Smaller tensors save nothing, and batch normalisation's own must keep their digits.
LEAST_HALVED = 1024
HALF = ".half"  # ends the names of weights that are stored as float16


class _Exported(nn.Module):
    """The network as it is used: with probabilities as output."""

    def __init__(self, network: KeypointNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor, object_index: Tensor, depth: Tensor | None = None) -> Tensor:
        """Return the heatmaps (b, k, s / 4, s / 4)."""
        return heatmaps_of(self.network(crops, object_index, depth))


class _ExportedDepth(_Exported):
    """A network of depth alone, which has no crops of colours as input."""

    def forward(self, depth: Tensor, object_index: Tensor) -> Tensor:  # type: ignore[override]
        """Return the heatmaps (b, k, s / 4, s / 4)."""
        return heatmaps_of(self.network(depth, object_index, depth))


def export_network(network: KeypointNet) -> bytes:
    """Return a network as an ONNX file.

    Its inputs are ``crops``, float32 (b, 3, s, s) in [0, 1] with s the network's crop size, and
    ``object_index``, int64 (b,). Networks that look at depth have ``depth`` as a third, float32
    (b, 2, s, s), and those of depth alone no ``crops``. Its output is ``heatmaps``, float32
    (b, k, s / 4, s / 4), probabilities over the pixels of each map. The batch b is free. Weights
    are stored as float16, which halves the file, and computed with as float32.
    """
    return halve_weights(trace_network(network))


def trace_network(network: KeypointNet, optimize: bool = False) -> bytes:
    """Return a network as `export_network` does, with its weights as they are, float32.

    Args:
        network: the network.
        optimize: as for `trace`.
    """
    network = copy.deepcopy(network).cpu().eval()
    size, takes = network.config.crop_size, network.config.inputs
    crops = {"crops": (torch.zeros(2, 3, size, size), {0: "b"})}
    depth = {"depth": (torch.zeros(2, DEPTH_CHANNELS, size, size), {0: "b"})}
    index = {"object_index": (torch.zeros(2, dtype=torch.int64), {0: "b"})}
    if takes == ("depth",):
        return trace(_ExportedDepth(network), depth | index, "heatmaps", optimize)
    inputs = crops | index | (depth if "depth" in takes else {})
    return trace(_Exported(network), inputs, "heatmaps", optimize)


def trace(
    network: nn.Module,
    inputs: Mapping[str, tuple[Tensor, dict[int, str]]],
    output: str,
    optimize: bool = False,
) -> bytes:
    """Return a module with one output as an ONNX file, weights as they are.

    Args:
        network: in eval mode, on the CPU.
        inputs: for each name an example, and the names of the dimensions that are free.
        output: name.
        optimize: whether operations may be joined. The runtimes do that by themselves, and
            batch norms kept apart can be trained on.
    """
    with _quiet_torch(), torch.no_grad():
        program = torch.onnx.export(
            network.eval(),
            tuple(example for example, _ in inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=tuple(free for _, free in inputs.values()),
            verbose=False,
            optimize=optimize,
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
        name, stored = weights.name, weights.name + HALF
        weights.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def restore_weights(network: bytes) -> bytes:
    """Store as float32 again what `halve_weights` made float16; the lost digits stay lost."""
    model = onnx.load_from_string(network)
    for weights in model.graph.initializer:
        if weights.name.endswith(HALF):
            values = numpy_helper.to_array(weights).astype(np.float32)
            weights.CopyFrom(numpy_helper.from_array(values, weights.name.removesuffix(HALF)))
    nodes = [node for node in model.graph.node if not any(n.endswith(HALF) for n in node.input)]
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
        name = stored.name.removeprefix("network.").removesuffix(HALF)
        if name in missing and tuple(stored.dims) == tuple(tensors[name].shape):
            values = numpy_helper.to_array(stored).astype(np.float32)
            tensors[name] = torch.from_numpy(values)
            missing.remove(name)
    if missing := missing - {"mean", "std"}:  # which a network of depth alone does not need
        raise BundleError(
            f"the bundle's network lacks {min(missing)}, as those in eight bits do: it cannot be "
            "trained on, nor quantised again"
        )
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
