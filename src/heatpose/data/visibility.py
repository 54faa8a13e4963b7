"""How much of the objects of a data set is seen."""

from dataclasses import dataclass

import numpy as np

from heatpose.data.bop import BopDataset
from heatpose.geometry.arrays import Array

LEVELS = (0.4, 0.8)


@dataclass(frozen=True)
class Visible:
    """Over all targets of a data set."""

    n_targets: int
    mean: float  # share of an object that is seen
    below: tuple[float, ...]  # share of targets of which less than each of LEVELS is seen

    def __str__(self) -> str:
        shares = ", ".join(
            f"of {share:.1%} less than {level:.0%}"
            for share, level in zip(self.below, LEVELS, strict=True)
        )
        return f"{self.n_targets} objects to find: {self.mean:.1%} of each is seen, {shares}"


def visibility_of(dataset: BopDataset) -> Visible:
    """Say how much is seen of what is to be found in a data set, the most visible instances.

    Raises:
        DataError: a file is missing.
    """
    seen = np.array([one for target in dataset.targets() for one in _fractions(dataset, *target)])
    below = tuple(float((seen < level).mean()) for level in LEVELS)
    return Visible(len(seen), float(seen.mean()), below)


def _fractions(
    dataset: BopDataset, scene_id: int, image_id: int, object_id: int, instances: int
) -> Array:
    objects = dataset.objects_seen(scene_id, image_id)
    of_kind = [seen.visible_fraction for truth, seen in objects if truth.object_id == object_id]
    return np.sort(of_kind)[::-1][:instances]
