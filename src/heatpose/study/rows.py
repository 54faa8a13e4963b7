"""What a study consists of: its options, and rows that each change one thing.

A row is plain typed configuration, the same that `heatpose train keypoints` is made of. Rows whose
networks are trained alike, and that differ in what is made of the heatmaps, share the training.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from heatpose.data.samples import SampleConfig
from heatpose.data.views import ViewConfig
from heatpose.model.network import NetworkConfig
from heatpose.objects.keypoints import Strategy
from heatpose.train.config import TrainConfig

EPOCHS = 4  # of a run, about: after each there is something to go on from

Decoding: TypeAlias = Literal["sub-pixel", "argmax"]
Solver: TypeAlias = Literal["weighted", "plain"]


@dataclass(frozen=True)
class TestSet:
    """A BOP data set that networks are tried on."""

    __test__ = False  # pytest takes the name for one of its own

    root: Path
    split: str = "test"
    boxes: Path | None = None  # detections as BOP has them; None: the true boxes

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return self.root.name if self.split == "test" else f"{self.root.name}-{self.split}"


@dataclass(frozen=True)
class StudyOptions:
    """What all rows of a study have in common."""

    objects: Path  # BOP models folder
    datasets: tuple[TestSet, ...]
    samples: int  # of each training
    images: int | None = None  # of each data set, at most
    crop_size: int = 128  # px
    batch_size: int = 16
    learning_rate: float = 1e-3
    backbone: Path | None = None
    keypoints: Path | None = None  # that were chosen elsewhere, for further rows
    init: Path | None = None  # network whose trunk and decoder all begin with
    backgrounds: Path | None = None
    upright: float = 0.0  # as for `heatpose.data.views.ViewConfig`
    hidden: float = 0.0

    def network(self, n_objects: int) -> NetworkConfig:
        """Return what networks are made of, unless a row says otherwise."""
        return NetworkConfig(n_objects, crop_size=self.crop_size)

    def training(self, workers: int = 0) -> TrainConfig:
        """Return how they are trained, unless a row says otherwise."""
        per_epoch = max(self.samples // self.batch_size // EPOCHS, 1) * self.batch_size
        return TrainConfig(
            samples=self.samples,
            samples_per_epoch=per_epoch,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            workers=workers,
            sample=SampleConfig(
                crop_size=self.crop_size,
                views=ViewConfig(upright=self.upright, hidden=self.hidden),
            ),
        )


@dataclass(frozen=True)
class SolveConfig:
    """What is made of heatmaps.

    ``plain`` is OpenCV's ``solvePnPRansac`` as it comes; ``weighted`` our RANSAC and least
    squares, which know how sure each keypoint is.
    """

    decoding: Decoding = "sub-pixel"
    solver: Solver = "weighted"
    outline: bool = False  # outlines in the picture correct poses
    depth: bool = False  # measured depth corrects them


@dataclass(frozen=True)
class Row:
    """One row of a study's table."""

    name: str
    change: str  # what it changes, in words
    network: NetworkConfig
    train: TrainConfig
    strategy: Strategy = "fps"
    chosen: Path | None = None  # file of keypoints in place of a strategy
    symmetric: bool = True  # labels know which views of an object look alike
    solve: SolveConfig = SolveConfig()
    line: str = ""  # of the plot over `at`, where a study has a number that grows
    at: float | None = None

    @property
    def training(self) -> dict[str, Any]:
        """All that the trained network depends on but its seed, as plain data."""
        train = asdict(self.train)
        for name in (
            "seed",
            "workers",
            "devices",
            "minutes",
            "drawing",
        ):  # the last two are never set
            del train[name]
        record: dict[str, Any] = plain(
            {
                "network": asdict(self.network),
                "train": train,
                "strategy": self.strategy if self.chosen is None else str(self.chosen),
                "symmetric": self.symmetric,
            }
        )
        return record

    @property
    def training_id(self) -> str:
        """A name for `training`: rows with the same one share their networks."""
        text = json.dumps(self.training, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def seeded(self, seed: int, workers: int) -> TrainConfig:
        """Return how the network of one seed is trained."""
        return replace(self.train, seed=seed, workers=workers)


@dataclass(frozen=True)
class Claim:
    """Something that the founding paper says: one row is better than another by so much."""

    text: str
    better: str  # names of rows
    than: str
    gain: float  # of ADD below a tenth of the diameter, in [0, 1]


@dataclass(frozen=True)
class Study:
    """Rows, and what they are to answer. The first is what the others are compared with."""

    name: str
    question: str
    rows: tuple[Row, ...]
    notes: str = ""
    claims: tuple[Claim, ...] = ()
    is_ladder: bool = False  # each row is to be compared with the one above it as well

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError(f"rows must have different names, got {names}")

    def only(self, names: set[str]) -> "Study":
        """Return the study with some of its rows, in their order; the first one stays."""
        kept = tuple(row for i, row in enumerate(self.rows) if i == 0 or row.name in names)
        return replace(self, rows=kept)


def plain(content: Any) -> Any:
    """Return what JSON makes of something, paths as text."""
    return json.loads(json.dumps(content, default=str))
