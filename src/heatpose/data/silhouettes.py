"""What is seen of objects whose poses are known: masks, boxes, visible shares, as in BOP."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heatpose.data.bop_files import GroundTruth, Visibility
from heatpose.geometry.arrays import Array, Box, Depth, Mask
from heatpose.geometry.boxes import box_of_mask
from heatpose.geometry.camera import Camera
from heatpose.render.raycast import Renderer

LEAST_VISIBLE = 0.1  # share of an object that must be seen for it to be a target
BEHIND = 15.0  # mm that a surface may lie behind what was measured and still be what was measured


@dataclass(frozen=True, eq=False)
class Silhouette:
    """One object in one picture."""

    whole: Mask  # (h, w), as if it were alone
    visible: Mask  # (h, w), what is seen of it
    visibility: Visibility


def silhouettes(
    truth: Sequence[GroundTruth],
    camera: Camera,
    renderer: Renderer,
    depth: Depth | None,
    known: Sequence[Mask | None],
) -> list[Silhouette]:
    """Return what is seen of the objects of a picture.

    An object is hidden by those nearer to the camera and, where depth was measured, by whatever
    lies more than 15 mm in front of it, as in BOP's own masks.

    Args:
        truth: objects and poses.
        camera: of the picture.
        renderer: knows the objects.
        depth: what was measured, (h, w), mm, or None.
        known: masks of what is seen, (h, w), where somebody made them, else None; one each.

    Raises:
        UnknownObjectError: an object without a model.
    """
    ids = [one.object_id for one in truth]
    poses = [one.camera_from_object for one in truth]
    rendering = renderer.render(ids, poses, camera)
    found = []
    for index, (object_id, pose) in enumerate(truth):
        whole, mask = rendering.full_masks[index], known[index]
        if mask is None:
            mask = rendering.mask(index)
            if depth is not None:
                mask = mask & ~(depth < rendering.depth - BEHIND)
        pixels, box = whole_silhouette(renderer, object_id, pose, camera, whole)
        measured = whole if depth is None else whole & np.isfinite(depth)
        seen = int(mask.sum())
        visibility = Visibility(
            box=box if seen else None,
            visible_box=box_of_mask(mask),
            pixels=pixels,
            valid_pixels=int(measured.sum()),
            visible_pixels=seen,
            visible_fraction=min(seen / pixels, 1.0) if pixels else 0.0,
        )
        found.append(Silhouette(whole, mask, visibility))
    return found


def whole_silhouette(
    renderer: Renderer, object_id: int, pose: Array, camera: Camera, mask: Mask
) -> tuple[int, Box | None]:
    """Return the pixels of a silhouette and the box around it, px, those beyond the picture too.

    Args:
        renderer: knows the object.
        object_id: the object.
        pose: camera_from_object, (4, 4), mm.
        camera: that sees it.
        mask: its silhouette inside the picture as if it were alone, (h, w).
    """
    edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    if mask.any() and not any(edge.any() for edge in edges):
        return int(mask.sum()), box_of_mask(mask)
    width, height = camera.width, camera.height
    canvas = camera.warped(1.0, np.array([width, height]), 3 * width, 3 * height)
    whole = np.isfinite(renderer.depth(object_id, pose, canvas))
    box = box_of_mask(whole)
    if box is None:
        return 0, None
    left, top, right, bottom = box
    return int(whole.sum()), (left - width, top - height, right - width, bottom - height)
