"""Files of detectors, both ways, and published YOLOv10 weights under their own names."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
    try:
        network = YoloV10(YoloConfig(**config))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has a config that cannot be used: {error}") from None
    load_into(network, tensors, path)
    return network.eval(), notes


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
