"""Files of weights, both ways: whole networks, and pretrained trunks under torchvision's names."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from heatpose.errors import CheckpointError
from heatpose.files import write_whole
from heatpose.model.network import KeypointNet, NetworkConfig

FORMAT = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackboneReport:
    """Which tensors of the trunk came from a file, and which start from scratch."""

    path: Path
    loaded: tuple[str, ...]
    from_scratch: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{len(self.loaded)} tensors of the trunk from {self.path.name}"
        if self.from_scratch:
            text += f", {len(self.from_scratch)} from scratch: {_shorten(self.from_scratch)}"
        return text


def save_network(path: Path, network: KeypointNet, notes: Mapping[str, Any]) -> None:
    """Write a network as one safetensors file, whole or not at all.

    Args:
        path: the file to write; what is there is replaced.
        network: on any device, in any memory format.
        notes: what else should travel with the weights; JSON.
    """
    write_weights(path, network.state_dict(), asdict(network.config), notes)


def load_network(path: Path) -> tuple[KeypointNet, dict[str, Any]]:
    """Read what `save_network` wrote: the network, in eval mode on the CPU, and the notes.

    Raises:
        CheckpointError: the file is missing, broken, of a newer format or not one of ours.
    """
    tensors, config, notes = read_weights(path)
    try:
        network = KeypointNet(NetworkConfig(**config))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has a config that cannot be used: {error}") from None
    load_into(network, tensors, path)
    return network.eval(), notes


def write_weights(
    path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any], notes: Mapping[str, Any]
) -> None:
    """Write the tensors of any network with its config, whole or not at all."""
    header = {"format": FORMAT, "config": dict(config), "notes": dict(notes)}
    there = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with write_whole(path) as temporary:
        # Bytes, because safetensors hides why a file could not be written.
        temporary.write_bytes(save(there, metadata={"heatpose": json.dumps(header)}))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Read what `write_weights` wrote: tensors, config and notes.

    Raises:
        CheckpointError: the file is missing, broken, of a newer format or not one of ours.
    """
    tensors, metadata = read_safetensors(path)
    try:
        header = json.loads(metadata["heatpose"])
        number, config, notes = header["format"], dict(header["config"]), dict(header["notes"])
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{path} is not a network written by heatpose") from None
    if number != FORMAT:
        raise CheckpointError(f"{path} has format {number!r}, this heatpose reads {FORMAT}")
    return tensors, config, notes


def load_backbone(network: KeypointNet, path: Path, partial: bool = False) -> BackboneReport:
    """Fill the trunk with ImageNet weights under torchvision's names, and log what was filled.

    In a residual block that starts from scratch the last batch norm is set to zero, so that the
    block begins as its shortcut and what the pretrained stages found passes through.

    Args:
        network: changed in place. In one of depth alone the first convolution starts from scratch:
            that of the file looks at colours.
        path: safetensors, or torchvision's own .pth; its classifier (``fc``) is left out.
        partial: whether the file may lack a part of the trunk, which then starts from scratch.

    Raises:
        CheckpointError: the file is missing or broken, holds other names or shapes, or lacks
            a part of the trunk without `partial`.
    """
    tensors = read_safetensors(path)[0] if path.suffix == ".safetensors" else _read_pth(path)
    tensors = {name: t for name, t in tensors.items() if not name.startswith("fc.")}
    if network.config.fusion == "depth":
        tensors.pop("conv1.weight", None)
        partial = True
    own = network.trunk.state_dict()
    # A count of batches that older files do not have, and that nothing here reads.
    tensors = {n: t for n, t in own.items() if n.endswith("num_batches_tracked")} | tensors
    missing = tuple(n for n in own if n not in tensors)
    if missing and not partial:
        raise CheckpointError(
            f"{path} lacks {len(missing)} tensors of a ResNet-18: {_shorten(missing)}"
        )
    load_into(network.trunk, {**{n: own[n] for n in missing}, **tensors}, path)
    for name, block in network.trunk.blocks.items():
        if f"{name}.bn2.weight" in missing:
            nn.init.zeros_(block.bn2.weight)
    report = BackboneReport(path, tuple(n for n in own if n in tensors), missing)
    log.info("%s", report)
    return report


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors that must be exactly those of a module, by name and shape."""
    own = module.state_dict()
    if missing := [n for n in own if n not in tensors]:
        raise CheckpointError(f"{path} lacks {_shorten(missing)}")
    if foreign := [n for n in tensors if n not in own]:
        raise CheckpointError(f"{path} has {_shorten(foreign)}, which does not belong there")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise CheckpointError(
                f"{path} has {name} of shape {tuple(tensor.shape)}, "
                f"expected {tuple(own[name].shape)}"
            )
    module.load_state_dict(tensors)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file and its metadata."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from None


def _read_pth(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict written by torch.save; runs no code from the file."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file raises one of many kinds
        raise CheckpointError(f"{path} cannot be read as a state dict: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(t, Tensor) for t in found.values()):
        raise CheckpointError(f"{path} is not a state dict of tensors")
    return found


def _shorten(names: Iterable[str]) -> str:
    """Return the first few of many names."""
    names = list(names)
    return ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
