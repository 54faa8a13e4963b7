"""Files of detectors, both ways, and published YOLOv10 weights under their own names."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from heatpose.errors import CheckpointError
from heatpose.model.weights import load_into, read_safetensors, read_weights, write_weights
from heatpose.model.yolov10 import YoloConfig, YoloV10

# Published networks number their modules in the order in which they run.
_PUBLISHED_MODULES = {
    "backbone.stem": "model.0",
    "backbone.down4": "model.1",
    "backbone.stage4": "model.2",
    "backbone.down8": "model.3",
    "backbone.stage8": "model.4",
    "backbone.down16": "model.5",
    "backbone.stage16": "model.6",
    "backbone.down32": "model.7",
    "backbone.stage32": "model.8",
    "backbone.pool": "model.9",
    "backbone.attend": "model.10",
    "neck.top16": "model.13",
    "neck.top8": "model.16",
    "neck.down16": "model.17",
    "neck.bottom16": "model.19",
    "neck.down32": "model.20",
    "neck.bottom32": "model.22",
    "one2many.boxes": "model.23.cv2",
    "one2many.classes": "model.23.cv3",
    "one2one.boxes": "model.23.one2one_cv2",
    "one2one.classes": "model.23.one2one_cv3",
}
_PUBLISHED_PARTS = {
    "enter": "cv1",
    "leave": "cv2",
    "blocks": "m",
    "first": "cv1",
    "second": "cv2",
    "layers": "cv1",
    "large": "conv",
    "small": "conv1",
    "pointwise": "cv1",
    "depthwise": "cv2",
    "attention": "attn",
    "position": "pe",
    "out": "proj",
    "feedforward": "ffn",
}
_LEARNING, _DEPLOYED, _TRUNK = "one2many.", "one2one.", "backbone.trunk."
# The whole numbers that a distribution is averaged over: a constant of ours.
_PUBLISHED_CONSTANT = "model.23.dfl.conv.weight"


def save_detector(path: Path, network: YoloV10, notes: Mapping[str, Any]) -> None:
    """Write a detector as one safetensors file, whole or not at all.

    Args:
        path: the file to write; what is there is replaced.
        network: with both heads, on any device, in any memory format.
        notes: what else should travel with the weights; JSON.
    """
    write_weights(path, network.state_dict(), asdict(network.config), notes)


def load_detector(path: Path) -> tuple[YoloV10, dict[str, Any]]:
    """Read what `save_detector` wrote: the network, in eval mode on the CPU, and the notes.

    Raises:
        CheckpointError: the file is missing, broken, of a newer format or holds no detector.
    """
    tensors, config, notes = read_weights(path)
    network = YoloV10(_config_of(config, path))
    load_into(network, tensors, path)
    return network.eval(), notes


def save_start(path: Path, network: YoloV10, notes: Mapping[str, Any]) -> None:
    """Write what another training can start from, in a fraction of the bytes.

    That is the deployed half in float16, without the trunk of a keypoint network, which is there
    already. Arguments are those of `save_detector`.
    """
    small = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
        if not name.startswith((_LEARNING, _TRUNK))
    }
    write_weights(path, small, asdict(network.config), notes)


def read_start(path: Path) -> tuple[YoloConfig, dict[str, Tensor]]:
    """Read what `save_start` or `save_detector` wrote, to start another training from.

    Where the head that only learns is missing, it is taken to be the deployed one.

    Returns:
        The config, and tensors by name; those of a trunk may be missing.

    Raises:
        CheckpointError: as `load_detector`.
    """
    tensors, found, _ = read_weights(path)
    config = _config_of(found, path)
    for name in [n for n in tensors if n.startswith(_DEPLOYED)]:
        tensors.setdefault(_LEARNING + name.removeprefix(_DEPLOYED), tensors[name])
    network = YoloV10(config)
    own = network.state_dict()
    trunk = {n: t for n, t in own.items() if n.startswith(_TRUNK)}
    load_into(network, {**trunk, **tensors}, path)
    return config, {n: t.to(own[n].dtype) for n, t in tensors.items()}


def _config_of(config: Mapping[str, Any], path: Path) -> YoloConfig:
    try:
        return YoloConfig(**config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has a config that cannot be used: {error}") from None


def load_published(network: YoloV10, path: Path) -> None:
    """Fill a network with published YOLOv10 weights of its size and number of classes.

    Args:
        network: changed in place.
        path: safetensors with the state dict as published (``model.0.conv.weight`` and so on).

    Raises:
        CheckpointError: the file is missing or broken, or holds other names or shapes.
    """
    tensors, _ = read_safetensors(path)
    tensors.pop(_PUBLISHED_CONSTANT, None)
    own_names = {_published_name(name): name for name in network.state_dict()}
    load_into(network, {own_names.get(n, n): t for n, t in tensors.items()}, path)


def _published_name(name: str) -> str:
    """Return what one of our tensors is called in a published state dict."""
    part, module, *rest = name.split(".")
    inside = [_PUBLISHED_PARTS.get(word, word) for word in rest]
    return ".".join([_PUBLISHED_MODULES[f"{part}.{module}"], *inside])
