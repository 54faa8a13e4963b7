"""Where the keypoints of an object are in its crops, in every labelling its symmetries allow."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from heatpose.data.samples import Sample, SampleSource
from heatpose.errors import LabelError
from heatpose.geometry.arrays import Array
from heatpose.geometry.transforms import transform_points
from heatpose.model.heatmaps import STRIDE, crop_from_heatmap
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.keypoints import box_keypoints, farthest_keypoints
from heatpose.objects.shape_turns import Labels, without_markings
from heatpose.render.raycast import Rendering
from heatpose.train.pose_targets import PoseTargets

# Between labellings of objects that are round but for their colours, rad; see `find_objects`.
LABEL_STEP = 0.2
LARGEST_DISAGREEMENT = 0.2  # px of the crop, between labels and rendered surface


def as_labelled(objects: Sequence[ObjectModel], labels: Labels) -> list[ObjectModel]:
    """Return objects with the symmetries that keypoints are not to tell apart."""
    if labels == "colour":
        return list(objects)
    return [without_markings(one, LABEL_STEP) for one in objects]


class KeypointLabels(nn.Module):
    """Projects the keypoints of a list of objects, on whatever device the crops are."""

    points: Tensor  # (n, k, 3), mm
    symmetries: Tensor  # (n, m, 4, 4); NaN where an object has fewer than m
    diameters: Tensor  # (n,), mm

    def __init__(self, objects: Sequence[ObjectModel]) -> None:
        super().__init__()
        most = max(len(o.symmetries) for o in objects)
        symmetries = np.full((len(objects), most, 4, 4), np.nan)
        for row, model in zip(symmetries, objects, strict=True):
            row[: len(model.symmetries)] = model.symmetries
        tables = {
            "points": np.stack([o.keypoints for o in objects]),
            "symmetries": symmetries,
            "diameters": np.array([o.diameter for o in objects]),
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(table).float(), persistent=False)

    def forward(
        self, object_index: Tensor, camera_matrix: Tensor, camera_from_object: Tensor, size: int
    ) -> tuple[Tensor, PoseTargets]:
        """Label a batch of crops.

        Args:
            object_index: (b,), position in the list of objects.
            camera_matrix: K of the crops, (b, 3, 3), px.
            camera_from_object: (b, 4, 4), mm.
            size: side of the crops, px.

        Returns:
            Keypoints in every labelling, (b, m, k, 2), heatmap px, NaN outside of the map and
            for labellings that the object does not have; and what the pose loss needs.
        """
        with torch.autocast(object_index.device.type, enabled=False):  # bf16 has 8 bits: 2 px
            return self._project(object_index, camera_matrix, camera_from_object, size)

    def _project(
        self, object_index: Tensor, camera_matrix: Tensor, camera_from_object: Tensor, size: int
    ) -> tuple[Tensor, PoseTargets]:
        points = self.points[object_index]  # (b, k, 3)
        poses = camera_from_object[:, None] @ self.symmetries[object_index]  # (b, m, 4, 4)
        matrix = _heatmap_matrix(camera_matrix)
        seen = points[:, None] @ poses[..., :3, :3].mT + poses[..., None, :3, 3]  # (b, m, k, 3)
        projected = seen @ matrix[:, None].mT
        pixels = projected[..., :2] / projected[..., 2:]
        edge = size / STRIDE - 0.5
        inside = ((pixels > -0.5) & (pixels < edge)).all(dim=-1, keepdim=True)
        keypoints = torch.where(inside, pixels, torch.nan)
        targets = PoseTargets(
            heatmap_camera=matrix,
            camera_from_object=torch.nan_to_num(poses),
            points=points,
            diameters=self.diameters[object_index],
        )
        return keypoints, targets


def _heatmap_matrix(camera_matrix: Tensor) -> Tensor:
    """Turn K of crops, (b, 3, 3), into K of their heatmaps: x moves to (x + 0.5) / 4 - 0.5."""
    shift = 0.5 / STRIDE - 0.5
    warp = torch.tensor([[1 / STRIDE, 0, shift], [0, 1 / STRIDE, shift], [0, 0, 1]])
    return warp.to(camera_matrix) @ camera_matrix


def check_labels(maker: SampleSource, n_samples: int = 64, seed: int = 0) -> float:
    """Compare the labels of samples with what is rendered where they point.

    Where a keypoint is visible, the object coordinates rendered at its label are its own
    coordinates. This goes through crop, camera and label as training does. Corners of boxes, which
    lie beside the object, are left out of it: points of the surface take their place.

    Args:
        maker: what training takes its samples from.
        n_samples: how many to look at.
        seed: of the samples.

    Returns:
        The median disagreement, px of the crop.

    Raises:
        LabelError: labels and rendering disagree, or no sample shows a keypoint.
    """
    objects = [_with_points_on_it(model) for model in maker.objects]
    labels = KeypointLabels(objects)
    errors: list[float] = []
    for number in range(n_samples):
        sample = maker(np.random.default_rng([seed, number]))
        model = objects[sample.object_index]
        rendering = maker.renderer.render(
            [model.object_id], [sample.camera_from_object], sample.camera
        )
        keypoints, _ = labels(
            torch.tensor([sample.object_index]),
            torch.from_numpy(sample.camera.matrix).float()[None],
            torch.from_numpy(sample.camera_from_object).float()[None],
            len(sample.crop),
        )
        pixels = crop_from_heatmap(keypoints[0, 0].numpy().astype(float))
        errors.extend(_disagreement(rendering, pixels, model, sample))
    if not errors:
        raise LabelError(f"none of {n_samples} rendered samples shows a keypoint")
    middle = float(np.median(errors))
    if middle > LARGEST_DISAGREEMENT:
        raise LabelError(
            f"labels lie {middle:.2f} px from the rendered surface in the median of "
            f"{len(errors)} keypoints, expected less than {LARGEST_DISAGREEMENT} px"
        )
    return middle


def _with_points_on_it(model: ObjectModel) -> ObjectModel:
    """Give an object whose keypoints are those of its box others: nothing is rendered at those."""
    corners = box_keypoints(model.mesh)
    if model.keypoints.shape != corners.shape or not np.allclose(model.keypoints, corners):
        return model
    return replace(model, keypoints=farthest_keypoints(model.mesh, len(corners)))


def _disagreement(
    rendering: Rendering, pixels: Array, model: ObjectModel, sample: Sample
) -> list[float]:
    """Return how far, px, the surface seen at the labels (k, 2) is from the visible keypoints."""
    inside = np.isfinite(pixels).all(axis=1)
    if not inside.any():
        return []
    x, y = pixels[inside].T.astype(np.float32)
    # Bilinear, so that a label between pixels meets the surface between them; NaN at edges.
    seen = cv2.remap(rendering.object_coordinates, x[None], y[None], cv2.INTER_LINEAR)
    surface = seen[0].astype(float)  # (n, 3), mm
    keypoints = model.keypoints[inside]
    # Farther away than a twentieth of the object, the label shows another, nearer surface.
    visible = np.linalg.norm(surface - keypoints, axis=1) < 0.05 * model.diameter
    pose, camera = sample.camera_from_object, sample.camera
    shown = camera.project(transform_points(pose, surface[visible]))
    true = camera.project(transform_points(pose, keypoints[visible]))
    return [float(error) for error in np.linalg.norm(shown - true, axis=1)]
