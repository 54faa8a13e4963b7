"""How a given time is spent: how many scenes, how many training samples, how long each step takes.

Speeds are measured first (`heatpose.create.measure`); a plan is arithmetic from there on.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from heatpose.data.views import ViewConfig
from heatpose.errors import OptionError
from heatpose.geometry.camera import Camera
from heatpose.model.yolov10_blocks import YoloSize

STEPS = {
    "inspect": "look at the meshes",
    "scenes": "draw training scenes",
    "unseen": "draw scenes for calibration and evaluation",
    "keypoints": "train the keypoint network",
    "detector": "train the detector",
    "export": "export the bundle",
    "calibration": "learn how likely poses are right",
    "evaluation": "evaluate on the unseen scenes",
}
# Of the time that the four steps share which can be made longer or shorter.
SHARES = {"scenes": 0.17, "unseen": 0.03, "keypoints": 0.45, "detector": 0.35}
# A detector that starts from one of other objects has learned nearly all it will in half of that.
SHARES_WITH_DETECTOR = {**SHARES, "keypoints": 0.62, "detector": 0.18}
PATHTRACED = 0.6  # of the time for scenes, where path tracing can be used
MOST_IMAGES = 6000  # for training; of more, training on them is better spent time
UNSEEN_IMAGES = (10, 100)  # least and most
SHORT = 180.0  # minutes up to which networks look at less resolution
ON_DEVICE = (192, 448)  # px of crops and images that a GPU draws, which is fast enough for more


@dataclass(frozen=True)
class CreateConfig:
    """What can be chosen. It is kept in the work folder, and only the same goes on there."""

    minutes: float = 45.0  # for all together
    size: YoloSize = "n"  # of the detector
    camera: Camera = field(default_factory=lambda: ViewConfig().camera)  # of all scenes
    backgrounds: Path | None = None  # folder of photographs
    environments: Path | None = None  # folder of light from all around
    backbone: Path | None = None  # pretrained trunk of the keypoint network
    init: Path | None = None  # keypoint network of other objects to start from: run or bundle
    detector_init: Path | None = None  # detector of other objects to start from
    pathtrace: bool = True  # part of the scenes, where that is possible
    on_device: bool = False  # samples are drawn where networks are trained, not from scenes
    seed: int = 0
    workers: int = 2  # processes that draw scenes and make samples
    views: int = 5  # images of a scene
    crop_size: int | None = None  # side of the keypoint network's crops, px; by minutes if None
    image_size: int | None = None  # side of the detector's images, px; by minutes if None
    keypoint_batch: int = 32
    detector_batch: int = 16
    least_steps: int = (
        50  # of each training: after fewer, statistics of the networks are still wild
    )

    def __post_init__(self) -> None:
        if not 0 < self.minutes < math.inf:
            raise OptionError(f"minutes must be positive, got {self.minutes:g}")
        for name in ("workers", "views", "keypoint_batch", "detector_batch", "least_steps"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.init is not None and self.backbone is not None:
            raise OptionError("a network starts from another (init) or from a backbone, not both")
        for name in ("crop_size", "image_size"):
            side = getattr(self, name)
            if side is not None and (side <= 0 or side % 32):
                raise OptionError(f"{name} must be a multiple of 32, got {side}")
        if self.seed < 0:
            raise OptionError(f"seed must not be negative, got {self.seed}")

    @property
    def on_trunk(self) -> bool:
        """Whether the detector looks through the trunk of the keypoint network.

        That pays where the trunk has learned for long and the detector would begin afresh.
        """
        return self.init is not None and self.detector_init is None

    @property
    def shares(self) -> dict[str, float]:
        """Of the time that the four steps share, by name."""
        return SHARES if self.detector_init is None else SHARES_WITH_DETECTOR

    @property
    def crop_side(self) -> int:
        """Side of the crops, px: half of it is four times as fast."""
        usual = 128 if self.minutes <= SHORT else 256
        return self.crop_size or (ON_DEVICE[0] if self.on_device else usual)

    @property
    def image_side(self) -> int:
        """Side of the detector's images, px."""
        usual = 320 if self.minutes <= SHORT else 640
        return self.image_size or (ON_DEVICE[1] if self.on_device else usual)


@dataclass(frozen=True)
class Speeds:
    """How fast this machine is."""

    raycast: float  # seconds per image, all processes together
    pathtraced: float | None  # likewise; None where path tracing cannot be used
    keypoints: float  # training samples per second
    detector: float
    estimate: float  # seconds per image, from picture to poses
    fixed: float  # seconds that starting a step takes


@dataclass(frozen=True)
class Plan:
    """How much of everything, and how long it will take."""

    raycast_scenes: int
    pathtraced_scenes: int
    unseen_scenes: int
    keypoint_samples: int
    detector_samples: int
    seconds: dict[str, float]  # of each of STEPS

    @property
    def total(self) -> float:
        """Seconds in all."""
        return sum(self.seconds.values())


def make_plan(config: CreateConfig, speeds: Speeds, n_objects: int) -> Plan:
    """Divide the time; each step gets at least what it cannot do without."""
    fixed = dict.fromkeys(STEPS, speeds.fixed)
    fixed["inspect"], fixed["export"] = 5.0, 3 * speeds.fixed
    slowest = max(speeds.raycast, speeds.pathtraced or 0.0)
    for step, times in (("calibration", 3), ("evaluation", 1)):  # alone, on tables, with depth
        fixed[step] += times * UNSEEN_IMAGES[1] * speeds.estimate
    left = max(60 * config.minutes - sum(fixed.values()), 0.0)
    share = {name: part * left for name, part in config.shares.items()}

    cast = traced = 0
    if not config.on_device:
        if speeds.pathtraced is not None:
            traced = _scenes(PATHTRACED * share["scenes"] / speeds.pathtraced, config.views, 1)
        rest = share["scenes"] - traced * config.views * (speeds.pathtraced or 0.0)
        cast = _scenes(min(rest / speeds.raycast, MOST_IMAGES), config.views, max(4, n_objects))
    low, high = UNSEEN_IMAGES
    unseen = _scenes(min(max(share["unseen"] / slowest, low), high), config.views, 2)

    seconds = dict(fixed)
    seconds["scenes"] += config.views * (cast * speeds.raycast + traced * (speeds.pathtraced or 0))
    seconds["unseen"] += config.views * unseen * slowest
    # What scenes do not use goes to the networks.
    spare = sum(share[n] - (seconds[n] - fixed[n]) for n in ("scenes", "unseen"))
    samples = {}
    networks = config.shares["keypoints"] + config.shares["detector"]
    for name, speed, batch in (
        ("keypoints", speeds.keypoints, config.keypoint_batch),
        ("detector", speeds.detector, config.detector_batch),
    ):
        given = share[name] + spare * config.shares[name] / networks
        samples[name] = batch * max(int(given * speed / batch), config.least_steps)
        seconds[name] += samples[name] / speed
    return Plan(cast, traced, unseen, samples["keypoints"], samples["detector"], seconds)


def _scenes(images: float, views: int, least: int) -> int:
    return max(int(images / views), least)


def describe(plan: Plan, config: CreateConfig) -> list[str]:
    """Return the plan as lines for people."""
    images = config.views * (plan.raycast_scenes + plan.pathtraced_scenes)
    traced = config.views * plan.pathtraced_scenes
    how = {
        "scenes": f"{images} images, {traced} of them path traced"
        if images
        else "none, samples are drawn where they are learned from",
        "unseen": f"{config.views * plan.unseen_scenes} images",
        "keypoints": f"{plan.keypoint_samples} samples of {config.crop_side} px",
        "detector": f"{plan.detector_samples} samples of {config.image_side} px, "
        f"YOLOv10{config.size}{' on the trunk of the keypoint network' if config.on_trunk else ''}",
    }
    lines = []
    for number, (name, title) in enumerate(STEPS.items(), start=1):
        details = f": {how[name]}" if name in how else ""
        lines.append(f"{number}. {title}{details} ({duration(plan.seconds[name])})")
    lines.append(f"in all {duration(plan.total)}")
    if plan.total > 1.1 * 60 * config.minutes:
        lines.append(
            f"that is more than the {config.minutes:g} minutes asked for: no step can be shorter"
        )
    return lines


def duration(seconds: float) -> str:
    """Say how long something takes, as precisely as is of use."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def plan_from_record(record: Mapping[str, object]) -> Plan:
    """Undo `dataclasses.asdict`."""
    return Plan(**record)  # type: ignore[arg-type]
