"""What stands around objects: light from all sides, pictures on surfaces, kinds of material."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.data.backgrounds import Backgrounds, draw_shape, generated_texture
from heatpose.errors import DataError
from heatpose.geometry.arrays import Array, Image
from heatpose.render.scene import Material

MAP_HEIGHT = 256  # px of environments kept in memory; their light, not their detail, matters
Map = NDArray[np.float32]  # (h, 2 h, 3), linear RGB, latitude and longitude, sky at the top


@dataclass(frozen=True, eq=False)
class Scenery:
    """Where textures and environments are drawn from."""

    backgrounds: Backgrounds
    environments: tuple[Map, ...] = ()  # empty: they are generated

    def environment(self, rng: np.random.Generator) -> Map:
        """Draw a map of the light from all around; its mean over the sphere is 1."""
        if not self.environments:
            return generated_environment(rng)
        return self.environments[rng.integers(len(self.environments))]

    def surface(self, rng: np.random.Generator, size: int = 768) -> Image:
        """Draw the picture on a table, floor or wall, (size, size, 3)."""
        return _SURFACES[rng.choice(len(_SURFACES), p=_SHARES)](self, rng, size)

    def wrapping(self, rng: np.random.Generator) -> Image:
        """Draw the picture on a distractor, (256, 256, 3)."""
        if rng.random() < 0.3:
            return _plain(self, rng, 256)
        return self.backgrounds.draw(rng, 256, 256)


def read_scenery(photos: Path | None = None, hdri: Path | None = None) -> Scenery:
    """Read photographs and environment maps.

    Args:
        photos: folder of JPEG or PNG photographs; without it textures are generated.
        hdri: folder of environment maps by latitude and longitude, OpenEXR or Radiance (.hdr);
            without it environments are generated.

    Raises:
        DataError: a folder is missing or empty, or a file in it cannot be read.
    """
    return Scenery(Backgrounds(photos), _read_environments(hdri) if hdri else ())


def _read_environments(folder: Path) -> tuple[Map, ...]:
    if not folder.is_dir():
        raise DataError(f"no folder of environment maps at {folder}")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".exr", ".hdr"))
    if not files:
        raise DataError(f"{folder} holds no .exr or .hdr environment maps")
    return tuple(_normalised(read_radiance(path)) for path in files)


def read_radiance(path: Path) -> Map:
    """Read a picture of linear RGB, (h, w, 3), from an OpenEXR or Radiance file.

    Raises:
        DataError: it cannot be read.
    """
    radiance = _read_exr(path) if path.suffix.lower() == ".exr" else cv2.imread(str(path), -1)
    if radiance is None or radiance.ndim != 3 or radiance.shape[2] < 3:
        raise DataError(f"{path} is no picture of red, green and blue radiance")
    if path.suffix.lower() != ".exr":
        radiance = radiance[..., ::-1]
    return np.nan_to_num(np.asarray(radiance[..., :3], np.float32), posinf=65504.0).clip(min=0)


def _read_exr(path: Path) -> NDArray[np.float32] | None:
    import OpenEXR

    try:
        with OpenEXR.File(str(path)) as file:
            channels = file.channels()
            name = next((n for n in ("RGB", "RGBA") if n in channels), None)
            return None if name is None else np.asarray(channels[name].pixels, np.float32)
    except Exception as error:  # the library raises all kinds
        raise DataError(f"{path} cannot be read as OpenEXR: {error}") from None


def _normalised(radiance: Map) -> Map:
    """Bring a map to (MAP_HEIGHT, 2 MAP_HEIGHT, 3) and to a mean radiance of 1."""
    size = (2 * MAP_HEIGHT, MAP_HEIGHT)
    small = np.asarray(cv2.resize(radiance, size, interpolation=cv2.INTER_AREA), np.float32)
    rows = np.sin((np.arange(MAP_HEIGHT) + 0.5) / MAP_HEIGHT * np.pi)  # area of the sphere
    mean = np.average(small.mean(axis=(1, 2)), weights=rows)
    return np.asarray(small / max(mean, 1e-6), np.float32)


def generated_environment(rng: np.random.Generator) -> Map:
    """Draw a room or sky: a gradient from nadir to zenith, walls, and bright windows or lamps."""
    height, width = 64, 128
    polar = np.linspace(1, 0, height)[:, None, None]  # 1 at the top
    ground, sky = (rng.uniform(0.1, 1.0) * warmth(rng) for _ in range(2))
    radiance = ground + (sky - ground) / (1 + np.exp((0.5 - polar) * rng.uniform(4, 40)))
    noise = rng.uniform(0.5, 1.5, (5, 9, 3)).astype(np.float32)
    room = np.asarray(cv2.resize(noise, (width, height)), np.float32) * radiance
    for _ in range(rng.integers(1, 6)):
        centre = (int(rng.integers(width)), int(rng.integers(height * 3 // 5)))
        half = (int(rng.integers(1, 10)), int(rng.integers(1, 8)))
        corner, other = np.subtract(centre, half), np.add(centre, half)
        colour = (warmth(rng) * np.exp(rng.uniform(1, 4))).tolist()
        cv2.rectangle(room, corner.tolist(), other.tolist(), colour, -1)
    return _normalised(np.asarray(cv2.GaussianBlur(room, (0, 0), 0.7), np.float32))


def warmth(rng: np.random.Generator) -> Array:
    """Draw the colour of a light between a bulb and an overcast sky, (3,), luminance 1."""
    cold = rng.normal(0, 0.5)
    colour = np.exp(cold * np.array([-0.3, 0.0, 0.45]) + rng.normal(0, 0.03, 3))
    shade: Array = colour / (colour @ [0.2126, 0.7152, 0.0722])
    return shade


def random_material(rng: np.random.Generator, shiny: float = 0.15) -> Material:
    """Draw how a surface answers light.

    Args:
        rng: the generator.
        shiny: share of surfaces that are part metal, and of those with a clear coat.
    """
    return Material(
        roughness=float(rng.uniform(0.25, 0.95)),
        metallic=float(rng.uniform(0.2, 0.9)) if rng.random() < shiny else 0.0,
        specular=float(rng.uniform(0.1, 0.8)),
        clearcoat=float(rng.uniform(0.2, 1.0)) if rng.random() < shiny else 0.0,
        tint=tuple((rng.uniform(0.8, 1.15) * np.exp(rng.normal(0, 0.05, 3))).tolist()),
    )


def _plain(_: Scenery, rng: np.random.Generator, size: int) -> Image:
    """Draw a surface of one colour, often grey or white, a little uneven."""
    grey = rng.uniform(20, 245)
    colour = grey + rng.normal(0, 45 * (rng.random() < 0.5), 3)
    uneven = _noise(rng, size, (3, 20, size // 2)) * rng.uniform(0.5, 7)
    return np.clip(colour + uneven[..., None], 0, 255).astype(np.uint8)


def _wood(_: Scenery, rng: np.random.Generator, size: int) -> Image:
    """Draw boards with grain: rings that are cut lengthwise."""
    across = np.linspace(0, rng.uniform(8, 30), size)[:, None]
    along = cv2.resize(_noise(rng, size, (4, 9)), None, fx=0.12, fy=1.0)
    bent = np.asarray(cv2.resize(along, (size, size), interpolation=cv2.INTER_CUBIC))
    rings = np.sin(2 * np.pi * (across + rng.uniform(0.1, 0.6) * bent))
    fibres = cv2.resize(
        rng.normal(0, 1, (size, 12)).astype(np.float32),
        (size, size),
        interpolation=cv2.INTER_LINEAR,
    )
    light = 1 + 0.10 * rng.uniform(0.2, 1) * rings + 0.05 * fibres
    boards = rng.integers(1, 9)
    shade = rng.uniform(0.85, 1.1, boards)[np.arange(size) * boards // size]
    pale, dark = np.array([205, 175, 140]), np.array([95, 65, 45])  # beech, walnut
    colour = pale + (dark - pale) * rng.uniform(-0.1, 1.0) + rng.normal(0, 10, 3)
    image = np.clip(colour * (light * shade[:, None])[..., None], 0, 255).astype(np.uint8)
    return image if rng.random() < 0.5 else np.ascontiguousarray(image.swapaxes(0, 1))


def _photo(scenery: Scenery, rng: np.random.Generator, size: int) -> Image:
    """Draw a photograph, or a generated texture where there are none."""
    return scenery.backgrounds.draw(rng, size, size)


def _printed(_: Scenery, rng: np.random.Generator, size: int) -> Image:
    """Draw a printed sheet: rows of dark marks as of text, markers or calibration boards."""
    paper, ink = rng.uniform(150, 250, 3), rng.uniform(0, 80, 3)
    cells = int(rng.integers(10, 60))
    marks = (rng.random((cells, cells)) < rng.uniform(0.1, 0.5)).astype(np.float32)
    sheet = cv2.resize(marks, (size, size), interpolation=cv2.INTER_NEAREST)[..., None]
    image = np.clip(paper + (ink - paper) * sheet, 0, 255).astype(np.uint8)
    for _mark in range(rng.integers(0, 8)):
        draw_shape(rng, image, rng.uniform(0, 255, 3))
    return image


def _clutter(scenery: Scenery, rng: np.random.Generator, size: int) -> Image:
    """Draw a place full of other things: pieces of pictures of many sizes across each other."""
    image = np.ascontiguousarray(scenery.backgrounds.draw(rng, size, size))
    for _ in range(rng.integers(12, 60)):
        sides = size * np.exp(rng.uniform(np.log(0.04), np.log(0.35), 2))
        width, height = (max(int(side), 4) for side in sides)
        piece = scenery.backgrounds.draw(rng, height, width)
        centre, angle = rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi)
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, -s], [s, c]])
        shift = centre - turn @ np.array([width, height]) / 2
        warp = np.column_stack([turn, shift])
        # Only where the piece lies is the surface changed.
        cv2.warpAffine(piece, warp, (size, size), dst=image, borderMode=cv2.BORDER_TRANSPARENT)
    return image


def _noise(rng: np.random.Generator, size: int, cells: tuple[int, ...]) -> NDArray[np.float32]:
    """Draw smooth noise (size, size) of several sizes, of variance about 1."""
    layers = [
        cv2.resize(
            rng.normal(0, 1, (n, n)).astype(np.float32),
            (size, size),
            interpolation=cv2.INTER_LINEAR,
        )
        for n in cells
    ]
    return np.asarray(sum(layers) / len(layers) ** 0.5, np.float32)


def _pattern(_: Scenery, rng: np.random.Generator, size: int) -> Image:
    return generated_texture(rng, size, size)


_SURFACES: tuple[Callable[[Scenery, np.random.Generator, int], Image], ...]
_SURFACES = (_plain, _wood, _photo, _printed, _pattern, _clutter)
_SHARES = (0.18, 0.12, 0.22, 0.1, 0.08, 0.3)
