"""Pose from keypoints of which some are wrong: RANSAC, then weighted least squares.

All objects of an image are solved at once, in arrays of shape (b, ...): numpy takes little longer
for eight objects than for one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array, Mask
from heatpose.geometry.camera import Camera
from heatpose.solve.p3p import solve_p3p
from heatpose.solve.refine import Sightings, descend, refine_pose, squared, whitening

_N_SAMPLES = 48  # triples of keypoints; with half of all wrong, 1 run in 600 has no clean one
_N_POLISHED = 6  # the best hypotheses, which are fitted to all keypoints before one is chosen
# The last fit hears keypoints this many times beyond max_error: its loss grows so slowly that wrong
# ones hardly pull, while a hard edge at max_error would cut off the uncertain but right ones.
_WIDER = 2.5


@dataclass(frozen=True, eq=False)
class Correspondences:
    """Points of one object, and where they were seen."""

    points: Array  # (n, 3), mm, object frame
    pixels: Array  # (n, 2), px; NaN marks a point that was not seen
    camera: Camera  # of the image that ``pixels`` refer to, without distortion
    covariances: Array | None = None  # how sure pixels are against each other, (n, 2, 2), px^2
    confidences: Array | None = None  # how likely pixels are right at all, (n,); 0 is left out

    def __post_init__(self) -> None:
        points, pixels = np.shape(self.points), np.shape(self.pixels)
        if points != (*pixels[:1], 3) or pixels != (*points[:1], 2):
            raise ValueError(
                f"points and pixels must be (n, 3) and (n, 2), got {points} and {pixels}"
            )

    @property
    def rays(self) -> Array:
        """Where points were seen, one mm in front of the camera, (n, 3)."""
        return self.camera.unproject(self.pixels, np.ones(len(self.pixels)))

    def support(self, inliers: Mask) -> float:
        """Return the mean confidence of all points; those that are no inliers, (n,), count as 0."""
        sure = np.ones(len(self.points)) if self.confidences is None else self.confidences
        return float(np.clip(sure[inliers].sum() / len(sure), 0, 1))


def join_looks(looks: Sequence[Correspondences]) -> Correspondences:
    """Put together what was seen of one object in crops of the same picture.

    Args:
        looks: of each crop, with its own camera.

    Returns:
        All of it, in px of the first crop. Looks at the same pixels err alike, so that three say
        as much as one that is surer of what is right: covariances grow with their number.
    """
    first = looks[0]
    if len(looks) == 1:
        return first
    zooms = [first.camera.fx / one.camera.fx for one in looks]
    pixels = [first.camera.project(one.rays) for one in looks]
    covariances = [
        len(looks) * zoom**2 * one.covariances
        for one, zoom in zip(looks, zooms, strict=True)
        if one.covariances is not None
    ]
    confidences = [one.confidences for one in looks if one.confidences is not None]
    return Correspondences(
        np.concatenate([one.points for one in looks]),
        np.concatenate(pixels),
        first.camera,
        np.concatenate(covariances) if len(covariances) == len(looks) else None,
        np.concatenate(confidences) if len(confidences) == len(looks) else None,
    )


@dataclass(frozen=True, eq=False)
class PnPSolution:
    """A pose and the correspondences that support it."""

    camera_from_object: Array  # (4, 4), mm
    inliers: Mask  # (n,)
    covariance: Array  # (6, 6) of a left perturbation: rotation vector in rad, translation in mm


def solve_pnp(
    correspondences: Sequence[Correspondences], *, max_error: float = 10.0, seed: int = 0
) -> list[PnPSolution | None]:
    """Estimate poses of objects from correspondences of which some may be wrong.

    Args:
        correspondences: of each object. None has a part in the pose of another.
        max_error: largest reprojection error of an inlier of median covariance, px; one with
            twice the spread may be twice as far off.
        seed: makes the result repeatable.

    Returns:
        For each object the solution, or None where no pose is supported by at least four points.
    """
    solutions: list[PnPSolution | None] = [None] * len(correspondences)
    for n in {len(one.points) for one in correspondences}:
        rows = [i for i, one in enumerate(correspondences) if len(one.points) == n]
        objects = _gathered([correspondences[i] for i in rows], np.array(rows))
        for row, solution in _solve_together(objects, max_error, seed):
            solutions[row] = solution
    return solutions


@dataclass(frozen=True, eq=False)
class _Objects:
    """The correspondences of b objects, n each. What was not seen has no weight and no trust."""

    rows: NDArray[np.intp]  # (b,), which of the objects asked for these are
    sightings: Sightings  # (b, n, ...)
    covariances: Array  # (b, n, 2, 2), px^2
    trust: Array  # (b, n)

    def only(self, chosen: Mask) -> "_Objects":
        """Return some of the objects."""
        if chosen.all():
            return self
        seen = self.sightings
        parts = (seen.points, seen.pixels, seen.whiten, seen.intrinsics)
        return _Objects(
            self.rows[chosen],
            Sightings(*(part[chosen] for part in parts)),
            self.covariances[chosen],
            self.trust[chosen],
        )


def _gathered(correspondences: Sequence[Correspondences], rows: NDArray[np.intp]) -> _Objects:
    """Bring together objects with equally many points, and leave out those with too few seen."""
    points = np.stack([np.asarray(one.points, float) for one in correspondences])
    pixels = np.stack([np.asarray(one.pixels, float) for one in correspondences])
    ones, units = np.ones(points.shape[1]), np.broadcast_to(np.eye(2), (points.shape[1], 2, 2))
    trust = np.stack([ones if o.confidences is None else o.confidences for o in correspondences])
    spreads = np.stack([units if o.covariances is None else o.covariances for o in correspondences])
    seen = np.isfinite(pixels).all(axis=2) & (trust > 0)
    enough = seen.sum(axis=1) >= 4
    if not seen.all():
        points, pixels, trust, spreads, seen = (
            part[enough] for part in (points, pixels, trust, spreads, seen)
        )
        first = points[np.arange(len(points)), seen.argmax(axis=1), None]
        # A copy of a point that was seen is in front of the camera wherever that is.
        points = np.where(seen[..., None], points, first)
        pixels, trust = np.where(seen[..., None], pixels, 0), np.where(seen, trust, 0)
    cameras = [
        one.camera.matrix for one, there in zip(correspondences, enough, strict=True) if there
    ]
    intrinsics = np.array(cameras).reshape(-1, 3, 3)
    sightings = Sightings(points, pixels, whitening(spreads, seen), intrinsics)
    return _Objects(rows[enough], sightings, spreads, trust)


def _solve_together(
    objects: _Objects, max_error: float, seed: int
) -> Iterator[tuple[int, PnPSolution]]:
    """Solve for the poses of objects; give those that are found, with the object's row."""
    poses = _poses_of_triples(objects, seed)
    support = _support(objects, poses, max_error)
    fits = np.asarray((support > 0).any(axis=1), bool)
    objects, poses = objects.only(fits), _best(poses[fits], support[fits], _N_POLISHED)
    poses = descend(objects.sightings, poses, reach=max_error / 2, n_steps=2)
    poses = _best(poses, _support(objects, poses, max_error), 1)
    near = (objects.trust > 0) & (_errors(objects, poses)[:, 0] < _WIDER * max_error)
    enough = near.sum(axis=1) >= 4
    if not enough.any():
        return
    objects, near = objects.only(enough), near[enough]
    found, covariances = _refined(objects, poses[enough, 0], near)
    inliers = (objects.trust > 0) & (_errors(objects, found[:, None])[:, 0] < max_error)
    sound = np.isfinite(found).all(axis=(1, 2)) & (found[:, 2, 3] > 0)
    sound &= inliers.sum(axis=1) >= 4
    for i in np.flatnonzero(sound):
        yield int(objects.rows[i]), PnPSolution(found[i], inliers[i], covariances[i])


def _poses_of_triples(objects: _Objects, seed: int) -> Array:
    """Return the poses (b, m, 4, 4) at which random triples of keypoints fit exactly (P3P).

    Trusted keypoints are drawn more often. Where a triple has no pose there is NaN.
    """
    seen = objects.sightings
    b, n = objects.trust.shape
    # The largest log(u) / weight are a weighted draw without repetition (Efraimidis, Spirakis).
    with np.errstate(divide="ignore"):
        keys = _logarithms(seed, n) / objects.trust[:, None]
    triples = np.argpartition(keys, -3, axis=2)[..., -3:]  # (b, samples, 3)
    which = np.arange(b)[:, None, None]
    points, rays = seen.points[which, triples], _rays(seen)[which, triples]
    poses = solve_p3p(points.reshape(-1, 3, 3), rays.reshape(-1, 3, 3))
    return poses.reshape(b, 2 * _N_SAMPLES, 4, 4)


@lru_cache(maxsize=16)
def _logarithms(seed: int, n: int) -> Array:
    """Return logarithms (samples, n) of random numbers between 0 and 1."""
    return np.log(np.random.default_rng(seed).random((_N_SAMPLES, n)))


def _rays(seen: Sightings) -> Array:
    """Return unit vectors (b, n, 3) from the camera towards the pixels."""
    matrix = seen.intrinsics[:, None]
    rays = np.ones((*seen.pixels.shape[:2], 3))
    rays[..., 0] = (seen.pixels[..., 0] - matrix[..., 0, 2]) / matrix[..., 0, 0]
    rays[..., 1] = (seen.pixels[..., 1] - matrix[..., 1, 2]) / matrix[..., 1, 1]
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    return rays


def _best(poses: Array, support: Array, most: int) -> Array:
    """Return the poses (b, most, 4, 4) with most support (b, m); some twice where few have any."""
    order, each = np.argsort(-support, axis=1)[:, :most], np.arange(len(support))[:, None]
    order = np.where(support[each, order] > 0, order, order[:, :1])
    return poses[each, order]


def _refined(objects: _Objects, poses: Array, near: Mask) -> tuple[Array, Array]:
    """Fit poses (b, 4, 4) to the keypoints (b, n) near them, the unsure ones heard less."""
    seen = objects.sightings
    doubts = objects.covariances / np.where(near, objects.trust, 1)[..., None, None]
    return refine_pose(seen.points, seen.pixels, doubts, seen.intrinsics, poses, near)


def _errors(objects: _Objects, poses: Array) -> Array:
    """Return the reprojection errors (b, m, n) of poses (b, m, 4, 4), px of a typical keypoint."""
    errors: Array = np.sqrt(squared(objects.sightings.residuals(poses)))
    return errors


def _support(objects: _Objects, poses: Array, max_error: float) -> Array:
    """Return how much trust agrees with poses, (b, m): all of it at no error, none at max_error."""
    errors = squared(objects.sightings.residuals(poses))
    agreement = np.maximum(1 - errors / max_error**2, 0)
    support: Array = (agreement @ objects.trust[..., None])[..., 0]
    return support
