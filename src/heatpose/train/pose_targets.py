"""What is known of the true poses of a batch, and what small changes of them do to pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PoseTargets:
    """What the pose term needs besides the keypoints.

    ``camera_from_object`` goes with each labelling: for labelling j it is the true transform
    times the j-th symmetry, so that projecting ``points`` with it gives the keypoints of j.
    """

    heatmap_camera: Tensor  # (b, 3, 3), calibration matrix of the heatmap, px
    camera_from_object: Tensor  # (b, m, 4, 4), mm; anything finite for padding labellings
    points: Tensor  # the keypoints on the object, (b, k, 3), mm
    diameters: Tensor  # (b,), mm


def linearise(pose_targets: PoseTargets, camera_from_object: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a small change of the pose does to the points and to their pixels.

    The change is a rotation vector about the centre of the points, rad, and a shift in
    diameters, along the camera's axes: six numbers of like size, hardly coupled.

    Returns:
        Derivatives of the points, (b, k, 3, 6), diameters, and of their pixels, (b, k, 2, 6).
    """
    rotation, translation = camera_from_object[:, :3, :3], camera_from_object[:, :3, 3]
    points = pose_targets.points.float()
    diameters = pose_targets.diameters.float()[:, None, None]
    rotated = points @ rotation.transpose(1, 2)  # (b, k, 3), mm
    x, y, z = (rotated + translation[:, None]).unbind(dim=-1)
    lever = (rotated - rotated.mean(dim=1, keepdim=True)) / diameters
    shift = torch.eye(3, device=points.device).expand(*lever.shape[:2], 3, 3)
    to_points = torch.cat([_cross_matrix(-lever), shift], dim=-1)

    camera = pose_targets.heatmap_camera.float()
    fx, fy, zero = camera[:, 0, 0, None] / z, camera[:, 1, 1, None] / z, torch.zeros_like(z)
    rows = [fx, zero, -fx * x / z, zero, fy, -fy * y / z]
    projection = torch.stack(rows, dim=-1).view(*z.shape, 2, 3)  # (b, k, 2, 3), px / mm
    return to_points, projection @ to_points * diameters[..., None]


def _cross_matrix(vectors: Tensor) -> Tensor:
    """Return the matrices (..., 3, 3) that multiply like the cross product with (..., 3)."""
    x, y, z = vectors.unbind(dim=-1)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return torch.stack(rows, dim=-1).view(*x.shape, 3, 3)
