"""How good a bundle is on scenes that it was not trained on, with its own detector."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from heatpose.data.bop import BopDataset, Result
from heatpose.data.frames import CANDIDATES, Frame, frames_of_targets
from heatpose.data.images import write_image
from heatpose.draw.overlay import Overlay
from heatpose.evaluate.detections import evaluate_detections
from heatpose.evaluate.report import as_record
from heatpose.evaluate.scores import evaluate_results
from heatpose.pipeline import PoseEstimator
from heatpose.runtime.bundle import Bundle, read_bundle
from heatpose.types import Detection, PoseEstimate

LEAST_SCORE = 0.01  # of detections: average precision wants unsure ones too
PICTURES = 8


@dataclass(frozen=True, eq=False)
class _Seen:
    """What was made of one image."""

    detections: list[Detection]
    estimates: list[PoseEstimate]
    seconds: float


def evaluate_bundle(path: Path, dataset: BopDataset, pictures: Path) -> dict[str, Any]:
    """Find poses in all images that have targets, score them, and draw some.

    Each target takes the best detections of its object and keeps the best poses, as many as it has
    instances, as `heatpose estimate --looks 1 --passes 1` does on a data set. What is drawn are the
    poses of detections that are sure enough by the bundle's own threshold, as one would get them
    without targets.

    Args:
        path: the bundle, with a detector.
        dataset: with ground truth and targets.
        pictures: folder for the drawn ones.

    Returns:
        Plain data: ``poses`` as `heatpose eval --json`, ``detections``, ``images``, and ``ms``,
        the median time for an image.
    """
    bundle = read_bundle(path)
    estimator = PoseEstimator.from_bundle(bundle, threshold=LEAST_SCORE)
    known = list(estimator.objects)
    frames = frames_of_targets(dataset, None, known, known_only=True, candidates=CANDIDATES)
    estimator(frames[0].read())  # the first call of a runtime sets things up
    seen = [_look(estimator, frame) for frame in track(frames, "estimating", transient=True)]
    results = [
        Result(*frame.ids, one.object_id, one.score, one.camera_from_object, found.seconds)
        for frame, found in zip(frames, seen, strict=True)
        for one in found.estimates
    ]
    boxes = {f.ids: found.detections for f, found in zip(frames, seen, strict=True)}
    found = evaluate_detections(dataset, boxes)
    _draw(bundle, frames, seen, pictures)
    return {
        "poses": as_record(evaluate_results(dataset, results)),
        "detections": {
            "mean": asdict(found.mean),
            "objects": {str(i): asdict(scores) for i, scores in found.objects.items()},
        },
        "images": len(frames),
        "ms": 1000 * float(np.median([one.seconds for one in seen])),
    }


def _look(estimator: PoseEstimator, frame: Frame) -> _Seen:
    observation = frame.read()
    start = time.perf_counter()
    detections = estimator.detect(observation)
    posed = estimator(observation, frame.look_at(detections), frame.wanted)
    estimates = frame.choose_poses(posed)
    return _Seen(detections, estimates, time.perf_counter() - start)


def _draw(bundle: Bundle, frames: Sequence[Frame], seen: Sequence[_Seen], folder: Path) -> None:
    """Draw poses into images spread over all, replacing what was drawn before."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    sure = bundle.detector.settings.threshold if bundle.detector else 0.0
    estimator, overlay = PoseEstimator.from_bundle(bundle), Overlay(bundle.objects)
    for index in np.unique(np.linspace(0, len(frames) - 1, PICTURES).round().astype(int)):
        observation = frames[index].read()
        chosen = [one for one in seen[index].detections if one.score >= sure]
        drawn = overlay.draw(observation, estimator(observation, chosen))
        write_image(folder / f"{index:06d}.png", drawn)
