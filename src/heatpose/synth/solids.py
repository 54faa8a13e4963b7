"""Convex parts of meshes: what objects are to the physics.

A mesh that is nearly convex is its convex hull; others are divided by CoACD (Wei et al., 2022,
arXiv 2205.02961), once: the parts are kept in a folder under the SHA-256 of the mesh.
"""

import hashlib
import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import coacd
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from heatpose.errors import DataError
from heatpose.export.small_mesh import small_mesh
from heatpose.files import write_whole
from heatpose.geometry.arrays import Array
from heatpose.geometry.directions import even_directions
from heatpose.objects.mesh import Mesh, face_areas

log = logging.getLogger(__name__)

MAX_PARTS = 16
FINENESS = 0.003  # of the longest side: how far a simplified hull may stay behind
FACES = 2000  # of the mesh that is divided
HOLLOW = 0.06  # of the longest side: a mesh with dents deeper than this is divided
THIN = 0.5  # mm: what is flatter than this is given a thickness
VERSION = 2  # of the parts on disk


@dataclass(frozen=True, eq=False)
class Solid:
    """The convex pieces that an object is made of."""

    parts: tuple[Array, ...]  # the corners of each piece, (n, 3), mm, object frame

    @property
    def corners(self) -> Array:
        """The corners of all pieces, (n, 3), mm: their hull is the object's."""
        return np.concatenate(self.parts)

    @property
    def radius(self) -> float:
        """Radius of a ball around the middle of the solid, mm."""
        corners = self.corners
        middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
        return float(np.linalg.norm(corners - middle, axis=1).max())


def read_solids(meshes: Mapping[int, Mesh], cache: Path) -> dict[int, Solid]:
    """Return the convex parts of meshes; those not yet in the cache are computed and put there.

    Args:
        meshes: any objects.
        cache: the folder with the parts of earlier runs; it is made.

    Raises:
        DataError: a file of the cache is damaged, or the folder cannot be written.
    """
    files = {object_id: cache / f"{_digest(mesh)}.npz" for object_id, mesh in meshes.items()}
    missing = [object_id for object_id, path in files.items() if not path.is_file()]
    if missing:
        cache.mkdir(parents=True, exist_ok=True)
        log.info("dividing %d objects into convex parts, a few seconds each", len(missing))
    for object_id in missing:
        _write(files[object_id], solid_of(meshes[object_id]))
    return {object_id: _read(path) for object_id, path in files.items()}


def solid_of(mesh: Mesh) -> Solid:
    """Divide a mesh, closed or not, into convex parts; the same mesh gives the same parts."""
    hull = _convex(mesh.vertices)
    if _dents(mesh, hull) < HOLLOW * mesh.extents.max():
        return Solid((hull,))
    # To the micrometre: seams that differ in the last digit would leave the mesh open.
    rounded = replace(mesh, vertices=np.round(mesh.vertices, 3))
    vertices, faces = _welded(small_mesh(rounded, FACES))
    coacd.set_log_level("error")
    pieces = coacd.run_coacd(
        coacd.Mesh(vertices, faces),
        threshold=0.1,
        max_convex_hull=MAX_PARTS,
        preprocess_resolution=25,
        resolution=1000,
        mcts_nodes=6,
        mcts_iterations=8,
        mcts_max_depth=2,
        seed=0,
    )
    # Where the mesh has holes its surface is made anew, a little larger: take that back.
    return Solid(_spanning([_pulled_inside(points, hull) for points, _ in pieces], hull))


def _welded(mesh: Mesh) -> tuple[Array, NDArray[np.int32]]:
    """Return vertices (n, 3), mm, no two at one place, and the faces (f, 3) that keep an area.

    CoACD ends the whole process over faces with two corners at one place, as simplified meshes
    have them.
    """
    step = 1e-6 * float(mesh.extents.max())
    _, first, inverse = np.unique(
        np.round(mesh.vertices / step), axis=0, return_index=True, return_inverse=True
    )
    faces = inverse.ravel()[mesh.faces].astype(np.int32)
    whole = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    return mesh.vertices[first], faces[whole]


def _convex(points: Array) -> Array:
    """Return corners (n, 3) of the convex hull of points (n, 3), mm; of fine hulls, some of them.

    A coarse hull is refined where points lie outside it, until none is far outside.
    """
    points = _thickened(points)
    points = points[ConvexHull(points).vertices]
    tolerance = FINENESS * np.ptp(points, axis=0).max()
    directions = np.concatenate([np.eye(3), -np.eye(3), even_directions(26)])
    chosen = np.unique((points @ directions.T).argmax(axis=0))
    while True:
        planes = ConvexHull(points[chosen]).equations
        heights = points @ planes[:, :3].T + planes[:, 3]
        farthest = heights.argmax(axis=0)[heights.max(axis=0) > tolerance]
        if not len(np.setdiff1d(farthest, chosen)):
            corners: Array = points[chosen]
            return corners
        chosen = np.union1d(chosen, farthest)


def _thickened(points: Array) -> Array:
    """Give flat sets of points (n, 3), mm, a thickness, without which they are no solids."""
    _, _, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    for axis in axes[np.ptp(points @ axes.T, axis=0) < THIN]:
        points = np.concatenate([points - axis * THIN / 2, points + axis * THIN / 2])
    return points


def _dents(mesh: Mesh, hull: Array) -> float:
    """Return how far it is from a mesh's surface, outwards, to the hull of corners (n, 3), mm.

    Nine tenths of the surface are nearer. Along the normals, because the wall of a bowl is thin:
    its inside is not far from the hull, but on the wrong side of the wall.
    """
    planes = ConvexHull(hull).equations
    corners = mesh.triangles[
        np.random.default_rng(0).choice(len(mesh.faces), 2000, p=_shares(mesh))
    ]
    outwards = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    depth = np.maximum(-(corners.mean(axis=1) @ planes[:, :3].T + planes[:, 3]), 0)
    slope = outwards @ planes[:, :3].T
    way = np.where(slope > 1e-6, depth / np.maximum(slope, 1e-6), np.inf).min(axis=1)
    return float(np.percentile(way, 90))


def _shares(mesh: Mesh) -> Array:
    areas = face_areas(mesh)
    shares: Array = areas / areas.sum()
    return shares


def _pulled_inside(points: Array, hull: Array) -> Array:
    """Move those of points (n, 3) that lie outside the hull of corners (m, 3) to its surface."""
    planes = ConvexHull(hull).equations
    points = points.copy()
    for _ in range(10):  # at an edge, going to one face may leave another
        height = points @ planes[:, :3].T + planes[:, 3]
        worst = height.argmax(axis=1)
        points -= planes[worst, :3] * np.maximum(height.max(axis=1), 0)[:, None]
    return points


def _spanning(pieces: Sequence[Array], hull: Array) -> tuple[Array, ...]:
    """Return convex pieces in which each corner of the hull, (m, 3), belongs to the nearest one.

    Simplified pieces lose a millimetre, and the object would sink into the table by it.
    """
    distances = [np.linalg.norm(hull[:, None] - piece, axis=2).min(axis=1) for piece in pieces]
    nearest = np.argmin(distances, axis=0)
    return tuple(
        np.concatenate([_convex(piece), hull[nearest == index]])
        for index, piece in enumerate(pieces)
    )


def _digest(mesh: Mesh) -> str:
    parts = (mesh.vertices.astype("<f8").tobytes(), mesh.faces.astype("<i4").tobytes())
    return hashlib.sha256(b"%d" % VERSION + b"".join(parts)).hexdigest()[:32]


def _write(path: Path, solid: Solid) -> None:
    counts = [len(part) for part in solid.parts]
    with write_whole(path) as temporary:
        np.savez(temporary, corners=solid.corners, counts=counts)


def _read(path: Path) -> Solid:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            corners, counts = stored["corners"], stored["counts"]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} holds no convex parts ({error}): delete it") from None
    return Solid(tuple(np.split(corners, np.cumsum(counts)[:-1])))
