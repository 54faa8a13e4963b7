"""One scene: drawn, looked at by all its cameras, and written as a scene folder of BOP.

Scene number n of a seed is the same in any process: whatever is drawn by chance comes from
generators seeded with the seed, the number of the scene and that of the view.
"""

import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from heatpose.errors import DataError
from heatpose.geometry.arrays import Depth
from heatpose.objects.mesh import Mesh
from heatpose.render.depth_sensors import ANY_STRENGTH, DepthSensor, MeasuredBy, measure_depth
from heatpose.render.scene import Scene
from heatpose.render.sensors import ColourSensor, photograph
from heatpose.render.surfaces import Surfaces
from heatpose.synth.labels import Labeller, View, normals_to_camera, shine
from heatpose.synth.scene_files import SceneFiles

Floats: TypeAlias = NDArray[np.float32]
SceneDrawer: TypeAlias = Callable[[np.random.Generator], Scene]
# Scene, view, what that view shows -> radiance
Engine: TypeAlias = Callable[[Scene, int, np.random.Generator, Surfaces], Floats]
Seconds: TypeAlias = dict[str, float]  # by stage


class SceneMaker:
    """Makes scenes, one after the other; holds meshes and engine."""

    def __init__(
        self,
        meshes: Mapping[int, Mesh],
        draw_scene: SceneDrawer,
        engine: Engine,
        *,
        seed: int = 0,
        colour: ColourSensor | None = None,
        depth: MeasuredBy = None,
        others: Sequence[DepthSensor] = (),
        png: bool = False,
    ) -> None:
        """Prepare what all scenes have in common.

        Args:
            meshes: of all ids that scenes have, distractors (below zero) too.
            draw_scene: draws a scene.
            engine: draws what a camera sees as linear RGB, (h, w, 3), of any scale.
            seed: of everything.
            colour: the range of colour cameras.
            depth: the depth camera, or any, another for each picture; without it depth is exact.
            others: further depth cameras, each at the same place: what they measure is kept in
                folders depth_KIND_STRENGTH. They change nothing else.
            png: colour without loss; else JPEG.
        """
        self.draw_scene = draw_scene
        self.engine = engine
        self.seed = seed
        self.colour, self.depth, self.png = colour, depth, png
        self.others = others
        self.object_ids = [object_id for object_id in meshes if object_id >= 0]
        self.label = Labeller(meshes)

    def __call__(self, number: int, split: Path) -> Seconds:
        """Write scene ``number`` into the folder of a split, whole or not at all.

        It is renamed into place when all of it is there. What a killed process leaves behind
        is a hidden folder, which `heatpose.synth.jobs.remove_leftovers` takes away.

        Returns:
            The seconds that went into scene, pictures, labels, sensors and files.

        Raises:
            DataError: the folder cannot be written.
        """
        seconds: Seconds = {}
        place = split / f"{number:06d}"
        temporary = split / f".{number:06d}.{secrets.token_hex(4)}"
        try:
            temporary.mkdir(parents=True)
            self._write(number, temporary, seconds)
            temporary.rename(place)
        except OSError as error:
            raise DataError(f"cannot write {place}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return seconds

    def _write(self, number: int, folder: Path, seconds: Seconds) -> None:
        with _timed(seconds, "scene"):
            scene = self.draw_scene(np.random.default_rng([self.seed, number]))
        files = SceneFiles(folder, scene, self.png, self.depth is not None)
        for view in range(len(scene.world_from_cameras)):
            rng = np.random.default_rng([self.seed, number, 1 + view])
            with _timed(seconds, "labels"):
                seen = self.label(scene, view)
            with _timed(seconds, "picture"):
                radiance = self.engine(scene, view, rng, seen.surfaces)
            with _timed(seconds, "sensors"):
                picture = photograph(rng, radiance, self.colour)
                depth = self._measured(rng, scene, view, seen, self.depth)
            with _timed(seconds, "files"):
                files.add(view, picture, depth, seen)
            for which, sensor in enumerate(self.others):
                rng = np.random.default_rng([self.seed, number, 1 + view, 1 + which])
                measured = self._measured(rng, scene, view, seen, sensor)
                files.add_depth(view, f"depth_{sensor.name}", measured)
        files.finish(self.object_ids)

    def _measured(
        self,
        rng: np.random.Generator,
        scene: Scene,
        view: int,
        seen: View,
        sensor: MeasuredBy,
    ) -> Depth:
        """Return the depth (h, w), mm, that a depth camera gives; the truth without one."""
        if sensor is None:
            return seen.depth
        if sensor == "any":
            sensor = DepthSensor.any(rng, ANY_STRENGTH)
        normals = normals_to_camera(seen, scene.world_from_cameras[view])
        maps = (seen.depth, normals, seen.surfaces.albedo)
        return measure_depth(rng, *maps, scene.camera, sensor, shine(seen, scene))


@contextmanager
def _timed(seconds: Seconds, stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - started
