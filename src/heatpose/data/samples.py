"""Training samples for the keypoint network, made on the fly from CAD models alone.

A sample is drawn as a photograph would show it: the scene around an object is rendered at the
resolution of a camera, degraded by lens, sensor and file, and only then cut out and enlarged by the
same `crop_around` that inference uses. So the network sees in training what crops look like later.
Where the network is to look at depth, a depth camera sees the same scene from the same place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from heatpose.data.augment import cut_out, degrade
from heatpose.data.backgrounds import Backgrounds
from heatpose.data.crops import crop_around, crop_stretched
from heatpose.data.depth_crops import crop_depth_around, network_depth
from heatpose.data.depth_samples import DepthConfig, covered_depth, rendered_depth, without_parts
from heatpose.data.views import (
    ViewConfig,
    pose_beside,
    pose_in_front,
    random_lighting,
    random_pose,
    repaint,
)
from heatpose.geometry.arrays import Array, Box, Depth, Image
from heatpose.geometry.boxes import box_of_mask, box_of_points
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer, Rendering
from heatpose.render.shading import shade

ROOM = 1.3  # side of a patch over that of the whole object's crop: jittered boxes must fit
TRIES = 3  # at surroundings that do not hide too much
SMOOTH_BELOW = 90  # px of a patch's side under which four rays a pixel are affordable


@dataclass(frozen=True)
class SampleConfig:
    """How training samples are made."""

    crop_size: int = 256  # side of a crop, px
    margin: float = 1.4  # side of the crop over the longer side of the box
    stretched: bool = False  # cut the box itself, times the margin, and stretch it to a square
    degraded: bool = True  # by lens, sensor and file
    box_edge: float = 0.05  # spread of each edge of the box over the longer side
    box_whole: float = 0.3  # share of rendered boxes that lie around hidden parts too
    box_cut: float = 0.25  # share of boxes that miss a part at one side, up to a third
    cut_outs: float = 0.3  # share of samples that are partly covered by pieces of background
    harsh: float = 0.0  # share with light, colours and edges that renderings never have
    roll: float = float(np.pi)  # largest turn of the camera in samples cut from scenes, radians
    views: ViewConfig = field(default_factory=ViewConfig)
    depth: DepthConfig | None = None  # how depth is made, where there is to be any

    def __post_init__(self) -> None:
        if self.stretched and self.depth is not None:
            raise ValueError("stretched samples have no depth: it is made for square crops")


@dataclass(frozen=True, eq=False)
class Sample:
    """One crop and the truth about it."""

    crop: Image  # (s, s, 3), RGB
    object_index: int  # position of the object in the list of objects
    camera: Camera  # that sees the crop
    camera_from_object: Array  # (4, 4), mm
    depth: Depth | None = None  # (s, s), mm, NaN where nothing was measured; None: not asked for


class SampleSource(Protocol):
    """What draws samples: rendered ones, ones cut from scenes on disk, or both."""

    objects: list[ObjectModel]
    renderer: Renderer  # of the objects, to hold labels against

    def __call__(self, rng: np.random.Generator) -> Sample:
        """Draw one sample; the same generator state gives the same sample."""
        ...


class SampleMaker:
    """Draws samples of a list of objects; the same generator state gives the same sample."""

    def __init__(
        self,
        objects: Sequence[ObjectModel],
        backgrounds: Backgrounds,
        config: SampleConfig,
        renderer: Renderer | None = None,
    ) -> None:
        """Take what is drawn and how; a renderer of the objects, if there is one already."""
        self.objects = list(objects)
        self.backgrounds = backgrounds
        self.config = config
        self.renderer = renderer or Renderer({o.object_id: o.mesh for o in objects})

    def __call__(self, rng: np.random.Generator) -> Sample:
        """Draw one sample."""
        config = self.config
        index = int(rng.integers(len(self.objects)))
        pose = random_pose(rng, self.objects[index].diameter, config.views)
        camera = self._patch_camera(index, pose)
        others = self._surroundings(rng, index, pose, camera)
        picture, rendering = self._picture(rng, index, pose, others, camera)
        depth = self._depth(rng, picture, rendering, camera, [(index, pose), *others])
        if config.degraded:
            picture = degrade(rng, picture, config.harsh)
        scale = len(rendering.depth) // camera.height
        visible = rendering.mask(0)[::scale, ::scale]
        box = box_of_mask(visible) or (0.0, 0.0, float(camera.width), float(camera.height))
        if rng.random() < config.box_whole:
            vertices = transform_points(pose, self.objects[index].mesh.vertices)
            box = box_of_points(camera.project(vertices))
        crop, crop_depth, crop_camera = cut_sample(
            rng, picture, depth, camera, box, config, self.backgrounds
        )
        return Sample(crop, index, crop_camera, pose, crop_depth)

    def _surroundings(
        self, rng: np.random.Generator, index: int, pose: Array, camera: Camera
    ) -> list[tuple[int, Array]]:
        """Draw other objects around the one that is looked for, which leave enough of it to see.

        Returns:
            The position in the list and the pose of each; none where that fails again and again.
        """
        for _ in range(TRIES):
            others = self._others(rng, index, pose)
            if self._visible_fraction(index, pose, others, camera) >= self.config.views.min_visible:
                return others
        return []

    def _visible_fraction(
        self, index: int, pose: Array, others: list[tuple[int, Array]], camera: Camera
    ) -> float:
        """Return the share of the object's silhouette that others leave uncovered."""
        coarse = camera.warped(0.25, np.zeros(2), -(-camera.width // 4), -(-camera.height // 4))
        own = self.renderer.depth(self.objects[index].object_id, pose, coarse)
        seen = np.isfinite(own)
        for i, other in others:
            depth = self.renderer.depth(self.objects[i].object_id, other, coarse)
            seen &= ~(depth < own)
        return float(seen.sum() / max(np.isfinite(own).sum(), 1))

    def _others(self, rng: np.random.Generator, index: int, pose: Array) -> list[tuple[int, Array]]:
        """Draw other objects around the one that is looked for: (position in the list, pose)."""
        rest = [i for i in range(len(self.objects)) if i != index]
        count = min(int(rng.integers(self.config.views.n_others + 1)), len(rest))
        chosen = rng.permutation(np.array(rest, int))[:count]
        radius, views = self.objects[index].diameter / 2, self.config.views
        placed = []
        if rest and rng.random() < views.hidden:
            i = int(rng.choice(rest))
            front = pose_in_front(rng, pose, radius, self.objects[i].diameter / 2, views)
            placed.append((i, front))
        for i in chosen.tolist():
            beside = pose_beside(rng, pose, radius + self.objects[i].diameter / 2, views)
            placed.append((i, beside))
        return placed

    def _patch_camera(self, index: int, pose: Array) -> Camera:
        """Return the camera of a square patch around the object, at the photograph's resolution."""
        camera = self.config.views.camera
        pixels = camera.project(transform_points(pose, self.objects[index].mesh.corners))
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        side = int(np.ceil(ROOM * self.config.margin * (high - low).max()))
        return camera.warped(1.0, (side - 1) / 2 - (low + high) / 2, side, side)

    def _picture(
        self,
        rng: np.random.Generator,
        index: int,
        pose: Array,
        others: list[tuple[int, Array]],
        camera: Camera,
    ) -> tuple[Image, Rendering]:
        """Render object and surroundings on a background.

        Returns:
            The picture (h, w, 3), and the rendering, of twice as many pixels where these are few.
        """
        scale = 2 if camera.width < SMOOTH_BELOW else 1
        side = scale * camera.width
        fine = camera.warped(scale, np.full(2, (scale - 1) / 2), side, side)
        rendering = self._render([(index, pose), *others], fine)
        if self.config.harsh > 0 and rng.random() < self.config.harsh:
            rendering = repaint(rng, rendering)
        picture = self.backgrounds.draw(rng, side, side)
        seen = rendering.instance >= 0
        picture[seen] = shade(rendering, fine, random_lighting(rng))[seen]
        small = cv2.resize(picture, (camera.width, camera.width), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8), rendering

    def _depth(
        self,
        rng: np.random.Generator,
        picture: Image,
        rendering: Rendering,
        camera: Camera,
        placed: list[tuple[int, Array]],
    ) -> Depth | None:
        """Return what a depth camera makes of the picture, (h, w), mm; None if none is wanted."""
        if self.config.depth is None:
            return None
        if rendering.depth.shape != picture.shape[:2]:
            rendering = self._render(placed, camera)
        index, pose = placed[0]
        corners = transform_points(pose, self.objects[index].mesh.corners)
        (chance,) = rng.spawn(1)
        return rendered_depth(chance, rendering, picture, camera, corners, self.config.depth)

    def _render(self, placed: list[tuple[int, Array]], camera: Camera) -> Rendering:
        """Render objects, each (position in the list, pose)."""
        ids, poses = [self.objects[i].object_id for i, _ in placed], [pose for _, pose in placed]
        return self.renderer.render(ids, poses, camera)


def cut_sample(
    rng: np.random.Generator,
    picture: Image,
    depth: Depth | None,
    camera: Camera,
    box: Box,
    config: SampleConfig,
    backgrounds: Backgrounds,
) -> tuple[Image, Depth | None, Camera]:
    """Cut a crop out of a picture as inference would, and cover parts of it now and then.

    Args:
        rng: the generator.
        picture: (h, w, 3).
        depth: (h, w), mm, NaN where nothing was measured, if any is wanted.
        camera: that sees both.
        box: around what is seen of the object, px; its edges are moved as a detector's are.
        config: size and margin of the crop, and what happens to it.
        backgrounds: what it is covered with.

    Returns:
        The crop (s, s, 3), its depth (s, s), mm, some or all of it missing, and the camera that
        sees them.
    """
    box = jittered(rng, box, config)
    cut = crop_stretched if config.stretched else crop_around
    crop, crop_camera = cut(picture, camera, box, config.crop_size, config.margin)
    covered = np.zeros(crop.shape[:2], bool)
    if rng.random() < config.cut_outs:
        crop, covered = cut_out(rng, crop, backgrounds)
    if depth is None or config.depth is None:
        return crop, None, crop_camera
    (chance,) = rng.spawn(1)
    crop_depth, _ = crop_depth_around(depth, camera, box, config.crop_size, config.margin)
    crop_depth = covered_depth(chance, crop_depth, crop_camera, covered)
    return crop, without_parts(chance, crop_depth, config.depth), crop_camera


def jittered(rng: np.random.Generator, box: Box, config: SampleConfig) -> Box:
    """Move the edges of a box as a detector would.

    Each edge for itself, and now and then one far inwards: a network that could trust the box
    would take the size of the object from it.
    """
    left, top, right, bottom = box
    side = max(right - left, bottom - top)
    edges = np.array(box) + rng.normal(0, config.box_edge * side, 4)
    if rng.random() < config.box_cut:
        inwards = [right - left, bottom - top, left - right, top - bottom]
        edge = int(rng.integers(4))
        edges[edge] += rng.uniform(0, 1 / 3) * inwards[edge]
    centre, half = (edges[:2] + edges[2:]) / 2, (edges[2:] - edges[:2]) / 2
    half = np.maximum(half, 0.1 * side)  # never empty or turned over
    return (*(centre - half).tolist(), *(centre + half).tolist())


class SampleStream(Dataset[dict[str, torch.Tensor]]):
    """Samples by number: the same seed and number give the same sample, in any process."""

    def __init__(self, maker: SampleSource, length: int, seed: int = 0, first: int = 0) -> None:
        self.maker = maker
        self.length = length
        self.seed = seed
        self.first = first  # number of the first sample: a run that goes on skips what it has seen

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Return a sample as tensors.

        Returns:
            crop (s, s, 3) uint8; object_index () int64; camera_matrix (3, 3) and
            camera_from_object (4, 4), float32; depth (2, s, s) float32, where samples have any.
        """
        if number >= self.length:
            raise IndexError(number)  # where Python's iteration ends
        cv2.setNumThreads(0)  # the processes are the threads
        sample = self.maker(np.random.default_rng([self.seed, self.first + number]))
        tensors = {
            "crop": torch.from_numpy(sample.crop),
            "object_index": torch.tensor(sample.object_index),
            "camera_matrix": torch.from_numpy(sample.camera.matrix).float(),
            "camera_from_object": torch.from_numpy(sample.camera_from_object).float(),
        }
        if sample.depth is not None:
            tensors["depth"] = torch.from_numpy(network_depth(sample.depth, sample.camera))
        return tensors
