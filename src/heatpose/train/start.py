"""What a training run starts from: objects, backgrounds, first weights."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from heatpose.data.backgrounds import Backgrounds
from heatpose.data.batch_samples import BatchMaker, DrawingConfig
from heatpose.data.bop import BopDataset
from heatpose.data.samples import SampleConfig, SampleMaker, SampleSource
from heatpose.data.scene_samples import MixedSampleMaker, SceneSampleMaker
from heatpose.errors import CheckpointError, OptionError
from heatpose.export.bundle import read_run_objects
from heatpose.export.onnx import import_network
from heatpose.geometry.arrays import Array
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.model.weights import load_backbone, load_network
from heatpose.objects.catalogue import ObjectModel, read_models, read_objects
from heatpose.objects.keypoints import Strategy
from heatpose.runtime.bundle import read_bundle

LOG = logging.getLogger(__name__)
HEADS = {"head.weight", "head.bias"}
SAME_PLACE = 0.02  # mm
WEIGHTS = "network.safetensors"  # in a run folder


def find_objects(
    paths: Sequence[Path], unit: str | None, n_keypoints: int, strategy: Strategy
) -> list[ObjectModel]:
    """Read what is to be learned: one BOP models folder, or CAD files, numbered 1, 2, ...

    Continuous symmetries are taken in steps of a tenth of the diameter: the loss looks at
    every labelling of every sample, and finer steps would not be told apart in heatmaps.

    Raises:
        DataError: a folder or file cannot be used.
        OptionError: a folder is given beside other paths.
    """
    folders = [path for path in paths if path.is_dir()]
    if folders and len(paths) > 1:
        raise OptionError(f"give one models folder or CAD files: {folders[0]} is a folder")
    if folders:
        models = read_models(paths[0], n_keypoints, strategy, max_symmetry_step=0.1)
    else:
        models = read_objects(paths, unit, n_keypoints, strategy, max_symmetry_step=0.1)
    return list(models.values())


def make_maker(
    objects: list[ObjectModel],
    backgrounds: Path | None,
    config: SampleConfig,
    scenes: Sequence[BopDataset] = (),
    scenes_share: float = 1.0,
) -> SampleSource:
    """Return what draws samples of the objects, and say what stands behind them.

    Args:
        objects: what is to be learned.
        backgrounds: folder of photographs.
        config: how samples are made.
        scenes: data sets to cut samples from.
        scenes_share: share of the samples that are, where there are such; the others are rendered.

    Raises:
        DataError: a folder or file cannot be used.
        UnknownObjectError: the scenes do not show one of the objects.
        LabelError: the objects are not those of the scenes.
    """
    scenery = Backgrounds(backgrounds)
    LOG.info(
        "%d objects, backgrounds: %s",
        len(objects),
        f"{len(scenery.photos)} photographs" if scenery.photos else "generated textures only",
    )
    rendered = SampleMaker(objects, scenery, config)
    if not scenes or scenes_share == 0:
        return rendered
    cut = SceneSampleMaker(scenes, objects, scenery, config)
    return MixedSampleMaker([(cut, scenes_share), (rendered, 1 - scenes_share)])


def make_batches(
    maker: SampleSource, backgrounds: Path | None, config: SampleConfig, drawing: DrawingConfig
) -> BatchMaker:
    """Return what draws whole batches of a maker's objects where they are trained on.

    Args:
        maker: has the objects, and a renderer of them.
        backgrounds: folder of photographs.
        config: how samples are made.
        drawing: what is drawn beyond that.

    Raises:
        ValueError: samples are to be stretched.
    """
    device = training_device()
    LOG.info("samples are drawn on %s", device)
    scenery = Backgrounds(backgrounds)
    return BatchMaker(maker.objects, scenery, config, drawing, device, maker.renderer)


def training_device() -> torch.device:
    """Return the GPU that this process trains on, of several that train together, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def make_network(
    config: NetworkConfig,
    seed: int,
    backbone: Path | None = None,
    init: Path | None = None,
    objects: Sequence[ObjectModel] = (),
) -> KeypointNet:
    """Return a network with fresh weights, with a pretrained trunk, or with those of another.

    Args:
        config: what it is made of.
        seed: of fresh weights.
        backbone: pretrained trunk.
        init: the other network: ``network.safetensors`` of a run, or a bundle. Trunk and decoder
            are taken over, the stages and what is for depth as far as both have them, and the
            output weights of each keypoint that both know. So a network of colours and depth can
            start from one of colours, and one of three stages from one of four.
        objects: what is to be learned, in the order of the object index; none, to take no output
            weights over.

    Raises:
        CheckpointError: a file cannot be used, or the other network is of another kind.
        DataError: the run that the other network comes from cannot be used.
        BundleError: a bundle cannot be used.
    """
    torch.manual_seed(seed)
    network = KeypointNet(config)
    if init is not None:
        _take_over(network, init, objects)
    elif backbone is not None:
        load_backbone(network, backbone, partial=True)
    return network.train()


def _take_over(network: KeypointNet, init: Path, objects: Sequence[ObjectModel]) -> None:
    """Copy what both have of the same shape, and the heads of keypoints that both know.

    A keypoint is known again by its object and its place on it, whatever its number: those that
    were chosen among many candidates keep what was learned of them.
    """
    other, theirs = _other_network(init)
    for name in ("activation", "decoder_channels"):
        has, wanted = getattr(other.config, name), getattr(network.config, name)
        if has != wanted:
            raise CheckpointError(f"{init} has {name} {has}, this run has {wanted}")
    own, state, copied = network.state_dict(), other.state_dict(), []
    heads = {name: tensor.clone() for name, tensor in network.head.state_dict().items()}
    for index, model in enumerate(objects):
        if model.object_id not in theirs:
            continue
        known, keypoints = theirs[model.object_id]
        ours, places = _same_places(model.keypoints, keypoints)
        copied.append(f"{model.object_id} ({len(ours)} of {len(model.keypoints)} keypoints)")
        for name, tensor in heads.items():
            tensor[index, ours] = state[f"head.{name}"][known, places]
    # A trunk of depth alone begins afresh where it looks at colours.
    shared = {n: t for n, t in state.items() if n in own and t.shape == own[n].shape}
    network.load_state_dict({**own, **shared, **{f"head.{n}": t for n, t in heads.items()}})
    LOG.info("weights from %s, with those of objects %s", init, ", ".join(copied) or "none")
    if afresh := sorted({".".join(n.split(".")[:2]) for n in own if n not in shared} - HEADS):
        LOG.info("from scratch: %s", ", ".join(afresh))


def _same_places(keypoints: Array, known: Array) -> tuple[Tensor, Tensor]:
    """Return which keypoints (k, 3), mm, are among those that are known (j, 3), and as which."""
    distances, places = map(np.asarray, KDTree(known).query(keypoints))
    same = np.flatnonzero(distances < SAME_PLACE)
    return torch.from_numpy(same), torch.from_numpy(places[same])


def _other_network(init: Path) -> tuple[KeypointNet, dict[int, tuple[int, Array]]]:
    """Return a network, and the index and keypoints (k, 3), mm, of each object that it knows."""
    trained = open_trained(init)
    return trained.network, {
        one.object_id: (i, one.keypoints) for i, one in enumerate(trained.objects)
    }


@dataclass(frozen=True, eq=False)
class Trained:
    """A keypoint network and what it was trained on."""

    network: KeypointNet
    objects: list[ObjectModel]  # in the order of its object index
    training: Mapping[str, Any]  # its `TrainConfig` as plain data


def open_trained(path: Path) -> Trained:
    """Open a run by its folder or its ``network.safetensors``, or a bundle.

    Raises:
        CheckpointError: the file of the run, or the network of the bundle, cannot be used.
        DataError: the objects of the run cannot be used.
        BundleError: the bundle cannot be used.
    """
    if (path / WEIGHTS).is_file():
        path = path / WEIGHTS
    if path.suffix == ".safetensors":
        network, notes = load_network(path)
        return Trained(network, read_run_objects(path.parent), notes.get("train", {}))
    bundle = read_bundle(path)
    network = import_network(bundle.network, NetworkConfig(**bundle.provenance.network))
    return Trained(network, list(bundle.objects), bundle.provenance.training)
