"""Choose keypoints among many candidates: those that fix the pose best over all views.

What a view says of the pose is its Fisher information: that of what is known before, and of each
keypoint i with Jacobian J_i and measured precision P_i (the inverse of the covariance S_i of its
errors, times the share of views in which it is found at all),

    F = F_0 + sum_i J_i^T P_i J_i,

whose inverse is the covariance C of the pose. A pose is six numbers: how the object turns about
its centre, radians, along its own axes, and how far it moves, diameters, along the camera's. F_0 is
one radian and one diameter, so that C is finite for views in which nothing is found.

All views are looked at from DISTANCE diameters: how far away things are is worse known the farther
they are, whatever the keypoints, and a mean over views from any distance would be that of the
farthest. Positions in the picture are in diameters too, at the depth of the point.

Choosing k rows of a least-squares problem is experimental design (Pukelsheim, Optimal Design of
Experiments, 1993; for sensors: Joshi and Boyd, IEEE Trans. Signal Processing 57, 2009). Both usual
criteria are here, each as its mean over the views:

* ``A``: trace of M C, with M such that this is the mean squared displacement of the object's
  points, in squared diameters: what ADD measures, in one unit for turns and moves. Most of it is
  the distance along the ray, and the views that see the object worst. Greedy choice has a bound
  here although the criterion is not submodular (Chamon and Ribeiro, NeurIPS 2017); the first few
  points, which cannot fix a pose yet, may be chosen badly.
* ``D``: log det C. It asks for relative improvement in all six directions and all views alike, and
  is the same in any units. It is submodular, so that a greedy choice reaches 63 % of the gain of
  the best one at least (Nemhauser et al., 1978; Shamaiah et al., CDC 2010).

A greedy choice is nested: the first 8 of 32 are the choice of 8.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array
from heatpose.geometry.rotations import skew

Criterion: TypeAlias = Literal["A", "D"]

DISTANCE = 8.0  # diameters; a hand-sized object at arm's length
SMALLEST_GAP = 1e-3  # mm; below, only the same point again is near


@dataclass(frozen=True, eq=False)
class CandidateViews:
    """What each of n candidates says of an object's pose in each of v views."""

    points: Array  # (n, 3), mm, object frame
    jacobians: Array  # of their positions by the pose as the module has it, (v, n, 2, 6)
    precisions: Array  # of their positions, (v, n, 2, 2), 1 / diameters^2; zeros if never found
    mobility: Array  # (6, 6), see `mobility`

    def __post_init__(self) -> None:
        v, n = len(self.jacobians), len(self.points)
        expected = {"points": (n, 3), "jacobians": (v, n, 2, 6), "precisions": (v, n, 2, 2)}
        for name, shape in {**expected, "mobility": (6, 6)}.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be {shape}, got {getattr(self, name).shape}")
        if v == 0:
            raise ValueError("there must be at least one view")


@dataclass(frozen=True)
class ExpectedError:
    """Standard deviations of a pose, over views of all sides: roots of mean squares."""

    displacement: float  # of the object's points, diameters
    translation: float  # of the object's centre, diameters
    rotation: float  # radians


def mobility(points: Array, diameter: float) -> Array:
    """Return M with which c^T M c is how far points move as the pose changes by c, mean square.

    Args:
        points: of the object, (m, 3), mm; it turns about their mean, so turns and moves are apart.
        diameter: mm.

    Returns:
        (6, 6); displacements are in diameters.
    """
    lever = (points - points.mean(axis=0)) / diameter
    second = lever.T @ lever / len(lever)
    moments = np.eye(6)
    moments[:3, :3] = np.trace(second) * np.eye(3) - second  # mean of |turn x lever|^2
    return moments


def view_candidates(
    points: Array, surface: Array, diameter: float, rotations: Array, precisions: Array
) -> CandidateViews:
    """Put together what candidates say of the pose, seen from some sides.

    Args:
        points: the candidates, (n, 3), mm, object frame.
        surface: points of the object, (m, 3), mm, whose displacement counts.
        diameter: mm.
        rotations: of camera_from_object, (v, 3, 3).
        precisions: (v, n, 2, 2), 1 / diameters^2.
    """
    lever = (points - surface.mean(axis=0)) / diameter
    x, y, z = np.moveaxis(lever @ np.swapaxes(rotations, 1, 2), -1, 0)  # (v, n), camera's axes
    onto_picture = np.zeros((*z.shape, 2, 3))
    onto_picture[..., 0, 0] = onto_picture[..., 1, 1] = 1
    onto_picture[..., 0, 2], onto_picture[..., 1, 2] = -x / (DISTANCE + z), -y / (DISTANCE + z)
    turned = -rotations[:, None] @ skew(lever)  # R (w x p) = -R [p]x w
    jacobians = np.concatenate([onto_picture @ turned, onto_picture], axis=-1)
    return CandidateViews(points, jacobians, precisions, mobility(surface, diameter))


def choose_candidates(
    views: CandidateViews, count: int, criterion: Criterion = "A", gap: float = 0.0
) -> NDArray[np.intp]:
    """Choose candidates one after the other, each the one that helps most beside those before.

    Args:
        views: what is known of the candidates.
        count: how many to choose.
        criterion: what is made small.
        gap: distance that chosen points keep from each other, mm. The sum of information takes
            errors as independent, but neighbours are read from the same pixels and err alike.
            It shrinks where too few points would be left.

    Returns:
        Rows of candidates, (count,), the most helpful first.

    Raises:
        ValueError: there are fewer candidates, or there is no such criterion.
    """
    if criterion not in get_args(Criterion):
        raise ValueError(f"criterion must be one of {get_args(Criterion)}, got {criterion!r}")
    if not 1 <= count <= len(views.points):
        raise ValueError(f"count must lie in [1, {len(views.points)}], got {count}")
    chosen: list[int] = []
    information = np.tile(np.eye(6), (len(views.jacobians), 1, 1))
    while len(chosen) < count:
        covariances = np.asarray(np.linalg.inv(information), float)
        gains = _gains(views, covariances, criterion)
        while not (free := _free(views.points, chosen, gap)).any():
            gap = 0.9 * gap if gap > SMALLEST_GAP else 0.0
        best = int(np.where(free, gains, -np.inf).argmax())
        chosen.append(best)
        information += _information(views, [best])
    return np.array(chosen, np.intp)


def pose_covariances(views: CandidateViews, chosen: NDArray[np.intp]) -> Array:
    """Return what some candidates leave open of the pose in each view, (v, 6, 6)."""
    information = np.eye(6) + _information(views, chosen)
    return np.asarray(np.linalg.inv(information), float)


def expected_error(views: CandidateViews, chosen: NDArray[np.intp]) -> ExpectedError:
    """Return how far off the pose is to be expected with some candidates as keypoints."""
    mean = pose_covariances(views, chosen).mean(axis=0)
    return ExpectedError(
        displacement=float(np.sqrt(np.trace(views.mobility @ mean))),
        translation=float(np.sqrt(np.trace(mean[3:, 3:]))),
        rotation=float(np.sqrt(np.trace(mean[:3, :3]))),
    )


def _information(views: CandidateViews, chosen: NDArray[np.intp] | list[int]) -> Array:
    """Return the sum of the information of some candidates in each view, (v, 6, 6)."""
    jacobians = views.jacobians[:, chosen]
    weighted = np.swapaxes(jacobians, -1, -2) @ views.precisions[:, chosen]  # (v, k, 6, 2)
    information: Array = (weighted @ jacobians).sum(axis=1)
    return information


def _gains(views: CandidateViews, covariances: Array, criterion: Criterion) -> Array:
    """Return what each candidate would add beside those that left the covariances, (n,).

    By the matrix inversion and determinant lemmas, in 2 x 2 instead of 6 x 6 matrices: with
    G = J C J^T, C shrinks by C J^T P (1 + G P)^-1 J C, and its determinant by det (1 + G P).
    """
    v, n = views.precisions.shape[:2]
    seen = (views.jacobians.reshape(v, 2 * n, 6) @ covariances).reshape(v, n, 2, 6)  # J C
    inner = np.eye(2) + seen @ np.swapaxes(views.jacobians, -1, -2) @ views.precisions
    if criterion == "D":
        gains: Array = np.log(np.linalg.det(inner)).mean(axis=0)
        return gains
    moved = (seen.reshape(v, 2 * n, 6) @ views.mobility).reshape(v, n, 2, 6)
    reached = moved @ np.swapaxes(seen, -1, -2) @ views.precisions  # J C M C J^T P
    gains = np.einsum("vnij,vnji->n", reached, np.linalg.inv(inner)) / v
    return gains


def _free(points: Array, chosen: list[int], gap: float) -> NDArray[np.bool_]:
    """Return which points (n, 3) are not chosen and keep the gap, mm, from those that are."""
    distances = np.linalg.norm(points[:, None] - points[chosen], axis=2)  # (n, k)
    free: NDArray[np.bool_] = (distances >= gap).all(axis=1)
    free[chosen] = False
    return free
