"""Does an exported network see what the trained one sees? On views of its own objects."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatpose.data.backgrounds import generated_texture
from heatpose.data.depth_crops import network_depth
from heatpose.geometry.arrays import Array, Image
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import random_rotation
from heatpose.geometry.transforms import make_transform
from heatpose.model.heatmaps import STRIDE, decode
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.render.shading import shade

SURE = 0.5  # mass in a keypoint's window; below, its place means little to either network


@dataclass(frozen=True)
class Agreement:
    """How far the keypoints of one network lie from those of another."""

    median: float  # over the keypoints that the reference is sure of, px of the crop
    most: float  # 95 % of them are nearer than this, px of the crop
    heatmaps: float  # largest difference of two probabilities
    n_keypoints: int  # that the reference is sure of; without any, median and most are 0

    def __str__(self) -> str:
        if not self.n_keypoints:
            return "an unknown distance (no keypoint is sure enough to compare)"
        return f"{self.median:.3f} px in the median, {self.most:.3f} px in 95 %"


def compare(heatmaps: NDArray[np.float32], reference: NDArray[np.float32]) -> Agreement:
    """Compare heatmaps (b, k, h, w) with those of a reference, same shape."""
    each = (-1, *reference.shape[2:])
    expected, found = decode(reference.reshape(each)), decode(heatmaps.reshape(each))
    sure = expected.confidences > SURE
    apart = STRIDE * np.linalg.norm(found.pixels - expected.pixels, axis=1)[sure]
    return Agreement(
        median=float(np.median(apart)) if len(apart) else 0.0,
        most=float(np.quantile(apart, 0.95)) if len(apart) else 0.0,
        heatmaps=float(np.abs(heatmaps - reference).max()),
        n_keypoints=len(apart),
    )


def rendered_crops(
    objects: Sequence[ObjectModel], size: int, margin: float, each: int = 2, seed: int = 0
) -> tuple[Image, NDArray[np.int64], NDArray[np.float32]]:
    """Render objects as the network expects them, from random sides before a random texture.

    Returns:
        Crops, (b, size, size, 3), the position of the object in ``objects`` for each, (b,), and
        their depth, (b, 2, size, size), with nothing behind the objects.
    """
    rng = np.random.default_rng(seed)
    renderer = Renderer({model.object_id: model.mesh for model in objects})
    index = np.repeat(np.arange(len(objects)), each)
    views = [_view(renderer, objects[i], size, margin, rng) for i in index.tolist()]
    return np.stack([crop for crop, _ in views]), index, np.stack([depth for _, depth in views])


def _view(
    renderer: Renderer, model: ObjectModel, size: int, margin: float, rng: np.random.Generator
) -> tuple[Image, NDArray[np.float32]]:
    """Return a crop that the object fills but for the margin, and its depth.

    It is seen from eight diameters away.
    """
    middle = (size - 1) / 2
    focal = 8 * size / margin
    camera = Camera(fx=focal, fy=focal, cx=middle, cy=middle, width=size, height=size)
    rotation = random_rotation(rng)
    centre: Array = np.array([0, 0, 8 * model.diameter]) - rotation @ model.mesh.centre
    rendering = renderer.render([model.object_id], [make_transform(rotation, centre)], camera)
    crop = generated_texture(rng, size, size)
    seen = rendering.mask(0)
    crop[seen] = shade(rendering, camera)[seen]
    return crop, network_depth(rendering.depth, camera)
