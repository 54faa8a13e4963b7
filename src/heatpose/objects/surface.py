"""Vertex normals of a mesh whose file has none, and vertices split where its edges are sharp."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array, Mask

Ints: TypeAlias = NDArray[np.integer[Any]]

CREASE = np.radians(35)  # faces that meet at more than this are divided by an edge
MAX_PAIRS = 20_000_000  # of corners that share a vertex: beyond it, normals are smooth throughout


def smooth_normals(vertices: Array, faces: Ints) -> Array:
    """Return unit vertex normals (n, 3): the mean over the faces around, weighted by their areas.

    A vertex without faces, or only with faces without area, gets the z axis.
    """
    return _unit(_sum_by(faces.ravel(), np.repeat(_crosses(vertices, faces), 3, axis=0), vertices))


def agreement(normals: Array, reference: Array) -> float:
    """Return the share of normals (n, 3) that point to the same side as reference (n, 3)."""
    return float((np.einsum("ni,ni->n", normals, reference) > 0).mean())


def mended_normals(given: Array, vertices: Array, faces: Ints) -> Array | None:
    """Return a file's normals (n, 3) as unit vectors, or None where they cannot be right.

    Not finite, mostly zero, or turned away from the faces around: then they are no use. A few of
    length zero are replaced.
    """
    if given.shape != vertices.shape or not np.isfinite(given).all():
        return None
    own = smooth_normals(vertices, faces)
    empty = np.linalg.norm(given, axis=1) < 1e-3
    if empty.mean() > 0.1 or agreement(given[~empty], own[~empty]) < 0.8:
        return None
    return _unit(np.where(empty[:, None], own, given))


def split_at_creases(vertices: Array, faces: Ints) -> tuple[Ints, NDArray[np.int32], Array]:
    """Divide vertices at sharp edges, so that a cube is shaded as a cube and not as a ball.

    Each corner of a face gets the mean normal of those faces around its vertex that turn less
    than CREASE from its own; corners of one vertex with one normal stay together.

    Returns:
        Which old vertex each new one is, (m,), the faces (f, 3) of the new vertices, and their
        unit normals, (m, 3).
    """
    vertex_of = faces.ravel()
    first, second = _pairs(vertex_of)
    if not len(first):
        kept = np.arange(len(vertices))
        return kept, faces.astype(np.int32), smooth_normals(vertices, faces)
    crosses = _crosses(vertices, faces)
    units = _unit(crosses)
    together: Mask = (
        np.einsum("pi,pi->p", units[first // 3], units[second // 3]) > np.cos(CREASE)
    ) | (first == second)
    normals = _unit(
        _sum_by(first[together], crosses[second[together] // 3], np.empty((len(vertex_of), 3)))
    )
    # Sums in another order differ in the last digits: round before comparing.
    keys = np.concatenate([vertex_of[:, None], np.round(normals * 1e4)], axis=1)
    _, chosen, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return vertex_of[chosen], inverse.reshape(-1, 3).astype(np.int32), normals[chosen]


def _pairs(vertex_of: Ints) -> tuple[Ints, Ints]:
    """Return all ordered pairs of face corners that share a vertex; none where too many do."""
    order = np.argsort(vertex_of, kind="stable")
    counts = np.bincount(vertex_of)
    size = counts[vertex_of[order]]  # of the group that each sorted corner is in
    if int(size.sum()) > MAX_PAIRS:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    start = (np.cumsum(counts) - counts)[vertex_of[order]]
    within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    return np.repeat(order, size), order[np.repeat(start, size) + within]


def _crosses(vertices: Array, faces: Ints) -> Array:
    """Return face normals (f, 3), twice as long as the face is large."""
    first, second, third = np.moveaxis(vertices[faces], 1, 0)
    return np.cross(second - first, third - first)


def _sum_by(index: Ints, values: Array, like: Array) -> Array:
    """Add up values (p, 3) by index (p,) into an array of the shape of like, (n, 3)."""
    columns = [np.bincount(index, weights=column, minlength=len(like)) for column in values.T]
    return np.stack(columns, axis=1)


def _unit(vectors: Array) -> Array:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    empty = lengths < 1e-300
    unit: Array = np.where(empty, [0.0, 0.0, 1.0], vectors / np.where(empty, 1, lengths))
    return unit
