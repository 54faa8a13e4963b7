"""Teaching a bundle, on scenes that it was not trained on, how likely its poses are right."""

import logging
from pathlib import Path

from rich.progress import track

from heatpose.data.bop import BopDataset
from heatpose.data.frames import CANDIDATES, frames_of_targets
from heatpose.errors import DataError
from heatpose.evaluate.reliability import described, known_poses, learn_and_check
from heatpose.export.card import with_calibration
from heatpose.pipeline import PoseEstimator
from heatpose.runtime.bundle import read_bundle, write_bundle

LOG = logging.getLogger(__name__)
LEAST_SCORE = 0.01  # of detections, as in the evaluation


def calibrate_bundle(trained: Path, out: Path, dataset: BopDataset) -> str:
    """Write a bundle again, with probabilities where there is enough to learn them from.

    Args:
        trained: the bundle, with a detector.
        out: what to write; a bundle that finds too little is written as it is.
        dataset: with ground truth and targets.

    Returns:
        How far its probabilities can be trusted, in one sentence; or why it has none.
    """
    bundle = read_bundle(trained)
    estimator = PoseEstimator.from_bundle(bundle, threshold=LEAST_SCORE)
    known = list(estimator.objects)
    frames = frames_of_targets(dataset, None, known, known_only=True, candidates=CANDIDATES)
    try:
        poses = known_poses(
            estimator,
            frames,
            dataset,
            lambda todo: track(todo, "calibrating", transient=True),
        )
        calibration, found = learn_and_check(poses)
    except DataError as error:
        LOG.warning("poses have no probability: %s", error)
        write_bundle(out, bundle)
        return f"none: {error}"
    learned_on = f"{len(poses.right)} unseen poses"
    card = with_calibration(bundle.card, calibration, learned_on, described(found))
    write_bundle(out, bundle.with_calibration(calibration, card))
    return described(found)
