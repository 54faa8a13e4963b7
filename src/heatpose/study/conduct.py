"""A whole study: what it was asked for, its runs one after the other or side by side, its report.

STUDY/study.json      what was asked for
      trainings/, runs/   as `heatpose.study.run` leaves them
      table.csv, table.json, report.html
"""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import heatpose
from heatpose.create.plan import duration
from heatpose.create.work import mesh_files
from heatpose.data.fields import read_json, shown, write_json
from heatpose.errors import DataError, HeatposeError, OptionError
from heatpose.study.rows import Study, StudyOptions, plain
from heatpose.study.run import SCORES, Job, Opener, Runner, hush, jobs_of, samples_done, scores_file
from heatpose.study.speeds import measure, seconds_of_all
from heatpose.synth.jobs import Manner, Outcome, make_scenes, outcome_of

LOG = logging.getLogger(__name__)
FORMAT = 1
REFRESH = 2.0  # s between two looks at how far trainings are


@dataclass(frozen=True)
class Means:
    """What a study is done with; its results do not depend on it."""

    workers: int = 0  # processes that draw samples, of each run
    parallel: int = 1  # runs at the same time


def conduct(study: Study, options: StudyOptions, seeds: int, place: Path, means: Means) -> None:
    """Do all runs of a study that are not done yet.

    Raises:
        OptionError: the folder was begun with other options.
        DataError: something cannot be read or written.
        HeatposeError: a run failed; the others are done.
    """
    begin(place, study, options)
    jobs = [job for job in jobs_of(study, seeds) if job.missing(place)]
    n_runs = sum(len(job.missing(place)) for job in jobs)
    n_all = len(study.rows) * seeds
    LOG.info(
        "study %s: %d rows, %d seeds, %d runs of which %d are done",
        study.name,
        len(study.rows),
        seeds,
        n_all,
        n_all - n_runs,
    )
    if not jobs:
        return
    before = hush()
    try:
        _do(Opener(options, tuple(jobs), means.workers)(), place, means)
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _do(runner: Runner, place: Path, means: Means) -> None:
    """Say how long it will take, do all jobs, and say what comes of each."""
    jobs, problems = runner.jobs, []
    seconds = _planned(runner, place, means)
    with _progress(jobs, seconds, place, means.parallel) as clock:
        for outcome in _outcomes(runner, place, means):
            clock.finished(outcome.number)
            if outcome.problem:
                problems.append(f"{jobs[outcome.number].name}: {outcome.problem}")
                LOG.warning("%s", problems[-1])
            else:
                _say(jobs[outcome.number], place, clock)
    if problems:
        raise HeatposeError(f"{len(problems)} of {len(jobs)} trainings failed: {problems[0]}")


def begin(place: Path, study: Study, options: StudyOptions) -> None:
    """Make the folder of a study, or look whether it was begun with the same options.

    Raises:
        OptionError: it was begun with others, or two data sets have the same name.
        DataError: it holds other things, or cannot be written.
    """
    names = [one.name for one in options.datasets]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"two data sets are called {name}: tables could not tell them apart")
    request = describe(study.name, options)
    path = place / "study.json"
    if path.exists():
        _compare(place, read_json(path), request)
        return
    if place.exists() and any(place.iterdir()):
        raise DataError(f"{place} is there already and holds no study.json: choose another --out")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make {place}: {error.strerror}") from None
    write_json(path, request)


def describe(name: str, options: StudyOptions) -> dict[str, Any]:
    """Return everything that results depend on, as plain data; meshes and targets by content."""
    targets = [one.root / f"{one.split}_targets_bop19.json" for one in options.datasets]
    others = (options.backbone, options.init, options.keypoints)
    files = [*mesh_files([options.objects]), *targets, *others]
    return {
        "format": FORMAT,
        "study": name,
        "options": plain(asdict(options)),
        "files": [f"{path.name} {_digest(path)}" for path in files if path is not None],
    }


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def _compare(place: Path, before: Any, now: dict[str, Any]) -> None:
    """Refuse to go on with other options."""
    if not isinstance(before, dict) or not isinstance(before.get("options"), dict):
        raise DataError(f"{place / 'study.json'} is not the record of a study")
    pairs = [(key, before.get(key), now[key]) for key in ("study", "format")]
    options = now["options"]
    pairs += [(_option(key), before["options"].get(key), options[key]) for key in options]
    pairs.append(("files", before.get("files"), now["files"]))
    for key, old, new in pairs:
        if old != new:
            raise OptionError(
                f"{place} was begun with {key} {shown(old)}, not {shown(new)}: go on with the same "
                "options, or choose another folder with --out"
            )


def _option(field: str) -> str:
    """Return the option of the command that a field of `StudyOptions` comes from."""
    name = {"samples": "budget", "datasets": "dataset"}.get(field, field)
    return f"--{name.replace('_', '-')}"


def _planned(runner: Runner, place: Path, means: Means) -> list[float]:
    """Measure, say how long it will take, and return how long each job will."""
    LOG.info("measuring how fast this machine is")
    jobs = runner.jobs
    speeds = measure(runner.bench, jobs)
    done = [samples_done(job.training_folder(place)) for job in jobs]
    seconds = seconds_of_all(jobs, speeds, means.workers, done)
    steps = sorted(speeds.steps.values())
    between = f"{1e3 * steps[0]:.0f}" + (f" to {1e3 * steps[-1]:.0f}" if steps[1:] else "")
    LOG.info(
        "%d trainings of %d samples: %.0f ms to draw a sample, %s ms to learn from it, %.0f s to "
        "score a network; about %s in all",
        len(jobs),
        jobs[0].rows[0].train.steps * jobs[0].rows[0].train.batch_size,
        1e3 * speeds.sample,
        between,
        speeds.scoring,
        duration(sum(seconds) / min(means.parallel, len(jobs))),
    )
    return seconds


def _outcomes(runner: Runner, place: Path, means: Means) -> Generator[Outcome, None, None]:
    """Do jobs, here or in several processes, and report each when it is done."""
    numbers = range(len(runner.jobs))
    if means.parallel == 1:
        for number in numbers:
            outcome = outcome_of(runner, number, place, "run")
            if isinstance(outcome, HeatposeError):
                raise outcome
            yield outcome
        return
    threads = max((os.cpu_count() or 1) // means.parallel, 1)
    opener = Opener(runner.bench.options, tuple(runner.jobs), means.workers, threads)
    manner = Manner("run", _devices(), with_children=means.workers > 0)
    yield from make_scenes(numbers, opener, place, means.parallel, threads, manner)


def _devices() -> tuple[str, ...]:
    """Return the names of the GPUs that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed:
        return tuple(name for name in allowed.split(",") if name)
    return tuple(str(number) for number in range(torch.cuda.device_count()))


class _Clock:
    """Knows how far a study is, in the seconds that were planned."""

    def __init__(
        self, jobs: Sequence[Job], seconds: Sequence[float], place: Path, parallel: int
    ) -> None:
        self.jobs, self.seconds, self.place = jobs, list(seconds), place
        self.parallel = min(parallel, len(jobs))
        self.over: set[int] = set()
        self.begun = [samples_done(job.training_folder(place)) for job in jobs]
        self.start = time.monotonic()

    def finished(self, number: int) -> None:
        """Count a job as done."""
        self.over.add(number)

    @property
    def done(self) -> float:
        """How much of what was planned is done, s."""
        return sum(
            seconds * (1.0 if number in self.over else self._share(number))
            for number, seconds in enumerate(self.seconds)
        )

    @property
    def left(self) -> float:
        """How long the rest will take, s, by what was planned and what it took so far."""
        total, done = sum(self.seconds), self.done
        passed = time.monotonic() - self.start
        pace = passed / done if done > 0.05 * total else 1 / self.parallel
        return (total - done) * pace

    def _share(self, number: int) -> float:
        job = self.jobs[number]
        samples = job.rows[0].train.steps * job.rows[0].train.batch_size
        now = samples_done(job.training_folder(self.place))
        return 0.9 * (now - self.begun[number]) / max(samples - self.begun[number], 1)


@contextmanager
def _progress(
    jobs: Sequence[Job], seconds: Sequence[float], place: Path, parallel: int
) -> Iterator[_Clock]:
    """Show how far the study is while it runs."""
    clock = _Clock(jobs, seconds, place, parallel)
    bar = Progress(
        TextColumn("study"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("study", total=sum(seconds), state="")
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(REFRESH):
            state = f"{len(clock.over)} of {len(jobs)} trainings, left {duration(clock.left)}"
            bar.update(task, completed=clock.done, state=state)

    follower = threading.Thread(target=follow, daemon=True)
    with bar:
        follower.start()
        try:
            yield clock
        finally:
            ended.set()
            follower.join()


def _say(job: Job, place: Path, clock: _Clock) -> None:
    """Say what came of a job."""
    for row in job.rows:
        record = read_json(scores_file(place, row, job.seed))
        found = "; ".join(
            f"{name}: "
            + ", ".join(f"{SCORES[key]} {100 * mean:.1f}" for key, mean in one["mean"].items())
            for name, one in record["datasets"].items()
        )
        LOG.info("%s, seed %d: %s", row.name, job.seed, found)
    LOG.info("%d of %d trainings, left %s", len(clock.over), len(clock.jobs), duration(clock.left))


def versions() -> str:
    """Say what this was done with."""
    return f"heatpose {heatpose.__version__}, torch {torch.__version__}"
