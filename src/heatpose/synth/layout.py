"""Random scenes: which objects, where they come to lie, on what, in what light, seen from where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from heatpose.geometry.arrays import Array
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.objects.mesh import Mesh
from heatpose.render.scene import Instance, Material, Scene
from heatpose.synth.physics import Ground, PhysicsConfig, settle
from heatpose.synth.room import random_lights, random_panels
from heatpose.synth.scenery import Scenery, random_material
from heatpose.synth.solids import Solid

CLEARANCE = 60.0  # mm between a camera and whatever is nearest


@dataclass(frozen=True)
class SceneConfig:
    """What training scenes are like. Pairs are the smallest and the largest value."""

    camera: Camera = Camera(fx=572.4, fy=573.6, cx=319.5, cy=239.5, width=640, height=480)
    views: tuple[int, int] = (5, 8)  # images of a scene
    objects: tuple[int, int] = (4, 12)  # in a scene
    repeats: float = 0.2  # chance that an object is a further instance of one that is there
    distractors: tuple[int, int] = (0, 6)
    # Side of the square above which objects start, over that of one they would fill; None: 0.7 to
    # 1.6, but with room for each.
    spread: tuple[float, float] | None = None
    bins: float = 0.15  # share of scenes in a bin, not on a table
    standing: float = 0.5  # share of the scenes on a table in which objects stand with z up
    sizes: tuple[float, float] = (40.0, 200.0)  # diameter of an object in the image, px
    saturations: tuple[float, float] = (1.0, 1.0)  # factor on the colours of objects
    elevations: tuple[float, float] = (0.17, 1.48)  # of cameras, rad
    roll: float = 0.1  # standard deviation, rad
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)

    def __post_init__(self) -> None:
        for name in ("views", "objects", "distractors", "sizes", "saturations", "elevations"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} must be 0 <= low <= high, got {low}, {high}")
        for name in ("views", "sizes", "saturations"):
            if getattr(self, name)[0] <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.elevations[1] > np.pi / 2:
            raise ValueError(f"elevations are at most a right angle, got {self.elevations}")
        for name in ("repeats", "bins", "standing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share in [0, 1], got {getattr(self, name)}")


def random_scene(
    rng: np.random.Generator,
    meshes: Mapping[int, Mesh],
    solids: Mapping[int, Solid],
    config: SceneConfig,
    scenery: Scenery,
) -> Scene:
    """Draw a scene; the same generator state gives the same one.

    Args:
        rng: decides everything.
        meshes: objects, and distractors with ids below zero (`distractor_set`).
        solids: their convex parts.
        config: how many, how large, from where.
        scenery: textures and environments.
    """
    in_bin = bool(rng.random() < config.bins)
    standing = not in_bin and bool(rng.random() < config.standing)
    ids = [
        *_choose(rng, [i for i in meshes if i >= 0], config.objects, config.repeats),
        *_choose(rng, [i for i in meshes if i < 0], config.distractors, 0.0),
    ]
    ground = _ground(rng, np.array([solids[i].radius for i in ids]), in_bin, config.spread)
    upright = [standing and i >= 0 for i in ids]
    poses = settle(rng, solids, ids, ground, config.physics, upright)
    instances = tuple(
        Instance(object_id, pose, _material(rng, config))
        for object_id, pose in zip(ids, poses, strict=True)
        if pose is not None
    )
    cameras = _cameras(rng, instances, solids, config, ground)
    reach = max(float(np.linalg.norm(pose[:3, 3])) for pose in cameras) + CLEARANCE
    lights, environment, reach = random_lights(rng, scenery, reach)
    return Scene(
        instances=instances,
        panels=random_panels(rng, scenery, ground, reach),
        lights=lights,
        environment=environment,
        camera=config.camera,
        world_from_cameras=tuple(cameras),
    )


def _material(rng: np.random.Generator, config: SceneConfig) -> Material:
    """Draw what an object is made of."""
    material = random_material(rng)
    low, high = config.saturations
    if low == high == 1:
        return material
    return replace(material, saturation=float(np.exp(rng.uniform(np.log(low), np.log(high)))))


def _choose(
    rng: np.random.Generator, ids: Sequence[int], counts: tuple[int, int], repeats: float
) -> list[int]:
    """Draw objects, each equally often; one comes again by chance or when all are there."""
    chosen: list[int] = []
    fresh = list(rng.permutation(ids)) if ids else []
    for _ in range(rng.integers(counts[0], counts[1] + 1) if ids else 0):
        again = chosen and (not fresh or rng.random() < repeats)
        chosen.append(int(chosen[int(rng.integers(len(chosen)))] if again else fresh.pop()))
    return chosen


def _ground(
    rng: np.random.Generator, radii: Array, in_bin: bool, close: tuple[float, float] | None
) -> Ground:
    """Draw a table or bin; how closely objects lie is random too."""
    crowd = float(np.sqrt(np.sum((2 * radii) ** 2))) if len(radii) else 200.0
    largest = 2 * float(radii.max(initial=50.0))
    if in_bin:
        sides = np.maximum(crowd * rng.uniform(0.6, 1.1, 2), 1.3 * largest)
        wall = largest * rng.uniform(0.3, 0.9)
        return Ground(float(sides[0]), float(sides[1]), wall, spread=float(sides.max()))
    if close is None:
        spread = max(crowd * rng.uniform(0.7, 1.6), 1.2 * largest)
    else:
        spread = crowd * rng.uniform(*close)
    width, depth = spread * rng.uniform(1.3, 3.5, 2) + 2 * largest
    return Ground(float(width), float(depth), spread=float(spread))


def _cameras(
    rng: np.random.Generator,
    instances: Sequence[Instance],
    solids: Mapping[int, Solid],
    config: SceneConfig,
    ground: Ground,
) -> list[Array]:
    """Draw world_from_camera, (4, 4) each, mm, of all views: none of them inside of something."""
    points = [
        transform_points(one.world_from_object, solids[one.object_id].corners) for one in instances
    ]
    labelled = [p for p, one in zip(points, instances, strict=True) if one.object_id >= 0]
    low, high = config.elevations
    if ground.wall:  # over the walls, not through them
        over = np.arctan2(ground.wall, min(ground.width, ground.depth) / 2)
        low = min(max(low, over), high)
    cameras: list[Array] = []
    n_views = int(rng.integers(config.views[0], config.views[1] + 1))
    while len(cameras) < n_views:
        target, diameter = _target(rng, labelled)
        size = np.exp(rng.uniform(*np.log(config.sizes)))
        azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(low, high)
        distance = max(config.camera.fx * diameter / size, diameter)
        for _ in range(20):  # farther away until it is free
            pose = look_at(target, distance, azimuth, elevation, rng.normal(0, config.roll))
            if _clear(pose[:3, 3], points, ground):
                break
            distance *= 1.2
        cameras.append(pose)
    return cameras


def _target(rng: np.random.Generator, labelled: Sequence[Array]) -> tuple[Array, float]:
    """Draw where a camera looks, (3,), mm, and the diameter that it should see at its size.

    An object, the middle of all or somewhere near: it need not be in the middle of the image.
    """
    if not labelled:
        return rng.normal(0, 50, 3) * [1, 1, 0], 100.0
    points = labelled[int(rng.integers(len(labelled)))]
    diameter = float(np.linalg.norm(np.ptp(points, axis=0)))
    if rng.random() < 0.4:
        points = np.concatenate([p.mean(axis=0, keepdims=True) for p in labelled])
    return points.mean(axis=0) + rng.normal(0, 0.4 * diameter, 3) * [1, 1, 0.3], diameter


def look_at(target: Array, distance: float, azimuth: float, elevation: float, roll: float) -> Array:
    """Return world_from_camera, (4, 4), mm, of a camera that looks at a point from above.

    Args:
        target: the point, (3,), mm.
        distance: from the camera, mm.
        azimuth: of the camera seen from the target, rad, from +x towards +y.
        elevation: of the camera above the horizon, rad.
        roll: turn of the camera about its axis, rad; at 0 the world's z is up in the image.
    """
    level = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    from_target = np.cos(elevation) * level + np.sin(elevation) * np.array([0, 0, 1.0])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    axes = np.stack([right, np.cross(-from_target, right), -from_target], axis=1)
    turned = axes @ matrix_from_vector(np.array([0, 0, roll]))
    return make_transform(turned, target + distance * from_target)


def _clear(place: Array, points: Sequence[Array], ground: Ground) -> bool:
    """Say whether a camera has room around it: above the ground, the walls and the objects."""
    half = np.array([ground.width, ground.depth]) / 2 + CLEARANCE
    over_bin = (np.abs(place[:2]) < half).all()
    if place[2] < CLEARANCE + (ground.wall if over_bin else 0):
        return False
    low = [p.min(axis=0) - CLEARANCE for p in points]
    high = [p.max(axis=0) + CLEARANCE for p in points]
    return not any((a < place).all() and (place < b).all() for a, b in zip(low, high, strict=True))
