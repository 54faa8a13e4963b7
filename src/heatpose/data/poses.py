"""poses.json: everything that was estimated, for programs.

    {"format": 1, "bundle": "lmo 3f0c...", "images": [
      {"image": "000563.png", "scene_id": 2, "image_id": 563, "seconds": 0.08,
       "camera": {"fx": ..., "fy": ..., "cx": ..., "cy": ..., "width": ..., "height": ...},
       "poses": [{"object_id": 5, "name": "can", "score": 0.93, "box": [left, top, right, bottom],
                  "camera_from_object": 4 x 4, mm, "covariance": 6 x 6, rad and mm,
                  "keypoints": [[x, y], ...], "keypoint_spreads": [px, ...],
                  "inliers": [true, ...], "visible": [true, ...],
                  "evidence": {"support": 0.6, ...},
                  "probability": 0.8, "depth_agreement": 0.9}, ...]}, ...]}

The camera has no distortion: boxes and keypoints are px of the undistorted image. The covariance
is that of a left perturbation, rotation vector first. The probability is that no point of the
object is off by more than a tenth of its diameter; null where the bundle was not calibrated. The
depth agreement is which share of the object's surface with a measured depth lies there; null where
too little of it was measured. What is not there is null.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heatpose.data.bop_files import write_detections
from heatpose.data.fields import write_json
from heatpose.data.frames import Frame
from heatpose.data.results import Result
from heatpose.geometry.arrays import Array
from heatpose.types import Detection, PoseEstimate

FORMAT = 1


@dataclass(frozen=True, eq=False)
class FramePoses:
    """What was found in one frame."""

    frame: Frame
    estimates: tuple[PoseEstimate, ...]
    seconds: float  # from the image to all its poses
    boxes: tuple[Detection, ...]  # that poses were looked for in
    detections: tuple[Detection, ...]  # all that was known or found; boxes are of these
    detect_seconds: float  # that the detector took of the seconds

    def results(self) -> list[Result]:
        """Return the poses as the BOP challenge wants them."""
        return [
            Result(
                scene_id=self.frame.scene_id,
                image_id=self.frame.image_id,
                object_id=one.object_id,
                score=one.score,
                camera_from_object=one.camera_from_object,
                time=self.seconds,
            )
            for one in self.estimates
        ]


def write_poses(
    path: Path, frames: Sequence[FramePoses], names: Mapping[int, str], bundle: str
) -> None:
    """Write poses.json, whole or not at all.

    Args:
        path: the file.
        frames: what was found.
        names: of the objects, by id.
        bundle: which bundle found it.
    """
    images = [_frame_record(found, names) for found in frames]
    write_json(path, {"format": FORMAT, "bundle": bundle, "images": images})


def write_found(path: Path, frames: Sequence[FramePoses]) -> None:
    """Write all that a detector found, in the form of the BOP challenge, whole or not at all."""
    seconds = float(np.mean([one.detect_seconds for one in frames])) if frames else -1.0
    write_detections(path, {one.frame.ids: one.detections for one in frames}, seconds)


def _frame_record(found: FramePoses, names: Mapping[int, str]) -> dict[str, Any]:
    frame, camera = found.frame, found.frame.camera
    return {
        "image": str(frame.path),
        "scene_id": frame.scene_id,
        "image_id": frame.image_id,
        "seconds": found.seconds,
        "camera": {
            name: getattr(camera, name) for name in ("fx", "fy", "cx", "cy", "width", "height")
        },
        "poses": [_pose_record(one, names) for one in found.estimates],
    }


def _pose_record(one: PoseEstimate, names: Mapping[int, str]) -> dict[str, Any]:
    fixed = np.isfinite(one.covariance).all()
    return {
        "object_id": one.object_id,
        "name": names[one.object_id],
        "score": one.score,
        "box": list(one.box),
        "camera_from_object": one.camera_from_object.tolist(),
        "covariance": one.covariance.tolist() if fixed else None,
        "keypoints": [
            pixel.tolist() if np.isfinite(pixel).all() else None for pixel in one.keypoints
        ],
        "keypoint_spreads": _numbers_or_null(one.keypoint_spreads),
        "inliers": one.inliers.tolist(),
        "visible": None if one.visible is None else one.visible.tolist(),
        "evidence": None if one.evidence is None else _finite(asdict(one.evidence)),
        "probability": one.probability,
        "depth_agreement": one.depth_agreement,
    }


def _numbers_or_null(values: Array | None) -> list[float | None] | None:
    if values is None:
        return None
    return [value if np.isfinite(value) else None for value in values.tolist()]


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return evidence as JSON has it; what depth says, if it does, is a part of its own."""
    return {
        name: _finite(value)
        if isinstance(value, Mapping)
        else (value if value is not None and np.isfinite(value) else None)
        for name, value in values.items()
    }
