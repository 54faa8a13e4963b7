"""Symmetric objects keep their representative from one frame to the next.

Poses that differ by a symmetry look the same, so each frame alone may give any of them: a gripper
or an overlay that follows the object would jump. Here each pose is replaced by the one of its
symmetric twins that is nearest to where the same object was before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from heatpose.geometry.arrays import Array
from heatpose.geometry.transforms import invert, transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.types import PoseEstimate


def steady(
    estimates: Sequence[PoseEstimate],
    before: Sequence[PoseEstimate],
    objects: Mapping[int, ObjectModel],
) -> list[PoseEstimate]:
    """Return estimates with the representatives that are nearest to those of the frame before.

    Of several instances of an object each follows the one that was nearest to it. An object that
    was not there before, and one without symmetries, stays as it is.

    Args:
        estimates: of this frame.
        before: of the frame before, from the same camera.
        objects: by id.
    """
    return [_steady(one, before, objects[one.object_id]) for one in estimates]


def _steady(one: PoseEstimate, before: Sequence[PoseEstimate], model: ObjectModel) -> PoseEstimate:
    places = [other.camera_from_object for other in before if other.object_id == one.object_id]
    if not places or len(model.symmetries) == 1:
        return one
    distances = [_distance(place, one.camera_from_object, model) for place in places]
    last = places[int(np.argmin(distances))]
    twin = nearest_twin(one.camera_from_object, last, model)
    turned_back = invert(twin) @ one.camera_from_object
    points = transform_points(turned_back, one.points_of(model.keypoints))
    return replace(one, camera_from_object=twin, points=points)


def nearest_twin(camera_from_object: Array, last: Array, model: ObjectModel) -> Array:
    """Return the pose that looks like one and moves keypoints least from another, (4, 4), mm.

    Args:
        camera_from_object: the pose, (4, 4), mm.
        last: the other, (4, 4), mm.
        model: the object, with its symmetries.
    """
    twins = camera_from_object @ model.symmetries  # (m, 4, 4)
    moved = transform_points(twins, model.keypoints) - transform_points(last, model.keypoints)
    nearest: Array = twins[int((moved**2).sum(axis=(1, 2)).argmin())]
    return nearest


def _distance(first: Array, second: Array, model: ObjectModel) -> float:
    """Return how far the middle of an object is in one pose from where it is in another, mm."""
    centre = model.mesh.centre[None]
    apart = transform_points(first, centre) - transform_points(second, centre)
    return float(np.linalg.norm(apart))
