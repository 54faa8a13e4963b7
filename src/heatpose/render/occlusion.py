"""What light does not reach: shadows and the dark where things touch, by few rays."""

from collections.abc import Mapping

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array, Mask
from heatpose.geometry.transforms import transform_points
from heatpose.objects.mesh import Mesh
from heatpose.render.scene import AreaLight, Panel, Scene

Floats = NDArray[np.float32]

CELLS = 48  # along the longest side of an object: what throws shadows may be coarse
BLOCK = 4  # neighbouring pixels BLOCK x BLOCK try different points of a light


def coarse_triangles(mesh: Mesh) -> Floats:
    """Return triangles (f, 3, 3), mm, of a mesh whose vertices are merged in a grid of CELLS."""
    cell = mesh.extents.max() / CELLS
    grid = np.floor((mesh.vertices - mesh.lower) / cell).astype(np.int64)
    key = (grid * [1, CELLS + 1, (CELLS + 1) ** 2]).sum(axis=1)
    _, index, counts = np.unique(key, return_inverse=True, return_counts=True)
    sums = [np.bincount(index, weights=axis) for axis in mesh.vertices.T]
    centres = np.stack(sums, axis=1) / counts[:, None]
    faces = np.unique(np.sort(index[mesh.faces], axis=1), axis=0)
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2])
    triangles: Floats = centres[faces[whole]].astype(np.float32)
    return triangles


class Occluders:
    """All surfaces of a scene that can stand in the way of light."""

    def __init__(self, scene: Scene, triangles: Mapping[int, Floats]) -> None:
        """Build from a scene and the triangles (f, 3, 3), mm, of its objects by id."""
        pieces = [_corners(panel) for panel in scene.panels]
        for one in scene.instances:
            points = triangles[one.object_id].reshape(-1, 3).astype(float)
            pieces.append(transform_points(one.world_from_object, points).reshape(-1, 3, 3))
        self._scene = EmbreeScene() if pieces else None
        if pieces:
            TriangleMesh(self._scene, np.concatenate(pieces).astype(np.float32))

    def between(self, origins: Floats, ways: Floats) -> Mask:
        """Say, (n,), where something stands between origins (n, 3) and origins + ways."""
        if self._scene is None or not len(origins):
            return np.zeros(len(origins), bool)
        limits = np.full(len(origins), 0.999, np.float32)
        hits = self._scene.run(
            np.ascontiguousarray(origins, np.float32),
            np.ascontiguousarray(ways, np.float32),
            dists=limits,
            query="OCCLUDED",
        )
        blocked: Mask = hits >= 0
        return blocked


def _corners(panel: Panel) -> Array:
    half = np.array([panel.width, panel.height]) / 2
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    corners = transform_points(panel.world_from_panel, np.c_[square, np.zeros(4)])
    triangles: Array = corners[[[0, 1, 2], [0, 2, 3]]]
    return triangles


def points_on(light: AreaLight) -> Floats:
    """Return BLOCK * BLOCK points (k, 3), mm, spread over a light."""
    steps = (np.arange(BLOCK) + 0.5) / BLOCK - 0.5
    across, down = np.meshgrid(steps * light.width, steps * light.height)
    flat = np.stack([across.ravel(), down.ravel(), np.zeros(BLOCK**2)], axis=1)
    order = np.arange(BLOCK**2) * 7 % BLOCK**2  # neighbours in the image far apart on the light
    return transform_points(light.world_from_light, flat[order]).astype(np.float32)


def directions_around(turns: int = BLOCK**2) -> Floats:
    """Return directions (turns, 3) over the half sphere around z, denser towards z as cos is."""
    k = np.arange(turns)
    radius, angle = np.sqrt((k + 0.5) / turns), k * np.pi * (3 - 5**0.5)
    flat = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return np.asarray(np.c_[flat, np.sqrt(1 - radius**2)], np.float32)


def frames(normals: Floats) -> tuple[Floats, Floats]:
    """Return two unit vectors, (n, 3) each, at right angles to normals (n, 3) and each other.

    Duff et al., Building an Orthonormal Basis, Revisited (2017).
    """
    x, y, z = normals.T
    sign = np.where(z >= 0, np.float32(1), np.float32(-1))
    a = -1 / (sign + z)
    b = x * y * a
    first = np.stack([1 + sign * x * x * a, sign * b, -sign * x], axis=1)
    return first, np.stack([b, sign + y * y * a, -y], axis=1)
