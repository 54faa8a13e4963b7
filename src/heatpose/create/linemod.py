"""LINEMOD as papers train and test on it: split, train, export, estimate, score.

OUT/reproduction.json      what is done here
    data/                  the data set as BOP has it, split
    run/, linemod.heatpose the keypoint network
    results.csv            poses of the test images
    scores.json            what they score, and by which protocol

Each part is one of the steps that the other commands do. What is there is not made again.
"""

import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from heatpose.data.bop import BopDataset
from heatpose.data.bop_files import Target
from heatpose.data.conversion import convert
from heatpose.data.fields import read_json, write_json
from heatpose.data.frames import frames_of_targets, with_true_boxes
from heatpose.data.results import Result, write_results
from heatpose.data.sources import Source
from heatpose.errors import DataError, OptionError
from heatpose.evaluate.report import as_record
from heatpose.evaluate.scores import Evaluation, evaluate_results
from heatpose.export.bundle import export_run
from heatpose.model.network import NetworkConfig
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.keypoints import select_keypoints
from heatpose.objects.mesh import diameter
from heatpose.pipeline import PoseEstimator
from heatpose.train.config import TrainConfig
from heatpose.train.loop import train_keypoints
from heatpose.train.module import KeypointTraining
from heatpose.train.start import find_objects, make_maker, make_network
from heatpose.types import Effort

Protocol: TypeAlias = Literal["paper", "field"]
PROTOCOLS: dict[Protocol, str] = {
    "paper": "the founding paper's: a random tenth of each object's frames is tested on, and "
    "neighbours of it in the same video are trained on",
    "field": "the field's: trained on the frames of the published train.txt (about 15 %), tested "
    "on those of test.txt",
}
TEST_SHARE = 0.1  # of the paper's protocol
FEEDERS = 16  # cores that make samples for one GPU; it waits for them, not they for it
TIMED = 24  # samples that a plan is measured by


@dataclass(frozen=True)
class ReproductionConfig:
    """How the network of a reproduction is made."""

    training: TrainConfig
    from_images: float = 0.5  # share of the samples that are cut from training images
    n_keypoints: int = 32
    backgrounds: Path | None = None
    backbone: Path | None = None


@dataclass(frozen=True)
class TrainingTime:
    """How long the training takes, by processor time on this machine, however busy it is."""

    samples: int
    making: float  # processor seconds to make a sample
    stepping: float  # processor seconds to train on a sample

    @property
    def cpu_hours(self) -> float:
        """Of one core, for samples and training."""
        return self.samples * (self.making + self.stepping) / 3600

    @property
    def gpu_hours(self) -> float:
        """On one GPU that is never waited for, fed by FEEDERS cores like one here."""
        return self.samples * self.making / FEEDERS / 3600


def split_source(source: Source, protocol: Protocol, seed: int = 0) -> Source:
    """Divide the frames of LINEMOD into those to train on and those to test on.

    Args:
        source: the data set, in any layout.
        protocol: one of PROTOCOLS.
        seed: of the random split.

    Returns:
        The same with splits ``train`` and ``test``; the only target of a frame is the object that
        its scene is of.

    Raises:
        OptionError: the field's split is asked for where no lists say which it is.
        DataError: the data set is not LINEMOD: a scene does not have the number of an object.
    """
    scenes = sorted({frame.scene_id for frame in source.frames})
    if foreign := [scene for scene in scenes if scene not in source.models]:
        raise DataError(f"{source.root} is not LINEMOD: there is no model of scene {foreign[0]}")
    if protocol == "paper":
        test = _drawn(source, seed)
        frames = [replace(f, split="test" if i in test else "train") for i, f in _each(source)]
    else:
        frames = list(source.frames)
        if {frame.split for frame in frames} != {"train", "test"}:
            raise OptionError(
                f"{source.root} is {source.layout} without train.txt and test.txt, which the "
                "field's protocol goes by: Linemod_preprocessed has them"
            )
    targets = {
        split: [Target(f.scene_id, f.image_id, f.scene_id, 1) for f in frames if f.split == split]
        for split in ("train", "test")
    }
    return replace(source, frames=frames, targets=targets)


def _each(source: Source) -> list[tuple[int, Any]]:
    return list(enumerate(source.frames))


def _drawn(source: Source, seed: int) -> set[int]:
    """Draw the numbers of the frames to test on: a tenth of each scene, at least one."""
    rng = np.random.default_rng(seed)
    drawn: set[int] = set()
    for scene in sorted({frame.scene_id for frame in source.frames}):
        own = [i for i, frame in _each(source) if frame.scene_id == scene]
        count = max(round(TEST_SHARE * len(own)), 1)
        drawn |= set(rng.permutation(own)[:count].tolist())
    return drawn


def frames_by_scene(source: Source, split: str) -> dict[int, int]:
    """Return how many frames of a split each scene has."""
    return dict(sorted(Counter(f.scene_id for f in source.frames if f.split == split).items()))


def reproduce(
    source: Source, out: Path, protocol: Protocol, config: ReproductionConfig
) -> Evaluation:
    """Train on the training frames, estimate poses in the test frames, and score them.

    Boxes are those of the ground truth, so that scores are those of the pose network.

    Args:
        source: what `split_source` returned.
        out: folder of everything that is made; the same call goes on there.
        protocol: by which the source was split; stands in the scores.
        config: how the network is made.

    Raises:
        OptionError: something else was begun in the folder.
        HeatposeError: as the steps do.
    """
    data, bundle = out / "data", out / "linemod.heatpose"
    _begin(source, out, protocol, config)
    if not data.exists():
        convert(source, data)
    if not bundle.exists():
        _train(out / "run", data, config)
        export_run(out / "run", bundle, notes=f"LINEMOD, {PROTOCOLS[protocol]}")
    test = BopDataset(data, "test")
    results = estimate_targets(bundle, test)
    write_results(out / "results.csv", results)
    evaluation = evaluate_results(test, results)
    scores = {"protocol": protocol, "what": PROTOCOLS[protocol], "boxes": "ground truth"}
    write_json(out / "scores.json", {**scores, **as_record(evaluation)})
    return evaluation


def _begin(source: Source, out: Path, protocol: Protocol, config: ReproductionConfig) -> None:
    """Make the folder, or look whether it is of the same split."""
    out.mkdir(parents=True, exist_ok=True)
    record, root = out / "reproduction.json", str(source.root.resolve())
    asked = {"source": root, "protocol": protocol, "seed": config.training.seed}
    if not record.exists():
        write_json(record, asked)
    elif (begun := read_json(record)) != asked:
        raise OptionError(f"{out} was begun with {begun}, not {asked}: choose another folder")


def _train(run: Path, data: Path, config: ReproductionConfig) -> None:
    models = find_objects([data / "models"], None, config.n_keypoints, "fps")
    maker = make_maker(
        models,
        config.backgrounds,
        config.training.sample,
        [BopDataset(data, "train")],
        config.from_images,
    )
    network = make_network(_network_config(models, config), config.training.seed, config.backbone)
    begun = (run / "last.ckpt").exists()
    train_keypoints(run, maker, network, config.training, resume=begun)


def _network_config(models: list[ObjectModel], config: ReproductionConfig) -> NetworkConfig:
    size = config.training.sample.crop_size
    return NetworkConfig(len(models), n_keypoints=config.n_keypoints, crop_size=size)


def estimate_targets(bundle: Path, dataset: BopDataset) -> list[Result]:
    """Estimate the poses of all targets of a data set, from colours, in true boxes."""
    estimator = PoseEstimator.load(bundle, Effort(depth=False))
    frames = with_true_boxes(
        frames_of_targets(dataset, None, list(estimator.objects), known_only=True), dataset
    )
    results = []
    for frame in frames:
        observation, start = frame.read(), time.perf_counter()
        estimates = frame.choose_poses(estimator(observation, frame.detections))
        seconds = time.perf_counter() - start
        results += [
            Result(*frame.ids, one.object_id, one.score, one.camera_from_object, seconds)
            for one in estimates
        ]
    return results


def measure_time(models: list[ObjectModel], config: ReproductionConfig) -> TrainingTime:
    """Make a few rendered samples and train on them, to know how long many take."""
    import torch

    training = config.training
    maker = make_maker(models, config.backgrounds, training.sample)
    module = KeypointTraining(
        make_network(_network_config(models, config), training.seed), models, training
    )
    start = time.process_time()
    samples = [maker(np.random.default_rng([training.seed, i])) for i in range(TIMED)]
    making = (time.process_time() - start) / TIMED
    batch = {
        "crop": torch.from_numpy(np.stack([one.crop for one in samples])),
        "object_index": torch.tensor([one.object_index for one in samples]),
        "camera_matrix": torch.from_numpy(np.stack([o.camera.matrix for o in samples])).float(),
        "camera_from_object": torch.from_numpy(
            np.stack([one.camera_from_object for one in samples])
        ).float(),
    }
    for _ in range(2):  # the first step sets things up
        start = time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=training.bf16):
            loss, _ = module.loss(module.network, batch)
        loss.total.backward()  # type: ignore[no-untyped-call]
    stepping = (time.process_time() - start) / TIMED
    return TrainingTime(training.samples, making, stepping)


def read_source_models(source: Source, n_keypoints: int) -> list[ObjectModel]:
    """Return the objects of a data set before it is converted, none of them symmetric."""
    models = []
    for object_id, model in source.models.items():
        mesh = model.read()
        points = select_keypoints(mesh, "fps", n_keypoints)
        name, size = str(model.info.get("name", "")), diameter(mesh)
        models.append(ObjectModel(object_id, name, mesh, points, np.eye(4)[None], size))
    return models
