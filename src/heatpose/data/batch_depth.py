"""Depth of training samples that are drawn a batch at a time, in torch, on any device.

The same as `heatpose.data.depth_samples` and `heatpose.data.depth_crops` make one by one: what
stands behind objects, what depth cameras see of it, what is cut out, covered and missing, and what
a network is shown in the end.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from heatpose.data.batch_augment import chance, polygon_distance, uniform
from heatpose.data.batch_depth_sensors import measure_depths
from heatpose.data.batch_layouts import Layout, Shapes
from heatpose.data.batch_scenery import all_rays, grid_of_squares
from heatpose.data.depth_crops import CENTRE, LARGEST, STEEPEST
from heatpose.data.depth_samples import (
    FARTHEST,
    FLATTEST,
    NOTHING_BEHIND,
    TOUCHING,
    DepthConfig,
)
from heatpose.render.splats import Splats, Strewn, surfaces

MOST_THINGS = 3  # before what is behind
MOST_HOLES = 3
COARSER = 4  # px of a crop, of which one is asked where nothing was measured in its middle


def drawn_depth(
    generator: Generator,
    splats: Splats,
    strewn: Strewn,
    layout: Layout,
    shapes: Shapes,
    picture: Tensor,
    camera_matrix: Tensor,
    config: DepthConfig,
) -> Tensor:
    """Return what depth cameras measure of objects and what is around, (b, h, h), mm.

    NaN where nothing was measured. Objects on a table have that behind them.

    Args:
        generator: random numbers.
        splats: what is where, (b, h, h).
        strewn: the surfaces of the objects.
        layout: their places, and the tables.
        shapes: the boxes around them.
        picture: the same in colours, (b, 3, h, h), before lens and sensor: what is dark in it
            sends little light back.
        camera_matrix: of both, (b, 3, 3), px.
        config: how bad cameras may be.
    """
    b, size = len(picture), picture.shape[2]
    poses = layout.camera_from_object[:, 0]
    corners = (
        shapes.corners[layout.object_index[:, 0]] @ poses[:, :3, :3].mT + poses[:, None, :3, 3]
    )
    behind, normal = background_depths(generator, layout, corners, camera_matrix, size)
    depth = torch.where(splats.instance < 0, behind, splats.depth)
    normals = normal[:, None, None].repeat(1, size, size, 1)
    seen = surfaces(splats, strewn, layout.camera_from_object)
    rays = all_rays(camera_matrix, size)[seen.picture, seen.row, seen.column]
    away = (seen.normals * rays).sum(dim=1, keepdim=True) > 0  # open meshes show their inside
    facing = torch.where(away, -seen.normals, seen.normals)
    normals[seen.picture, seen.row, seen.column] = facing
    strength = uniform(generator, 0, config.strength, b).view(b)
    return measure_depths(generator, depth, normals, picture.mean(dim=1), camera_matrix, strength)


def background_depths(
    generator: Generator, layout: Layout, corners: Tensor, camera_matrix: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """Draw a plane behind each first object, its table if it has one, and things on it.

    Args:
        generator: random numbers.
        layout: says which stand on tables.
        corners: of the boxes around the first objects, (b, 8, 3), mm, camera frame.
        camera_matrix: (b, 3, 3), px.
        size: side of the pictures, px.

    Returns:
        Depth (b, size, size), mm, NaN where nothing is; and the planes' normals (b, 3), towards
        the camera.
    """
    b = len(corners)
    extent = (corners.amax(dim=1) - corners.amin(dim=1)).norm(dim=1)  # (b,), mm

    def number(low: float, high: float) -> Tensor:
        return uniform(generator, low, high, b).view(b)

    angle, turn = number(0, float(FLATTEST)), number(0, 2 * math.pi)
    sine = angle.sin()
    normal = torch.stack([sine * turn.cos(), sine * turn.sin(), -angle.cos()], dim=1)
    gap = torch.where(number(0, 1) < TOUCHING, 0.0, number(0, 2) * extent)
    offset = (corners @ normal[..., None])[..., 0].amin(dim=1) - gap
    standing = layout.table.isfinite()
    normal = torch.where(standing[:, None], layout.up, normal)
    offset = torch.where(standing, layout.table, offset)  # planes are where normal . p = offset
    towards = (all_rays(camera_matrix, size) * normal[:, None, None]).sum(dim=3)
    depth = offset[:, None, None] / towards
    there = (depth > 0) & (depth <= FARTHEST) & (number(0, 1) >= NOTHING_BEHIND)[:, None, None]
    depth = torch.where(there, depth, torch.nan)

    middle = corners[..., 2].mean(dim=1)
    count = torch.randint(MOST_THINGS + 1, (b, 1, 1), generator=generator, device=depth.device)
    for i in range(MOST_THINGS):
        where = _pieces(generator, b, size, 0.4) & (i < count)
        level = middle + number(0, 2) * extent
        level = torch.where(depth.isnan(), level[:, None, None], depth)
        nearer = level - (number(0, 1) * extent)[:, None, None]
        nearer = torch.maximum(nearer, 0.2 * middle[:, None, None])
        depth = torch.where(where, nearer, depth)
    return depth, normal


def cut_depths(depth: Tensor, left_top: Tensor, side: Tensor, size: int, focal: Tensor) -> Tensor:
    """Cut squares out of depth and resize them, as `crop_depth_around` does.

    Args:
        depth: (b, h, h), mm, NaN where nothing was measured.
        left_top: upper left corners of the squares, (b, 2), px.
        side: of the squares, (b,), px.
        size: side of the results, px.
        focal: length of the cameras of depth, (b,), px.

    Returns:
        (b, size, size), mm, NaN where nothing was measured and outside of the picture.
    """
    grid = grid_of_squares(left_top, side, size, depth.shape[1])
    nearest, linear = (
        functional.grid_sample(depth[:, None], grid, mode=mode, align_corners=False)[:, 0]
        for mode in ("nearest", "bilinear")
    )
    nearest = torch.where(nearest > 0, nearest, torch.nan)  # beyond the edges it is 0
    smooth = (linear - nearest).abs() < STEEPEST / focal[:, None, None] * nearest
    return torch.where(smooth, linear, nearest)


def covered_depths(generator: Generator, crops: Tensor, focal: Tensor, covered: Tensor) -> Tensor:
    """Put something flat before what is covered in the pictures of crops, (b, s, s).

    Args:
        generator: random numbers.
        crops: (b, s, s), mm, NaN where nothing was measured.
        focal: lengths of the crops' cameras, (b,), px.
        covered: (b, s, s), bool.
    """
    b, size = crops.shape[:2]
    middle = crops.flatten(1).nanmedian(dim=1).values
    half_width = middle * size / (2 * focal)
    nearer = middle - uniform(generator, 0.2, 1.5, b).view(b) * half_width
    nearer = torch.maximum(nearer, 0.2 * middle)[:, None, None]
    return torch.where(covered & nearer.isfinite(), nearer, crops)


def without_parts(generator: Generator, crops: Tensor, config: DepthConfig) -> Tensor:
    """Take depth away from crops (b, s, s), all of it or in pieces: a network must not need it."""
    b, size = crops.shape[:2]
    missing = chance(generator, config.missing, b).view(b, 1, 1)
    holed = chance(generator, config.holes, b).view(b, 1, 1)
    count = torch.randint(1, MOST_HOLES + 1, (b, 1, 1), generator=generator, device=crops.device)
    for i in range(MOST_HOLES):
        missing = missing | holed & (i < count) & _pieces(generator, b, size, 0.35)
    return torch.where(missing, torch.nan, crops)


def network_depths(crops: Tensor, focal: Tensor) -> Tensor:
    """Return depth as networks take it, (b, 2, s, s): see `heatpose.data.depth_crops`.

    Args:
        crops: (b, s, s), mm along z, NaN where nothing was measured.
        focal: lengths of the crops' cameras, (b,), px.
    """
    size = crops.shape[1]
    inside = slice(size // 4, size - size // 4)
    centre = crops[:, inside, inside].flatten(1).nanquantile(CENTRE, dim=1)
    anywhere = crops[:, ::COARSER, ::COARSER].flatten(1).nanquantile(CENTRE, dim=1)
    centre = torch.where(centre.isfinite(), centre, anywhere)[:, None, None]
    half_width = centre * size / (2 * focal[:, None, None])
    relative = ((crops - centre) / half_width).clamp(-LARGEST, LARGEST)
    return torch.stack([relative.nan_to_num(0.0), relative.isfinite().float()], dim=1)


def _pieces(generator: Generator, b: int, size: int, largest: float) -> Tensor:
    """Draw polygons (b, size, size) that span at most ``largest`` of the sides both ways."""
    centre = uniform(generator, 0, 1, b, channels=2)
    radii = (0.05 * largest, 0.5 * largest)
    return polygon_distance(generator, centre, radii, size, size) <= 0
