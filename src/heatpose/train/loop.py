"""A training run, from samples to a run folder.

run/network.safetensors   the averaged weights, with their config and notes
    objects.json          what they belong to; of keypoints with models/
    train.json            the config
    last.ckpt             everything that `resume` needs
    log.jsonl, csv/, tensorboard/, contact_sheets/
"""

import json
import logging
import multiprocessing
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import distributed, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from heatpose.data.batch_detection import DetectionBatchMaker
from heatpose.data.batch_samples import BatchMaker, BatchStream
from heatpose.data.detection_samples import DetectionSet, DetectionStream
from heatpose.data.samples import SampleSource, SampleStream
from heatpose.errors import CheckpointError
from heatpose.evaluate.latency import machine
from heatpose.files import write_whole
from heatpose.model.network import KeypointNet, NetworkConfig
from heatpose.model.yolov10 import YoloConfig, YoloV10
from heatpose.objects.catalogue import ObjectModel, object_to_record
from heatpose.objects.mesh import write_mesh
from heatpose.train.ahead import BatchesAhead
from heatpose.train.callbacks import EpochEnd, ProgressBar
from heatpose.train.config import DetectorConfig, RunConfig, TrainConfig
from heatpose.train.detector import DetectorTraining
from heatpose.train.echo import EchoedBatches
from heatpose.train.labels import check_labels
from heatpose.train.module import KeypointTraining
from heatpose.train.training import Batch, Training

LOG = logging.getLogger(__name__)
OBJECTS_FORMAT = 1
# Of the trainer: but samples are made, not stored, and the average is meant to be in eval mode.
UNFITTING_ADVICE = (
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
    ".*module.s. in eval mode at the start of training.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*sync_dist=True.*",  # of what each process measures alike, on the same unseen samples
)
UNSEEN = 48  # samples that are never trained on, looked at after each epoch


class EpochNumbers(Sampler[int]):
    """The numbers of the samples of an epoch; no number ever comes twice.

    Where several processes train together, each has its own.
    """

    def __init__(self, per_epoch: int) -> None:
        self.per_epoch = per_epoch
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Move to another epoch: the trainer says which, when a run goes on too."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.per_epoch // _process()[1]

    def __iter__(self) -> Iterator[int]:
        process, processes = _process()
        first = self.epoch * self.per_epoch
        return iter(range(first + process, first + self.per_epoch, processes))


def _process() -> tuple[int, int]:
    """Return which of how many processes that train together this is."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def train_keypoints(
    run: Path,
    maker: SampleSource,
    network: KeypointNet,
    config: TrainConfig,
    resume: bool = False,
    quiet: bool = False,
    batches: BatchMaker | None = None,
) -> None:
    """Train a keypoint network.

    Args:
        run: the run folder, made if need be.
        maker: draws the samples; its objects are what is learned.
        network: to start from.
        config: everything else.
        resume: go on from ``last.ckpt`` of the run folder.
        quiet: no progress on the screen, for one who shows that of many runs.
        batches: draws what is trained on in its place, on the device; the other still draws what
            the network is tried on.

    Raises:
        CheckpointError: there is nothing to resume from, it is damaged or of another network;
            or there is a run that would be lost.
        LabelError: the labels contradict what is rendered.
    """
    check_folder(run, network, resume)
    error = check_labels(maker, seed=config.seed + 2)
    LOG.info("labels agree with the rendered surface to %.3f px in the median", error)
    _prepare(run, network.config, config)
    _write_json(run / "objects.json", _stored_objects(run, maker.objects))
    module = KeypointTraining(network, maker.objects, config)
    stream: Dataset[Batch] = SampleStream(maker, config.steps * config.batch_size, config.seed)
    if batches is not None:
        stream = BatchStream(
            batches, config.batch_size // config.devices, config.steps * config.devices, config.seed
        )
    unseen = SampleStream(maker, UNSEEN, config.seed + 1)
    _fit(run, module, stream, EpochEnd(run, unseen, UNSEEN, _notes()), resume, quiet)


def train_detector(
    run: Path,
    samples: DetectionSet | DetectionBatchMaker,
    network: YoloV10,
    config: DetectorConfig,
    *,
    names: Mapping[int, str] | None = None,
    unseen: DetectionSet | None = None,
    resume: bool = False,
) -> None:
    """Train a detector.

    Args:
        run: the run folder, made if need be.
        samples: draws the samples; its objects are what is learned.
        network: to start from.
        config: everything else.
        names: of objects, for those that have one.
        unseen: draws what the network is tried on after each epoch; without it these are other
            samples of the same frames or objects.
        resume: go on from ``last.ckpt`` of the run folder.

    Raises:
        CheckpointError: there is nothing to resume from, it is damaged or of another network;
            or there is a run that would be lost.
    """
    check_folder(run, network, resume)
    _prepare(run, network.config, config)
    objects = [{"id": i, "name": (names or {}).get(i, "")} for i in samples.object_ids]
    _write_json(run / "objects.json", {"format": OBJECTS_FORMAT, "objects": objects})
    module = DetectorTraining(network, samples.object_ids, config)
    frames = [] if isinstance(samples, DetectionBatchMaker) else samples.frames
    datasets = sorted({f"{f.dataset.root.name}/{f.dataset.split}" for f in frames})
    notes = {**_notes(), "datasets": datasets}
    stream = _detector_stream(samples, config, config.steps * config.batch_size, config.seed)
    others = _detector_stream(unseen or samples, config, UNSEEN, config.seed + 1)
    at_once = None if isinstance(others, BatchStream) else config.batch_size
    _fit(run, module, stream, EpochEnd(run, others, at_once, notes), resume)


def _detector_stream(
    samples: DetectionSet | DetectionBatchMaker, config: DetectorConfig, length: int, seed: int
) -> Dataset[Batch]:
    """Return so many samples one by one, or about as many in batches."""
    if not isinstance(samples, DetectionBatchMaker):
        return DetectionStream(samples, length, seed)
    batch_size = config.batch_size // config.devices
    return BatchStream(samples, batch_size, -(-length // batch_size), seed)


def check_folder(run: Path, network: nn.Module, resume: bool) -> None:
    """Refuse to lose a run, and to go on with what is none or of another network.

    Raises:
        CheckpointError: there is nothing to resume from, it is damaged or of another network;
            or there is a run that would be lost.
    """
    if resume:
        _check_resumable(run, network)
    elif (run / "last.ckpt").exists():
        raise CheckpointError(f"{run} holds a run already: resume it, or choose another folder")


def _check_resumable(run: Path, network: nn.Module) -> None:
    """Refuse what the trainer would stumble over in the middle of loading."""
    checkpoint = run / "last.ckpt"
    if not checkpoint.exists():
        raise CheckpointError(f"nothing to resume: no checkpoint at {checkpoint}")
    try:
        stored = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        theirs = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    except Exception as error:  # a broken file raises one of many kinds
        raise CheckpointError(f"{checkpoint} cannot be read: {error}") from None
    for name, tensor in network.state_dict().items():
        shape = theirs.get(f"network.{name}")
        if shape != tuple(tensor.shape):
            raise CheckpointError(
                f"{checkpoint} has {name} of shape {shape}, this run {tuple(tensor.shape)}: "
                "resume with the options that the run began with"
            )


def _prepare(run: Path, network: NetworkConfig | YoloConfig, config: RunConfig) -> None:
    """Make the folder and write what is known before the first step."""
    (run / "contact_sheets").mkdir(parents=True, exist_ok=True)
    _write_json(
        run / "train.json",
        {
            "config": asdict(config),
            "network": asdict(network),
            "machine": describe_machine(),
            "torch": torch.__version__,
        },
    )


def _stored_objects(run: Path, objects: Sequence[ObjectModel]) -> dict[str, Any]:
    """Write the meshes of objects, and return what objects.json says of them."""
    (run / "models").mkdir(exist_ok=True)
    records = []
    for model in objects:
        mesh_file = f"models/obj_{model.object_id:06d}.ply"
        write_mesh(run / mesh_file, model.mesh)
        records.append(object_to_record(model, mesh_file))
    return {"format": OBJECTS_FORMAT, "objects": records}


def _notes() -> dict[str, Any]:
    return {"machine": describe_machine()}


def describe_machine() -> str:
    """Say what this runs on: processor and, if there is one, accelerator."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {machine()}"
    return machine()


def _fit(
    run: Path,
    module: Training[Any, Any],
    stream: Dataset[Batch],
    epoch_end: EpochEnd,
    resume: bool,
    quiet: bool = False,
) -> None:
    """Train, from the start or from the checkpoint of the run."""
    _trainer(run, module.config, epoch_end, quiet).fit(
        module,
        _loader(stream, module.config),
        ckpt_path=str(run / "last.ckpt") if resume else None,
        weights_only=True,
    )


def _loader(
    stream: Dataset[Batch], config: RunConfig
) -> DataLoader[Batch] | BatchesAhead | EchoedBatches:
    if isinstance(stream, BatchStream):  # whole batches, on the device already
        drawn = BatchesAhead(stream, EpochNumbers(config.drawn_per_epoch * config.devices))
        return drawn if config.echo == 1 else EchoedBatches(drawn, config.echo)
    return DataLoader(
        stream,
        batch_size=config.batch_size // config.devices,
        sampler=EpochNumbers(config.steps_per_epoch * config.batch_size),
        num_workers=config.workers,
        persistent_workers=config.workers > 0,
        prefetch_factor=4 if config.workers else None,
        worker_init_fn=_one_thread,
        multiprocessing_context=_manner_of_start() if config.workers else None,
        pin_memory=torch.cuda.is_available(),
    )


def _manner_of_start() -> str | None:
    """Return how workers are started: forked where that is known, for ray casters do not travel.

    Processes that were spawned themselves, and newer versions of Python, would do otherwise.
    """
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else None


def _one_thread(worker: int) -> None:
    """Keep a worker to its own core, and let the training steps go first."""
    torch.set_num_threads(1)


def _trainer(run: Path, config: RunConfig, epoch_end: EpochEnd, quiet: bool) -> lightning.Trainer:
    # A run that goes on writes a new CSV file beside the old one: the logger would empty it.
    loggers = [CSVLogger(run, "csv"), TensorBoardLogger(run, "tensorboard", version="")]
    for advice in UNFITTING_ADVICE:
        warnings.filterwarnings("ignore", advice)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    return lightning.Trainer(
        accelerator="auto",
        devices=config.devices,
        strategy="ddp" if config.devices > 1 else "auto",
        use_distributed_sampler=False,  # ours knows of the others
        precision="bf16-mixed" if config.bf16 else "32-true",
        max_epochs=config.epochs,
        limit_train_batches=config.steps_per_epoch,
        gradient_clip_val=config.clip,
        logger=loggers,
        log_every_n_steps=20,
        callbacks=[epoch_end] if quiet else [ProgressBar(config), epoch_end],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with write_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
