"""The parts that a mesh file is made of, as plain arrays, and how they become one.

A file may hold several surfaces, each with its own place in the scene and its own material. They
are read with trimesh, and what is left of that here are arrays in the unit of the file.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from heatpose.errors import MeshError
from heatpose.geometry.arrays import Array, Image
from heatpose.objects.off import OffFile, read_off
from heatpose.objects.surface import Ints
from heatpose.objects.textures import pack_textures, ply_header

TRIMESH_EMPTY = np.full((2, 2, 3), 100)  # the picture that trimesh fills in where there is none
NO_COLOUR = 153  # grey of parts without colour beside others that have one


@dataclass(frozen=True, eq=False)
class Part:
    """One surface of a file, in its unit, in place in the scene."""

    vertices: Array  # (n, 3)
    faces: Ints  # (f, 3)
    normals: Array | None = None  # (n, 3), as the file has them
    colours: NDArray[np.uint8] | None = None  # (n, 3), RGB
    uv: Array | None = None  # (n, 2), v up
    texture: Image | None = None  # (h, w, 3)

    def picked(self, index: Ints, faces: Ints) -> "Part":
        """Return the part with new vertices, each a copy of an old one, and faces of those."""
        return replace(
            self,
            vertices=self.vertices[index],
            faces=faces,
            normals=None if self.normals is None else self.normals[index],
            colours=None if self.colours is None else self.colours[index],
            uv=None if self.uv is None else self.uv[index],
        )


def read_parts(path: Path, grey: bool) -> list[Part]:
    """Read the surfaces of a mesh file.

    Args:
        path: the file.
        grey: whether parts with texture coordinates but no texture are without colour (theirs
            is missing) rather than of the plain colour of their material.

    Raises:
        MeshError: the file cannot be read.
    """
    try:
        if path.suffix.lower() == ".off":
            return [_part_of_off(read_off(path))]
        parts = [_read_part(*placed, grey) for placed in _surfaces(_load(path))]
    except Exception as error:  # each of trimesh's readers raises what it likes
        # Where one guesses at an encoding, its guesser may not even be installed.
        broken = isinstance(error, ImportError)
        reason = "it is broken or of another format" if broken else error
        raise MeshError(f"{path} cannot be read: {reason}") from error
    if path.suffix.lower() == ".ply":
        _check_whole(path, sum(len(part.faces) for part in parts))
    return parts


def _load(path: Path) -> Any:
    """Return the trimesh scene of a file."""
    options: dict[str, Any] = {}
    if path.suffix.lower() == ".ply":
        # Vertices keep their order and normals unless the faces carry texture coordinates.
        options["fix_texture"] = "texcoord" in ply_header(path)
    logger = logging.getLogger("trimesh")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it logs tracebacks of what we say in one line
    try:
        return trimesh.load(path, process=False, force="scene", **options)
    finally:
        logger.setLevel(level)


def _check_whole(path: Path, n_faces: int) -> None:
    """Refuse a text PLY that breaks off: trimesh takes as many faces as it finds."""
    declared = re.search(r"element\s+face\s+(\d+)", ply_header(path))
    if declared and n_faces < int(declared[1]):
        raise MeshError(f"{path} breaks off: it has {n_faces} of {declared[1]} faces")


def _part_of_off(file: OffFile) -> Part:
    part = Part(vertices=file.vertices, faces=file.faces, colours=file.vertex_colours)
    return part if file.face_colours is None else _with_face_colours(part, file.face_colours)


def _with_face_colours(part: Part, colours: NDArray[np.uint8]) -> Part:
    """Give each face vertices of its own, in its colour; colours (f, 3)."""
    part = part.picked(part.faces.ravel(), np.arange(part.faces.size).reshape(-1, 3))
    return replace(part, colours=np.repeat(colours, 3, axis=0))


def _surfaces(scene: Any) -> Iterator[tuple[Any, Array]]:
    """Yield each surface of a scene with scene_from_surface, (4, 4)."""
    for node in scene.graph.nodes_geometry:
        scene_from_surface, name = scene.graph[node]
        surface = scene.geometry[name]
        if isinstance(surface, trimesh.Trimesh) and len(surface.faces):
            yield surface, np.asarray(scene_from_surface, float)


def _read_part(surface: Any, scene_from_surface: Array, grey: bool) -> Part:
    colours, uv, texture = _appearance(surface, grey)
    # trimesh computes smooth normals when asked for them; only those of the file are wanted.
    given = np.array(surface.vertex_normals, float) if "vertex_normals" in surface._cache else None
    part = Part(
        vertices=np.array(surface.vertices, float),
        faces=np.array(surface.faces, np.int64),
        normals=given,
        colours=colours,
        uv=uv,
        texture=texture,
    )
    if surface.visual.kind == "face":
        part = _with_face_colours(part, surface.visual.face_colors[:, :3])
    return _moved(part, scene_from_surface)


def _moved(part: Part, scene_from_surface: Array) -> Part:
    """Put a part in its place: the transform, (4, 4), may also scale and mirror."""
    linear, shift = scene_from_surface[:3, :3], scene_from_surface[:3, 3]
    if np.array_equal(scene_from_surface, np.eye(4)):
        return part
    normals, faces = part.normals, part.faces
    if np.linalg.det(linear) < 0:
        faces = faces[:, ::-1]
    if normals is not None:
        # Normals go with the planes, not with the points.
        normals = normals @ np.linalg.pinv(linear)
    return replace(part, vertices=part.vertices @ linear.T + shift, faces=faces, normals=normals)


def _appearance(
    surface: Any, grey: bool
) -> tuple[NDArray[np.uint8] | None, Array | None, Image | None]:
    """Return the colours, uv and texture of a surface, as far as it has them."""
    visual = surface.visual
    if visual.kind == "vertex":
        return np.asarray(visual.vertex_colors[:, :3], np.uint8), None, None
    if visual.kind != "texture":
        return None, None, None
    material, n = visual.material, len(surface.vertices)
    image, factor = _image_and_factor(material)
    texture = _pixels(image)
    if texture is not None and visual.uv is not None and len(visual.uv) == n:
        if factor is not None and (factor < 255).any():
            texture = np.round(texture * (factor / 255.0)).astype(np.uint8)
        return None, np.asarray(visual.uv, float)[:, :2], texture
    colours = visual.vertex_attributes.get("color")
    if colours is not None and len(colours) == n:
        return trimesh.visual.color.to_rgba(colours)[:, :3], None, None
    if factor is None or (grey and visual.uv is not None):
        return None, None, None
    return np.tile(factor, (n, 1)), None, None


def _pixels(image: Any) -> Image | None:
    """Return a PIL picture as an array, or None if there is none or its file breaks off."""
    if image is None:
        return None
    try:
        pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError):
        return None
    return None if np.array_equal(pixels, TRIMESH_EMPTY) else pixels


def _image_and_factor(material: Any) -> tuple[Any, NDArray[np.uint8] | None]:
    """Return the picture of a material and the plain colour (3,) that goes with it, or None."""
    if hasattr(material, "baseColorTexture"):  # of glTF: the colour multiplies the picture
        factor = material.baseColorFactor
        plain = None if factor is None else trimesh.visual.color.to_rgba(factor)[:3]
        return material.baseColorTexture, plain
    image = getattr(material, "image", None)
    diffuse = getattr(material, "diffuse", None)
    if image is not None or diffuse is None:
        return image, None
    plain = np.asarray(diffuse, np.uint8)[:3]
    # What trimesh fills in where the file says nothing.
    unsaid = np.array_equal(plain, trimesh.visual.color.DEFAULT_COLOR[:3])
    return None, None if unsaid else plain


def join_parts(parts: Sequence[Part]) -> Part:
    """Make one part of several, with one texture, or one set of vertex colours, or neither.

    Where only some have a texture, the plain or mean colour of the others goes into the common
    one as a small patch.
    """
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])[:-1]
    joined = Part(
        vertices=np.concatenate([part.vertices for part in parts]),
        faces=np.concatenate([part.faces + at for part, at in zip(parts, starts, strict=True)]),
    )
    if all(part.normals is not None for part in parts):
        joined = replace(joined, normals=np.concatenate([p.normals for p in parts]))
    if any(part.texture is not None for part in parts):
        looks = [_as_texture(part) for part in parts]
        texture, uv = pack_textures([image for image, _ in looks], [uv for _, uv in looks])
        return replace(joined, texture=texture, uv=uv)
    if any(part.colours is not None for part in parts):
        return replace(joined, colours=np.concatenate([_colours_of(part) for part in parts]))
    return joined


def _as_texture(part: Part) -> tuple[Image, Array]:
    if part.texture is not None and part.uv is not None:
        return part.texture, part.uv
    plain = np.round(_colours_of(part).mean(axis=0)).astype(np.uint8)
    return np.full((8, 8, 3), plain), np.full((len(part.vertices), 2), 0.5)


def _colours_of(part: Part) -> NDArray[np.uint8]:
    if part.colours is not None:
        return part.colours
    return np.full((len(part.vertices), 3), NO_COLOUR, np.uint8)
