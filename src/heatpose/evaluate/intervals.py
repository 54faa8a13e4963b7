"""How far scores would move if other images had been taken: bootstrap over images.

Poses in one image are not independent (one light, one clutter, one hides the other), so whole
images are drawn again, with replacement (Efron, 1979; clusters: Davison and Hinkley, 1997). Two
methods on the same targets are compared on the same draws: what makes an image hard for both then
cancels, and a difference shows that is smaller than either interval.
"""

from dataclasses import dataclass

import numpy as np

from heatpose.errors import DataError
from heatpose.evaluate.scores import Evaluation
from heatpose.geometry.arrays import Array

N_DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over targets, and where it would lie in 95 of 100 sets of such images."""

    mean: float
    low: float
    high: float


def intervals(
    evaluation: Evaluation, object_id: int | None = None, seed: int = 0
) -> dict[str, Interval | None]:
    """Return each score over all targets, or those of an object; None for what was not measured."""
    chosen = _chosen(evaluation, object_id)
    return {
        key: None if values is None else _interval(values[chosen], evaluation.images[chosen], seed)
        for key, values in evaluation.scores.items()
    }


def differences(
    ours: Evaluation, theirs: Evaluation, object_id: int | None = None, seed: int = 0
) -> dict[str, Interval | None]:
    """Return how much better we are: our scores less theirs, on the same draws of images.

    Raises:
        DataError: the targets are not the same.
    """
    if not (
        np.array_equal(ours.object_ids, theirs.object_ids)
        and np.array_equal(ours.images, theirs.images)
    ):
        raise DataError(
            f"only results on the same targets can be compared, got {len(ours.object_ids)} and "
            f"{len(theirs.object_ids)} of them"
        )
    chosen = _chosen(ours, object_id)
    found: dict[str, Interval | None] = {}
    for key, values in ours.scores.items():
        others = theirs.scores[key]
        found[key] = None
        if values is not None and others is not None:
            found[key] = _interval((values - others)[chosen], ours.images[chosen], seed)
    return found


def crossed_interval(values: Array, images: Array, seed: int = 0) -> Interval:
    """Return where a mean over trainings and targets would lie with other seeds and images.

    Both are drawn again, each for itself (Owen, 2007, The pigeonhole bootstrap): what all networks
    find hard in an image, and what one network does badly in all images, each counts once. Of s
    seeds s - 1 are drawn, which makes their spread that of other seeds and not one that is too
    small (Rao and Wu, 1988). One seed says nothing of others: then images alone are drawn.

    Args:
        values: of each seed's training at each target, or differences of them, (s, n).
        images: scene and image id of the targets, (n, 2).
        seed: of the draws.
    """
    n_seeds = len(values)
    _, numbers = np.unique(images, axis=0, return_inverse=True)
    sums = np.stack([np.bincount(numbers, row) for row in values])  # (s, m)
    counts = np.bincount(numbers)
    m = len(counts)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(m, np.full(m, 1 / m), N_DRAWS)  # (draws, m)
    seeds = rng.multinomial(max(n_seeds - 1, 1), np.full(n_seeds, 1 / n_seeds), N_DRAWS)
    means = ((drawn @ sums.T) * seeds).sum(axis=1) / ((drawn @ counts) * seeds.sum(axis=1))
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def _chosen(evaluation: Evaluation, object_id: int | None) -> Array:
    if object_id is None:
        return np.full(len(evaluation.object_ids), True)
    return np.asarray(evaluation.object_ids == object_id)


def _interval(values: Array, images: Array, seed: int) -> Interval:
    """Draw images (n, 2) again and again, and return where the mean of their values (n,) lies."""
    _, numbers = np.unique(images, axis=0, return_inverse=True)
    sums, counts = np.bincount(numbers, values), np.bincount(numbers)
    n = len(counts)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), N_DRAWS)
    means = (draws @ sums) / (draws @ counts)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values.mean()), float(low), float(high))
