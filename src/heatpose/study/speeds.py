"""How long a study will take, measured before it begins."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import default_collate

from heatpose.data.samples import SampleStream
from heatpose.model.network import NetworkConfig
from heatpose.runtime.torch_predictor import TorchPredictor
from heatpose.study.bench import Bench
from heatpose.study.rows import Row, TestSet
from heatpose.study.run import Job
from heatpose.study.solving import StudyEstimator
from heatpose.train.loop import UNSEEN
from heatpose.train.module import KeypointTraining
from heatpose.train.start import make_network

STEPS = 2  # of training that are timed, after one that is not
FRAMES = 3  # of each data set that are looked at
SCORING = 0.008  # s a target: of no weight
STARTING = 2.0  # s of a run: weights and meshes read and written
CHECKED = 64  # samples whose labels are checked before a run
OF_SAME_NETWORK = 0.3  # what a further row of the same network takes to score, over the first


@dataclass(frozen=True)
class Speeds:
    """What was measured, in seconds."""

    sample: float  # to draw one
    steps: dict[tuple[object, ...], float]  # to learn from one, by kind of the network
    scoring: float  # all data sets, with one network

    def learning(self, row: Row) -> float:
        """Return how long a row learns from a sample."""
        return self.steps[_kind(row)]


def _kind(row: Row) -> tuple[object, ...]:
    """Return what the speed of training depends on."""
    return row.network.activation, row.network.fusion, row.train.bf16


def measure(bench: Bench, jobs: Sequence[Job]) -> Speeds:
    """Draw a few samples, train a few steps and look at a few frames."""
    rows = [job.rows[0] for job in jobs]
    steps: dict[tuple[object, ...], float] = {}
    drawing: list[float] = []
    for row in rows:
        if _kind(row) not in steps:
            size = row.train.batch_size
            stream = SampleStream(bench.samples(row), size + 1, seed=2**31)
            stream[size]  # the first draw reads what is drawn
            begun = time.monotonic()
            samples = [stream[i] for i in range(size)]
            drawing.append((time.monotonic() - begun) / len(samples))
            steps[_kind(row)] = _step(bench, row, samples)
    scoring = sum(_scoring(bench, rows[0], one) for one in bench.options.datasets)
    return Speeds(max(drawing), steps, scoring)


def _step(bench: Bench, row: Row, samples: list[dict[str, torch.Tensor]]) -> float:
    """Return how long it takes to learn from one sample."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # From the same files as later: what cannot be used should be found out now.
    network = make_network(row.network, 0, bench.options.backbone, bench.options.init)
    module = KeypointTraining(network, bench.objects(row), row.train).to(device).train()
    optimizer = torch.optim.AdamW(module.network.parameters())
    batch = {name: value.to(device) for name, value in default_collate(samples).items()}
    begun = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            begun = _now(device)
        mixed = torch.autocast(device.type, torch.bfloat16) if row.train.bf16 else nullcontext()
        with mixed:
            loss, _ = module.loss(module.network, batch)
        optimizer.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        module.follow(step)
    return (_now(device) - begun) / STEPS / len(samples)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic()


def _scoring(bench: Bench, row: Row, test_set: TestSet) -> float:
    """Return how long it takes to find and score all poses of a data set."""
    frames = bench.frames(test_set)
    network = make_network(NetworkConfig(len(bench.models), crop_size=row.network.crop_size), 0)
    plain = Row(row.name, row.change, network.config, bench.options.training())
    estimator = StudyEstimator(TorchPredictor(network), bench.objects(plain), plain, 1)
    looked_at = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, FRAMES).astype(int))]
    begun = time.monotonic()
    n_targets = 0
    for frame in looked_at:
        estimator(frame.read(), frame.detections)
        n_targets += len(frame.detections or ())
    return (time.monotonic() - begun + SCORING * n_targets) * len(frames) / len(looked_at)


def seconds_of(job: Job, speeds: Speeds, workers: int, drawn_before: bool, done: int = 0) -> float:
    """Return how long a job will take.

    Args:
        job: what is done.
        speeds: what was measured.
        workers: processes that draw samples meanwhile; without them it is drawn in between.
        drawn_before: whether its samples are there already.
        done: samples that it has behind it.
    """
    row = job.rows[0]
    learning, drawing = speeds.learning(row), speeds.sample
    if workers:
        learning = max(learning, drawing / workers)
    elif not drawn_before:
        learning += drawing
    n_samples = max(row.train.steps * row.train.batch_size - done, 0)
    starting = STARTING + (CHECKED + UNSEEN) * drawing
    scoring = speeds.scoring * (1 + OF_SAME_NETWORK * (len(job.rows) - 1))
    return starting + learning * n_samples + scoring


def seconds_of_all(
    jobs: Sequence[Job], speeds: Speeds, workers: int, done: Sequence[int]
) -> list[float]:
    """Return how long each of several jobs will take, one after the other."""
    drawn: set[tuple[int, object]] = set()
    seconds = []
    for job, samples in zip(jobs, done, strict=True):
        key = job.seed, job.rows[0].train.sample
        seconds.append(seconds_of(job, speeds, workers, key in drawn, samples))
        drawn.add(key)
    return seconds
