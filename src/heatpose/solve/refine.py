"""Weighted least squares on poses, and how sure the result is.

A pose is perturbed from the left: ``make_transform(matrix_from_vector(w), v) @ camera_from_object``
with a rotation vector w, radians, and a translation v, mm, both along the camera's axes. Inside,
the object turns about its own origin instead of the camera's, which keeps w and v apart.

Several poses are moved at once, shape (m, 4, 4): numpy takes as long for one as for eight.
"""

from dataclasses import dataclass

import numpy as np

from heatpose.geometry.arrays import Array
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector, skew
from heatpose.geometry.transforms import make_transform

# A residual of this many spreads counts half (Cauchy); 95 % efficient for Gaussian noise.
_CAUCHY = 2.385
_SMALLEST_SPREAD = 1e-3  # px of a typical keypoint; exact data would divide by zero


def refine_pose(
    points: Array,
    pixels: Array,
    covariances: Array,
    camera: Camera,
    camera_from_object: Array,
) -> tuple[Array, Array]:
    """Move a pose to where the reprojection errors, weighted by their covariances, are smallest.

    Levenberg-Marquardt on a Cauchy loss, so that a few wrong points do little harm. Only the
    ratios of the covariances matter: their common factor is taken from the residuals, in the loss
    as well as in the covariance of the pose, because heatmaps are wider than their errors.

    Args:
        points: object points, (n, 3), mm, n >= 4.
        pixels: where they were seen, (n, 2), px.
        covariances: of the pixels, (n, 2, 2), px^2, positive definite.
        camera: the camera of the image that ``pixels`` refer to, without distortion.
        camera_from_object: where to start, (4, 4), mm; all points in front of the camera.

    Returns:
        The pose, (4, 4), and the covariance of its left perturbation, (6, 6), rad and mm. The
        covariance is NaN where the points do not fix the pose.
    """
    sightings = Sightings(points, pixels, whitening(covariances), camera)
    poses = camera_from_object[None]
    for _ in range(2):  # the spread of the residuals is measured anew where the first round ends
        reach = _CAUCHY * _spread(sightings.residuals(poses)[0])
        poses = descend(sightings, poses, reach)
    return poses[0], _covariance(sightings, poses)


def whitening(covariances: Array) -> Array:
    """Return matrices (n, 2, 2) that give residuals with these covariances the same spread.

    They keep the size of a typical keypoint's residual, so that the result is still in px.
    """
    areas = np.sqrt(np.linalg.det(covariances))  # px^2
    relative = covariances / np.median(areas)
    return np.linalg.inv(np.linalg.cholesky(relative))


@dataclass(frozen=True, eq=False)
class Sightings:
    """Which object points were seen where: all that stays the same while poses are moved."""

    points: Array  # (n, 3), mm, object frame
    pixels: Array  # (n, 2), px
    whiten: Array  # (n, 2, 2)
    camera: Camera

    def residuals(self, poses: Array) -> Array:
        """Return the whitened reprojection errors of poses (m, 4, 4) as (m, n, 2), px.

        Infinite for points that are not in front of the camera.
        """
        onto_image = self.camera.matrix @ poses[:, :3]  # (m, 3, 4)
        seen = self.points @ onto_image[:, :, :3].transpose(0, 2, 1) + onto_image[:, None, :, 3]
        depth = seen[..., 2]
        wrong = seen[..., :2] / np.where(depth == 0, np.nan, depth)[..., None] - self.pixels
        white = (self.whiten @ wrong[..., None])[..., 0]
        white[~(depth > 0)] = np.inf
        return white

    def jacobian(self, poses: Array) -> Array:
        """Return how residuals change as objects turn about their origin and move, (m, n, 2, 6)."""
        turned = self.points @ poses[:, :3, :3].transpose(0, 2, 1)
        position = turned + poses[:, None, :3, 3]
        inverse = 1 / position[..., 2:]
        focal = np.array([self.camera.fx, self.camera.fy])
        by_position = np.zeros((*turned.shape[:2], 2, 3))
        by_position[..., [0, 1], [0, 1]] = focal * inverse
        by_position[..., 2] = -focal * position[..., :2] * inverse**2
        by_position = self.whiten @ by_position
        return np.concatenate([-by_position @ skew(turned), by_position], axis=-1)


def descend(sightings: Sightings, poses: Array, reach: float, n_steps: int = 8) -> Array:
    """Move poses downhill by damped Gauss-Newton steps on the Cauchy loss.

    Args:
        sightings: what was seen.
        poses: where to start, (m, 4, 4), mm, with all points in front of the camera.
        reach: whitened residual that counts half, px.
        n_steps: the most steps; fewer where nothing moves any more.

    Returns:
        Poses (m, 4, 4), none worse than where it started.
    """
    residuals = sightings.residuals(poses)
    cost = _cost(residuals, reach)
    damping = np.full(len(poses), 1e-3)
    for _ in range(n_steps):
        normal, gradient = _normal_equations(sightings, poses, residuals, reach)
        diagonal = np.einsum("mii->mi", normal)
        diagonal += damping[:, None] * diagonal + 1e-9
        change = np.linalg.solve(normal, gradient[..., None])[..., 0]
        moved = _perturbed(poses, -np.asarray(change, float))
        new_residuals = sightings.residuals(moved)
        new_cost = _cost(new_residuals, reach)
        better = new_cost < cost
        if (cost - new_cost <= 1e-6 * cost).all() and (damping < 1e-2).all():
            break
        poses = np.where(better[:, None, None], moved, poses)
        residuals = np.where(better[:, None, None], new_residuals, residuals)
        cost = np.where(better, new_cost, cost)
        damping = np.where(better, damping / 10, damping * 10)
    return poses


def _normal_equations(
    sightings: Sightings, poses: Array, residuals: Array, reach: float
) -> tuple[Array, Array]:
    """Return the weighted J^T J, (m, 6, 6), and J^T r, (m, 6)."""
    m = len(poses)
    jacobian = sightings.jacobian(poses)
    weighted = jacobian * _weights(residuals, reach)[..., None, None]
    across = weighted.reshape(m, -1, 6).transpose(0, 2, 1)  # (m, 6, 2 n)
    normal: Array = across @ jacobian.reshape(m, -1, 6)
    gradient: Array = (across @ residuals.reshape(m, -1, 1))[..., 0]
    return normal, gradient


def _spread(residuals: Array) -> float:
    """Return the standard deviation per axis of residuals (n, 2), from their median length."""
    length = np.median(np.sqrt((residuals**2).sum(axis=1)))
    return max(float(length) / 1.1774, _SMALLEST_SPREAD)  # the median of a Rayleigh distribution


def _cost(residuals: Array, reach: float) -> Array:
    """Return the Cauchy loss (m,) of residuals (m, n, 2)."""
    cost: Array = np.log1p((residuals**2).sum(axis=-1) / reach**2).sum(axis=-1)
    return cost


def _weights(residuals: Array, reach: float) -> Array:
    """Return the weights (m, n) in (0, 1] with which least squares follows the Cauchy loss."""
    weights: Array = 1.0 / (1.0 + (residuals**2).sum(axis=-1) / reach**2)
    return weights


def _perturbed(poses: Array, change: Array) -> Array:
    """Turn objects about their origin, and move them, by (m, 6) rad and mm."""
    rotation = matrix_from_vector(change[:, :3]) @ poses[:, :3, :3]
    return make_transform(rotation, poses[:, :3, 3] + change[:, 3:])


def _covariance(sightings: Sightings, poses: Array) -> Array:
    """Return the covariance of the left perturbation of one pose (1, 4, 4), (6, 6)."""
    residuals = sightings.residuals(poses)
    reach = _CAUCHY * _spread(residuals[0])
    normal, _ = _normal_equations(sightings, poses, residuals, reach)
    weights = _weights(residuals, reach)[0]
    variance = (weights * (residuals[0] ** 2).sum(axis=1)).sum() / max(2 * weights.sum() - 6, 1)
    scale = 1 / np.sqrt(np.maximum(np.diag(normal[0]), 1e-300))  # rad and mm differ by 1e3
    equal = normal[0] * np.outer(scale, scale)
    if not np.isfinite(equal).all() or np.linalg.cond(equal) > 1e12:
        return np.full((6, 6), np.nan)
    inverse = np.linalg.inv(equal) * np.outer(scale, scale)
    # Turning by w about the camera also moves the object, by w x t: v = u + t x w.
    left_from_own = np.eye(6)
    left_from_own[3:, :3] = skew(poses[0, :3, 3])
    covariance: Array = variance * left_from_own @ inverse @ left_from_own.T
    return covariance
