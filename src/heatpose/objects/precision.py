"""How precise candidates for keypoints are, from the errors that a network makes on them.

Errors are looked at in the object's frame, as vectors in the plane of the image, and in diameters
of the object: so views from about the same side can be averaged whatever the roll of the camera
and its distance. A side is seen by its neighbours, weighted with exp(SHARPNESS (cosine - 1)).
"""

from dataclasses import dataclass

import numpy as np

from heatpose.geometry.arrays import Array
from heatpose.geometry.transforms import transform_points

SHARPNESS = 10.0  # views 30 degrees away count a quarter; all together as much as one in 20
LOST = 0.1  # diameters; what is found farther off is another place, and robust fits pass it over
PRIOR_VIEWS = 3.0  # the mean of all views counts as so many beside the neighbours of one
SMALLEST = 1e-4  # diameters; exact data would divide by zero


@dataclass(frozen=True, eq=False)
class MeasuredViews:
    """Where a network found n candidates of an object in v views, and where they are."""

    poses: Array  # camera_from_object, (v, 4, 4), mm; of symmetric objects the one it saw
    intrinsics: Array  # (v, 3, 3), px
    errors: Array  # found less true, (v, n, 2), px; NaN where the truth is not in the picture


@dataclass(frozen=True, eq=False)
class Precision:
    """How precise candidates are in each view, and over all of them."""

    precisions: Array  # (v, n, 2, 2), 1 / diameters^2: share found times inverse covariance
    found: Array  # share of views in which they are, (n,)
    systematic: Array  # error that views from the same side have in common, (n,), diameters
    spread: Array  # the rest of the error, (n,), diameters; roots of mean squares along an axis


def candidate_precision(points: Array, diameter: float, measured: MeasuredViews) -> Precision:
    """Estimate how precise candidates are in each of the views they were measured in.

    A systematic error counts like spread: which way it goes differs from keypoint to keypoint,
    and a fit of many cannot know it.

    Args:
        points: the candidates, (n, 3), mm, object frame.
        diameter: of the object, mm.
        measured: what was found.
    """
    rotations = measured.poses[:, :3, :3]
    sizes = _pixels_per_diameter(points, diameter, measured)  # (v, n)
    errors = measured.errors / sizes[..., None]
    with np.errstate(invalid="ignore"):
        found = np.linalg.norm(errors, axis=2) < LOST
    errors = np.where(found[..., None], errors, 0.0) @ rotations[:, :2]  # (v, n, 3), object frame
    directions = rotations[:, 2]  # of the camera's axis, object frame
    nearness = np.exp(SHARPNESS * (directions @ directions.T - 1))
    total = nearness.sum(axis=1)[:, None]
    counts = nearness @ found  # (v, n)
    moments = np.einsum("vni,vnj->vnij", errors, errors)
    around = np.einsum("vu,unij->vnij", nearness, moments)
    flat = rotations[:, None, :2] @ around @ np.swapaxes(rotations, 1, 2)[:, None, :, :2]

    share = found.mean(axis=0)
    pooled = (errors**2).sum(axis=(0, 2)) / np.maximum(2 * found.sum(axis=0), 1) + SMALLEST**2
    prior = PRIOR_VIEWS * pooled[:, None, None] * np.eye(2)
    covariances = (flat + prior) / (counts + PRIOR_VIEWS)[..., None, None]
    shares = (counts + PRIOR_VIEWS * share) / (total + PRIOR_VIEWS)
    precisions = np.linalg.inv(covariances) * shares[..., None, None]
    means = np.einsum("vu,uni->vni", nearness, errors) / np.maximum(counts, 1e-9)[..., None]
    systematic = np.einsum("vn,vni->n", found, means**2) / np.maximum(2 * found.sum(axis=0), 1)
    return Precision(
        precisions=precisions,
        found=share,
        systematic=np.sqrt(systematic),
        spread=np.sqrt(np.maximum(pooled - systematic, 0)),
    )


def _pixels_per_diameter(points: Array, diameter: float, measured: MeasuredViews) -> Array:
    """Return how large the object's diameter is where points (n, 3) are in each view, (v, n)."""
    depths = transform_points(measured.poses, points)[..., 2]
    focal = np.sqrt(measured.intrinsics[:, 0, 0] * measured.intrinsics[:, 1, 1])
    sizes: Array = focal[:, None] * diameter / depths
    return sizes
