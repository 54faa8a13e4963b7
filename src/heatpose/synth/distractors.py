"""Simple bodies that lie around objects and are not labelled."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array
from heatpose.objects.mesh import Mesh
from heatpose.objects.surface import split_at_creases
from heatpose.synth.scenery import Scenery
from heatpose.synth.solids import Solid

SECTORS = 12  # convex parts of a ring


def distractor_set(
    scenery: Scenery, size: float, count: int = 32, seed: int = 0
) -> tuple[dict[int, Mesh], dict[int, Solid]]:
    """Make boxes, cylinders, balls, cones and rings with pictures or colours on them.

    Args:
        scenery: where their pictures come from.
        size: typical diameter, mm; they have a third of it up to one and a half.
        count: how many.
        seed: the same seed gives the same bodies.

    Returns:
        Meshes and convex parts by id: -1, -2, ...
    """
    meshes, solids = {}, {}
    for object_id in range(-1, -count - 1, -1):
        rng = np.random.default_rng([seed, -object_id])
        kind = _KINDS[-object_id % len(_KINDS)]
        vertices, faces, uv = kind(rng)
        scale = (
            size * np.exp(rng.uniform(np.log(0.3), np.log(1.5))) / np.ptp(vertices, axis=0).max()
        )
        vertices = vertices * scale
        chosen, faces, normals = split_at_creases(vertices, faces)
        meshes[object_id] = Mesh(
            vertices[chosen], faces, normals, uv=uv[chosen], texture=scenery.wrapping(rng)
        )
        solids[object_id] = Solid(_sectors(vertices) if kind is _ring else (vertices,))
    return meshes, solids


Body = tuple[Array, NDArray[np.int32], Array]  # vertices, faces, uv


def _box(rng: np.random.Generator) -> Body:
    """Six faces with a picture each."""
    sides = rng.uniform(0.25, 1.0, 3)
    corners: list[Array] = []
    faces: list[list[int]] = []
    uv: list[Array] = []
    for axis in range(3):
        for side in (-1.0, 1.0):
            first = 4 * len(corners)
            square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [side, 1]
            corners.append(np.roll(np.c_[np.full(4, side), square], axis, axis=1) * sides / 2)
            faces += [[first, first + 1, first + 2], [first, first + 2, first + 3]]
            uv.append((np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) + 1) / 2)
    return np.concatenate(corners), np.array(faces, np.int32), np.concatenate(uv)


def _cylinder(rng: np.random.Generator) -> Body:
    radius, half = rng.uniform(0.15, 0.6), 0.5
    return _turned(np.array([[0, -half], [radius, -half], [radius, half], [0, half]]))


def _cone(rng: np.random.Generator) -> Body:
    low, high = rng.uniform(0.25, 0.6), rng.uniform(0.02, 0.2)
    return _turned(np.array([[0, -0.5], [low, -0.5], [high, 0.5], [0, 0.5]]))


def _ball(rng: np.random.Generator) -> Body:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 17)
    profile = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    profile[[0, -1], 0] = 0
    return _turned(profile * [1, rng.uniform(0.5, 1.3)])


def _ring(rng: np.random.Generator) -> Body:
    angle = np.linspace(-np.pi, np.pi, 17)
    thick = rng.uniform(0.15, 0.45)
    return _turned(np.stack([1 + thick * np.cos(angle), thick * np.sin(angle)], axis=1))


_KINDS: tuple[Callable[[np.random.Generator], Body], ...] = (_box, _cylinder, _ball, _cone, _ring)


def _turned(profile: Array, steps: int = 4 * SECTORS) -> Body:
    """Turn a profile, (n, 2) as distance from the axis and height, once around the z axis."""
    n = len(profile)
    turn = np.linspace(0, 2 * np.pi, steps + 1)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    around = profile[None, :, :1] * circle[:, None]  # (steps + 1, n, 2)
    heights = np.broadcast_to(profile[None, :, 1:], (steps + 1, n, 1))
    vertices = np.concatenate([around, heights], axis=2).reshape(-1, 3)
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))]
    u, v = np.meshgrid(turn / (2 * np.pi), length / length[-1], indexing="ij")
    here = (np.arange(steps)[:, None] * n + np.arange(n - 1)).ravel()
    quads = np.stack([here, here + n, here + n + 1, here + 1], axis=1)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    points = vertices[faces]
    area = np.linalg.norm(
        np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]), axis=1
    )
    return vertices, faces[area > 1e-12].astype(np.int32), np.stack([u.ravel(), v.ravel()], axis=1)


def _sectors(vertices: Array) -> tuple[Array, ...]:
    """Divide the vertices of a ring, (n, 3), in order around it, into overlapping sectors."""
    around = len(vertices) // (4 * SECTORS + 1)
    rows = vertices.reshape(4 * SECTORS + 1, around, 3)
    return tuple(rows[4 * k : 4 * k + 5].reshape(-1, 3) for k in range(SECTORS))
