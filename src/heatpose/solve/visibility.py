"""Which keypoints can be seen, once all objects of a picture have a pose."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from heatpose.geometry.transforms import transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.types import PoseEstimate

# Of the diameter: nearer to a keypoint than this, its own object does not hide it. Keypoints lie on
# the surface, and the meshes of bundles are coarse.
ON_SURFACE = 0.03


def with_visibility(
    estimates: Sequence[PoseEstimate], objects: Mapping[int, ObjectModel], renderer: Renderer
) -> list[PoseEstimate]:
    """Say which keypoints can be seen when all objects are where they were found.

    Others of its own kind do not hide an object: they may be the same one, found twice.
    """
    seen = []
    for one in estimates:
        model = objects[one.object_id]
        points = transform_points(one.camera_from_object, one.points_of(model.keypoints))
        hidden = renderer.hides(
            one.object_id, one.camera_from_object, points, short=ON_SURFACE * model.diameter
        )
        for other in estimates:
            if other.object_id != one.object_id:
                hidden |= renderer.hides(other.object_id, other.camera_from_object, points)
        seen.append(replace(one, visible=~hidden))
    return seen
