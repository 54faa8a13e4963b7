"""Boxes of objects from their poses alone, for data sets that come without scene_gt_info."""

from functools import lru_cache
from pathlib import Path

from heatpose.data.bop import BopDataset
from heatpose.geometry.arrays import Box
from heatpose.geometry.boxes import box_of_mask
from heatpose.objects.catalogue import read_models
from heatpose.render.raycast import Renderer


def rendered_boxes(
    dataset: BopDataset, scene_id: int, image_id: int
) -> list[tuple[int, float, Box | None, Box | None]]:
    """Render the objects that an image is labelled with; what else is in it covers nothing.

    Returns:
        For each object its id, its visible fraction, and the boxes of what is seen of it and of
        all of it inside the image, None where there is nothing.

    Raises:
        DataError: poses or models cannot be read.
        UnknownObjectError: an object has no model.
    """
    truth = dataset.ground_truth(scene_id, image_id)
    ids = [one.object_id for one in truth]
    poses = [one.camera_from_object for one in truth]
    renderer = _renderer(dataset.models_folder())
    seen = renderer.render(ids, poses, dataset.camera(scene_id, image_id))
    return [
        (
            object_id,
            seen.visible_fraction(index),
            box_of_mask(seen.mask(index)),
            box_of_mask(seen.full_masks[index]),
        )
        for index, object_id in enumerate(ids)
    ]


@lru_cache(maxsize=1)
def _renderer(models: Path) -> Renderer:
    return Renderer({i: one.mesh for i, one in read_models(models, n_keypoints=1).items()})
