"""Training both networks for a creation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from heatpose.create.plan import CreateConfig
from heatpose.data.backgrounds import Backgrounds
from heatpose.data.batch_detection import DetectionBatchMaker, DetectionDrawingConfig
from heatpose.data.batch_samples import DrawingConfig
from heatpose.data.bop import BopDataset
from heatpose.data.detection_samples import DetectionSampleConfig, DetectionSet
from heatpose.data.samples import SampleConfig
from heatpose.data.views import ViewConfig
from heatpose.model.network import NetworkConfig
from heatpose.model.yolov10 import YoloConfig
from heatpose.objects.catalogue import ObjectModel
from heatpose.train.config import DetectorConfig, TrainConfig
from heatpose.train.detector_start import make_detection_batches, make_detector
from heatpose.train.loop import train_detector, train_keypoints
from heatpose.train.start import make_batches, make_maker, make_network

FROM_SCENES = 0.4  # of the keypoint samples; the others are rendered on the fly, no two alike
LARGEST_FRAME = 640  # px, that the detector looks at
ZOOM = (0.6, 1.7)  # of objects in training against those in the frames; centred at about 1
HIDDEN = 0.5  # of the keypoint samples, where several objects can stand in each other's way
HARSH = 0.5  # of the samples of both networks
LOOKS_AT = (0.8, 1.25)  # of the frames' size: what a detector misses at one, it finds at another
EPOCHS = 12  # of a run, about: after each there is something to go on from


def train_pose_network(
    run: Path,
    models: Sequence[ObjectModel],
    scenes: Sequence[BopDataset],
    samples: int,
    config: CreateConfig,
    epochs: int = EPOCHS,
) -> None:
    """Train the keypoint network, or go on with it.

    What another network has learned of photographs in its first stages is kept.
    """
    views = ViewConfig(camera=config.camera, hidden=HIDDEN if len(models) > 1 else 0.0)
    training = TrainConfig(
        samples=samples,
        samples_per_epoch=_per_epoch(samples, config.keypoint_batch, epochs),
        batch_size=config.keypoint_batch,
        seed=config.seed,
        workers=config.workers,
        sample=SampleConfig(crop_size=config.crop_side, harsh=HARSH, views=views),
        frozen=config.init is not None,
        labels="shape",
        drawing=DrawingConfig() if config.on_device else None,
    )
    maker = make_maker(
        list(models), config.backgrounds, training.sample, scenes, FROM_SCENES if scenes else 0.0
    )
    shape = NetworkConfig(
        len(models), n_keypoints=len(models[0].keypoints), crop_size=config.crop_side
    )
    network = make_network(shape, config.seed, config.backbone, config.init, models)
    batches = None
    if training.drawing is not None:
        batches = make_batches(maker, config.backgrounds, training.sample, training.drawing)
    train_keypoints(run, maker, network, training, resume=_is_begun(run), batches=batches)


def train_finder(
    run: Path,
    models: Sequence[ObjectModel],
    scenes: Sequence[BopDataset],
    samples: int,
    config: CreateConfig,
    epochs: int = EPOCHS,
    *,
    keypoints: Path,
) -> None:
    """Train the detector, or go on with it.

    It starts from another one (`detector_init`). Else, where the keypoint network, whose run is
    `keypoints`, started from another one, its trunk is worth looking through; a trunk that began
    afresh a few minutes ago is not.
    """
    # Windows of frames, in which objects are about as large as in the frames themselves; what is
    # drawn where it is learned from are whole frames.
    zoom = _frame_side(config) / config.image_side
    training = DetectorConfig(
        samples=samples,
        samples_per_epoch=_per_epoch(samples, config.detector_batch, epochs),
        batch_size=config.detector_batch,
        seed=config.seed,
        workers=config.workers,
        image_size=config.image_side,
        sample=DetectionSampleConfig(
            image_size=config.image_side,
            scale=(ZOOM[0] * zoom, ZOOM[1] * zoom),
            harsh=HARSH,
        ),
        drawing=DetectionDrawingConfig(config.image_side, harsh=HARSH)
        if config.on_device
        else None,
    )
    source: DetectionSet | DetectionBatchMaker
    if training.drawing is not None:
        source = make_detection_batches(models, config.backgrounds, training.drawing)
    else:
        source = DetectionSet(
            scenes,
            [model.object_id for model in models],
            training.sample,
            Backgrounds(config.backgrounds),
        )
    shape, trunk = YoloConfig(len(models), config.size), None
    if config.on_trunk:
        shape, trunk = replace(shape, backbone="resnet18"), keypoints
    network = make_detector(shape, config.seed, config.detector_init, trunk)
    names = {model.object_id: model.name for model in models}
    train_detector(run, source, network, training, names=names, resume=_is_begun(run))


def finder_sizes(config: CreateConfig) -> list[int]:
    """Return the longer sides, px, of the images that a detector looks at in use."""
    return [32 * max(round(_frame_side(config) * ratio / 32), 1) for ratio in LOOKS_AT]


def _frame_side(config: CreateConfig) -> int:
    """Return the longer side, px, of whole images in which objects are as large as in training."""
    if config.on_device:
        return config.image_side
    return min(max(config.camera.width, config.camera.height), LARGEST_FRAME)


def _per_epoch(samples: int, batch: int, epochs: int) -> int:
    return max(samples // batch // epochs, 1) * batch


def _is_begun(run: Path) -> bool:
    return (run / "last.ckpt").exists()
