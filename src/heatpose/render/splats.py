"""Drawing many pictures of many objects at once, on a GPU, without any code built for it.

Objects are points strewn evenly over their surfaces (point splatting; Pfister et al., Surfels,
SIGGRAPH 2000). Each lights the pixel it falls into, the nearest one wins, and gaps as wide as
points lie apart are closed. Triangles and rays would need a compiled rasteriser; points need one
scatter with a minimum, which torch has on every device.

Outlines must be where they belong, or all that learns from the pictures takes objects for nearer
or farther than they are. A pixel at an outline, where points are dense, is lit as soon as any of
it is covered, which makes objects larger by half a pixel all around; so surfaces are drawn that
much inside of themselves. Gaps are closed by minima over neighbours and then maxima over as many,
which takes nothing from outlines and adds nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from heatpose.render.raycast import Renderer

APART = 0.75  # px between points, where there are enough
INSET = 0.53  # px between surfaces and where they are drawn
LEVELS = 4  # gaps up to 1, 3, 7 and 15 px are closed
CLOSE = 2.6  # widest gap that is closed, with its edges, over the distance of points
# A key has 63 bits: depth, which of the objects in the picture, which of all points.
SLOT_BITS, POINT_BITS = 5, 27
NOTHING = torch.iinfo(torch.int64).max
BEYOND = 65_536  # places for points outside of the pictures
NEAREST = 1.0  # mm in front of the camera from which on points are drawn


@dataclass(frozen=True, eq=False)
class Strewn:
    """The surfaces of n objects, p points each, in the frames of the objects."""

    positions: Tensor  # (n, p, 3), mm
    normals: Tensor  # (n, p, 3), unit
    albedo: Tensor  # (n, p, 3), RGB in [0, 1]
    spacing: Tensor  # (n,), mm, square root of the area that one of p points stands for


@dataclass(frozen=True, eq=False)
class Splats:
    """What cameras see: one value per pixel in every map."""

    depth: Tensor  # (b, h, w), mm along z, infinite where no object is
    instance: Tensor  # (b, h, w), int64, which of the m objects of a picture is seen, -1 for none
    points: Tensor  # (b, h, w), int64, which point of all is seen, row of `Strewn` flattened


@dataclass(frozen=True, eq=False)
class Surfaces:
    """The pixels of pictures that show objects: one value for each of them."""

    picture: Tensor  # (n,), int64
    row: Tensor  # (n,), int64
    column: Tensor  # (n,), int64
    slot: Tensor  # (n,), int64, which of the objects of the picture
    normals: Tensor  # (n, 3), unit, camera frame, outwards
    albedo: Tensor  # (n, 3), RGB in [0, 1]


def strew(
    renderer: Renderer, object_ids: Sequence[int], n_points: int, device: torch.device
) -> Strewn:
    """Strew points over objects.

    Args:
        renderer: knows the objects.
        object_ids: which, in the order in which they will be drawn by number.
        n_points: on each.
        device: where pictures are to be drawn.

    Raises:
        ValueError: so many points of all objects together cannot be told apart.
    """
    if len(object_ids) * n_points > 2**POINT_BITS:
        raise ValueError(f"{len(object_ids)} objects of {n_points} points are too many")
    rng = np.random.default_rng(0)
    parts = [renderer.strew(object_id, n_points, rng) for object_id in object_ids]
    positions, normals, albedo = (
        torch.from_numpy(np.stack(each)).float().to(device) for each in zip(*parts, strict=True)
    )
    areas = torch.tensor([renderer.area(object_id) for object_id in object_ids], device=device)
    return Strewn(positions, normals, albedo, (areas / n_points).sqrt().float())


def draw(
    strewn: Strewn,
    object_index: Tensor,
    camera_from_object: Tensor,
    camera_matrix: Tensor,
    size: int,
) -> Splats:
    """Draw pictures of several objects each.

    Args:
        strewn: the objects.
        object_index: which are in a picture, (b, m), int64; -1 for none.
        camera_from_object: their poses, (b, m, 4, 4), mm.
        camera_matrix: of the pictures, (b, 3, 3), px.
        size: side of the pictures, px; at least 2^LEVELS.
    """
    b, m = object_index.shape
    if m > 2**SLOT_BITS:
        raise ValueError(f"at most {2**SLOT_BITS} objects a picture, got {m}")
    index, poses = object_index.flatten(), camera_from_object.flatten(0, 1)  # (b m,), (b m, 4, 4)
    matrices = camera_matrix.repeat_interleave(m, dim=0)
    all_points = strewn.positions.shape[1]
    middle = poses[:, 2, 3].clamp_min(NEAREST)
    there = (index >= 0) & (poses[:, 2, 3] > NEAREST)
    index = index.clamp_min(0)
    px_per_mm = matrices[:, 0, 0] / middle
    dense = strewn.spacing[index] * px_per_mm  # px between points, if all were used
    used = (all_points * (dense / APART).square().clamp_max(1) * there).ceil().long()
    level = (CLOSE * dense.clamp_min(APART)).log2().ceil().sub(1).clamp(0, LEVELS - 1).long()
    maps_of = _maps_of(level.view(b, m), there.view(b, m))
    total, *n_maps = torch.cat([used.sum()[None], maps_of.sum(dim=1)]).tolist()

    # Each point with what it is of: row of (b m,), and number on the object.
    row = torch.arange(b * m, device=index.device).repeat_interleave(used, output_size=total)
    number = torch.arange(total, device=index.device) - (used.cumsum(0) - used)[row]
    number = number + (index * all_points)[row]
    inset = (INSET / px_per_mm)[row, None]  # mm
    points = strewn.positions.view(-1, 3)[number] - inset * strewn.normals.view(-1, 3)[number]
    x, y, z = _project(points, (matrices @ poses[:, :3]).view(-1, 12), row)
    x, y = (x / z).round(), (y / z).round()
    inside = (z > NEAREST) & (x >= 0) & (x < size) & (y >= 0) & (y < size)
    picture = torch.arange(b, device=index.device).repeat_interleave(m)
    own_map = (maps_of.flatten().cumsum(0) - 1)[level * b + picture]
    place = (own_map[row] * size + y.long()) * size + x.long()
    # What is outside goes beyond the maps, and not all to one place, where it would queue.
    n_pixels = sum(n_maps) * size * size
    beyond = n_pixels + number % BEYOND
    # Positive floats are in the order of their bits. Below them slot and point, to be read again.
    bits = z.contiguous().view(torch.int32).long()
    key = (bits << SLOT_BITS | row % m) << POINT_BITS | number
    maps = torch.full((n_pixels + BEYOND,), NOTHING, device=index.device)
    maps.scatter_reduce_(0, torch.where(inside, place, beyond), key, "amin")

    return _decode(_joined(maps[:n_pixels].view(-1, size, size), n_maps, maps_of))


def _maps_of(level: Tensor, there: Tensor) -> Tensor:
    """Return which maps pictures have, (LEVELS, b), 0 or 1: most pictures have few.

    Args:
        level: of the gaps between the points of each object, (b, m).
        there: whether there is such an object, (b, m).
    """
    levels = torch.arange(LEVELS, device=level.device)
    wanted = (level[..., None] == levels) & there[..., None]  # (b, m, LEVELS)
    return (wanted.any(dim=1) | (levels == 0)).T.long()


def _joined(maps: Tensor, n_maps: list[int], maps_of: Tensor) -> Tensor:
    """Close the gaps in maps, level by level, and return what is nearest, (b, h, w).

    Args:
        maps: keys, (n, h, w), the maps of one level after those of another.
        n_maps: how many of each level there are.
        maps_of: which pictures have one, (LEVELS, b).
    """
    narrow, *wider = torch.split(maps, n_maps)
    closed = _close(narrow, 0)
    for level, keys in enumerate(wider, start=1):
        if len(keys) > 0:
            rows = maps_of[level].nonzero()[:, 0]
            closed[rows] = torch.minimum(closed[rows], _close(keys, level))
    return closed


def _project(points: Tensor, projections: Tensor, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return x z, y z and z, (p,) each, px mm and mm, of points by the projections of their rows.

    Args:
        points: (p, 3), mm, in the frames of their objects.
        projections: K times camera_from_object, (n, 12), row by row.
        row: which of them is a point's, (p,).
    """
    # Component by component: a GPU gathers rows of a few numbers far more slowly.
    own, (a, b, c) = projections.T.contiguous()[:, row], points.unbind(dim=1)  # (12, p)
    x, y, z = (
        own[i + 3].addcmul(own[i], a).addcmul_(own[i + 1], b).addcmul_(own[i + 2], c)
        for i in (0, 4, 8)
    )
    return x, y, z


def covered(
    strewn: Strewn,
    object_index: Tensor,
    camera_from_object: Tensor,
    camera_matrix: Tensor,
    size: int,
) -> Tensor:
    """Return the silhouettes (b, size, size), bool, of one object (b,), (b, 4, 4) a picture."""
    alone = draw(strewn, object_index[:, None], camera_from_object[:, None], camera_matrix, size)
    return alone.instance >= 0


def every(splats: Splats, step: int) -> Splats:
    """Return every so many pixels of pictures, along rows and columns."""
    maps = (splats.depth, splats.instance, splats.points)
    return Splats(*(one[:, ::step, ::step] for one in maps))


def surfaces(splats: Splats, strewn: Strewn, camera_from_object: Tensor) -> Surfaces:
    """Return the surfaces that are seen: most pixels show none, and need no shading.

    Args:
        splats: what is seen.
        strewn: the objects.
        camera_from_object: their poses, (b, m, 4, 4), mm.
    """
    picture, row, column = (splats.instance >= 0).nonzero(as_tuple=True)
    slot = splats.instance[picture, row, column]
    point = splats.points[picture, row, column]
    rotations = camera_from_object[picture, slot, :3, :3]
    normals = (rotations * strewn.normals.view(-1, 3)[point][:, None]).sum(dim=2)
    return Surfaces(picture, row, column, slot, normals, strewn.albedo.view(-1, 3)[point])


def _close(keys: Tensor, level: int) -> Tensor:
    """Fill gaps of less than 2^(level + 1) pixels, (b, h, w): the least of neighbours, then most.

    Beyond the edges of the picture there is nothing that could win.
    """
    closed, before = torch.empty_like(keys), torch.empty_like(keys)
    for better, forward in ((torch.minimum, True), (torch.maximum, False)):
        for dim in (1, 2):
            # Steps of 1, 2, 4, ... reach 2^(level + 1) pixels together.
            for step in (2**i for i in range(level + 1)):
                rest = keys.shape[dim] - step
                early, late = keys.narrow(dim, 0, rest), keys.narrow(dim, step, rest)
                start, edge = (step, 0) if forward else (0, rest)
                better(early, late, out=closed.narrow(dim, start, rest))
                closed.narrow(dim, edge, step).copy_(keys.narrow(dim, edge, step))
                keys, closed, before = closed, before, closed
    return keys


def _decode(keys: Tensor) -> Splats:
    """Read what was written into keys, (b, h, w)."""
    seen = keys != NOTHING
    bits = (keys >> (SLOT_BITS + POINT_BITS)).to(torch.int32)
    slot = keys >> POINT_BITS & (2**SLOT_BITS - 1)
    point = keys & (2**POINT_BITS - 1)
    return Splats(
        depth=torch.where(seen, bits.view(torch.float32), torch.inf),
        instance=torch.where(seen, slot, -1),
        points=torch.where(seen, point, 0),
    )
