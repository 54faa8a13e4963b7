"""Drawing the scenes of a creation."""

import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rich.progress import track

from heatpose.create.plan import CreateConfig
from heatpose.data.bop import BopDataset
from heatpose.errors import DataError
from heatpose.synth.dataset import begin, find_models, finish, missing_scenes
from heatpose.synth.jobs import make_scenes, remove_leftovers
from heatpose.synth.layout import SceneConfig
from heatpose.synth.recipe import EngineName, Recipe, SynthConfig
from heatpose.synth.solids import read_solids

SPLIT = "scenes"
OBJECTS = (2, 8)  # in a scene; several instances where there are fewer parts


@dataclass(frozen=True)
class Drawn:
    """What came of it."""

    images: int  # in the folder, those of earlier attempts too
    seconds_per_image: float  # with all processes drawing; 0 where nothing was left to draw


def draw_scenes(
    root: Path,
    models: Path,
    engine: EngineName,
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
        unseen: scenes that are no training scenes, whatever the engine.

    Raises:
        DataError: a scene cannot be drawn, or the folder not written.
    """
    threads = max((os.cpu_count() or 1) // config.workers, 1)
    recipe = SynthConfig(
        engine=engine,
        seed=3 * config.seed + (2 if unseen else int(engine == "pathtrace")),
        depth="any" if unseen else None,
        scene=SceneConfig(camera=config.camera, views=(config.views,) * 2, objects=OBJECTS),
    )
    found, infos = find_models([models], "mm")
    begin(root, found, infos, config.camera, asdict(recipe))
    places = {"models": models, "solids": models / "solids"}
    for name, folder in (
        ("backgrounds", config.backgrounds),
        ("environments", config.environments),
    ):
        places |= {name: folder} if folder else {}
    read_solids({one.object_id: one.mesh for one in found}, places["solids"])  # once for all
    numbers = missing_scenes(root, SPLIT, range(count))
    for number in numbers:
        remove_leftovers(root / SPLIT, number)
    open_maker = partial(Recipe(recipe, threads), places)
    outcomes = make_scenes(numbers, open_maker, root / SPLIT, config.workers, threads)
    seconds = 0.0
    for outcome in track(outcomes, "drawing", total=len(numbers), transient=True):
        if outcome.problem:
            raise DataError(f"scene {outcome.number} cannot be drawn: {outcome.problem}")
        seconds += sum(outcome.seconds.values())
    images = finish(root, SPLIT)
    drawn = len(numbers) * config.views
    return Drawn(images, seconds / config.workers / drawn if drawn else 0.0)


def open_scenes(root: Path) -> BopDataset:
    """Return the data set that `draw_scenes` drew."""
    return BopDataset(root, SPLIT)
