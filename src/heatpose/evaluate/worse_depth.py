"""Depth as it might have been: sensors, noise, holes and resolutions, each of several strengths.

What a benchmark holds of depth cameras (`heatpose.synth.benchmark`) is read; the rest is made of
its true depth, the same for an image each time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from heatpose.data.bop import BopDataset
from heatpose.data.images import read_depth
from heatpose.errors import DataError
from heatpose.geometry.arrays import Depth
from heatpose.render.depth_sensors import KINDS, STRENGTHS

BLOT = 10  # size of a hole, px


@dataclass(frozen=True)
class Condition:
    """A way in which depth is bad, and how bad: 0 is the truth."""

    way: str  # a kind of depth camera, noise, holes, resolution or none
    strength: float = 0.0  # of the camera; mm; share in [0, 1]; pixels that become one, less one

    @property
    def name(self) -> str:
        """As people read it."""
        if self.way == "none" or not self.strength:
            return "no depth" if self.way == "none" else "true depth"
        values = {
            "noise": f"noise of {self.strength:g} mm",
            "holes": f"{self.strength:.0%} holes",
            "resolution": f"1/{self.strength + 1:g} of the resolution",
        }
        return values.get(self.way, f"{self.way.replace('_', ' ')} {self.strength:g}")


NO_DEPTH, TRUE_DEPTH = Condition("none"), Condition("true")
CONDITIONS: Mapping[str, tuple[Condition, ...]] = {
    "sensors": tuple(Condition(kind, strength) for kind in KINDS for strength in STRENGTHS),
    "noise": tuple(Condition("noise", sigma) for sigma in (3, 10, 30)),
    "holes": tuple(Condition("holes", share) for share in (0.3, 0.6, 0.9)),
    "resolution": tuple(Condition("resolution", factor - 1) for factor in (2, 4, 8)),
}


def depth_under(dataset: BopDataset, ids: tuple[int, int], condition: Condition) -> Depth | None:
    """Return the depth of an image, (h, w), mm, NaN for missing, under a condition.

    Args:
        dataset: with true depth, and with what depth cameras measure where that is asked for.
        ids: scene and image.
        condition: which.

    Returns:
        None where there is to be no depth.

    Raises:
        DataError: the data set has no such depth.
    """
    if condition.way == "none":
        return None
    kind = f"depth_{condition.way}_{condition.strength:g}" if condition.way in KINDS else "depth"
    path = dataset.depth_path(*ids, kind=kind)
    if path is None:
        raise DataError(f"{dataset.scene_folder(ids[0])} has no {kind} of image {ids[1]}")
    depth = read_depth(path, dataset.frame_camera(*ids).depth_scale)
    change = _CHANGES.get(condition.way)
    if change is None or not condition.strength:
        return depth
    return change(np.random.default_rng(ids), depth, condition.strength)


def noisy(rng: np.random.Generator, depth: Depth, sigma: float) -> Depth:
    """Add independent noise, mm."""
    return depth + np.float32(sigma) * rng.standard_normal(depth.shape, np.float32)


def holey(rng: np.random.Generator, depth: Depth, share: float) -> Depth:
    """Take a share of the image out, in blots of some `BLOT` px."""
    height, width = depth.shape
    coarse = rng.random((height // BLOT + 1, width // BLOT + 1)).astype(np.float32)
    blots = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    return np.where(blots < np.quantile(blots, share), np.float32(np.nan), depth)


def coarser(rng: np.random.Generator, depth: Depth, more: float) -> Depth:
    """Keep one of every ``more + 1`` rows and columns, and repeat it."""
    factor = int(more) + 1
    few = depth[factor // 2 :: factor, factor // 2 :: factor]
    rows, cols = (
        np.minimum(np.arange(side) // factor, kept - 1)
        for side, kept in zip(depth.shape, few.shape, strict=True)
    )
    coarse: Depth = few[rows][:, cols]
    return coarse


_CHANGES: Mapping[str, Callable[[np.random.Generator, Depth, float], Depth]] = {
    "noise": noisy,
    "holes": holey,
    "resolution": coarser,
}
