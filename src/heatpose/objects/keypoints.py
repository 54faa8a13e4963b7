"""Choose the points of an object that the network looks for, one function per strategy.

All are deterministic: the same mesh gives the same keypoints, in the same order.
"""

from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from heatpose.geometry.arrays import Array
from heatpose.objects.mesh import Mesh, face_areas, sample_surface

Strategy: TypeAlias = Literal["fps", "bbox", "curvature", "uniform", "candidates"]

N_SAMPLES = 10_000  # candidates on the surface
N_NEIGHBOURS = 50  # of them, around a point, for its surface variation


def select_keypoints(mesh: Mesh, strategy: Strategy = "fps", count: int | None = None) -> Array:
    """Choose keypoints on a mesh.

    Args:
        mesh: the object.
        strategy: ``fps`` for points far from each other, ``bbox`` for the corners and centre of
            the bounding box, ``curvature`` for strongly bent places far from the centre,
            ``uniform`` for random places on the surface,
            ``candidates`` for many of several kinds, to choose from by what a network makes of
            them (`heatpose.objects.design`).
        count: how many; None for 32, or 9 with ``bbox``.

    Returns:
        (count, 3), mm, object frame.

    Raises:
        ValueError: there is no such strategy, or it cannot give that many.
    """
    if strategy not in get_args(Strategy):
        raise ValueError(f"strategy must be one of {get_args(Strategy)}, got {strategy!r}")
    if strategy == "bbox":
        if count not in (None, 9):
            raise ValueError(f"bbox gives 9 keypoints, {count} were asked for")
        return box_keypoints(mesh)
    count = 32 if count is None else count
    if not 1 <= count <= N_SAMPLES // 10:
        raise ValueError(f"count must lie in [1, {N_SAMPLES // 10}], got {count}")
    if strategy == "candidates":
        return candidate_keypoints(mesh, count)
    if strategy == "uniform":
        return scattered_keypoints(mesh, count)
    return farthest_keypoints(mesh, count) if strategy == "fps" else bent_keypoints(mesh, count)


def candidate_keypoints(mesh: Mesh, count: int) -> Array:
    """Return points of several kinds to choose keypoints from, (count, 3), mm.

    Half of them are farthest points, a quarter bent places, and the others random points of the
    surface; within each part the best, or first, come first, as `candidate_parts` has them.
    """
    n_far, n_bent, n_random = (len(part) for part in candidate_parts(count).values())
    kinds = [farthest_keypoints(mesh, n_far)] if n_far else []
    kinds += [bent_keypoints(mesh, n_bent)] if n_bent else []
    kinds += [sample_surface(mesh, n_random, np.random.default_rng(1))]
    return np.concatenate(kinds)


def candidate_parts(count: int) -> dict[str, range]:
    """Return which of `candidate_keypoints` came about how: rows by strategy."""
    n_far, n_bent = count // 2, count // 4
    return {
        "fps": range(n_far),
        "curvature": range(n_far, n_far + n_bent),
        "random": range(n_far + n_bent, count),
    }


def box_keypoints(mesh: Mesh) -> Array:
    """Return the corners of the bounding box, x changing slowest, then its centre: (9, 3), mm."""
    return np.concatenate([mesh.corners, mesh.centre[None]])


def farthest_keypoints(mesh: Mesh, count: int) -> Array:
    """Pick points that lie far from each other, (count, 3), mm: farthest point sampling.

    The first is the one farthest from the centre of the surface, each other one the farthest
    from all before it. Vertices are candidates because corners are found on them, and samples
    of the surface because a plate of two triangles has no vertex inside.
    """
    candidates = np.concatenate([mesh.vertices[np.unique(mesh.faces)], _samples(mesh)])
    distances = np.linalg.norm(candidates - surface_centre(mesh), axis=1)
    chosen = [int(distances.argmax())]
    distances = np.linalg.norm(candidates - candidates[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(distances.argmax()))
        np.minimum(
            distances, np.linalg.norm(candidates - candidates[chosen[-1]], axis=1), out=distances
        )
    picked: Array = candidates[chosen]
    return picked


def bent_keypoints(mesh: Mesh, count: int) -> Array:
    """Pick points where the surface is bent and far from the centre, (count, 3), mm.

    Curvature-based point selection (CPS): the score of a point p is

        l0 / (l0 + l1 + l2) * |p - c|

    with l0 <= l1 <= l2 the eigenvalues of the covariance of its N_NEIGHBOURS nearest surface
    samples (the surface variation: 0 on a plane, 1/3 where nothing is flat) and c the centre of
    the surface. The best are taken in turn, each only if it keeps its distance from those before.
    """
    points = _samples(mesh)
    scores = surface_variation(points) * np.linalg.norm(points - surface_centre(mesh), axis=1)
    order = np.argsort(-scores, kind="stable")
    chosen: Array = points[order][pick_apart(points[order], usual_gap(mesh, count), count)]
    return chosen


def usual_gap(mesh: Mesh, count: int) -> float:
    """Return how far, mm, so many keypoints should keep from each other where they are chosen.

    Half the side of a square if the surface were dealt out evenly: a whole side would leave no
    choice but farthest points.
    """
    return float(np.sqrt(face_areas(mesh).sum() / count)) / 2


def scattered_keypoints(mesh: Mesh, count: int) -> Array:
    """Draw points at random, each square millimetre of the surface as likely, (count, 3), mm.

    What other strategies have to beat: no choice at all. The seed is always the same.
    """
    return sample_surface(mesh, count, np.random.default_rng(0))


def surface_variation(points: Array) -> Array:
    """Return how bent the surface is around each of its samples (n, 3): (n,), in [0, 1/3]."""
    near = points[KDTree(points).query(points, k=N_NEIGHBOURS)[1]]
    offsets = near - near.mean(axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(np.swapaxes(offsets, 1, 2) @ offsets)
    variation: Array = eigenvalues[:, 0].clip(min=0) / eigenvalues.sum(axis=1)
    return variation


def surface_centre(mesh: Mesh) -> Array:
    """Return the centre of mass of the surface, (3,), mm, however unevenly vertices lie on it."""
    centre: Array = np.average(mesh.triangles.mean(axis=1), axis=0, weights=face_areas(mesh))
    return centre


def _samples(mesh: Mesh) -> Array:
    return sample_surface(mesh, N_SAMPLES, np.random.default_rng(0))


def pick_apart(points: Array, gap: float, count: int) -> NDArray[np.intp]:
    """Take points (n, 3) in order, leaving out those near to one taken before.

    Args:
        points: the best first.
        gap: distance that they keep, mm. It shrinks where too few would be left.
        count: how many to take.

    Returns:
        Rows, (count,).
    """
    while len(chosen := _keep_apart(points, gap, count)) < count:
        gap *= 0.9
    return np.array(chosen, np.intp)


def _keep_apart(points: Array, gap: float, count: int) -> list[int]:
    free = np.ones(len(points), bool)
    chosen: list[int] = []
    while len(chosen) < count and free.any():
        chosen.append(int(free.argmax()))
        free &= np.linalg.norm(points - points[chosen[-1]], axis=1) >= gap
    return chosen
