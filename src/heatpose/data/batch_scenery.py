"""What stands behind, below and above objects in many pictures at once: photographs, tables, light.

In torch, on any device, and without waiting for it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from heatpose.data.backgrounds import GENERATED_SHARE, Backgrounds, random_part
from heatpose.data.batch_augment import chance, changed, gaussian_blur, some, uniform
from heatpose.data.batch_layouts import Layout, layout_rows, warped
from heatpose.render.splats import Splats, Strewn, Surfaces, surfaces

PHOTO = (480, 640)  # px, height and width of stored photographs
HALVINGS = 3  # of photographs, for backgrounds of few pixels
SHADOW_POINTS = 6000  # of each object that cast shadows
REACH = (150.0, 800.0)  # mm, least and most from the object to the edge of its table
MOST_SQUARES = 20.0  # on a table, in as much of it as `around` of `paint`
TEXTURE = (0.15, 1.5)  # mm of a table a pixel of the photograph on it spans


class BatchScenery:
    """Photographs on a device, at several sizes; without any, textures drawn by chance."""

    def __init__(self, backgrounds: Backgrounds, device: torch.device) -> None:
        rng = np.random.default_rng(0)
        height, width = PHOTO
        photos = [random_part(rng, p, height, width, least=1.0) for p in backgrounds.photos]
        self.sizes: list[Tensor] = []  # (n, 3, h, w), uint8, each half as high and wide
        if photos:
            stack = torch.from_numpy(np.stack(photos)).to(device).permute(0, 3, 1, 2)
            self.sizes.append(stack.contiguous())
            for _ in range(HALVINGS):
                smaller = [functional.avg_pool2d(photo[None].float(), 2) for photo in stack]
                stack = torch.cat(smaller).round().to(torch.uint8)
                self.sizes.append(stack)

    def draw(self, generator: Generator, b: int, size: int) -> Tensor:
        """Draw backgrounds, (b, 3, size, size), in [0, 1]."""
        if not self.sizes:
            return generated_textures(generator, b, size)
        photos = self._photos(generator, b, size)
        generated = some(generator, GENERATED_SHARE, b)
        return changed(
            photos, generated, lambda those: generated_textures(generator, len(those), size)
        )

    def _photos(self, generator: Generator, b: int, size: int) -> Tensor:
        """Draw parts of photographs, (b, 3, size, size)."""
        # Parts of a quarter to all of the photograph's height, mirrored by chance.
        part = uniform(generator, 0.25, 1.0, b).view(b, 1, 1) * torch.tensor(
            [PHOTO[0] / PHOTO[1], 1.0], device=generator.device
        )
        middle = (2 * uniform(generator, 0, 1, b, channels=2).view(b, 1, 2) - 1) * (1 - part)
        mirror = 1 - 2.0 * chance(generator, 0.5, b).view(b, 1)
        axis = (torch.arange(size, device=generator.device) + 0.5) / size * 2 - 1
        x = middle[..., 0] + part[..., 0] * axis * mirror  # (b, size)
        y = middle[..., 1] + part[..., 1] * axis
        return self.look_up(generator, grid_of(x, y), size)

    def look_up(self, generator: Generator, grid: Tensor, size: int) -> Tensor:
        """Look random photographs up, each mirrored again and again at its edges.

        Args:
            generator: random numbers.
            grid: (b, h, w, 2), x and y; -1 and 1 are the photograph's edges.
            size: px that half a photograph or more is spread over: what size of it is used.
        """
        coarser = min(max(int(math.log2(PHOTO[0] / size)), 0), HALVINGS)
        stack = self.sizes[coarser]
        which = torch.randint(
            len(stack), (len(grid),), generator=generator, device=generator.device
        )
        photos = stack[which].float() / 255
        return functional.grid_sample(
            photos, grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )


def generated_textures(generator: Generator, b: int, size: int) -> Tensor:
    """Draw textures of colour noise of several sizes, (b, 3, size, size), in [0, 1]."""
    texture = uniform(generator, 0, 1, b, channels=3)
    for cells in (2, 5, 13, 40):
        noise = torch.randn(b, 3, cells, cells, generator=generator, device=generator.device)
        grey = noise.mean(dim=1, keepdim=True)
        noise = torch.where(chance(generator, 0.5, b), grey, noise)
        noise = noise * uniform(generator, 2 / 255, 60 / 255, b)
        texture = texture + functional.interpolate(noise, size=(size, size), mode="bilinear")
    return texture.clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Lights:
    """Three lights, some of them off, and how objects shine, of each of b pictures."""

    directions: Tensor  # (b, 3, 3), unit, towards the lights, camera frame
    colours: Tensor  # (b, 3, 3), RGB
    ambient: Tensor  # (b, 3), RGB
    specular: Tensor  # (b, 1)
    shininess: Tensor  # (b, 1)

    def rows(self, rows: Tensor) -> "Lights":
        """Return those of some of the pictures."""
        return Lights(
            self.directions[rows],
            self.colours[rows],
            self.ambient[rows],
            self.specular[rows],
            self.shininess[rows],
        )


def random_lights(generator: Generator, layout: Layout) -> Lights:
    """Draw lights as `heatpose.data.views.random_lighting` does; above the table, if any."""
    b, device = len(layout.up), generator.device
    towards = torch.tensor([0, -0.7, -0.9], device=device).expand(b, 3)
    on_table = layout.table.isfinite()[:, None]
    towards = torch.where(on_table, 1.2 * layout.up, towards)
    directions = torch.randn(b, 3, 3, generator=generator, device=device) + towards[:, None]
    # The shares of one to three lights: exponential numbers over their sum (Dirichlet).
    strengths = -uniform(generator, 1e-6, 1, b, channels=3).view(b, 3).log()
    count = torch.randint(1, 4, (b, 1), generator=generator, device=device)
    strengths = strengths * (torch.arange(3, device=device) < count)
    strengths = strengths / strengths.sum(dim=1, keepdim=True)
    strengths = strengths * uniform(generator, 0.2, 1.1, b).view(b, 1)
    tints = uniform(generator, 0.85, 1.15, b, channels=9).view(b, 3, 3)
    ambient = uniform(generator, 0.3, 0.8, b) * uniform(generator, 0.9, 1.1, b, channels=3)
    shiny = uniform(generator, 0, 0.6, b) * chance(generator, 0.5, b)
    return Lights(
        directions=functional.normalize(directions, dim=2),
        colours=strengths[:, :, None] * tints,
        ambient=ambient.view(b, 3),
        specular=shiny.view(b, 1),
        shininess=uniform(generator, math.log(4), math.log(60), b).exp().view(b, 1),
    )


def paint(
    generator: Generator,
    splats: Splats,
    strewn: Strewn,
    layout: Layout,
    camera_matrix: Tensor,
    scenery: BatchScenery,
    harsh: float,
    around: Tensor | None = None,
    scale: int = 1,
) -> Tensor:
    """Give colours to what cameras see, (b, 3, size, size), in [0, 1].

    Args:
        generator: random numbers.
        splats: what is where.
        strewn: the surfaces of the objects.
        layout: their places, and the tables.
        camera_matrix: (b, 3, 3), px.
        scenery: what is behind.
        harsh: share of pictures whose objects have other colours than their files say.
        around: mm, (b,), that tables reach from the first object, beyond what is drawn for their
            edges; photographs on them are at least as wide. None: nothing.
        scale: sides of the background's pixels, px of the pictures.
    """
    b, size = len(splats.depth), splats.depth.shape[1]
    lights = random_lights(generator, layout)
    # The background is blurred soon: what it would gain by more pixels is lost.
    shrink = torch.full((b,), 1 / scale, device=camera_matrix.device)
    coarse = warped(camera_matrix, shrink, shrink[:, None] / 2 - 0.5)
    background = scenery.draw(generator, b, size // scale)
    standing = layout.table.isfinite().nonzero()[:, 0]
    background = changed(
        background,
        standing,
        lambda those: _with_table(
            generator,
            those,
            strewn,
            layout_rows(layout, standing),
            coarse[standing],
            lights.rows(standing),
            scenery,
            None if around is None else around[standing],
        ),
    )
    picture = functional.interpolate(background, scale_factor=float(scale), mode="nearest")

    seen = surfaces(splats, strewn, layout.camera_from_object)
    harshly = chance(generator, harsh, b).view(b, 1)[seen.picture]
    albedo = torch.where(harshly, _repaint(generator, seen, layout), seen.albedo)
    colours = _shaded(seen, albedo, _rays(seen, camera_matrix), lights)
    picture[seen.picture, :, seen.row, seen.column] = colours
    return picture.clamp(0, 1)


def grid_of(x: Tensor, y: Tensor) -> Tensor:
    """Put places along columns (b, w) and rows (b, h) together, (b, h, w, 2)."""
    b, height, width = len(x), y.shape[1], x.shape[1]
    return torch.stack(
        [x[:, None].expand(b, height, width), y[:, :, None].expand(b, height, width)], dim=-1
    )


def grid_of_squares(left_top: Tensor, side: Tensor, size: int, whole: int) -> Tensor:
    """Return where the pixels of squares lie in pictures, (b, size, size, 2): -1 to 1 is all of it.

    Args:
        left_top: upper left corners of the squares, (b, 2), px.
        side: of the squares, (b,), px.
        size: pixels along a side of the result.
        whole: side of the pictures, px.
    """
    steps = (torch.arange(size, device=side.device) + 0.5) / size
    places = left_top[:, :, None] + side[:, None, None] * steps  # (b, 2, size), px
    x, y = ((2 * places + 1) / whole - 1).unbind(dim=1)
    return grid_of(x, y)


def all_rays(camera_matrix: Tensor, size: int) -> Tensor:
    """Return the directions (b, h, w, 3) of all pixels, with z of 1."""
    axis = torch.arange(size, device=camera_matrix.device)
    x = (axis - camera_matrix[:, 0, 2:]) / camera_matrix[:, 0, :1]  # (b, w)
    y = (axis - camera_matrix[:, 1, 2:]) / camera_matrix[:, 1, 1:2]
    return functional.pad(grid_of(x, y), (0, 1), value=1.0)


def _rays(seen: Surfaces, camera_matrix: Tensor) -> Tensor:
    """Return the directions (n, 3) of pixels that show objects, with z of 1."""
    own = camera_matrix[seen.picture]
    x = (seen.column - own[:, 0, 2]) / own[:, 0, 0]
    y = (seen.row - own[:, 1, 2]) / own[:, 1, 1]
    return torch.stack([x, y, torch.ones_like(x)], dim=1)


def _shaded(seen: Surfaces, albedo: Tensor, rays: Tensor, lights: Lights) -> Tensor:
    """Return colours (n, 3) of surfaces: ambient, diffuse and specular light (Blinn-Phong)."""
    away = (seen.normals * rays).sum(dim=1, keepdim=True) > 0  # open meshes show their inside
    normals = torch.where(away, -seen.normals, seen.normals)
    to_camera = -functional.normalize(rays, dim=1)
    directions, colours = lights.directions[seen.picture], lights.colours[seen.picture]
    shininess = lights.shininess[seen.picture]
    light = lights.ambient[seen.picture]
    shine = torch.zeros_like(albedo)
    for direction, colour in zip(directions.unbind(dim=1), colours.unbind(dim=1), strict=True):
        light = light + (normals * direction).sum(dim=1, keepdim=True).clamp_min(0) * colour
        halfway = functional.normalize(to_camera + direction, dim=1)
        facing = (normals * halfway).sum(dim=1, keepdim=True).clamp_min(1e-6)
        shine = shine + facing**shininess * colour
    return albedo * light + lights.specular[seen.picture] * shine


def _repaint(generator: Generator, seen: Surfaces, layout: Layout) -> Tensor:
    """Change the colours of most objects, each in its own way, (n, 3).

    As `heatpose.data.views.repaint` does: colours of CAD files are never right.
    """
    b, m = layout.object_index.shape
    each = seen.picture * m + seen.slot

    def of_each(low: float, high: float, channels: int = 1) -> Tensor:
        return uniform(generator, low, high, b * m, channels).view(b * m, channels)[each]

    kept = of_each(0, 1) < 0.3
    colours = seen.albedo * of_each(0.6, 1.5) * of_each(0.85, 1.15, 3)
    grey = colours.mean(dim=-1, keepdim=True)
    colours = grey + (colours - grey) * of_each(math.log(0.6), math.log(3)).exp()
    return torch.where(kept, seen.albedo, colours.clamp(1e-6, 1) ** of_each(0.7, 1.4))


def _with_table(
    generator: Generator,
    background: Tensor,
    strewn: Strewn,
    layout: Layout,
    camera_matrix: Tensor,
    lights: Lights,
    scenery: BatchScenery,
    around: Tensor | None,
) -> Tensor:
    """Draw tables, with shadows on them, over backgrounds (b, 3, size, size)."""
    b, _, size, _ = background.shape
    up, rays = layout.up[:, None, None], all_rays(camera_matrix, size)
    distance = layout.table[:, None, None] / (rays * up).sum(dim=-1)  # (b, h, w)
    target = layout.camera_from_object[:, 0, :3, 3]
    foot = target - layout.up * ((layout.up * target).sum(dim=1) - layout.table)[:, None]
    across = rays * distance[..., None] - foot[:, None, None]  # on the table, mm
    reach = uniform(generator, *REACH, b).view(b, 1, 1)
    reach = reach if around is None else reach + around.view(b, 1, 1)
    there = (distance > 0) & (across.norm(dim=-1) < reach)

    first, second = _axes(generator, layout.up)
    place = torch.stack(
        [(across * axis[:, None, None]).sum(dim=-1) for axis in (first, second)], dim=-1
    )  # (b, h, w, 2), mm
    albedo = _table_colours(generator, place, background, scenery, size, around)
    # A table is a surface like any other, but does not shine.
    diffuse = (lights.directions * layout.up[:, None]).sum(dim=2, keepdim=True).clamp_min(0)
    light = lights.ambient + (diffuse * lights.colours).sum(dim=1)  # (b, 3)
    shadow = _shadow(generator, strewn, layout, camera_matrix, lights.directions[:, 0], size)
    close = _shadow(generator, strewn, layout, camera_matrix, layout.up, size)
    table = albedo * light[:, :, None, None] * shadow * close
    return torch.where(there[:, None], table, background)


def _axes(generator: Generator, up: Tensor) -> tuple[Tensor, Tensor]:
    """Draw two directions along tables, (b, 3) each, at right angles."""
    chosen = torch.randn(len(up), 3, generator=generator, device=up.device)
    first = functional.normalize(torch.linalg.cross(up, chosen), dim=1)
    return first, torch.linalg.cross(up, first)


def _table_colours(
    generator: Generator,
    place: Tensor,
    background: Tensor,
    scenery: BatchScenery,
    size: int,
    around: Tensor | None,
) -> Tensor:
    """Return albedo (b, 3, size, size) of tables: a photograph, one colour, or two in squares."""
    b = len(place)
    # From far away photographs and squares must be large, or they fall between the pixels.
    far = torch.zeros(1, 1, 1, 1).to(place) if around is None else around.view(b, 1, 1, 1)
    plain = uniform(generator, 0, 1, b, channels=3)
    side = uniform(generator, math.log(8), math.log(80), b).exp().view(b, 1, 1, 1)
    side = torch.maximum(side, far / MOST_SQUARES)
    odd = (place / side).floor().sum(dim=-1) % 2 > 0.5
    squares = torch.where(odd[:, None], uniform(generator, 0, 1, b, channels=3), plain)
    albedo = torch.where(chance(generator, 0.5, b), squares, plain)
    if scenery.sizes:
        least, most = map(math.log, TEXTURE)
        zoom = uniform(generator, least, most, b).exp().view(b, 1, 1, 1)
        zoom = torch.maximum(zoom, far / PHOTO[1])
        grid = place / zoom / (torch.tensor(PHOTO[::-1], device=place.device) / 2)
        # Far parts of tables have their photographs small: a coarser size of them is used.
        photos = scenery.look_up(generator, grid, max(size // 2, 1))
        albedo = torch.where(chance(generator, 0.6, b), photos, albedo)
    return albedo


def _shadow(
    generator: Generator,
    strewn: Strewn,
    layout: Layout,
    camera_matrix: Tensor,
    towards: Tensor,
    size: int,
) -> Tensor:
    """Return how much light is left on tables, (b, 1, size, size), behind objects in its way.

    Args:
        generator: random numbers.
        strewn: the surfaces of the objects.
        layout: their places, and the tables.
        camera_matrix: (b, 3, 3), px.
        towards: the light, (b, 3), unit.
        size: side of the pictures, px.
    """
    b = len(layout.up)
    slope = (layout.up * towards).sum(dim=1)  # light from below, or along the table, casts none
    poses = layout.camera_from_object
    points = strewn.positions[:, :SHADOW_POINTS][layout.object_index.clamp_min(0)]
    of_each = points.shape[2]
    points = (points @ poses[..., :3, :3].mT + poses[..., None, :3, 3]).flatten(1, 2)  # (b, p, 3)
    height = (points @ layout.up[..., None])[..., 0] - layout.table[:, None]
    fallen = points - towards[:, None] * (height / slope.clamp_min(0.2)[:, None])[..., None]
    x, y, z = (fallen @ camera_matrix.mT).unbind(dim=-1)
    x, y = (x / z).nan_to_num(-1).round(), (y / z).nan_to_num(-1).round()
    there = (layout.object_index >= 0).repeat_interleave(of_each, dim=1)
    inside = there & (slope > 0.2)[:, None] & (z > 0) & (height > 0)
    inside &= (x >= 0) & (x < size) & (y >= 0) & (y < size)
    picture = torch.arange(b, device=towards.device)[:, None]
    place = (picture * size + y.long()) * size + x.long()
    flat = torch.zeros(b * size * size + 1, device=towards.device)
    flat[torch.where(inside, place, b * size * size)] = 1.0
    shade = flat[:-1].view(b, 1, size, size)
    shade = functional.max_pool2d(shade, 3, stride=1, padding=1)
    softness = uniform(generator, 0.7, 4, b).view(b)
    shade = gaussian_blur(shade, softness**2, reach=9)
    return 1 - uniform(generator, 0.1, 0.7, b) * shade
