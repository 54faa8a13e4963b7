"""Pose from keypoints of which some are wrong: RANSAC, then weighted least squares."""

from dataclasses import dataclass

import cv2
import numpy as np

from heatpose.geometry.arrays import Array, Mask
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform
from heatpose.solve.refine import Sightings, descend, refine_pose, whitening

_N_SAMPLES = 48  # triples of keypoints; with half of all wrong, 1 run in 600 has no clean one
_N_POLISHED = 6  # the best hypotheses, which are fitted to all keypoints before one is chosen
# The last fit hears keypoints this many times beyond max_error: its loss grows so slowly that wrong
# ones hardly pull, while a hard edge at max_error would cut off the uncertain but right ones.
_WIDER = 2.5


@dataclass(frozen=True, eq=False)
class PnPSolution:
    """A pose and the correspondences that support it."""

    camera_from_object: Array  # (4, 4), mm
    inliers: Mask  # (n,)
    covariance: Array  # (6, 6) of a left perturbation: rotation vector in rad, translation in mm


def solve_pnp(
    points: Array,
    pixels: Array,
    camera: Camera,
    covariances: Array | None = None,
    confidences: Array | None = None,
    *,
    max_error: float = 10.0,
    seed: int = 0,
) -> PnPSolution | None:
    """Estimate a pose from correspondences of which some may be wrong.

    Args:
        points: object points, (n, 3), mm.
        pixels: where they were seen, (n, 2), px. NaN marks a point that was not seen.
        camera: the camera of the image that ``pixels`` refer to, without distortion.
        covariances: how sure each position is against the others, (n, 2, 2), px^2.
        confidences: how likely each position is right at all, (n,), in [0, 1]; 0 is left out.
        max_error: largest reprojection error of an inlier of median covariance, px; one with
            twice the spread may be twice as far off.
        seed: makes the result repeatable.

    Returns:
        The solution, or None where no pose is supported by at least four points.
    """
    points, pixels = np.asarray(points, float), np.asarray(pixels, float)
    if points.shape != (len(pixels), 3) or pixels.shape != (len(points), 2):
        raise ValueError(
            f"points and pixels must be (n, 3) and (n, 2), got {points.shape} and {pixels.shape}"
        )
    trust = np.ones(len(points)) if confidences is None else np.asarray(confidences, float)
    spreads = np.tile(np.eye(2), (len(points), 1, 1)) if covariances is None else covariances
    seen = np.isfinite(pixels).all(axis=1) & (trust > 0)
    if np.count_nonzero(seen) < 4:
        return None
    found = Sightings(points[seen], pixels[seen], whitening(spreads[seen]), camera)
    pose = _most_supported(found, trust[seen], max_error, np.random.default_rng(seed))
    if pose is None:
        return None
    near = _errors(found, pose[None])[0] < _WIDER * max_error
    if np.count_nonzero(near) < 4:
        return None
    heard = np.flatnonzero(seen)[near]
    doubts = spreads[heard] / trust[heard, None, None]
    pose, covariance = refine_pose(points[heard], pixels[heard], doubts, camera, pose)
    inliers = seen.copy()
    inliers[seen] = _errors(found, pose[None])[0] < max_error
    if np.count_nonzero(inliers) < 4 or not np.isfinite(pose).all() or pose[2, 3] <= 0:
        return None
    return PnPSolution(pose, inliers, covariance)


def _most_supported(
    found: Sightings, trust: Array, max_error: float, rng: np.random.Generator
) -> Array | None:
    """Return the pose (4, 4) that most keypoints agree with, or None where triples allow none."""
    poses = _poses_of_triples(found, trust, rng)
    if not len(poses):
        return None
    support = _support(_errors(found, poses), trust, max_error)
    best = poses[np.argsort(-support)[:_N_POLISHED]]
    best = descend(found, best, reach=max_error / 2, n_steps=4)
    support = _support(_errors(found, best), trust, max_error)
    pose: Array = best[support.argmax()]
    return pose


def _poses_of_triples(found: Sightings, trust: Array, rng: np.random.Generator) -> Array:
    """Return the poses (m, 4, 4) at which random triples of keypoints fit exactly (P3P).

    Trusted keypoints are drawn more often. All points lie in front of the camera.
    """
    # The largest log(u) / weight are a weighted draw without repetition (Efraimidis, Spirakis).
    keys = np.log(rng.random((_N_SAMPLES, len(trust)))) / trust
    triples = np.argsort(-keys, axis=1)[:, :3]
    matrix = found.camera.matrix
    rotations: list[Array] = []
    translations: list[Array] = []
    for triple in triples:
        _, turns, shifts = cv2.solveP3P(
            found.points[triple], found.pixels[triple], matrix, None, cv2.SOLVEPNP_P3P
        )
        rotations += [np.asarray(turn, float) for turn in turns]
        translations += [np.asarray(shift, float) for shift in shifts]
    if not rotations:
        return np.empty((0, 4, 4))
    turned = matrix_from_vector(np.array(rotations)[..., 0])
    poses = make_transform(turned, np.array(translations)[..., 0])
    depth = poses[:, 2, :3] @ found.points.T + poses[:, 2, 3:]
    return poses[(depth > 0).all(axis=1)]  # NaN is not, either


def _errors(found: Sightings, poses: Array) -> Array:
    """Return the reprojection errors (m, n) of poses (m, 4, 4), px of a typical keypoint."""
    errors: Array = np.sqrt((found.residuals(poses) ** 2).sum(axis=-1))
    return errors


def _support(errors: Array, trust: Array, max_error: float) -> Array:
    """Return how much trust agrees with poses, (m,): all of it at no error, none at max_error."""
    support: Array = (trust * np.maximum(1 - (errors / max_error) ** 2, 0)).sum(axis=-1)
    return support
