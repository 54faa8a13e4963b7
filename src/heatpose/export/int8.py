"""Exported networks whose convolutions compute in eight bits, by NNCF."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from heatpose.errors import MissingExtraError
from heatpose.export.onnx import restore_weights, trace_network
from heatpose.geometry.arrays import Image
from heatpose.model.network import KeypointNet

Inputs = Mapping[str, NDArray[np.generic]]


def quantise(
    network: bytes, inputs: Sequence[Inputs], kept_in_float: Callable[[ModelProto], set[str]]
) -> bytes:
    """Return an exported network whose convolutions compute in int8.

    Args:
        network: ONNX, its weights float32 or float16.
        inputs: like those that it will see, by name; their statistics choose the scales.
        kept_in_float: names the nodes that stay as they are.

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
    # One scale for all channels of a value: ONNX Runtime has no convolution that takes several.
    together = advanced.AdvancedQuantizationParameters(
        activations_quantization_params=advanced.QuantizationParameters(per_channel=False)
    )
    with _silence():
        quantised = nncf.quantize(
            model,
            nncf.Dataset(list(inputs), dict),
            preset=nncf.QuantizationPreset.MIXED,  # activations below and above 0 differ (SiLU)
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(names=sorted(kept_in_float(model)), validate=False),
            advanced_parameters=together,
        )
    _use_unsigned(quantised)
    onnx.checker.check_model(quantised)
    return bytes(quantised.SerializeToString())


def quantise_network(
    network: KeypointNet,
    crops: Image,
    object_index: NDArray[np.int64],
    depth: NDArray[np.float32] | None = None,
) -> bytes:
    """Return a keypoint network as an ONNX file whose trunk and decoder compute in int8.

    The heads and what makes probabilities of their logits stay in float: a position is read from
    small differences of logits.

    Args:
        network: the network.
        crops: like those that it will see, (b, s, s, 3).
        object_index: what they show, (b,).
        depth: theirs, (b, 2, s, s), for networks that look at it.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    seen: dict[str, NDArray[np.generic]] = {"object_index": object_index}
    if "crops" in network.config.inputs:
        seen["crops"] = crops.transpose(0, 3, 1, 2).astype(np.float32) / 255
    if "depth" in network.config.inputs and depth is not None:
        seen["depth"] = depth
    rows = range(len(object_index))
    inputs = [{name: values[i : i + 1] for name, values in seen.items()} for i in rows]
    # NNCF wants batch norms to be joined with the convolutions.
    return quantise(trace_network(network, optimize=True), inputs, _behind_convolutions)


def _behind_convolutions(model: ModelProto) -> set[str]:
    """Return the nodes that are no convolution and that no convolution follows."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    kept: set[str] = set()
    for node in reversed(model.graph.node):  # in an order in which users come later
        later = [user for output in node.output for user in users.get(output, [])]
        if node.op_type != "Conv" and all(user.name in kept for user in later):
            kept.add(node.name)
    return kept


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
