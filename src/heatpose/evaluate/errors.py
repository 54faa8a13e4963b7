"""How far an estimated pose is from the true one, in the ways of the literature.

Poses are camera_from_object, (4, 4); lengths are mm. Points that land behind the camera have no
projection: such errors are infinite.

[BOP19] Hodan et al., BOP Challenge 2019; [BOP18] Hodan et al., ECCV 2018; [ACCV12] Hinterstoisser
et al., ACCV 2012; [CVPR16] Brachmann et al., CVPR 2016.
"""

import numpy as np
from scipy.spatial import KDTree

from heatpose.geometry.arrays import Array, Depth, Mask
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import nearest_rotation
from heatpose.geometry.transforms import invert, rotation_angle, transform_points


def add(estimate: Array, truth: Array, points: Array) -> float:
    """Return the mean distance of model points (n, 3) between two poses, mm [ACCV12]."""
    moved = transform_points(estimate, points) - transform_points(truth, points)
    return float(np.linalg.norm(moved, axis=1).mean())


def add_s(estimate: Array, truth: Array, points: Array, tree: KDTree | None = None) -> float:
    """Return the mean distance of true model points to the nearest estimated one, mm [ACCV12].

    For objects that look the same from several sides; also called ADI.

    Args:
        estimate: camera_from_object, (4, 4).
        truth: likewise.
        points: of the model, (n, 3), mm.
        tree: of these points, for those who ask often: in the frame of the estimated object they
            stay where they are.
    """
    _, nearest = (tree or KDTree(points)).query(transform_points(invert(estimate) @ truth, points))
    apart = transform_points(estimate, points[nearest]) - transform_points(truth, points)
    return float(np.linalg.norm(apart, axis=1).mean())


def mssd(estimate: Array, truth: Array, points: Array, symmetries: Array) -> float:
    """Return the maximum distance of model points, mm, for the best symmetry [BOP19].

    Args:
        estimate: camera_from_object, (4, 4).
        truth: likewise.
        points: of the model, (n, 3), mm.
        symmetries: object from object, (m, 4, 4), with the identity.
    """
    estimated = transform_points(estimate, points)
    return min(
        float(np.linalg.norm(estimated - transform_points(alike, points), axis=1).max())
        for alike in truth @ symmetries
    )


def mspd(estimate: Array, truth: Array, points: Array, symmetries: Array, camera: Camera) -> float:
    """Return the maximum distance of projected model points, px, for the best symmetry [BOP19]."""
    estimated = camera.project(transform_points(estimate, points))
    return min(
        float(_distances(estimated, camera.project(transform_points(alike, points))).max())
        for alike in truth @ symmetries
    )


def projection_error(
    estimate: Array, truth: Array, points: Array, symmetries: Array, camera: Camera
) -> float:
    """Return the mean distance of projected model points, px [CVPR16].

    The papers leave symmetric objects open; here the best of the object's symmetries counts,
    as in MSPD.
    """
    estimated = camera.project(transform_points(estimate, points))
    return min(
        float(_distances(estimated, camera.project(transform_points(alike, points))).mean())
        for alike in truth @ symmetries
    )


def turn_and_shift(estimate: Array, truth: Array, symmetries: Array) -> tuple[Array, Array]:
    """Return angle, radians, and distance of origins, mm, to the truth under each symmetry.

    Args:
        estimate: camera_from_object, (4, 4).
        truth: likewise.
        symmetries: object from object, (m, 4, 4), with the identity.

    Returns:
        Angles (m,) and distances (m,). The smallest angle need not come with the smallest
        distance: an object's origin may lie beside the axis of its symmetry.
    """
    alike = truth @ symmetries
    estimated = nearest_rotation(estimate[:3, :3])
    turns = np.stack([estimated @ nearest_rotation(r).T for r in alike[:, :3, :3]])
    return rotation_angle(turns), np.linalg.norm(alike[:, :3, 3] - estimate[:3, 3], axis=1)


def vsd(
    estimated: Depth,
    true: Depth,
    measured: Depth,
    camera: Camera,
    taus: Array,
    delta: float = 15.0,
) -> Array:
    """Return the visible surface discrepancy for each tolerance [BOP18, visibility of BOP19].

    A pixel counts where the object is visible in either pose: not more than delta behind what
    was measured, or nothing was measured. It is wrong where only one pose shows it or the two
    surfaces are tau or more apart.

    Args:
        estimated: depth of the object rendered in the estimated pose, (h, w), mm, NaN elsewhere.
        true: likewise in the true pose.
        measured: depth image, (h, w), mm, NaN where nothing was measured.
        camera: of these three.
        taus: tolerances, (t,), mm.
        delta: how far behind the measured surface is still visible, mm.

    Returns:
        Share of wrong pixels, (t,); 1 where the object is visible in neither pose.
    """
    shown = np.isfinite(estimated) | np.isfinite(true)
    lengths = _ray_lengths(shown, camera)
    d_estimated, d_true, d_measured = (
        depth[shown] * lengths for depth in (estimated, true, measured)
    )
    seen_true = _visible(d_true, d_measured, delta)
    # Where the true surface is seen, an estimate behind it is seen too: equation 14 of Hodan et
    # al., On Evaluation of 6D Object Pose Estimation, 2016.
    seen_estimated = _visible(d_estimated, d_measured, delta) | (
        seen_true & np.isfinite(d_estimated)
    )
    both, either = seen_true & seen_estimated, seen_true | seen_estimated
    if not either.any():
        return np.ones(len(taus))
    apart = np.abs(d_true[both] - d_estimated[both])
    wrong = (apart >= np.asarray(taus)[:, None]).sum(axis=1) + either.sum() - both.sum()
    return np.asarray(wrong / either.sum(), float)


def _distances(first: Array, second: Array) -> Array:
    """Return the distances of image positions (n, 2); infinite where one does not exist."""
    distances = np.linalg.norm(first - second, axis=1)
    return np.where(np.isnan(distances), np.inf, distances)


def _ray_lengths(shown: Mask, camera: Camera) -> Array:
    """Return how far from the camera a point at depth 1 is, for the true pixels of a mask, (n,)."""
    pixels = np.argwhere(shown)[:, ::-1].astype(float)
    lengths: Array = np.linalg.norm(camera.unproject(pixels, np.ones(len(pixels))), axis=1)
    return lengths


def _visible(surface: Array, measured: Array, delta: float) -> Mask:
    """Say where a surface is visible, given distances (n,), mm, NaN for none."""
    in_front = np.isnan(measured) | (surface - measured <= delta)
    visible: Mask = np.isfinite(surface) & in_front
    return visible
