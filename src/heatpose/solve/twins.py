"""Of the poses that count as one for their symmetry, take the one that looks like the picture.

Few objects are quite as symmetric as they are said to be: turned half around, the surface of
LM-O's glue lies 2.5 mm from where it was in the mean, and 9.6 mm at most, and its back shows other
print than its front. Keypoints are learned of one of the two poses and never tell which it is. But
what is drawn of an object, its outline above all, fits only in the true one.

So the object is drawn in each, and patches of the drawing are looked for in the picture, see
`heatpose.solve.patches`. All of it happens in small pictures of the objects, `SIDE` px wide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np

from heatpose.geometry.arrays import Array
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import invert, transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.solve.outline import CroppedObject
from heatpose.solve.patches import Floats, brightness, likeness
from heatpose.solve.threads import in_threads

SIDE = 96
MOST_TWINS = 8  # an object with more is round, but for the steps in which its turns are stored
MARGIN = 0.05  # of likeness, by which another pose must be better than what keypoints tell


def turn_as_seen(
    objects: Sequence[CroppedObject],
    models: Mapping[int, ObjectModel],
    renderer: Renderer,
    threads: int = 1,
) -> list[CroppedObject]:
    """Turn objects by those of their symmetries after which they look most like their crops.

    Args:
        objects: of one picture or several.
        models: by id.
        renderer: knows them.
        threads: that share the objects.

    Returns:
        The objects with their poses, and the points that their keypoints are, turned; as they
        were where no other pose is clearly better.
    """

    def turn(one: CroppedObject) -> CroppedObject:
        turns = models[one.object_id].symmetries
        if not 1 < len(turns) <= MOST_TWINS:
            return one
        picture, camera = _small(one)
        pose = one.solution.camera_from_object
        scores = [likeness(one.object_id, twin, camera, picture, renderer) for twin in pose @ turns]
        best = int(np.argmax(scores))
        return one if scores[best] <= scores[0] + MARGIN else _turned(one, turns[best])

    many = sum(len(models[one.object_id].symmetries) > 1 for one in objects) > 1
    return in_threads(turn, objects, threads if many else 1)


def _small(one: CroppedObject) -> tuple[Floats, Camera]:
    """Return the brightness of a crop made small, and the camera that sees it."""
    camera = one.keypoints.camera
    scale = SIDE / camera.width
    small = camera.warped(scale, np.full(2, (scale - 1) / 2), SIDE, SIDE)
    colours = cv2.resize(one.crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return brightness(np.asarray(colours, np.uint8)), small


def _turned(one: CroppedObject, turn: Array) -> CroppedObject:
    """Return an object after a turn (4, 4) of itself: all its keypoints stay in the picture."""
    solution, keypoints = one.solution, one.keypoints
    return replace(
        one,
        keypoints=replace(keypoints, points=transform_points(invert(turn), keypoints.points)),
        solution=replace(solution, camera_from_object=solution.camera_from_object @ turn),
    )
