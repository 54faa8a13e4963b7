"""Objects that stand, lie and pile up as gravity has it (MuJoCo)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import mujoco
import numpy as np
from scipy.spatial import ConvexHull

from heatpose.errors import UnknownObjectError
from heatpose.geometry.arrays import Array
from heatpose.geometry.rotations import (
    matrix_from_quaternion,
    matrix_from_vector,
    quaternion_from_matrix,
    random_rotation,
)
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.synth.solids import Solid

MM = 1e-3  # MuJoCo's metres per millimetre
GAP = 2.0  # mm between objects at the start
TRIES = 60  # to find a free place for an object that stands
SLAB = 0.5  # m, half the thickness of table and walls: nothing is thrown through


@dataclass(frozen=True)
class Ground:
    """What objects fall on: a table top in z = 0 around the origin, or a bin that stands on it."""

    width: float  # along x, mm; of a bin, inside
    depth: float  # along y, mm
    wall: float = 0.0  # height of a bin's walls, mm; 0 for a table
    spread: float = 300.0  # objects start above a square around the origin with this side, mm

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.spread) <= 0 or self.wall < 0:
            raise ValueError(f"sides must be positive, got {self}")


@dataclass(frozen=True)
class PhysicsConfig:
    """How long and how finely motion is computed."""

    seconds: float = 2.5  # of motion, at most
    step: float = 0.004  # s
    slow: float = 0.01  # m/s (and a tenth of rad/s): what is slower for a while is at rest
    friction: float = 0.6


def settle(
    rng: np.random.Generator,
    solids: Mapping[int, Solid],
    object_ids: Sequence[int],
    ground: Ground,
    config: PhysicsConfig | None = None,
    standing: Sequence[bool] | None = None,
) -> list[Array | None]:
    """Put objects upright on the ground, or drop them and wait until they are at rest.

    The same generator state gives the same poses.

    Args:
        rng: draws where each object starts and how it is turned.
        solids: the convex parts of all objects.
        object_ids: the objects of the scene; one may come several times.
        ground: table or bin.
        config: the simulation.
        standing: which objects are put down with their z axis up, beside each other, and stay so.
            Where there is no room for one it is dropped like the rest. None: all are dropped.

    Returns:
        world_from_object (4, 4), mm, of each object; None for what fell off or left the bin.

    Raises:
        UnknownObjectError: an object without a solid.
    """
    config = config or PhysicsConfig()
    unknown = set(object_ids) - set(solids)
    if unknown:
        raise UnknownObjectError(f"objects {sorted(unknown)} have no convex parts")
    bodies = [solids[object_id] for object_id in object_ids]
    wanted = [False] * len(bodies) if standing is None else standing
    upright = _stand(rng, [b if w else None for b, w in zip(bodies, wanted, strict=True)], ground)
    start = _drop(rng, bodies, upright, ground)
    model = _model(object_ids, solids, start, [pose is None for pose in upright], ground, config)
    poses = _simulated(model, len(bodies), config)
    # What stands has not moved, and is exact as it was put.
    poses = [pose if put is None else put for put, pose in zip(upright, poses, strict=True)]
    return [
        pose if _stayed(transform_points(pose, body.corners), ground) else None
        for pose, body in zip(poses, bodies, strict=True)
    ]


def _stand(
    rng: np.random.Generator, bodies: Sequence[Solid | None], ground: Ground
) -> list[Array | None]:
    """Put bodies upright beside each other; None stays None, and where there is no room."""
    taken: list[Array] = []
    poses: list[Array | None] = []
    for body in bodies:
        poses.append(None)
        for attempt in range(TRIES if body is not None else 0):
            assert body is not None
            turn = matrix_from_vector(np.array([0, 0, rng.uniform(0, 2 * np.pi)]))
            corners = body.corners @ turn.T
            low, high = corners.min(axis=0), corners.max(axis=0)
            area = _start_area(ground, 1 + attempt / TRIES)  # in a crowd, farther out
            room = np.maximum(area - (high - low)[:2], 0)
            place = rng.uniform(-0.5, 0.5, 2) * room - (low + high)[:2] / 2
            outline = _outline(corners[:, :2] + place)
            if _free(outline, taken):
                taken.append(outline)
                poses[-1] = make_transform(turn, np.array([*place, -low[2]]))
                break
    return poses


def _start_area(ground: Ground, wider: float = 1.0) -> Array:
    """Return the sides (2,), mm, of the rectangle above which objects start."""
    return np.minimum([ground.width, ground.depth], wider * ground.spread)


def _outline(points: Array) -> Array:
    """Return the corners (n, 2) of the convex hull of points in the plane, with a gap around."""
    corners = points[ConvexHull(points).vertices]
    middle = corners.mean(axis=0)
    away = corners - middle
    outline: Array = middle + away * (1 + GAP / np.linalg.norm(away, axis=1, keepdims=True))
    return outline


def _free(outline: Array, taken: Sequence[Array]) -> bool:
    return not any(
        cv2.intersectConvexConvex(outline.astype(np.float32), other.astype(np.float32))[0] > 0
        for other in taken
    )


def _drop(
    rng: np.random.Generator,
    bodies: Sequence[Solid],
    upright: Sequence[Array | None],
    ground: Ground,
) -> list[Array]:
    """Return where all bodies start: upright ones where they are, others free in the air."""
    balls = [  # around each body: centre and radius
        _ball(transform_points(pose, body.corners))
        for body, pose in zip(bodies, upright, strict=True)
        if pose is not None
    ]
    poses = []
    for body, put in zip(bodies, upright, strict=True):
        if put is not None:
            poses.append(put)
            continue
        rotation = random_rotation(rng)
        middle, radius = _ball(body.corners @ rotation.T)
        room = np.maximum(_start_area(ground) - 2 * radius, 0)
        place = np.array([*(rng.uniform(-0.5, 0.5, 2) * room), radius + GAP])
        place[2] = _free_height(place, radius, balls)
        balls.append((place, radius))
        poses.append(make_transform(rotation, place - middle))
    return poses


def _free_height(place: Array, radius: float, balls: Sequence[tuple[Array, float]]) -> float:
    """Return the lowest z from that of a place (3,) on at which a ball touches no other, mm."""
    aside = [float(np.hypot(*(centre - place)[:2])) for centre, _ in balls]
    reach = [radius + other + GAP for _, other in balls]
    taken = [  # of the heights over the place, by the balls nearby
        (float(centre[2]) - (r**2 - a**2) ** 0.5, float(centre[2]) + (r**2 - a**2) ** 0.5)
        for (centre, _), a, r in zip(balls, aside, reach, strict=True)
        if a < r
    ]
    height = float(place[2])
    for low, high in sorted(taken):
        if low < height < high:
            height = high
    return height


def _ball(points: Array) -> tuple[Array, float]:
    """Return centre (3,) and radius of a ball around points (n, 3)."""
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    return centre, float(np.linalg.norm(points - centre, axis=1).max())


def _model(
    object_ids: Sequence[int],
    solids: Mapping[int, Solid],
    poses: Sequence[Array],
    free: Sequence[bool],
    ground: Ground,
    config: PhysicsConfig,
) -> mujoco.MjModel:
    """Build the scene for MuJoCo; body number i + 1 is object number i."""
    spec = mujoco.MjSpec()
    spec.option.timestep = config.step
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    for object_id in sorted(set(object_ids)):
        for index, part in enumerate(solids[object_id].parts):
            mesh = spec.add_mesh(name=f"{object_id} {index}")
            mesh.uservert = (part * MM).ravel()
            mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
    for size, place in _slabs(ground):
        box = spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=size, pos=place)
        _touch(box, config)
    for object_id, pose, moves in zip(object_ids, poses, free, strict=True):
        body = spec.worldbody.add_body(
            pos=pose[:3, 3] * MM, quat=quaternion_from_matrix(pose[:3, :3])
        )
        if moves:
            body.add_freejoint()
        for index in range(len(solids[object_id].parts)):
            _touch(
                body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"{object_id} {index}"),
                config,
            )
    return spec.compile()


def _touch(geom: mujoco.MjsGeom, config: PhysicsConfig) -> None:
    """Say how a surface meets others: firmly, with friction against sliding and rolling."""
    geom.condim = 6
    geom.friction = [config.friction, 0.005, 0.0005]
    geom.solref = [0.01, 1.0]  # half as soft as MuJoCo's default: sinks in by a tenth of a mm
    geom.solimp = [0.95, 0.99, 0.001, 0.5, 2.0]


def _slabs(ground: Ground) -> list[tuple[Array, Array]]:
    """Return half sides and centre, (3,) each, m, of table and walls."""
    half = np.array([ground.width, ground.depth]) / 2 * MM
    slabs = [(np.array([*half, SLAB]), np.array([0, 0, -SLAB]))]
    if ground.wall:
        high = ground.wall / 2 * MM
        for axis in (0, 1):
            size = np.array([*half, high]) + 2 * SLAB * (np.arange(3) == 1 - axis)
            size[axis] = SLAB
            for side in (-1, 1):
                place = np.array([0, 0, high])
                place[axis] = side * (half[axis] + SLAB)
                slabs.append((size, place))
    return slabs


def _simulated(model: mujoco.MjModel, n_bodies: int, config: PhysicsConfig) -> list[Array]:
    """Let time pass until all is at rest, and return the poses (4, 4), mm, of all bodies."""
    data = mujoco.MjData(model)
    still = 0
    for step in range(int(config.seconds / config.step)):
        mujoco.mj_step(model, data)
        if step % 10 == 0 and model.nv:
            still = still + 1 if _resting(data, config) else 0
            if still == 3:  # at the top of its way up, all is at rest for a moment
                break
    mujoco.mj_forward(model, data)
    rotations = matrix_from_quaternion(data.xquat[1 : n_bodies + 1])
    return list(make_transform(rotations, data.xpos[1 : n_bodies + 1] / MM))


def _resting(data: mujoco.MjData, config: PhysicsConfig) -> bool:
    """Say whether all free bodies are slow, those aside that fall off the table."""
    speed = np.abs(data.qvel.reshape(-1, 6))
    here = data.qpos.reshape(-1, 7)[:, 2] > -0.2
    return bool(
        (speed[here, :3] < config.slow).all() and (speed[here, 3:] < 10 * config.slow).all()
    )


def _stayed(points: Array, ground: Ground) -> bool:
    """Say whether an object with these corners, (n, 3), mm, is on the table or in the bin."""
    if points[:, 2].min() < -GAP or not np.isfinite(points).all():
        return False
    half = np.array([ground.width, ground.depth]) / 2
    if ground.wall:
        return bool((np.abs(points[:, :2]) <= half + GAP).all())
    return bool((np.abs(points[:, :2].mean(axis=0)) <= half).all())
