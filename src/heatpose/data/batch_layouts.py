"""Where objects are in many training pictures at once, in torch, on any device.

As `heatpose.data.views` places them around one object, free in space, or, in a share of the
pictures, all on one table: upright, beside each other, seen from above.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heatpose.data.views import ViewConfig
from heatpose.objects.catalogue import ObjectModel

LOWEST = 0.15  # sine of the least elevation at which a table is seen


@dataclass(frozen=True, eq=False)
class Shapes:
    """What placing objects takes of them, on the device that places them."""

    diameters: Tensor  # (n,), mm
    lows: Tensor  # (n,), mm, least z of an object in its own frame: what it stands on
    corners: Tensor  # (n, 8, 3), mm, of the box around it

    @classmethod
    def of(cls, objects: Sequence[ObjectModel], device: torch.device) -> "Shapes":
        """Measure objects."""
        return cls(
            torch.tensor([o.diameter for o in objects], device=device).float(),
            torch.tensor([float(o.mesh.lower[2]) for o in objects], device=device),
            torch.stack([torch.from_numpy(o.mesh.corners) for o in objects]).float().to(device),
        )


@dataclass(frozen=True, eq=False)
class Layout:
    """Who is where in b pictures; first in each is the object that is looked for."""

    object_index: Tensor  # (b, m), int64, -1 where there are fewer
    camera_from_object: Tensor  # (b, m, 4, 4), mm
    up: Tensor  # (b, 3), unit, camera frame: away from the table
    table: Tensor  # (b,), mm: points p of the table have up . p = table; NaN: there is none


def layout_rows(layout: Layout, rows: Tensor) -> Layout:
    """Return some of the pictures of a layout."""
    return Layout(
        layout.object_index[rows],
        layout.camera_from_object[rows],
        layout.up[rows],
        layout.table[rows],
    )


def random_layout(
    generator: torch.Generator, shapes: Shapes, config: ViewConfig, b: int, table_share: float
) -> Layout:
    """Place objects in pictures of the whole camera, each object as often as any other."""
    device = generator.device
    n = len(shapes.diameters)
    index = torch.randint(n, (b,), generator=generator, device=device)
    upward, up = upright_rotations(generator, b)  # shared by all that stands on a table
    place = _places(generator, shapes.diameters[index], config)
    # A table is seen from well above it, or not at all.
    above = (up * place).sum(dim=1) < -LOWEST * place.norm(dim=1)
    on_table = (_random(generator, b) < table_share) & above
    free = torch.where(
        (_random(generator, b) < config.upright)[:, None, None],
        upward @ turns_about_z(_angles(generator, b)),
        random_rotations(generator, b),
    )
    rotation = torch.where(
        on_table[:, None, None], upward @ turns_about_z(_angles(generator, b)), free
    )
    pose = make_transforms(rotation, place)
    slots = [(index, pose)]
    # One that stands in front, by chance, then those beside.
    for slot in range(config.n_others + 1):
        slots.append(
            _other(generator, shapes, config, index, pose, upward, on_table, front=slot == 0)
        )
    objects, poses = zip(*slots, strict=True)
    foot = pose[:, :3, 3] + up * shapes.lows[index, None]
    table = torch.where(on_table, (up * foot).sum(dim=-1), torch.nan)
    return Layout(torch.stack(objects, dim=1), torch.stack(poses, dim=1), up, table)


def random_rotations(generator: torch.Generator, b: int) -> Tensor:
    """Draw rotations (b, 3, 3), any as likely as any other: quaternions of normal numbers."""
    q = torch.randn(b, 4, generator=generator, device=generator.device)
    w, x, y, z = (q / q.norm(dim=1, keepdim=True)).unbind(dim=1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, dim=1).view(b, 3, 3)


def upright_rotations(
    generator: torch.Generator, b: int, lowest: float = -0.1
) -> tuple[Tensor, Tensor]:
    """Look at the world from above the horizon, its z axis up but for a small roll.

    Args:
        generator: random numbers.
        b: how many.
        lowest: sine of the least elevation.

    Returns:
        camera_from_world, (b, 3, 3), and the direction up in the camera frame, (b, 3).
    """
    elevation = torch.asin(lowest + (1 - lowest) * _random(generator, b))  # uniform over the sphere
    roll = math.radians(20) * torch.randn(b, generator=generator, device=generator.device)
    sin, cos, zero = elevation.sin(), elevation.cos(), torch.zeros_like(elevation)
    # At elevation zero the world's x, y, z are right, away from and up in the image.
    columns = [torch.ones_like(sin), zero, zero, zero, -sin, cos, zero, -cos, -sin]
    level = torch.stack(columns, dim=1).view(b, 3, 3).mT
    rotation = turns_about_z(roll) @ level
    return rotation, rotation[:, :, 2]


def turns_about_z(angles: Tensor) -> Tensor:
    """Return rotations (b, 3, 3) about z by angles (b,), rad."""
    sin, cos, zero = angles.sin(), angles.cos(), torch.zeros_like(angles)
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, torch.ones_like(sin)]
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def make_transforms(rotation: Tensor, translation: Tensor) -> Tensor:
    """Put rotations (b, 3, 3) and translations (b, 3) together, (b, 4, 4)."""
    transforms = torch.eye(4, device=rotation.device).repeat(len(rotation), 1, 1)
    transforms[:, :3, :3], transforms[:, :3, 3] = rotation, translation
    return transforms


def warped(camera_matrix: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return K, (b, 3, 3), of images in which pixel p has moved to ``scale * p + shift``.

    Args:
        camera_matrix: (b, 3, 3) or (3, 3), px.
        scale: (b,).
        shift: (b, 2), px.
    """
    warp = torch.zeros(len(scale), 3, 3, device=scale.device)
    warp[:, 0, 0], warp[:, 1, 1], warp[:, 2, 2] = scale, scale, 1
    warp[:, :2, 2] = shift
    return warp @ camera_matrix


def window(camera_matrix: Tensor, corner: Tensor, scale: Tensor) -> Tensor:
    """Return K, (b, 3, 3), of what is right of and below a corner, enlarged.

    Args:
        camera_matrix: (b, 3, 3) or (3, 3), px.
        corner: upper left edge of the window's first pixel, (b, 2), px.
        scale: (b,).
    """
    return warped(camera_matrix, scale, -scale[:, None] * corner - 0.5)


def projected_boxes(
    corners: Tensor, camera_from_object: Tensor, camera_matrix: Tensor
) -> tuple[Tensor, Tensor]:
    """Return where points of objects are in pictures: least and largest x and y, (..., 2), px.

    Args:
        corners: (..., n, 3), mm: of boxes around objects, see `Shapes`, or more of the surface.
        camera_from_object: (..., 4, 4), mm.
        camera_matrix: (..., 3, 3), px.
    """
    rotation, translation = camera_from_object[..., :3, :3], camera_from_object[..., None, :3, 3]
    pixels = (corners @ rotation.mT + translation) @ camera_matrix.mT
    pixels = pixels[..., :2] / pixels[..., 2:].clamp_min(1)  # 1 mm
    return pixels.amin(dim=-2), pixels.amax(dim=-2)


def _other(
    generator: torch.Generator,
    shapes: Shapes,
    config: ViewConfig,
    index: Tensor,
    pose: Tensor,
    upward: Tensor,
    on_table: Tensor,
    front: bool,
) -> tuple[Tensor, Tensor]:
    """Draw another object for each picture, or -1, and its pose, (b, 4, 4)."""
    b, n = len(index), len(shapes.diameters)
    other = (index + 1 + (_random(generator, b) * (n - 1)).long()) % n
    there = _random(generator, b) < (config.hidden if front else 0.5)
    place, radius = pose[:, :3, 3], shapes.diameters[index] / 2
    radii = radius + shapes.diameters[other] / 2
    angle = _angles(generator, b)
    towards = torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], dim=1)
    if front:
        nearer = 1 - (0.6 + 1.4 * _random(generator, b)) * radii / place[:, 2]
        nearer = nearer.clamp_min(0.4)
        aside = (0.15 + 0.65 * _random(generator, b)) * (nearer * radius + radii - radius)
        floating = nearer[:, None] * place + aside[:, None] * towards
    else:
        floating = place + ((0.4 + 0.9 * _random(generator, b)) * radii)[:, None] * towards
        away = 0.8 * radii * torch.randn(b, generator=generator, device=generator.device)
        depth = torch.maximum(floating[:, 2] + away, 0.4 * place[:, 2])
        floating = torch.cat([floating[:, :2], depth[:, None]], dim=1)

    # On the table the one in front is nearer to the camera, in its lower half of directions.
    reach = (0.5 + 0.6 * _random(generator, b)) * radii
    if front:
        towards = torch.stack([angle.cos(), -angle.sin().abs(), torch.zeros_like(angle)], dim=1)
    offset = reach[:, None] * towards
    offset[:, 2] = shapes.lows[index] - shapes.lows[other]
    standing = place + (upward @ offset[..., None])[..., 0]
    # Half a metre of objects beside each other may reach the camera itself.
    there &= ~on_table | (standing[:, 2] > 0.4 * place[:, 2])

    upright = on_table | (_random(generator, b) < config.upright)
    own_up, _ = upright_rotations(generator, b)
    turn = turns_about_z(_angles(generator, b))
    up = torch.where(on_table[:, None, None], upward, own_up) @ turn
    rotation = torch.where(upright[:, None, None], up, random_rotations(generator, b))
    there &= torch.tensor(n > 1)
    translation = torch.where(on_table[:, None], standing, floating)
    return torch.where(there, other, -1), make_transforms(rotation, translation)


def _places(generator: torch.Generator, diameters: Tensor, config: ViewConfig) -> Tensor:
    """Draw where objects of such diameters are, (b, 3), mm: their sizes in px log-uniform."""
    camera, b = config.camera, len(diameters)
    low, high = math.log(config.smallest), math.log(config.largest)
    size = (low + (high - low) * _random(generator, b)).exp()
    distance = camera.fx * diameters / size
    across = (_random(generator, b) - 0.5) * (camera.width - size).clamp_min(1)
    down = (_random(generator, b) - 0.5) * (camera.height - size).clamp_min(1)
    return torch.stack(
        [across * distance / camera.fx, down * distance / camera.fy, distance], dim=1
    )


def _angles(generator: torch.Generator, b: int) -> Tensor:
    return 2 * math.pi * _random(generator, b)


def _random(generator: torch.Generator, b: int) -> Tensor:
    return torch.rand(b, generator=generator, device=generator.device)
