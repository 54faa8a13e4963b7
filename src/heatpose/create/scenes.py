"""Drawing the scenes of a creation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from heatpose.create.plan import CreateConfig
from heatpose.data.bop import BopDataset

Engine = Literal["raycast", "pathtrace"]
SPLIT = "scenes"


@dataclass(frozen=True)
class Drawn:
    """What came of it."""

    images: int  # in the folder, those of earlier attempts too
    seconds_per_image: float  # with all processes drawing


def draw_scenes(
    root: Path,
    models: Path,
    engine: Engine,
    count: int,
    config: CreateConfig,
    unseen: bool = False,
) -> Drawn:
    """Draw those of a number of scenes that are not there yet.

    Args:
        root: folder of the data set, made if need be.
        models: folder as `heatpose.create.meshes.write_models` leaves it.
        engine: what draws them.
        count: how many scenes there are to be.
        config: camera, scenery, processes.
        unseen: with another seed, of which nothing is trained on.
    """
    raise NotImplementedError


def open_scenes(root: Path) -> BopDataset:
    """Return the data set that `draw_scenes` drew."""
    return BopDataset(root, SPLIT)


def can_pathtrace() -> bool:
    """Say whether path tracing works here."""
    raise NotImplementedError
