"""Weighted least squares on poses, and how sure the result is.

A pose is perturbed from the left: ``make_transform(matrix_from_vector(w), v) @ camera_from_object``
with a rotation vector w, radians, and a translation v, mm, both along the camera's axes. Inside,
the object turns about its own origin instead of the camera's, which keeps w and v apart.

Many poses are moved at once: leading axes ... are objects that are seen, each with its own points
and camera, and m is the number of poses tried for each. Numpy takes hardly longer for fifty poses
than for one. Points that do not count have zeros in ``whiten``, and so no residuals.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heatpose.geometry.arrays import Array, Mask
from heatpose.geometry.rotations import matrix_from_vector, skew

# A residual of this many spreads counts half (Cauchy); 95 % efficient for Gaussian noise.
_CAUCHY = 2.385
_CONVERGED = 1e-4  # share of its cost that the last step of a pose takes away
_SMALLEST_SPREAD = 1e-3  # px of a typical keypoint; exact data would divide by zero
# How the 12 entries of a pose change with the 6 of a perturbation, 12 x 6 numbers: those of turns
# are linear in the entries themselves, those of moves are always the same.
_BY_TURNS: Array = np.zeros((3, 4, 3, 4, 6))
_BY_TURNS[..., :3] = np.einsum("kil,jm->ljimk", skew(np.eye(3)), np.diag([1, 1, 1, 0]))
_BY_MOVES: Array = np.zeros((3, 4, 6))
_BY_MOVES[:, 3, 3:] = np.eye(3)


def refine_pose(
    points: Array,
    pixels: Array,
    covariances: Array,
    intrinsics: Array,
    camera_from_object: Array,
    there: Mask | None = None,
) -> tuple[Array, Array]:
    """Move poses to where the reprojection errors, weighted by their covariances, are smallest.

    Levenberg-Marquardt on a Cauchy loss, so that a few wrong points do little harm. Only the
    ratios of the covariances matter: their common factor is taken from the residuals, in the loss
    as well as in the covariance of the pose, because heatmaps are wider than their errors.

    Args:
        points: object points, (..., n, 3), mm, n >= 4.
        pixels: where they were seen, (..., n, 2), px.
        covariances: of the pixels, (..., n, 2, 2), px^2, positive definite.
        intrinsics: matrices of the cameras that took the images of ``pixels``, (..., 3, 3).
        camera_from_object: where to start, (..., 4, 4), mm; all points in front of the camera.
        there: which points count, (..., n); by default all. At least four.

    Returns:
        The poses, (..., 4, 4), and the covariances of their left perturbations, (..., 6, 6), rad
        and mm. A covariance is NaN where the points do not fix the pose.
    """
    there = np.ones(points.shape[:-1], bool) if there is None else there
    sightings = Sightings(points, pixels, whitening(covariances, there), intrinsics)
    poses = camera_from_object[..., None, :, :]
    reach = _CAUCHY * _spread(sightings.residuals(poses)[..., 0, :, :], there)
    poses = descend(sightings, poses, reach)
    return poses[..., 0, :, :], _covariance(sightings, poses, there)


def whitening(covariances: Array, there: Mask | None = None) -> Array:
    """Return lower triangles (..., n, 2, 2) that give residuals with these covariances one spread.

    They keep the size of a typical keypoint's residual, so that the result is still in px.
    Points that are not ``there``, (..., n), get zeros.
    """
    there = np.ones(covariances.shape[:-2], bool) if there is None else there
    xx, xy, yy = (
        np.where(there, covariances[..., i, j], float(i == j)) for i, j in ((0, 0), (0, 1), (1, 1))
    )
    areas = np.sqrt(xx * yy - xy**2)  # px^2
    typical = np.sqrt(masked_median(areas, there))[..., None]
    # The inverse of the Cholesky factor, by hand.
    white = np.zeros(covariances.shape)
    white[..., 0, 0] = typical / np.sqrt(xx)
    white[..., 1, 1] = typical * np.sqrt(xx) / areas
    white[..., 1, 0] = -white[..., 1, 1] * xy / xx
    white[~there] = 0
    return white


def masked_median(values: Array, there: Mask) -> Array:
    """Return the median (...,) of those of the values (..., n) that are there, at least one."""
    ordered = np.sort(np.where(there, values, np.inf), axis=-1).reshape(-1, values.shape[-1])
    count, row = there.sum(axis=-1), np.arange(len(ordered))
    low, high = (ordered[row, middle.ravel()] for middle in ((count - 1) // 2, count // 2))
    median: Array = ((low + high) / 2).reshape(values.shape[:-1])
    return median


@dataclass(frozen=True, eq=False)
class Sightings:
    """Which object points were seen where: all that stays the same while poses are moved."""

    points: Array  # (..., n, 3), mm, object frame
    pixels: Array  # (..., n, 2), px
    whiten: Array  # (..., n, 2, 2), lower triangles
    intrinsics: Array  # (..., 3, 3), px

    def residuals(self, poses: Array) -> Array:
        """Return the whitened reprojection errors of poses (..., m, 4, 4) as (..., m, n, 2), px.

        Infinite for poses that do not have all points in front of the camera.
        """
        return self.residuals_and_depth(poses)[0]

    def jacobian(self, poses: Array) -> Array:
        """Return how residuals change as objects turn about their origin and move.

        Returns:
            (..., m, n, 2, 6) for poses (..., m, 4, 4).
        """
        return self.slopes(poses, *self.residuals_and_depth(poses))

    def residuals_and_depth(self, poses: Array) -> tuple[Array, Array]:
        """Return residuals, and how far away the points are, (..., m, n), mm."""
        seen = _entries(poses) @ self._projection.swapaxes(-1, -2)
        seen = seen.reshape(*poses.shape[:-2], self.points.shape[-2], 3)
        depth = seen[..., 2]
        errors = seen[..., :2] / depth[..., None]
        in_front = (depth > 0).all(axis=-1)
        if not in_front.all():
            errors[~in_front] = np.inf
        return errors, depth

    def slopes(self, poses: Array, residuals: Array, depth: Array) -> Array:
        """Return the jacobian of poses from what `residuals_and_depth` says."""
        changes = _entries(poses) @ _BY_TURNS.reshape(12, 72) + _BY_MOVES.ravel()
        changes = changes.reshape(*poses.shape[:-2], 12, 6)
        moves = (self._projection[..., None, :, :] @ changes).reshape(*depth.shape, 3, 6)
        slopes = moves[..., :2, :] - residuals[..., None] * moves[..., 2:, :]
        slopes /= depth[..., None, None]
        return slopes

    @cached_property
    def _projection(self) -> Array:
        """What gives residuals times depths, and depths, from the entries of a pose.

        They are linear in these, as in the direct linear transform (Hartley and Zisserman,
        "Multiple View Geometry", section 7.1).

        Returns:
            (..., 3 n, 12): two residuals and a depth of each point, from the rows of a pose.
        """
        onto = np.zeros((*self.whiten.shape[:-2], 3, 3))
        focal = np.einsum("...ii->...i", self.intrinsics)[..., None, :2]
        onto[..., :2, :2] = self.whiten * focal[..., None, :]
        off = self.intrinsics[..., None, :2, 2] - self.pixels
        onto[..., :2, 2:] = self.whiten @ off[..., None]
        onto[..., 2, 2] = 1
        points = np.ones((*self.points.shape[:-1], 1, 1, 4))
        points[..., 0, 0, :3] = self.points
        projection: Array = onto[..., None] * points
        return projection.reshape(*onto.shape[:-3], 3 * onto.shape[-3], 12)


def _entries(poses: Array) -> Array:
    """Return the entries of poses (..., 4, 4) that differ, row by row, (..., 12)."""
    return poses[..., :3, :].reshape(*poses.shape[:-2], 12)


def descend(sightings: Sightings, poses: Array, reach: Array | float, n_steps: int = 8) -> Array:
    """Move poses downhill by damped Gauss-Newton steps on the Cauchy loss.

    Args:
        sightings: what was seen.
        poses: where to start, (..., m, 4, 4), mm, with all points in front of the camera.
        reach: whitened residual that counts half, px, (...,) or one for all.
        n_steps: the most steps; fewer where nothing moves any more.

    Returns:
        Poses (..., m, 4, 4), none worse than where it started, and none moved by another's.
    """
    reach = np.asarray(reach, float)[..., None, None]
    here = _tried(sightings, poses, reach)
    damping, moving = np.full(here.cost.shape, 1e-3), np.ones(here.cost.shape, bool)
    for _ in range(n_steps):
        normal, gradient = _normal_equations(sightings, here)
        diagonal = np.einsum("...ii->...i", normal)
        diagonal += damping[..., None] * diagonal + 1e-9
        change = np.linalg.solve(normal, gradient[..., None])[..., 0]
        there = _tried(sightings, perturbed(here.poses, -np.asarray(change, float)), reach)
        better = (there.cost < here.cost) & moving
        moving &= (here.cost - there.cost > _CONVERGED * here.cost) | (damping >= 1e-2)
        if not better.all():
            mixed = np.where(better[..., None, None], there.poses, here.poses)
            there = _tried(sightings, mixed, reach)
        here = there
        damping = np.where(better, damping / 10, damping * 10)
        if not moving.any():
            break
    return here.poses


@dataclass(frozen=True, eq=False)
class _Tried:
    """Poses, and what speaks against them by the Cauchy loss."""

    poses: Array  # (..., m, 4, 4), mm
    residuals: Array  # (..., m, n, 2), px
    depth: Array  # of the points, (..., m, n), mm
    cost: Array  # (..., m)
    weights: Array  # with which least squares follows the loss, (..., m, n)


def _tried(sightings: Sightings, poses: Array, reach: Array) -> _Tried:
    residuals, depth = sightings.residuals_and_depth(poses)
    excess = 1 + squared(residuals) / reach**2
    return _Tried(poses, residuals, depth, np.log(excess).sum(axis=-1), 1 / excess)


def _normal_equations(sightings: Sightings, tried: _Tried) -> tuple[Array, Array]:
    """Return the weighted J^T J, (..., m, 6, 6), and J^T r, (..., m, 6)."""
    jacobian = sightings.slopes(tried.poses, tried.residuals, tried.depth)
    weighted = jacobian * tried.weights[..., None, None]
    rows = (*tried.poses.shape[:-2], 2 * tried.depth.shape[-1])
    across = weighted.reshape(*rows, 6).swapaxes(-1, -2)  # (..., m, 6, 2 n)
    normal: Array = across @ jacobian.reshape(*rows, 6)
    gradient: Array = (across @ tried.residuals.reshape(*rows, 1))[..., 0]
    return normal, gradient


def squared(residuals: Array) -> Array:
    """Return the squared lengths (...) of residuals (..., 2); a sum over an axis takes longer."""
    lengths: Array = residuals[..., 0] ** 2 + residuals[..., 1] ** 2
    return lengths


def _spread(residuals: Array, there: Mask) -> Array:
    """Return the standard deviation per axis of residuals (..., n, 2), from their median length."""
    length = masked_median(np.sqrt(squared(residuals)), there)
    return np.maximum(length / 1.1774, _SMALLEST_SPREAD)  # the median of a Rayleigh distribution


def perturbed(poses: Array, change: Array) -> Array:
    """Turn objects about their origin, and move them, by (..., 6) rad and mm."""
    moved = np.array(poses)
    moved[..., :3, :3] = matrix_from_vector(change[..., :3]) @ poses[..., :3, :3]
    moved[..., :3, 3] += change[..., 3:]
    return moved


def _covariance(sightings: Sightings, poses: Array, there: Mask) -> Array:
    """Return the covariances of the left perturbations of poses (..., 1, 4, 4), (..., 6, 6)."""
    residuals = sightings.residuals(poses)
    reach = _CAUCHY * _spread(residuals[..., 0, :, :], there)[..., None, None]
    tried = _tried(sightings, poses, reach)
    normal = _normal_equations(sightings, tried)[0][..., 0, :, :]
    weights = tried.weights[..., 0, :] * there
    squares = (weights * squared(residuals[..., 0, :, :])).sum(axis=-1)
    variance = squares / np.maximum(2 * weights.sum(axis=-1) - 6, 1)
    return covariance_of(normal, variance, poses[..., 0, :, :])


def covariance_of(normal: Array, variance: Array, poses: Array) -> Array:
    """Return the covariances of the left perturbations of poses, (..., 6, 6), rad and mm.

    Args:
        normal: matrices of the normal equations, J^T W J, (..., 6, 6), for `perturbed`.
        variance: of a residual of weight one, (...).
        poses: (..., 4, 4), mm.

    Returns:
        NaN where the normal equations do not fix the pose.
    """
    diagonal = np.einsum("...ii->...i", normal)
    scale = 1 / np.sqrt(np.maximum(diagonal, 1e-300))  # rad and mm differ by 1e3
    equal = normal * scale[..., None] * scale[..., None, :]
    equal[~np.isfinite(equal).all(axis=(-1, -2))] = 0
    precisions, axes = np.linalg.eigh(equal)
    precisions[~(precisions[..., 0] > 1e-12 * precisions[..., -1])] = np.nan
    spreads = np.sqrt(variance[..., None] / precisions)[..., None, :]
    spread_axes = _left_from_own(poses) @ (axes * scale[..., None] * spreads)
    covariance: Array = spread_axes @ spread_axes.swapaxes(-1, -2)
    return covariance


def own_from_left(poses: Array) -> Array:
    """Return what makes left perturbations those of `perturbed`, (..., 6, 6), at poses."""
    return 2 * np.eye(6) - _left_from_own(poses)


def _left_from_own(poses: Array) -> Array:
    # Turning by w about the camera also moves the object, by w x t: v = u + t x w.
    left_from_own = np.zeros((*poses.shape[:-2], 6, 6)) + np.eye(6)
    left_from_own[..., 3:, :3] = skew(poses[..., :3, 3])
    return left_from_own
