"""Looking again: from the second time on at where an object turned out to be.

The box of a detector says where an object is seen, often roughly; the pose that was found in it
says where all of the object must be. Crops around that are better placed than those around rough
boxes and no better than those around good ones, so of two poses the surer one stays.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from heatpose.geometry.arrays import Array, Box
from heatpose.geometry.boxes import box_of_points, clip_box
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.types import Detection, PoseEstimate

Found = tuple[Detection, PoseEstimate]  # where it was looked, and the pose that was found there

LEAST_SIDE = 8.0  # px of a box that is looked into


def box_in_pose(estimate: PoseEstimate, model: ObjectModel, camera: Camera) -> Box:
    """Return the box around all of an object in its pose, cut off at the edges of the image.

    Where that is hardly in the image, or partly behind the camera, it is the detection's box.
    """
    vertices = transform_points(estimate.camera_from_object, model.mesh.vertices)
    if (vertices[:, 2] <= 0).any():
        return estimate.box
    box = clip_box(box_of_points(camera.project(vertices)), camera.width, camera.height)
    left, top, right, bottom = box
    return box if min(right - left, bottom - top) >= LEAST_SIDE else estimate.box


def surer(first: PoseEstimate, second: PoseEstimate | None) -> PoseEstimate:
    """Return the more probable of two poses of one object, the second if they are level.

    Where there are no probabilities, it is the one that more keypoints support. The detection's
    box is that of the first.
    """
    if second is None or _sureness(second) < _sureness(first):
        return first
    return replace(second, box=first.box)


def _sureness(estimate: PoseEstimate) -> float:
    if estimate.probability is not None:
        return estimate.probability
    return 0.0 if estimate.evidence is None else estimate.evidence.support


def has_candidates(
    found: Sequence[Detection | PoseEstimate], wanted: Mapping[int, int] | None
) -> bool:
    """Say whether any object has more boxes, or poses, than instances that are wanted of it."""
    if wanted is None:
        return False
    counts = Counter(one.object_id for one in found)
    return any(count > wanted.get(object_id, 0) for object_id, count in counts.items())


def most_promising(
    found: Sequence[Found], ranks: Sequence[float], wanted: Mapping[int, int] | None
) -> list[Found]:
    """Return the better half of each object's candidates, but as many as are wanted of it.

    All of them where nobody says how many are wanted.

    Args:
        found: the candidates of all objects.
        ranks: of each of them; more is better.
        wanted: instances by object id.
    """
    if wanted is None:
        return list(found)
    kept: list[Found] = []
    best = sorted(range(len(found)), key=lambda i: -ranks[i])
    for object_id, instances in wanted.items():
        own = [found[i] for i in best if found[i][1].object_id == object_id]
        kept += own[: max(instances, (len(own) + 1) // 2)]
    return kept


def without_twins(
    estimates: Sequence[PoseEstimate], objects: Mapping[int, ObjectModel]
) -> list[PoseEstimate]:
    """Keep each pose that is not in the place of a better one of the same object, best first.

    Two of a kind whose middles are nearer to each other than half their shortest side cannot both
    be there: one object was found in two boxes.
    """
    kept: list[tuple[PoseEstimate, Array]] = []
    for one in sorted(estimates, key=lambda estimate: -estimate.rank):
        corners = objects[one.object_id].mesh.corners
        middle = transform_points(one.camera_from_object, corners).mean(axis=0)
        reach = np.ptp(corners, axis=0).min() / 2
        if not any(
            other.object_id == one.object_id and np.linalg.norm(middle - place) < reach
            for other, place in kept
        ):
            kept.append((one, middle))
    return [one for one, _ in kept]


def at_poses(
    found: Sequence[Found], objects: Mapping[int, ObjectModel], camera: Camera
) -> list[Detection]:
    """Return detections moved to where the objects turned out to be."""
    return [
        replace(box, box=box_in_pose(pose, objects[pose.object_id], camera)) for box, pose in found
    ]
