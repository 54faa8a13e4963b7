"""What stands behind the objects in training pictures: photographs, or textures drawn by chance."""

from pathlib import Path

import cv2
import numpy as np

from heatpose.data.images import read_image
from heatpose.errors import DataError
from heatpose.geometry.arrays import Array, Image

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
GENERATED_SHARE = 0.15  # of textures drawn by chance where there are photographs


class Backgrounds:
    """A source of backgrounds. Photographs are read once and kept in memory."""

    def __init__(self, folder: Path | None = None) -> None:
        self.photos: list[Image] = []
        if folder is not None:
            if not folder.is_dir():
                raise DataError(f"no folder of background photographs at {folder}")
            files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES)
            if not files:
                raise DataError(f"{folder} holds no .jpg or .png photographs")
            self.photos = [read_image(path) for path in files]

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Image:
        """Return a background (height, width, 3), RGB."""
        if not self.photos or rng.random() < GENERATED_SHARE:
            return generated_texture(rng, height, width)
        photo = self.photos[rng.integers(len(self.photos))]
        return random_part(rng, photo, height, width)


def random_part(
    rng: np.random.Generator, photo: Image, height: int, width: int, least: float = 0.25
) -> Image:
    """Cut a random part, at ``least`` so much of it, out of a photograph; (height, width, 3)."""
    rows, cols = photo.shape[:2]
    largest = min(rows / height, cols / width)
    scale = largest * rng.uniform(least, 1.0)  # photograph px per result px
    high, wide = max(int(height * scale), 2), max(int(width * scale), 2)
    top, left = rng.integers(rows - high + 1), rng.integers(cols - wide + 1)
    part = photo[top : top + high, left : left + wide]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    way = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=way))


def generated_texture(rng: np.random.Generator, height: int, width: int) -> Image:
    """Draw a texture: colour noise of several sizes, with a few plain shapes on it."""
    texture = np.full((height, width, 3), rng.uniform(0, 255, 3), np.float32)
    for cells in (2, 5, 13, 40):
        noise = rng.normal(0, rng.uniform(2, 60), (cells, cells, 3)).astype(np.float32)
        if rng.random() < 0.5:
            noise = noise.mean(axis=2, keepdims=True).repeat(3, axis=2)
        texture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    image = np.clip(texture, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(0, 6)):
        draw_shape(rng, image, rng.uniform(0, 255, 3))
    return image


def draw_shape(rng: np.random.Generator, image: Image, colour: Array) -> None:
    """Draw a filled polygon or ellipse of one colour into an image, anywhere."""
    height, width = image.shape[:2]
    centre = rng.uniform(0, 1, 2) * [width, height]
    radii = rng.uniform(0.05, 0.35, 2) * min(height, width)
    if rng.random() < 0.5:
        angle = float(rng.uniform(0, 180))
        axes = (int(radii[0]) + 1, int(radii[1]) + 1)
        cv2.ellipse(
            image, (int(centre[0]), int(centre[1])), axes, angle, 0, 360, colour.tolist(), -1
        )
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        outline = centre + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(image, [outline.astype(np.int32)], colour.tolist())
