"""Pictures on surfaces: finding those that are missing, and packing several into one."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from heatpose.geometry.arrays import Array, Image

MAX_TILES = 16  # repetitions of a texture that are written out when it is packed with others


def missing_textures(path: Path) -> list[str]:
    """Return the textures that a mesh file names and that cannot be read, with the reason each.

    OBJ files name them in material files, which may be missing themselves; GLB files hold theirs.
    """
    problems = []
    for file in _named_files(path):
        if not file.is_file():
            problems.append(f"{file} is missing")
        elif file.suffix.lower() != ".mtl":
            try:
                with PIL.Image.open(file) as image:
                    image.load()
            except (OSError, SyntaxError, ValueError) as error:
                problems.append(f"{file} cannot be read: {error}")
    return problems


def ply_header(path: Path) -> str:
    """Return the text before the data of a PLY; of another file, how it begins."""
    with path.open("rb") as file:
        return file.read(1 << 16).split(b"end_header")[0].decode("latin-1")


def _named_files(path: Path) -> list[Path]:
    """Return the material and picture files that an OBJ or PLY names."""
    if path.suffix.lower() == ".ply":
        names = _values(ply_header(path), "comment texturefile")
        return [path.parent / name for name in names]
    if path.suffix.lower() != ".obj":
        return []
    # As trimesh does, only the first material file counts.
    files = [path.parent / name for name in _values(_text(path), "mtllib")[:1]]
    for materials in list(files):
        files += [materials.parent / name for name in _values(_text(materials), "map_kd")]
    return list(dict.fromkeys(files))


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def _values(text: str, key: str) -> list[str]:
    """Return what follows a key at the start of lines, in any case."""
    lines = (line.strip() for line in text.splitlines())
    return [line[len(key) :].strip() for line in lines if line.lower().startswith(key + " ")]


def pack_textures(images: Sequence[Image], uvs: Sequence[Array]) -> tuple[Image, Array]:
    """Stack several textures into one picture.

    Args:
        images: (h, w, 3) each; equal ones are stored once.
        uvs: texture coordinates of the vertices of each, (n, 2), v up.

    Returns:
        The common texture, and the coordinates in it of all vertices in order, (sum of n, 2).
    """
    placed: list[Image] = []
    where: list[tuple[int, Array]] = []
    for image, uv in zip(images, uvs, strict=True):
        image, uv = _within_one_tile(image, uv)
        same = [i for i, other in enumerate(placed) if np.array_equal(other, image)]
        where.append((same[0] if same else len(placed), uv))
        placed += [] if same else [image]
    if len(placed) == 1:
        return placed[0], np.concatenate([uv for _, uv in where])
    width = max(image.shape[1] for image in placed)
    tops = np.cumsum([0, *(len(image) for image in placed)])
    common = np.zeros((int(tops[-1]), width, 3), np.uint8)
    for image, top in zip(placed, tops[:-1], strict=True):
        common[top : top + len(image), : image.shape[1]] = image
    moved = []
    for index, uv in where:
        height_here, width_here = placed[index].shape[:2]
        u = uv[:, 0] * width_here / width
        v = 1 - (tops[index] + (1 - uv[:, 1]) * height_here) / tops[-1]
        moved.append(np.stack([u, v], axis=1))
    return common, np.concatenate(moved)


def _within_one_tile(image: Image, uv: Array) -> tuple[Image, Array]:
    """Write out the repetitions of a texture, so that uv (n, 2) lies in [0, 1]."""
    slack = 1e-4  # exporters write 1.0000001
    low, high = np.floor(uv.min(axis=0) + slack), np.ceil(uv.max(axis=0) - slack)
    tiles = np.maximum(high - low, 1)
    if tiles.prod() > MAX_TILES:
        return image, uv % 1
    repeated = np.tile(image, (int(tiles[1]), int(tiles[0]), 1))
    return repeated, (uv - low) / tiles
