"""Training samples for the keypoint network, drawn a batch at a time where the network is trained.

The same kind of samples as `heatpose.data.samples` makes one by one: objects with others around
them on a background, seen at the resolution of a camera, degraded, and cut out as in use. But all
of it happens in torch: a GPU draws as fast as it learns, so no processor has to keep up with it.

Pictures of one batch are drawn in groups of about the same number of pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from heatpose.data.backgrounds import Backgrounds
from heatpose.data.batch_augment import chance, cut_out, degrade, uniform
from heatpose.data.batch_depth import (
    covered_depths,
    cut_depths,
    drawn_depth,
    network_depths,
    without_parts,
)
from heatpose.data.batch_layouts import (
    Layout,
    Shapes,
    layout_rows,
    projected_boxes,
    random_layout,
    window,
)
from heatpose.data.batch_scenery import BatchScenery, grid_of_squares, paint
from heatpose.data.samples import ROOM, SampleConfig
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.render.splats import covered, draw, every, strew

GROUP = 256  # most pictures that are drawn together
SMOOTH_BELOW = 170  # px of a patch's side under which four points of view a pixel are affordable
COARSE = 64  # px, side of the pictures that tell how much is hidden
SPARE = 1.25  # layouts drawn for each that is used: those that hide too much are left out
SIDES = 8  # px, steps in which sides of patches come: memory of few sizes is used again
BOX_POINTS = 2000  # of an object, that a box around all of it is laid around
DEPTH_SEED = 0x5EED  # flips bits of a batch's seed
MOST_BLUR = 7.0  # px^2, before pictures are shrunk


@dataclass(frozen=True)
class DrawingConfig:
    """What drawing on a device has beyond `SampleConfig`."""

    tables: float = 0.5  # share of pictures in which all stands on a table
    points: int = 131_072  # on each object


class BatchMaker:
    """Draws batches of samples of a list of objects on a device."""

    def __init__(
        self,
        objects: Sequence[ObjectModel],
        backgrounds: Backgrounds,
        config: SampleConfig,
        drawing: DrawingConfig,
        device: torch.device,
        renderer: Renderer | None = None,
    ) -> None:
        """Take what is drawn and how; a renderer of the objects, if there is one already.

        Raises:
            ValueError: samples are to be stretched, which only `SampleMaker` can.
        """
        if config.stretched:
            raise ValueError("samples drawn on a device are not stretched")
        renderer = renderer or Renderer({o.object_id: o.mesh for o in objects})
        self.config, self.drawing, self.device = config, drawing, device
        self.camera_matrix = torch.from_numpy(config.views.camera.matrix).float().to(device)
        self.shapes = Shapes.of(objects, device)
        self.strewn = strew(renderer, [o.object_id for o in objects], drawing.points, device)
        self.scenery = BatchScenery(backgrounds, device)

    def __call__(self, generator: Generator, b: int) -> dict[str, Tensor]:
        """Draw b samples, those of few pixels first.

        Returns:
            crop (b, s, s, 3) uint8; object_index (b,) int64; camera_matrix (b, 3, 3) and
            camera_from_object (b, 4, 4), float32; depth (b, 2, s, s) float32, where any is wanted.
        """
        # Depth has chances of its own: colours are the same with depth and without.
        own = Generator(self.device).manual_seed(generator.initial_seed() ^ DEPTH_SEED)
        layout = self._layout(generator, b)
        low, side = self._patches(layout)
        order = side.argsort()
        sides = side[order].tolist()
        parts = []
        # Two groups at least: the fewer, the fewer steps there are, but the more empty pixels.
        group = min(GROUP, -(-b // 2))
        for start in range(0, b, group):
            rows = order[start : start + group]
            largest = -(-int(sides[min(start + group, b) - 1]) // SIDES) * SIDES
            placed = layout_rows(layout, rows)
            parts.append(self._samples(generator, own, placed, low[rows], largest))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _layout(self, generator: Generator, b: int) -> Layout:
        """Place objects so that enough is seen of those that are looked for."""
        views = self.config.views
        layout = random_layout(generator, self.shapes, views, round(SPARE * b), self.drawing.tables)
        visible = self._visible_fraction(layout)
        hidden = visible < views.min_visible
        chosen = hidden.int().argsort(stable=True)[:b]
        # Where there are more of these than spare ones, they are left alone in their pictures.
        alone = hidden[chosen, None] & (torch.arange(layout.object_index.shape[1]) > 0).to(hidden)
        layout = layout_rows(layout, chosen)
        return Layout(
            torch.where(alone, -1, layout.object_index),
            layout.camera_from_object,
            layout.up,
            layout.table,
        )

    def _visible_fraction(self, layout: Layout) -> Tensor:
        """Return the share of each first object's silhouette that others leave uncovered, (b,)."""
        low, side = self._patches(layout)
        matrix = window(self.camera_matrix, low, COARSE / side)
        index, poses = layout.object_index, layout.camera_from_object
        own = covered(self.strewn, index[:, 0], poses[:, 0], matrix, COARSE)
        seen = draw(self.strewn, index, poses, matrix, COARSE).instance == 0
        return seen.sum(dim=(1, 2)) / own.sum(dim=(1, 2)).clamp_min(1)

    def _patches(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """Return squares around the whole of each first object, in px of the camera's image.

        Returns:
            The upper left corner of each, (b, 2), and its side, (b,), whole.
        """
        corners = self.shapes.corners[layout.object_index[:, 0]]
        low, high = projected_boxes(corners, layout.camera_from_object[:, 0], self.camera_matrix)
        side = (ROOM * self.config.margin * (high - low).amax(dim=1)).ceil()
        return (low + high - side[:, None]) / 2, side

    def _samples(
        self, generator: Generator, own: Generator, layout: Layout, low: Tensor, side: int
    ) -> dict[str, Tensor]:
        """Draw samples from patches of one size, depth by a generator of its own."""
        config = self.config
        scale = 2 if side < SMOOTH_BELOW else 1
        fine = window(self.camera_matrix, low, torch.full_like(low[:, 0], scale))
        splats = draw(
            self.strewn, layout.object_index, layout.camera_from_object, fine, scale * side
        )
        picture = paint(
            generator, splats, self.strewn, layout, fine, self.scenery, config.harsh, scale=scale
        )
        picture = functional.avg_pool2d(picture, scale) if scale > 1 else picture
        splats = every(splats, scale)
        visible = splats.instance == 0
        patch = window(self.camera_matrix, low, torch.ones_like(low[:, 0]))
        boxes = self._boxes(generator, visible, layout, patch)
        left_top, crop_side = _jittered_square(generator, boxes, config)
        zoom = config.crop_size / crop_side  # (b,)
        shrunk = ((1 / zoom**2 - 1) / 12).clamp(0, MOST_BLUR)
        clean = picture
        if config.degraded:
            picture = degrade(generator, picture, config.harsh, shrunk)
        crop = _cut(picture, left_top, crop_side, config.crop_size)
        crop, hidden = cut_out(
            generator,
            crop,
            lambda n: self.scenery.draw(generator, n, config.crop_size),
            config.cut_outs,
        )
        samples = {
            "crop": (crop * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous(),
            "object_index": layout.object_index[:, 0],
            "camera_matrix": window(patch, left_top, zoom),
            "camera_from_object": layout.camera_from_object[:, 0],
        }
        if config.depth is not None:
            shapes = self.shapes
            depth = drawn_depth(
                own, splats, self.strewn, layout, shapes, clean, patch, config.depth
            )
            # Of several points of view a pixel, depth is that of the first.
            corner, focal = left_top + (scale - 1) / (2 * scale), patch[:, 0, 0]
            crops = cut_depths(depth, corner, crop_side, config.crop_size, focal)
            crops = covered_depths(own, crops, focal * zoom, hidden)
            crops = without_parts(own, crops, config.depth)
            samples["depth"] = network_depths(crops, focal * zoom)
        return samples

    def _boxes(
        self, generator: Generator, visible: Tensor, layout: Layout, matrix: Tensor
    ) -> Tensor:
        """Return boxes (b, 4), px, around what is seen of objects, some around all of them."""
        index, poses = layout.object_index[:, 0], layout.camera_from_object[:, 0]
        points = self.strewn.positions[:, :BOX_POINTS][index]
        whole = torch.cat(projected_boxes(points, poses, matrix), dim=1)
        chosen = chance(generator, self.config.box_whole, len(index)).view(-1, 1)
        return torch.where(chosen, whole, boxes_of_masks(visible))


class DrawsBatches(Protocol):
    """Draws batches of samples on a device."""

    device: torch.device

    def __call__(self, generator: Generator, b: int) -> dict[str, Tensor]:
        """Draw b samples; the generator lives on the device."""
        ...


class BatchStream(Dataset[dict[str, Tensor]]):
    """Batches by number: the same seed and number give the same batch on the same device."""

    def __init__(self, maker: DrawsBatches, batch_size: int, length: int, seed: int = 0) -> None:
        self.maker = maker
        self.batch_size = batch_size
        self.length = length
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Return a batch as its maker draws it."""
        if number >= self.length:
            raise IndexError(number)  # where Python's iteration ends
        (seed,) = np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint64)
        generator = torch.Generator(self.maker.device).manual_seed(int(seed) >> 1)
        with torch.no_grad():
            return self.maker(generator, self.batch_size)


def boxes_of_masks(masks: Tensor) -> Tensor:
    """Return the boxes (b, 4) around the true pixels of masks (b, h, w); all of empty ones."""
    spans = []
    for other in (1, 2):  # over rows, then over columns
        there = masks.any(dim=other).int()  # (b, w), (b, h)
        first = there.argmax(dim=1)
        last = there.shape[1] - 1 - there.flip(1).argmax(dim=1)
        spans.append((first - 0.5, last + 0.5))
    (left, right), (top, bottom) = spans
    return torch.stack([left, top, right, bottom], dim=1)


def _jittered_square(
    generator: Generator, boxes: Tensor, config: SampleConfig
) -> tuple[Tensor, Tensor]:
    """Lay squares around boxes (b, 4) that are as a detector's would be, see `samples.jittered`.

    Returns:
        The upper left corners, (b, 2), px, and the sides, (b,), px.
    """
    b = len(boxes)
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.amax(dim=1, keepdim=True)
    noise = torch.randn(b, 4, generator=generator, device=boxes.device)
    edges = boxes + config.box_edge * side * noise
    inwards = torch.cat([size, -size], dim=1)
    which = torch.randint(4, (b, 1), generator=generator, device=boxes.device)
    which = which == torch.arange(4, device=boxes.device)
    cut = chance(generator, config.box_cut, b).view(b, 1) & which
    edges = edges + cut * uniform(generator, 0, 1 / 3, b).view(b, 1) * inwards
    middle = (edges[:, :2] + edges[:, 2:]) / 2
    half = torch.maximum((edges[:, 2:] - edges[:, :2]) / 2, 0.1 * side).amax(dim=1)
    reach = half * config.margin
    return middle - reach[:, None], 2 * reach


def _cut(picture: Tensor, left_top: Tensor, side: Tensor, size: int) -> Tensor:
    """Cut squares out of pictures (b, 3, h, h) and resize them, (b, 3, size, size)."""
    grid = grid_of_squares(left_top, side, size, picture.shape[-1])
    return functional.grid_sample(picture, grid, mode="bilinear", align_corners=False)
