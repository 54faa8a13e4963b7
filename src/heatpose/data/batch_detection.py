"""Training samples for the detector, drawn a batch at a time where the detector is trained.

Pictures as real frames are: many objects on a table that hide parts of each other, seen from
above; and, for variety, objects that float anywhere in front of photographs. All of it happens in
torch, from CAD models, and no picture is ever on disk. Boxes are those of what can be seen in the
end, as in `heatpose.data.detection_samples`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from heatpose.data.backgrounds import Backgrounds
from heatpose.data.batch_augment import chance, changed, cut_out, degrade, some, uniform
from heatpose.data.batch_layouts import (
    Layout,
    Shapes,
    make_transforms,
    projected_boxes,
    random_rotations,
    turns_about_z,
    upright_rotations,
    window,
)
from heatpose.data.batch_samples import boxes_of_masks
from heatpose.data.batch_scenery import BatchScenery, paint
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.render.splats import Strewn, covered, draw, strew

GROUP = 64  # pictures that are drawn together
COARSE = 64  # px, side of the pictures that tell how large whole silhouettes are
GREY = 114 / 255  # beside frames that do not fill the detector's input
FOOT_POINTS = 512  # of each object, that say how low it is and how much room it takes
FOOTPRINT = 0.75  # radius that is kept free around objects, over that of all of it from above
ROUNDS = 8  # in which objects on a table are pushed apart
LARGEST = 1.5  # over the largest size: objects that are nearer to the camera are left out
TABLE = 0.25  # least radius of a table, over the width of the view where it is
ASIDE = 0.15  # most distance of a table's middle from that of the picture, over its side


@dataclass(frozen=True)
class DetectionDrawingConfig:
    """How pictures are drawn. What happens by chance is given as a share of pictures."""

    image_size: int = 640  # side of a picture, px
    size: tuple[float, float] = (0.05, 0.45)  # of objects, over the side of the picture
    focal: tuple[float, float] = (0.7, 1.4)  # focal length over the side of the picture
    tables: float = 0.7  # all stands on one table; else objects float
    on_tables: tuple[int, int] = (3, 12)  # how many, least and most
    floating: tuple[int, int] = (1, 10)
    empty: float = 0.04  # no object at all
    twins: float = 0.1  # an object may be there several times
    lowest: float = 0.09  # sine of the least elevation at which tables are seen: 5 degrees
    any_roll: float = 0.15  # of the camera above a table; else it is nearly upright
    tumbled: float = 0.2  # share of objects on tables that do not stand upright
    upright: float = 0.75  # share of floating objects that do
    clutter: float = 0.5  # with pieces of background behind objects
    covered: float = 0.4  # with pieces of background over objects
    degraded: float = 0.9  # with blur, colour, noise and compression
    harsh: float = 0.0  # of those: with light, colours and edges that renderings never have
    framed: float = 0.3  # grey above or below, as where frames are wider than high
    min_visible: float = 0.1  # share of a silhouette below which an object gets no label
    min_side: float = 6.0  # shorter side of a box, px
    points: int = 65_536  # on each object

    def __post_init__(self) -> None:
        for name in ("size", "focal"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be positive and rising, got {(low, high)}")
        for name in ("on_tables", "floating"):
            least, most = getattr(self, name)
            if not 1 <= least <= most:
                raise ValueError(f"{name} must be at least 1 and rising, got {(least, most)}")
        for name in (
            "tables",
            "empty",
            "twins",
            "clutter",
            "covered",
            "degraded",
            "harsh",
            "framed",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share in [0, 1], got {getattr(self, name)}")

    @property
    def max_objects(self) -> int:
        """Places for labels in a sample."""
        return max(self.on_tables[1], self.floating[1])


@dataclass(frozen=True, eq=False)
class Scenes:
    """What b cameras look at."""

    layout: Layout
    camera_matrix: Tensor  # (b, 3, 3), px
    around: Tensor  # (b,), mm, how far tables reach from the first object, see `paint`


class DetectionBatchMaker:
    """Draws batches of samples of a list of objects on a device."""

    def __init__(
        self,
        objects: Sequence[ObjectModel],
        backgrounds: Backgrounds,
        config: DetectionDrawingConfig,
        device: torch.device,
        renderer: Renderer | None = None,
    ) -> None:
        """Take what is drawn and how; a renderer of the objects, if there is one already."""
        renderer = renderer or Renderer({o.object_id: o.mesh for o in objects})
        self.object_ids = [o.object_id for o in objects]
        self.config, self.device = config, device
        self.shapes = Shapes.of(objects, device)
        self.strewn = strew(renderer, self.object_ids, config.points, device)
        self.scenery = BatchScenery(backgrounds, device)

    def __call__(self, generator: Generator, b: int) -> dict[str, Tensor]:
        """Draw b samples.

        Returns:
            image (b, s, s, 3) uint8; boxes (b, m, 4) float32, px, padded with NaN; labels (b, m)
            int64, positions in the list of objects, padded with -1.
        """
        parts = [self._samples(generator, min(GROUP, b - start)) for start in range(0, b, GROUP)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def scenes(self, generator: Generator, b: int) -> Scenes:
        """Place objects in front of b cameras."""
        return random_scenes(generator, self.shapes, self.strewn, self.config, b)

    def _samples(self, generator: Generator, b: int) -> dict[str, Tensor]:
        config, size = self.config, self.config.image_size
        scenes = self.scenes(generator, b)
        layout, matrix = scenes.layout, scenes.camera_matrix
        splats = draw(self.strewn, layout.object_index, layout.camera_from_object, matrix, size)
        picture = paint(
            *(generator, splats, self.strewn, layout, matrix, self.scenery),
            config.harsh,
            scenes.around,
        )

        def pieces(n: int) -> Tensor:
            return self.scenery.draw(generator, n, size)

        behind, _ = cut_out(generator, picture, pieces, config.clutter)
        picture = torch.where((splats.instance >= 0)[:, None], picture, behind)
        picture, hidden = cut_out(generator, picture, pieces, config.covered)
        degraded = some(generator, config.degraded, b)
        picture = changed(picture, degraded, lambda those: degrade(generator, those, config.harsh))
        beside = _beside_frames(generator, config.framed, b, size)
        picture = torch.where(beside, GREY, picture)
        instance = torch.where(hidden | beside[:, 0], -1, splats.instance)
        boxes, labels = self._labels(scenes, instance)
        image = (picture * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        return {"image": image, "boxes": boxes, "labels": labels}

    def _labels(self, scenes: Scenes, instance: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes (b, m, 4) and labels (b, m) of the objects that enough is seen of."""
        index = scenes.layout.object_index
        b, m = index.shape
        slots = torch.arange(m, device=index.device).view(1, m, 1, 1)
        masks = instance[:, None] == slots  # (b, m, h, w)
        boxes = boxes_of_masks(masks.flatten(0, 1)).view(b, m, 4)
        pixels = masks.sum(dim=(2, 3))
        side = (boxes[..., 2:] - boxes[..., :2]).amin(dim=-1)
        enough = pixels >= self.config.min_visible * self._silhouettes(scenes)
        labelled = (pixels > 0) & enough & (side >= self.config.min_side)
        labels = torch.where(labelled, index, -1)
        boxes = torch.where(labelled[..., None], boxes, torch.nan)
        order = labelled.int().argsort(dim=1, descending=True, stable=True)
        return boxes.gather(1, order[..., None].expand(b, m, 4)), labels.gather(1, order)

    def _silhouettes(self, scenes: Scenes) -> Tensor:
        """Return how large objects are that nothing hides and no edge cuts off, (b, m), px^2."""
        index, poses = scenes.layout.object_index, scenes.layout.camera_from_object
        b, m = index.shape
        corners = self.shapes.corners[index.clamp_min(0)]
        low, high = projected_boxes(corners, poses, scenes.camera_matrix[:, None])
        low, high = low.flatten(0, 1) - 1, high.flatten(0, 1) + 1  # (b m, 2)
        scale = COARSE / (high - low).amax(dim=1)
        matrix = scenes.camera_matrix.repeat_interleave(m, dim=0)
        windows = window(matrix, low, scale)
        whole = covered(self.strewn, index.flatten(), poses.flatten(0, 1), windows, COARSE)
        return (whole.sum(dim=(1, 2)) / scale**2).view(b, m)


def random_scenes(
    generator: Generator, shapes: Shapes, strewn: Strewn, config: DetectionDrawingConfig, b: int
) -> Scenes:
    """Place objects on tables, or anywhere in the view.

    Args:
        generator: random numbers.
        shapes: how large objects are.
        strewn: their surfaces, that say what they stand on.
        config: how pictures are drawn.
        b: how many.
    """
    focal = _log_uniform(generator, *config.focal, b) * config.image_size
    on_table = _uniform(generator, 0, 1, b) < config.tables
    index = _random_objects(generator, len(shapes.diameters), config, on_table)
    standing, up, table, around = _on_tables(generator, shapes, strewn, config, focal, index)
    floating = _floating(generator, shapes, config, focal, index)
    poses = torch.where(on_table[:, None, None, None], standing, floating)
    # On tables some stand beside the camera, or behind it.
    nearest = focal[:, None] * shapes.diameters[index.clamp_min(0)]
    nearest = nearest / (LARGEST * config.size[1] * config.image_size)
    index = torch.where(poses[..., 2, 3] > nearest, index, -1)
    matrix = torch.zeros(b, 3, 3, device=generator.device)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 2, 2] = focal, focal, 1
    matrix[:, :2, 2] = (config.image_size - 1) / 2
    return Scenes(Layout(index, poses, up, torch.where(on_table, table, torch.nan)), matrix, around)


def _random_objects(
    generator: Generator, n: int, config: DetectionDrawingConfig, on_table: Tensor
) -> Tensor:
    """Draw which objects are in pictures, each as often as any other, (b, m), -1 for none."""
    b, m, device = len(on_table), config.max_objects, generator.device
    each_once = torch.rand(b, n, generator=generator, device=device).argsort(dim=1)[:, :m]
    each_once = functional.pad(each_once, (0, m - each_once.shape[1]), value=-1)
    several = torch.randint(n, (b, m), generator=generator, device=device)
    twins = _uniform(generator, 0, 1, b, 1) < config.twins
    (least, most), (fewest, many) = config.on_tables, config.floating
    count = torch.where(
        on_table,
        torch.randint(least, most + 1, (b,), generator=generator, device=device),
        torch.randint(fewest, many + 1, (b,), generator=generator, device=device),
    )
    count = count * (_uniform(generator, 0, 1, b) >= config.empty)
    there = torch.arange(m, device=device) < count[:, None]
    return torch.where(there, torch.where(twins, several, each_once), -1)


def _on_tables(
    generator: Generator,
    shapes: Shapes,
    strewn: Strewn,
    config: DetectionDrawingConfig,
    focal: Tensor,
    index: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Stand the objects of each picture on a table, close to each other, and look at its middle.

    Returns:
        camera_from_object (b, m, 4, 4); up (b, 3) and table (b,) as of `Layout`; how far from the
        first object the table reaches at least, (b,), mm.
    """
    b, m = index.shape
    there, index = index >= 0, index.clamp_min(0)
    upright = turns_about_z(_uniform(generator, 0, 2 * math.pi, b * m))
    tumbled = _uniform(generator, 0, 1, b * m, 1, 1) < config.tumbled
    turn = torch.where(tumbled, random_rotations(generator, b * m), upright).view(b, m, 3, 3)
    middle = shapes.corners.mean(dim=1)
    points = (strewn.positions[:, :FOOT_POINTS] - middle[:, None])[index] @ turn.mT
    room = FOOTPRINT * points[..., :2].norm(dim=-1).amax(dim=2)  # (b, m)

    count = there.sum(dim=1).clamp_min(1)
    diameter = (shapes.diameters[index] * there).sum(dim=1) / count
    # No object on it: a table is looked at as if there were one as large as any.
    diameter = torch.where(there.any(dim=1), diameter, shapes.diameters.mean())
    radius = _uniform(generator, 0.5, 1.5, b) * count.sqrt() * diameter / 2
    angle = _uniform(generator, 0, 2 * math.pi, b, m)
    aside = _uniform(generator, 0, 1, b, m).sqrt() * radius[:, None]
    places = torch.stack([aside * angle.cos(), aside * angle.sin()], dim=-1)  # (b, m, 2)
    places = _pushed_apart(places, torch.where(there, room, 0))
    around = ((places - places[:, :1]).norm(dim=-1) * there).amax(dim=1)
    world = torch.cat([places, -points[..., 2:].amin(dim=2)], dim=-1)  # (b, m, 3)
    world = world - (turn @ middle[index][..., None])[..., 0]

    upward, up = upright_rotations(generator, b, config.lowest)
    rolled = _uniform(generator, 0, 1, b) < config.any_roll
    roll = turns_about_z(_uniform(generator, 0, 2 * math.pi, b) * rolled)
    upward, up = roll @ upward, (roll @ up[..., None])[..., 0]
    size = _log_uniform(generator, *config.size, b) * config.image_size
    target = _uniform(generator, -ASIDE, ASIDE, b, 2) * config.image_size / focal[:, None]
    target = functional.pad(target, (0, 1), value=1.0) * (focal * diameter / size)[:, None]
    rotation = (upward[:, None] @ turn).flatten(0, 1)
    translation = (upward[:, None] @ world[..., None])[..., 0] + target[:, None]
    poses = make_transforms(rotation, translation.flatten(0, 1)).view(b, m, 4, 4)
    height = (up * target).sum(dim=1)
    # What is beside the middle of the picture may be seen from below: then there is no table.
    table = torch.where(height < -config.lowest * target.norm(dim=1), height, torch.nan)
    # However far away, tables fill much of the view.
    return poses, up, table, around + TABLE * target[:, 2] * config.image_size / focal


def _pushed_apart(places: Tensor, room: Tensor) -> Tensor:
    """Move what stands at places (b, m, 2) until hardly any circles of radii (b, m) overlap.

    Those with a radius of zero are not there.
    """
    reach = room[:, :, None] + room[:, None]
    reach = reach * ((room[:, :, None] > 0) & (room[:, None] > 0))
    for _ in range(ROUNDS):
        offset = places[:, :, None] - places[:, None]  # (b, m, m, 2)
        distance = offset.norm(dim=-1).clamp_min(1e-3)
        push = (reach - distance).clamp_min(0) / distance / 2
        places = places + (offset * push[..., None]).sum(dim=2)
    return places


def _floating(
    generator: Generator,
    shapes: Shapes,
    config: DetectionDrawingConfig,
    focal: Tensor,
    index: Tensor,
) -> Tensor:
    """Place each object anywhere in the view, its size log-uniform, (b, m, 4, 4)."""
    b, m = index.shape
    index = index.clamp_min(0)
    upward, _ = upright_rotations(generator, b * m)
    upright = upward @ turns_about_z(_uniform(generator, 0, 2 * math.pi, b * m))
    stands = _uniform(generator, 0, 1, b * m, 1, 1) < config.upright
    rotation = torch.where(stands, upright, random_rotations(generator, b * m))
    size = _log_uniform(generator, *config.size, b, m) * config.image_size
    distance = focal[:, None] * shapes.diameters[index] / size
    across = _uniform(generator, -0.5, 0.5, b, m, 2) * config.image_size / focal[:, None, None]
    place = functional.pad(across, (0, 1), value=1.0) * distance[..., None]
    middle = shapes.corners.mean(dim=1)[index].flatten(0, 1)  # (b m, 3)
    place = place.flatten(0, 1) - (rotation @ middle[..., None])[..., 0]
    return make_transforms(rotation, place).view(b, m, 4, 4)


def _beside_frames(generator: Generator, share: float, b: int, size: int) -> Tensor:
    """Draw which rows lie above or below frames that are wider than high, (b, 1, size, size)."""
    height = torch.where(chance(generator, share, b), uniform(generator, 0.6, 1, b), 1) * size
    top = (uniform(generator, 0, 1, b) < 0.5) * (size - height)
    rows = torch.arange(size, device=generator.device).view(1, 1, size, 1)
    return ((rows < top) | (rows >= top + height)).expand(b, 1, size, size)


def _uniform(generator: Generator, low: float, high: float, *shape: int) -> Tensor:
    """Draw numbers between low and high, of any shape."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def _log_uniform(generator: Generator, low: float, high: float, *shape: int) -> Tensor:
    """Draw positive numbers, halving as likely as doubling."""
    return _uniform(generator, math.log(low), math.log(high), *shape).exp()
