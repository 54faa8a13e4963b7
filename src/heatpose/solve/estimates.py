"""What was solved in a crop, said in terms of the image."""

import numpy as np

from heatpose.geometry.arrays import Array
from heatpose.geometry.camera import Camera
from heatpose.model.heatmaps import Keypoints
from heatpose.objects.catalogue import ObjectModel
from heatpose.solve.outline import OutlineFit
from heatpose.solve.pnp import Correspondences, PnPSolution
from heatpose.solve.probability import Calibration, weigh
from heatpose.types import Detection, PoseEstimate


def make_estimate(
    found: Detection,
    seen: Keypoints,
    match: Correspondences,
    solution: PnPSolution,
    fit: OutlineFit | None,
    camera: Camera,
    model: ObjectModel,
    calibration: Calibration | None,
) -> PoseEstimate:
    """Put all that is known of one object together.

    The score is that of the detection, times the mean confidence of the keypoints that support
    the pose, times their share of all keypoints.

    Args:
        found: where it was detected, px of the image.
        seen: its keypoints in the first look, px of that crop.
        match: the keypoints of all looks, px of the same crop.
        solution: the pose that these say.
        fit: the pose that outlines made of it, where they had something to say.
        camera: of the image.
        model: the object.
        calibration: makes a probability of the evidence, if that was learned.
    """
    pose, covariance = solution.camera_from_object, solution.covariance
    if fit is not None:
        pose, covariance = fit.camera_from_object, fit.covariance
    support = match.support(solution.inliers)
    evidence = weigh(support, solution.inliers, fit, pose, covariance, model)
    zoom = camera.fx / match.camera.fx
    return PoseEstimate(
        object_id=found.object_id,
        camera_from_object=pose,
        score=found.score * evidence.support,
        covariance=covariance,
        keypoints=_seen_by(camera, seen.pixels, match.camera),
        inliers=solution.inliers[: len(seen.pixels)],
        box=found.box,
        keypoint_spreads=zoom * np.sqrt(np.einsum("kii->k", seen.covariances) / 2),
        points=match.points[: len(seen.pixels)],
        evidence=evidence,
        probability=calibration.probability(evidence) if calibration else None,
    )


def _seen_by(camera: Camera, pixels: Array, crop_camera: Camera) -> Array:
    """Move positions (k, 2) from px of a crop to px of the image it was cut from."""
    return camera.project(crop_camera.unproject(pixels, np.ones(len(pixels))))
