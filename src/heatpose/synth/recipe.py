"""What a data set is made of and how: plain data from which any process makes the same scenes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from heatpose.objects.mesh import Mesh, read_mesh
from heatpose.render.depth_sensors import DepthSensor, MeasuredBy
from heatpose.render.scene import Scene
from heatpose.render.sensors import ColourSensor
from heatpose.render.surfaces import Surfaces
from heatpose.synth.distractors import distractor_set
from heatpose.synth.layout import SceneConfig, random_scene
from heatpose.synth.make import Engine, Floats, SceneMaker
from heatpose.synth.scenery import read_scenery
from heatpose.synth.solids import read_solids

EngineName = Literal["pathtrace", "raycast"]


@dataclass(frozen=True)
class SynthConfig:
    """Everything that scenes depend on, besides the objects and pictures around them."""

    engine: EngineName = "pathtrace"
    samples: int = 16  # light paths a pixel
    denoise: bool = True
    variant: str | None = None  # of mitsuba; None takes the fastest that works
    seed: int = 0
    png: bool = False  # colour without loss; else JPEG
    depth: MeasuredBy = None
    others: tuple[DepthSensor, ...] | None = None  # further depth, in folders of its own
    colour: ColourSensor = field(default_factory=ColourSensor)
    scene: SceneConfig = field(default_factory=SceneConfig)

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples must be positive, got {self.samples}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.scene.camera.distortion:
            raise ValueError("pictures are drawn without lens distortion: give the ideal camera")


@dataclass(frozen=True)
class Recipe:
    """Opens what makes scenes, in any process and on any machine that has the places.

    The places are folders by name: ``models`` (obj_*.ply), ``solids`` (their convex parts, see
    `prepare_solids`), and where there are such ``backgrounds`` and ``environments``.
    """

    config: SynthConfig
    threads: int = 1

    def __call__(self, places: Mapping[str, Path]) -> SceneMaker:
        """Read meshes, pictures and solids, and start the engine.

        Raises:
            DataError: a file cannot be used.
            MissingExtraError, OptionError: see `heatpose.render.pathtrace.PathTracer`.
        """
        config = self.config
        meshes = read_meshes(places["models"])
        solids = read_solids(meshes, places["solids"])
        scenery = read_scenery(places.get("backgrounds"), places.get("environments"))
        size = float(np.median([2 * solid.radius for solid in solids.values()]))
        others, other_solids = distractor_set(scenery, size, seed=config.seed)
        meshes, solids = meshes | others, solids | other_solids
        return SceneMaker(
            meshes,
            lambda rng: random_scene(rng, meshes, solids, config.scene, scenery),
            open_engine(config, meshes, self.threads),
            seed=config.seed,
            colour=config.colour,
            depth=config.depth,
            others=config.others or (),
            png=config.png,
        )


def read_meshes(folder: Path) -> dict[int, Mesh]:
    """Read the meshes obj_ID.ply, mm, of a folder, by id."""
    return {int(p.stem[4:]): read_mesh(p, "mm") for p in sorted(folder.glob("obj_*.ply"))}


def open_engine(config: SynthConfig, meshes: Mapping[int, Mesh], threads: int) -> Engine:
    """Start what draws pictures.

    Args:
        config: says which.
        meshes: of all ids that scenes have.
        threads: of the path tracer.
    """
    if config.engine == "raycast":
        from heatpose.render.preview import PreviewEngine

        return PreviewEngine(meshes)
    from heatpose.render.pathtrace import PathTracer

    tracer = PathTracer(meshes, config.variant, config.samples, config.denoise, threads)

    def trace(scene: Scene, view: int, rng: np.random.Generator, seen: Surfaces) -> Floats:
        return tracer(scene, view, int(rng.integers(2**31)))

    return trace
