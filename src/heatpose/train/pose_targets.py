"""What is known of the true poses of a batch, and what changes of them do to pixels.

A change is six numbers: a rotation vector about the centre of the points, rad, and a shift in
diameters, along the camera's axes. They are of like size and hardly coupled; 0 is the truth.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

NEAREST = 0.1  # of its true distance: a point that comes nearer may be behind the camera as well


@dataclass(frozen=True, eq=False)
class PoseTargets:
    """What the terms of the pose need besides the keypoints.

    ``camera_from_object`` goes with each labelling: for labelling j it is the true transform
    times the j-th symmetry, so that projecting ``points`` with it gives the keypoints of j.
    """

    heatmap_camera: Tensor  # (b, 3, 3), calibration matrix of the heatmap, px
    camera_from_object: Tensor  # (b, m, 4, 4), mm; anything finite for padding labellings
    points: Tensor  # the keypoints on the object, (b, k, 3), mm
    diameters: Tensor  # (b,), mm

    def poses(self, labelling: Tensor) -> Tensor:
        """Return the true transforms that go with a labelling of each sample (b,), (b, 4, 4)."""
        each = torch.arange(len(labelling), device=labelling.device)
        return self.camera_from_object[each, labelling].float()


def linearise(pose_targets: PoseTargets, camera_from_object: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a small change of the pose does to the points and to their pixels.

    Args:
        pose_targets: camera, points and diameters.
        camera_from_object: the true transforms, (b, 4, 4), mm.

    Returns:
        Derivatives of the points, (b, k, 3, 6), diameters, and of their pixels, (b, k, 2, 6).
    """
    lever, middle = _around_their_centre(pose_targets, camera_from_object)
    x, y, z = (lever + middle).unbind(dim=-1)
    diameters = pose_targets.diameters.float()[:, None, None]
    shift = torch.eye(3, device=lever.device).expand(*lever.shape[:2], 3, 3)
    to_points = torch.cat([_cross_matrix(-lever / diameters), shift], dim=-1)

    camera = pose_targets.heatmap_camera.float()
    fx, fy, zero = camera[:, 0, 0, None] / z, camera[:, 1, 1, None] / z, torch.zeros_like(z)
    rows = [fx, zero, -fx * x / z, zero, fy, -fy * y / z]
    projection = torch.stack(rows, dim=-1).view(*z.shape, 2, 3)  # (b, k, 2, 3), px / mm
    return to_points, projection @ to_points * diameters[..., None]


def displace(
    pose_targets: PoseTargets, camera_from_object: Tensor, changes: Tensor
) -> tuple[Tensor, Tensor]:
    """Return how far changes of the pose, of any size, move the pixels of the points.

    Args:
        pose_targets: camera, points and diameters.
        camera_from_object: the true transforms, (b, 4, 4), mm.
        changes: n for each pose, (b, n, 6).

    Returns:
        Where the pixels go, relative to where the truth has them, (b, n, 2, k), px; and whether
        the change is a pose of its own in front of the camera, (b, n): after half a turn
        rotation vectors begin to say what others have said.
    """
    lever, middle = _around_their_centre(pose_targets, camera_from_object)
    b, n, _ = changes.shape
    rotations = _rotation_matrices(changes[..., :3]).view(b, 3 * n, 3)
    turned = (rotations @ lever.mT).view(b, n, 3, -1)
    shift = changes[..., 3:] * pose_targets.diameters.float()[:, None, None]
    moved = turned + (middle + shift)[..., None]  # (b, n, 3, k), mm
    true = (lever + middle).mT[:, None]
    nearest = NEAREST * true[:, :, 2]
    depth = torch.maximum(moved[:, :, 2], nearest)[:, :, None]
    camera = pose_targets.heatmap_camera.float()
    focal = torch.stack([camera[:, 0, 0], camera[:, 1, 1]], dim=-1)[:, None, :, None]
    pixels = focal * (moved[:, :, :2] / depth - true[:, :, :2] / true[:, :, 2:])
    ahead = (moved[:, :, 2] > nearest).all(dim=-1)
    return pixels, ahead & (changes[..., :3].square().sum(dim=-1) < math.pi**2)


def _around_their_centre(
    pose_targets: PoseTargets, camera_from_object: Tensor
) -> tuple[Tensor, Tensor]:
    """Return points relative to their centre, (b, k, 3), and the centre, (b, 1, 3), in mm.

    Both along the axes of the camera, from which the centre is seen.
    """
    rotation, translation = camera_from_object[:, :3, :3], camera_from_object[:, None, :3, 3]
    rotated = pose_targets.points.float() @ rotation.mT
    centre = rotated.mean(dim=1, keepdim=True)
    return rotated - centre, centre + translation


def _rotation_matrices(vectors: Tensor) -> Tensor:
    """Return the rotations (..., 3, 3) of rotation vectors (..., 3), rad (Rodrigues)."""
    cross = _cross_matrix(vectors)
    turns = vectors.square().sum(dim=-1).sqrt()[..., None, None] / math.pi  # half turns
    first, second = torch.sinc(turns), torch.sinc(turns / 2).square() / 2
    return torch.eye(3, device=vectors.device) + first * cross + second * (cross @ cross)


def _cross_matrix(vectors: Tensor) -> Tensor:
    """Return the matrices (..., 3, 3) that multiply like the cross product with (..., 3)."""
    x, y, z = vectors.unbind(dim=-1)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return torch.stack(rows, dim=-1).view(*x.shape, 3, 3)
