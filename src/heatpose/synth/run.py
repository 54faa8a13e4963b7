"""A data set from beginning to end: what is there already, what is missing, who makes it."""

import hashlib
import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from heatpose.errors import DataError
from heatpose.synth.dataset import begin, find_models, missing_scenes
from heatpose.synth.jobs import Outcome, make_scenes, remove_leftovers
from heatpose.synth.recipe import Recipe, SynthConfig
from heatpose.synth.solids import read_solids

ON_ONE_GPU = 4  # processes, at most: they share its memory


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    objects: Sequence[Path]  # a BOP models folder, or CAD files
    out: Path
    scenes: int
    first_scene: int = 0
    split: str = "train"
    unit: str | None = None  # of CAD files
    backgrounds: Path | None = None  # folders of photographs and of environment maps
    environments: Path | None = None
    workers: int | None = None  # processes; None for as many as there are cores
    ray: str | None = None  # address of a cluster

    def __post_init__(self) -> None:
        if self.scenes < 1:
            raise ValueError(f"scenes must be positive, got {self.scenes}")
        if self.first_scene < 0:
            raise ValueError(f"first_scene must not be negative, got {self.first_scene}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be positive, got {self.workers}")
        if not self.split or Path(self.split).name != self.split:
            raise ValueError(f"split must be the name of a folder, got {self.split!r}")


@dataclass(frozen=True)
class Job:
    """What is left to do."""

    folder: Path  # of the scenes
    config: SynthConfig  # with the variant that will be used
    places: Mapping[str, Path]  # see `heatpose.synth.recipe.Recipe`
    numbers: Sequence[int]  # of the scenes that are missing
    workers: int
    ray: str | None

    def run(self) -> Generator[Outcome, None, None]:
        """Make the missing scenes and report each as it is done."""
        if self.ray is None:
            opener = partial(Recipe(self.config), self.places)
            return make_scenes(self.numbers, opener, self.folder, self.workers)
        from heatpose.synth import cluster

        return cluster.make_scenes(
            self.numbers, Recipe(self.config), self.places, self.folder, self.ray, self.workers
        )


def prepare(order: Order, config: SynthConfig) -> Job:
    """Begin a data set, or look what is missing of one that was begun.

    Raises:
        DataError: objects, backgrounds or environments cannot be used, or nothing can be written.
        OptionError: what is there was made with other options.
        MissingExtraError: path tracing is asked for and does not work here.
    """
    scenery = {"backgrounds": order.backgrounds, "environments": order.environments}
    given = {name: folder for name, folder in scenery.items() if folder is not None}
    recipe = {**asdict(config), **{name: _digest(folder) for name, folder in scenery.items()}}
    if order.ray is None:  # the machines of a cluster choose for themselves
        config = with_variant(config)
    models, infos = find_models(order.objects, order.unit)
    begin(order.out, models, infos, config.scene.camera, recipe)
    places = {"models": order.out / "models", "solids": order.out / "solids", **given}
    read_solids({one.object_id: one.mesh for one in models}, places["solids"])  # once for all
    numbers = range(order.first_scene, order.first_scene + order.scenes)
    folder = order.out / order.split
    for number in numbers:
        remove_leftovers(folder, number)
    return Job(
        folder=folder,
        config=config,
        places=places,
        numbers=missing_scenes(order.out, order.split, numbers),
        workers=order.workers or _default_workers(config),
        ray=order.ray,
    )


def with_variant(config: SynthConfig) -> SynthConfig:
    """Return the same with the variant of mitsuba that is used on this machine.

    Raises:
        MissingExtraError: none works.
        OptionError: the one that is asked for does not.
    """
    if config.engine != "pathtrace":
        return config
    from heatpose.render.pathtrace import choose_variant

    return replace(config, variant=choose_variant(config.variant))


def _default_workers(config: SynthConfig) -> int:
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    return min(cores, ON_ONE_GPU) if (config.variant or "").startswith("cuda") else cores


def _digest(folder: Path | None) -> str | None:
    """Return what changes with the names and sizes of the files in a folder, not with its place."""
    if folder is None:
        return None
    if not folder.is_dir():
        raise DataError(f"no folder at {folder}")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    names = "\n".join(f"{p.relative_to(folder)} {p.stat().st_size}" for p in files)
    return hashlib.sha256(names.encode()).hexdigest()[:16]
