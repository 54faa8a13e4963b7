"""How long each stage of the pipeline takes, on named hardware."""

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from heatpose.data.frames import Frame
from heatpose.errors import DataError
from heatpose.pipeline import STAGES, PoseEstimator

_WARM_UP = 3  # frames that are not counted: the first calls of a runtime set things up


@dataclass(frozen=True)
class Times:
    """How long something took, ms."""

    median: float
    p90: float  # nine of ten frames take at most this


@dataclass(frozen=True)
class Latency:
    """What was measured, over the frames that were counted."""

    stages: dict[str, Times]  # read, those of STAGES that ran, total: all but reading
    n_frames: int
    poses_per_frame: float  # median
    threads: int
    machine: str

    def as_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


class Stopwatch:
    """Times what runs in its contexts, by name.

    Attributes:
        milliseconds: of each name, all its contexts together.
    """

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        start = time.perf_counter()
        yield
        spent = (time.perf_counter() - start) * 1e3
        self.milliseconds[name] = self.milliseconds.get(name, 0.0) + spent


def measure(
    estimator: PoseEstimator,
    frames: Sequence[Frame],
    threads: int,
    progress: Callable[[Iterable[Frame]], Iterable[Frame]] = iter,
) -> Latency:
    """Estimate the poses in all frames and time every stage.

    Args:
        estimator: what is timed; its networks should be limited to ``threads`` already.
        frames: which images. Where their detections are given, those that have none are left
            out; else the estimator's detector is asked.
        threads: that OpenCV may use.
        progress: goes through the frames and may say how far it is.

    Raises:
        DataError: a frame cannot be read, or there is none to count.
    """
    counted = [frame for frame in frames if frame.detections is None or frame.detections]
    if not counted:
        raise DataError("there is nothing to time: no frame has boxes")
    watches: list[Stopwatch] = []  # one for each frame
    n_poses = []
    before = estimator.timed, cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        for frame in counted[:_WARM_UP]:
            estimator(frame.read(), frame.detections)
        for frame in progress(counted):
            watch = estimator.timed = Stopwatch()
            watches.append(watch)
            with watch("read"):
                observation = frame.read()
            with watch("total"):
                n_poses.append(len(estimator(observation, frame.detections)))
    finally:
        estimator.timed = before[0]
        cv2.setNumThreads(before[1])
    each = {
        name: [one.milliseconds[name] for one in watches if name in one.milliseconds]
        for name in ("read", *STAGES, "total")
    }
    stages = {name: _times(spent) for name, spent in each.items() if spent}
    return Latency(stages, len(counted), float(np.median(n_poses)), threads, machine())


def machine() -> str:
    """Return what this program runs on: the processor, and how many of its cores."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(allowed(0)) if allowed else os.cpu_count()
    return f"{model}, {cores} cores"


def _times(milliseconds: Sequence[float]) -> Times:
    median, p90 = np.quantile(milliseconds, [0.5, 0.9])
    return Times(round(float(median), 3), round(float(p90), 3))
