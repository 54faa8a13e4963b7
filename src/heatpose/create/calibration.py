"""Teaching a bundle, on scenes that it was not trained on, how likely its poses are right."""

import logging
from functools import partial
from pathlib import Path

from rich.progress import track

from heatpose.data.bop import BopDataset
from heatpose.data.frames import CANDIDATES, frames_of_targets, with_depth_of
from heatpose.errors import DataError
from heatpose.evaluate.reliability import described, known_poses, learn_and_check
from heatpose.export.card import with_calibration
from heatpose.pipeline import PoseEstimator
from heatpose.runtime.bundle import read_bundle, write_bundle
from heatpose.types import Effort

LOG = logging.getLogger(__name__)
LEAST_SCORE = 0.01  # of detections, as in the evaluation


def calibrate_bundle(trained: Path, out: Path, dataset: BopDataset) -> str:
    """Write a bundle again, with probabilities where there is enough to learn them from.

    Args:
        trained: the bundle, with a detector.
        out: what to write; a bundle that finds too little is written as it is.
        dataset: with ground truth, targets and depth.

    Returns:
        How far its probabilities can be trusted, of poses from colour, of those on tables and of
        those with depth; or why it has none.
    """
    bundle = read_bundle(trained)
    estimator = PoseEstimator.from_bundle(bundle, threshold=LEAST_SCORE)
    known = list(estimator.objects)
    frames = frames_of_targets(dataset, None, known, known_only=True, candidates=CANDIDATES)
    said = []
    measured = with_depth_of(frames, dataset)
    for name, seen, table in (
        ("", frames, False),
        ("on tables ", frames, True),
        ("with depth ", measured, False),
    ):
        estimator.effort = Effort(table=table)
        try:
            progress = partial(track, description=f"calibrating {name}", transient=True)
            poses = known_poses(estimator, seen, dataset, progress)
            calibration, found = learn_and_check(poses)
        except DataError as error:
            LOG.warning("poses %shave no probability: %s", name, error)
            said.append(f"{name}none: {error}")
            continue
        learned_on = f"{len(poses.right)} unseen poses"
        card = with_calibration(bundle.card, calibration, learned_on, described(found))
        bundle = bundle.with_calibration(calibration, card)
        said.append(name + described(found))
    write_bundle(out, bundle)
    return "; ".join(said)
