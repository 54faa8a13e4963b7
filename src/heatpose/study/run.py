"""One run of a study: a network is trained, and all rows that it serves are scored.

STUDY/trainings/ID-SEED/    log.jsonl, network.safetensors, objects.json, train.json, done.json
      runs/ROW/seed-SEED/   scores.json, DATASET.csv (the poses), log.jsonl of the training

A training that was interrupted goes on from its last checkpoint; a folder of a run is written whole
or not at all.
"""

import json
import logging
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from heatpose.data.fields import read_json, write_json
from heatpose.data.results import Result, write_results
from heatpose.errors import DataError
from heatpose.evaluate.scores import Evaluation, evaluate_results
from heatpose.model.network import KeypointNet
from heatpose.model.weights import load_network
from heatpose.runtime.torch_predictor import TorchPredictor
from heatpose.study.bench import Bench
from heatpose.study.rows import Row, Study, StudyOptions, TestSet, plain
from heatpose.study.solving import RememberingPredictor, StudyEstimator
from heatpose.train.loop import describe_machine, train_keypoints
from heatpose.train.start import make_network

LOG = logging.getLogger(__name__)
# By the key of `heatpose.evaluate.scores`, what a study shows of a run.
SCORES = {
    "add_s_0.1d": "ADD(-S) 0.1 d",
    "ar_mssd": "AR_MSSD",
    "ar_mspd": "AR_MSPD",
    "proj_5px": "projection 5 px",
}
TALKATIVE = ("heatpose.train", "heatpose.model")  # loggers
NOT_KEPT = ("last.ckpt", "tensorboard", "csv")  # of a training that is done


@dataclass(frozen=True)
class Job:
    """A training and the rows that are made of it."""

    seed: int
    rows: tuple[Row, ...]  # that share the training

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{', '.join(row.name for row in self.rows)}, seed {self.seed}"

    def training_folder(self, place: Path) -> Path:
        """Return where its network is trained, in the folder of the study."""
        return place / "trainings" / f"{self.rows[0].training_id}-{self.seed}"

    def missing(self, place: Path) -> list[Row]:
        """Return the rows that were not scored yet."""
        return [row for row in self.rows if not scores_file(place, row, self.seed).exists()]


def jobs_of(study: Study, seeds: int) -> list[Job]:
    """Return all that a study has to do, seed after seed: one seed's samples are shared."""
    ids = list(dict.fromkeys(row.training_id for row in study.rows))
    return [
        Job(seed, tuple(row for row in study.rows if row.training_id == one))
        for seed in range(seeds)
        for one in ids
    ]


def scores_file(place: Path, row: Row, seed: int) -> Path:
    """Return where the scores of a run are, in the folder of the study."""
    return place / "runs" / row.name.replace(" ", "-") / f"seed-{seed}" / "scores.json"


@dataclass(frozen=True)
class Opener:
    """Opens, in any process, what does the jobs of a study."""

    options: StudyOptions
    jobs: tuple[Job, ...]
    workers: int
    threads: int | None = None  # of a process of its own

    def __call__(self) -> "Runner":
        """Begin: what can be shared is read when it is first asked for."""
        if self.threads:
            torch.set_num_threads(self.threads)
            hush()
        return Runner(Bench(self.options, self.workers), self.jobs, self.workers, self.threads or 1)


def hush() -> dict[str, int]:
    """Let trainings say only what goes wrong; return the levels of their loggers until now."""
    before = {name: logging.getLogger(name).level for name in TALKATIVE}
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    return before


class Runner:
    """Does one job after the other."""

    def __init__(self, bench: Bench, jobs: Sequence[Job], workers: int, threads: int) -> None:
        self.bench = bench
        self.jobs = jobs
        self.workers = workers
        self.threads = threads

    def __call__(self, number: int, place: Path) -> dict[str, float]:
        """Do what is not done of a job, and return how many seconds each part has taken.

        Args:
            number: of the job.
            place: the folder of the study.
        """
        job = self.jobs[number]
        start = time.monotonic()
        folder = job.training_folder(place)
        if not (folder / "done.json").exists():
            self.train(job, folder)
        trained = time.monotonic()
        rows = job.missing(place)
        if rows:
            network, _ = load_network(folder / "network.safetensors")
            if torch.cuda.is_available():
                network = network.cuda()
            scores = self.score(rows, network)
            for row in rows:
                self.write(place, job, row, scores[row])
        return {"training": trained - start, "scoring": time.monotonic() - trained}

    def train(self, job: Job, folder: Path) -> None:
        """Train the network of a job, or go on with it; keep what is needed afterwards."""
        row = job.rows[0]
        config = row.seeded(job.seed, self.workers)
        options = self.bench.options
        network = make_network(row.network, job.seed, options.backbone, options.init)
        begun = (folder / "last.ckpt").exists()
        samples = self.bench.samples(row)
        start = time.monotonic()
        try:
            train_keypoints(folder, samples, network, config, begun, quiet=True)
        except SystemExit:  # what the trainer makes of an interrupt
            raise KeyboardInterrupt from None
        # Without drawing, which rows share; of an interrupted training those of its last part.
        seconds = time.monotonic() - start - samples.seconds
        done = {
            "seconds": seconds,
            "drawing_seconds": samples.seconds,
            "machine": describe_machine(),
            "interrupted": begun,
        }
        write_json(folder / "done.json", done)
        for name in NOT_KEPT:
            leftover = folder / name
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)

    def score(
        self, rows: Sequence[Row], network: KeypointNet
    ) -> dict[Row, dict[TestSet, tuple[list[Result], Evaluation]]]:
        """Try a network on all data sets, once for each row; they share what it gives."""
        predictor = RememberingPredictor(TorchPredictor(network))
        estimators = {
            row: StudyEstimator(predictor, self.bench.objects(row), row, self.threads)
            for row in rows
        }
        found: dict[Row, dict[TestSet, tuple[list[Result], Evaluation]]] = {r: {} for r in rows}
        for test_set in self.bench.options.datasets:
            results = self.estimate(estimators, test_set)
            for row in rows:
                scores = evaluate_results(
                    self.bench.dataset(test_set), results[row], with_vsd=False
                )
                found[row][test_set] = results[row], scores
        return found

    def estimate(
        self, estimators: dict[Row, StudyEstimator], test_set: TestSet
    ) -> dict[Row, list[Result]]:
        """Return the poses that each row finds in the images of a data set."""
        results: dict[Row, list[Result]] = {row: [] for row in estimators}
        wanted = any(row.solve.depth or "depth" in row.network.inputs for row in estimators)
        for frame in self.bench.frames(test_set):
            frame = frame if wanted else replace(frame, depth=None)
            observation = frame.read()
            for row, estimator in estimators.items():
                start = time.perf_counter()
                poses = frame.choose_poses(estimator(observation, frame.detections))
                seconds = time.perf_counter() - start
                results[row] += [
                    Result(*frame.ids, one.object_id, one.score, one.camera_from_object, seconds)
                    for one in poses
                ]
        return results

    def write(
        self,
        place: Path,
        job: Job,
        row: Row,
        scores: dict[TestSet, tuple[list[Result], Evaluation]],
    ) -> None:
        """Write the folder of a run."""
        trained = job.training_folder(place)
        record = {
            "row": row.name,
            "seed": job.seed,
            "config": {**row.training, "solve": plain(asdict(row.solve))},
            "network": f"trainings/{trained.name}/network.safetensors",
            "training": read_json(trained / "done.json"),
            "datasets": {one.name: as_record(found) for one, (_, found) in scores.items()},
        }
        with whole_folder(scores_file(place, row, job.seed).parent) as folder:
            shutil.copy(trained / "log.jsonl", folder / "log.jsonl")
            for test_set, (results, _) in scores.items():
                write_results(folder / f"{test_set.name}.csv", results)
            write_json(folder / "scores.json", record)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write to, and put it in place when all went well."""
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        part.mkdir(parents=True)
        yield part
        part.rename(folder)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def as_record(found: Evaluation) -> dict[str, Any]:
    """Return the scores of each target as plain data."""
    mean = found.mean()
    return {
        "mean": {key: mean[key] for key in SCORES},
        "object_ids": found.object_ids.tolist(),
        "images": found.images.tolist(),
        "scores": {key: _values(found, key) for key in SCORES},
    }


def _values(found: Evaluation, key: str) -> list[float]:
    values = found.scores[key]
    assert values is not None  # only that of VSD may be
    return [round(float(value), 6) for value in values]


def samples_done(folder: Path) -> int:
    """Return how many samples a training has behind it, by its log."""
    try:
        lines = (folder / "log.jsonl").read_text().splitlines()
        return int(json.loads(lines[-1])["samples"]) if lines else 0
    except (OSError, ValueError, KeyError):  # not begun, or written to just now
        return 0
