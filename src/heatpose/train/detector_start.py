"""What the training of a detector starts from: data sets, the objects in them, first weights."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from heatpose.data.backgrounds import Backgrounds
from heatpose.data.batch_detection import DetectionBatchMaker, DetectionDrawingConfig
from heatpose.data.bop import BopDataset, read_models_info
from heatpose.data.detection_samples import DetectionSampleConfig, DetectionSet
from heatpose.errors import CheckpointError, OptionError
from heatpose.model.detector_trunk import N_STAGES, TrunkBackbone
from heatpose.model.detector_weights import load_detector, load_published
from heatpose.model.weights import read_safetensors
from heatpose.model.yolov10 import YoloConfig, YoloV10
from heatpose.objects.catalogue import ObjectModel
from heatpose.train.start import open_trained, training_device

LOG = logging.getLogger(__name__)
PUBLISHED_CLASSES = 80  # COCO's


def open_datasets(roots: Sequence[Path], splits: Sequence[str]) -> list[BopDataset]:
    """Return data sets, with one split for all or one for each.

    Raises:
        DataError: a folder is not there.
        OptionError: there are more splits than data sets, or fewer, but not one.
    """
    if len(splits) not in (1, len(roots)):
        raise OptionError(
            f"give one split for all data sets or one for each: {len(splits)} for {len(roots)}"
        )
    each = list(splits) * len(roots) if len(splits) == 1 else splits
    return [BopDataset(root, split) for root, split in zip(roots, each, strict=True)]


def objects_to_find(datasets: Sequence[BopDataset], models: Path | None = None) -> dict[int, str]:
    """Return the ids of what is to be learned, in rising order, with their names or "".

    Args:
        datasets: the objects in their ground truth, unless there is a models folder.
        models: folder whose ``models_info.json`` says which objects they are.
    """
    if models is not None:
        infos = read_models_info(models / "models_info.json")
        return {i: str(infos[i].get("name", "")) for i in sorted(infos)}
    seen = {
        one.object_id
        for dataset in datasets
        for scene_id in dataset.scene_ids()
        for image_id in dataset.image_ids(scene_id)
        for one in dataset.ground_truth(scene_id, image_id)
    }
    files = [dataset.models_folder(evaluate=False) / "models_info.json" for dataset in datasets]
    known = [read_models_info(file) for file in files if file.is_file()]
    names = {i: str(info.get("name", "")) for infos in reversed(known) for i, info in infos.items()}
    return {object_id: names.get(object_id, "") for object_id in sorted(seen)}


def make_detection_batches(
    objects: Sequence[ObjectModel], backgrounds: Path | None, drawing: DetectionDrawingConfig
) -> DetectionBatchMaker:
    """Return what draws whole batches of objects where they are trained on.

    Raises:
        DataError: there is no folder of backgrounds, or none in it.
    """
    device, scenery = training_device(), Backgrounds(backgrounds)
    LOG.info(
        "samples are drawn on %s, backgrounds: %s",
        device,
        f"{len(scenery.photos)} photographs" if scenery.photos else "generated textures only",
    )
    return DetectionBatchMaker(objects, scenery, drawing, device)


def make_unseen(root: Path, split: str, object_ids: Sequence[int], image_size: int) -> DetectionSet:
    """Return what draws frames as they are, to try a detector on.

    Raises:
        DataError: the data set cannot be used.
        UnknownObjectError: it lacks one of the objects.
    """
    as_it_is = DetectionSampleConfig(
        image_size=image_size,
        scale=(1.0, 1.0),
        mosaic=0.0,
        empty=0.0,
        collage=0.0,
        pasted=0.0,
        covered=0.0,
        degraded=0.0,
        pieces=1,
    )
    return DetectionSet([BopDataset(root, split)], object_ids, as_it_is, Backgrounds())


def make_detector(
    config: YoloConfig, seed: int, init: Path | None = None, trunk: Path | None = None
) -> YoloV10:
    """Return a detector with fresh weights, or with those of other networks as far as they fit.

    Args:
        config: what it is made of.
        seed: of fresh weights.
        init: another detector of the same size: ``network.safetensors`` of a run, or a published
            YOLOv10 for COCO. What depends on the number of classes starts from scratch where
            that differs, and so does what only one of two kinds of backbone has.
        trunk: keypoint network that a backbone of kind ``resnet18`` is taken from: a run by its
            folder or its ``network.safetensors``, or a bundle.

    Raises:
        CheckpointError: a file cannot be used, or holds a detector of another size or a trunk
            of another kind.
        DataError: the run of the keypoint network cannot be used.
        BundleError: its bundle cannot be used.
        OptionError: a trunk is needed and not given.
    """
    torch.manual_seed(seed)
    network = YoloV10(config)
    if init is not None:
        tensors = first_weights(init, config)
        own = network.state_dict()
        fitting = {n: t for n, t in tensors.items() if n in own and own[n].shape == t.shape}
        network.load_state_dict({**own, **fitting})
        new = len(own) - len(fitting)
        LOG.info("weights from %s, %d of %d tensors from scratch", init, new, len(own))
    if isinstance(network.backbone, TrunkBackbone):
        if trunk is None:
            raise OptionError("a detector with the trunk of a keypoint network needs that network")
        _take_trunk(network.backbone, trunk)
    return network.train()


def _take_trunk(backbone: TrunkBackbone, path: Path) -> None:
    """Copy the first stages of a keypoint network's trunk."""
    network = open_trained(path).network
    if network.config.fusion == "depth" or network.config.activation != "relu":
        raise CheckpointError(
            f"{path} has a trunk for {' and '.join(network.config.inputs)} with "
            f"{network.config.activation}: a detector takes one for colours, with relu"
        )
    theirs, own = network.trunk.state_dict(), backbone.trunk.state_dict()
    backbone.trunk.load_state_dict({name: theirs[name] for name in own})
    LOG.info("the first %d stages of the trunk from %s, kept as they are", N_STAGES, path)


def first_weights(init: Path, config: YoloConfig) -> dict[str, Tensor]:
    """Return the weights of another detector; shapes may differ where classes are told apart.

    Raises:
        CheckpointError: the file cannot be used, or holds a detector of another size or backbone.
    """
    if init.suffix == ".heatpose":
        raise CheckpointError(
            f"{init} is a bundle, whose detector cannot be trained on: give network.safetensors of "
            "its run"
        )
    if "heatpose" in read_safetensors(init)[1]:
        other = load_detector(init)[0]
    else:
        other = YoloV10(YoloConfig(PUBLISHED_CLASSES, config.size))
        load_published(other, init)
    if other.config.size != config.size:
        raise CheckpointError(f"{init} has size {other.config.size}, this run has {config.size}")
    if other.config.backbone == "resnet18" != config.backbone:
        raise CheckpointError(
            f"{init} looks through the trunk of a keypoint network: name that too (--trunk)"
        )
    return other.state_dict()
