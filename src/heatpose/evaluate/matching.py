"""Which estimate belongs to which true pose, as the BOP toolkit has it.

A target asks for n instances of an object in an image. The n estimates with the highest scores
and the n most visible true poses take part; every other estimate is left out.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from heatpose.data.bop import BopDataset, GroundTruth, Result, Target
from heatpose.errors import DataError
from heatpose.geometry.arrays import Array

Key = tuple[int, int, int]  # scene, image and object id


def group_results(results: Iterable[Result]) -> dict[Key, list[Result]]:
    """Sort results by scene, image and object, the highest score first."""
    groups: dict[Key, list[Result]] = {}
    for result in sorted(results, key=lambda r: r.score, reverse=True):
        key = (result.scene_id, result.image_id, result.object_id)
        groups.setdefault(key, []).append(result)
    return groups


def true_poses(dataset: BopDataset, target: Target) -> list[GroundTruth]:
    """Return the poses that a target asks for: the most visible ones if there are more.

    Raises:
        DataError: the object is not in the image.
    """
    image = (target.scene_id, target.image_id)
    truths = dataset.ground_truth(*image)
    here = [i for i, truth in enumerate(truths) if truth.object_id == target.object_id]
    if not here:
        file = dataset.scene_folder(target.scene_id) / "scene_gt.json"
        raise DataError(
            f"{file}, image {target.image_id} lacks object {target.object_id}, which "
            f"{dataset.targets_file} names as a target"
        )
    if len(here) > target.instances:
        seen = dataset.gt_info(*image)
        here.sort(key=lambda i: seen[i].visible_fraction, reverse=True)
    return [truths[i] for i in here[: target.instances]]


def match(errors: Array, limit: float) -> Array:
    """Give each true pose at most one estimate, greedily in the order of the scores.

    Each estimate takes the free true pose to which its error is smallest, if it is below the
    limit.

    Args:
        errors: of each estimate, the highest score first, to each true pose, (e, g).
        limit: errors have to be smaller.

    Returns:
        The error of the estimate that each true pose got, (g,); infinite where it got none.
    """
    got = np.full(errors.shape[1], np.inf)
    for row in errors:
        free = np.where(np.isinf(got), row, np.inf)
        nearest = int(free.argmin())
        if free[nearest] < limit:
            got[nearest] = free[nearest]
    return got


def recall(errors: Array, limits: Sequence[float] | Array) -> Array:
    """Return for each true pose the share of limits below which it is found, (g,).

    The mean over true poses is BOP's average recall.
    """
    found: Array = np.mean([np.isfinite(match(errors, limit)) for limit in limits], axis=0)
    return found
