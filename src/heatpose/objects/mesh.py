"""Triangle meshes in the object frame, in millimetres, and the files they come from."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from heatpose.errors import MeshError
from heatpose.files import write_whole
from heatpose.geometry.arrays import Array, Image
from heatpose.objects.parts import Part, join_parts, read_parts
from heatpose.objects.surface import mended_normals, smooth_normals, split_at_creases
from heatpose.objects.textures import missing_textures
from heatpose.objects.units import LengthUnit, find_unit

log = logging.getLogger(__name__)

SUFFIXES = (".ply", ".obj", ".stl", ".glb", ".off")


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface of triangles with a normal, and perhaps a colour, at each vertex.

    A mesh has vertex colours, or a texture with texture coordinates, or neither (then it is grey).
    """

    vertices: Array  # (n, 3), mm, object frame
    faces: NDArray[np.int32]  # (f, 3), counter-clockwise seen from outside
    normals: Array  # (n, 3), unit length, outwards
    colours: NDArray[np.uint8] | None = None  # (n, 3), RGB
    uv: Array | None = None  # (n, 2), u right, v up; 0 to 1 spans the texture, which repeats
    texture: Image | None = None  # (h, w, 3)

    def __post_init__(self) -> None:
        n = len(self.vertices)
        if self.vertices.shape != (n, 3) or self.normals.shape != (n, 3):
            raise ValueError(
                "vertices and normals must be (n, 3), "
                f"got {self.vertices.shape} and {self.normals.shape}"
            )
        if self.faces.ndim != 2 or self.faces.shape[1] != 3:
            raise ValueError(f"faces must be (f, 3), got {self.faces.shape}")
        if self.colours is not None and self.colours.shape != (n, 3):
            raise ValueError(f"colours must be ({n}, 3), got {self.colours.shape}")
        if (self.uv is None) != (self.texture is None):
            raise ValueError("uv and texture come together or not at all")
        if self.uv is not None and self.uv.shape != (n, 2):
            raise ValueError(f"uv must be ({n}, 2), got {self.uv.shape}")

    @property
    def lower(self) -> Array:
        """The corner of the bounding box with the smallest coordinates, (3,), mm."""
        corner: Array = self.vertices.min(axis=0)
        return corner

    @property
    def upper(self) -> Array:
        """The corner of the bounding box with the largest coordinates, (3,), mm."""
        corner: Array = self.vertices.max(axis=0)
        return corner

    @property
    def extents(self) -> Array:
        """The sides of the bounding box, (3,), mm."""
        return self.upper - self.lower

    @property
    def centre(self) -> Array:
        """The centre of the bounding box, (3,), mm."""
        return (self.lower + self.upper) / 2

    @cached_property
    def corners(self) -> Array:
        """The corners of the bounding box, x changing slowest, (8, 3), mm."""
        ends = np.stack([self.lower, self.upper])
        return np.array(list(product(*ends.T)))

    @property
    def triangles(self) -> Array:
        """The corners of each face, (f, 3, 3), mm."""
        corners: Array = self.vertices[self.faces]
        return corners


def read_mesh(path: Path, unit: str | None = None) -> Mesh:
    """Read a PLY, OBJ, STL, GLB or OFF file.

    The vertices of a PLY stay one to one as they are, unless its faces have colours or texture
    coordinates of their own. Those of other files are divided at sharp edges where the file has
    no normals, and those of STL are merged first.

    Args:
        path: the file.
        unit: mm, cm, m or inch; None guesses it from the size and logs what it took.

    Raises:
        MeshError: there is no such file, or it holds no usable surface.
    """
    return read_mesh_with_unit(path, unit)[0]


def read_mesh_with_unit(path: Path, unit: str | None = None) -> tuple[Mesh, LengthUnit]:
    """Read a mesh as `read_mesh` does and also return its unit and how that is known."""
    path = Path(path)
    if not path.is_file():
        raise MeshError(f"{path} is missing")
    if path.suffix.lower() not in SUFFIXES:
        raise MeshError(f"{path} is not one of {' '.join(SUFFIXES)}")
    problems = missing_textures(path)
    for problem in problems:
        log.warning("%s: %s: what it colours will be grey", path, problem)
    parts = read_parts(path, grey=bool(problems))
    _check(path, parts)
    part, normals = _settle_normals(join_parts(parts), path.suffix.lower())
    found = find_unit(np.ptp(part.vertices, axis=0), unit)
    if found.guessed:
        log.info("%s: %s", path, found)
    if found.doubt:
        log.warning("%s: %s", path, found.doubt)
    faces = part.faces.astype(np.int32)
    mesh = Mesh(part.vertices * found.mm, faces, normals, part.colours, part.uv, part.texture)
    return mesh, found


def _check(path: Path, parts: Sequence[Part]) -> None:
    if not sum(len(part.faces) for part in parts):
        raise MeshError(f"{path} has no faces")
    for part in parts:
        if part.faces.min() < 0 or part.faces.max() >= len(part.vertices):
            raise MeshError(
                f"{path} has a face with vertex {part.faces.max()}, of {len(part.vertices)}"
            )
        if not np.isfinite(part.vertices).all():
            row = int(np.flatnonzero(~np.isfinite(part.vertices).all(axis=1))[0])
            raise MeshError(f"{path} has a vertex {row} at {part.vertices[row].tolist()}")
    if not np.ptp(np.concatenate([part.vertices for part in parts]), axis=0).any():
        raise MeshError(f"{path} has no extent: all its vertices are one point")


def _settle_normals(part: Part, suffix: str) -> tuple[Part, Array]:
    """Return the normals (n, 3) that a part is used with, and the part with vertices to match."""
    if suffix == ".stl" and part.colours is None:  # three vertices of its own for each triangle
        _, first, inverse = np.unique(part.vertices, axis=0, return_index=True, return_inverse=True)
        part = replace(part.picked(first, inverse.ravel()[part.faces]), normals=None)
    if part.normals is not None:
        mended = mended_normals(part.normals, part.vertices, part.faces)
        if mended is not None:
            return part, mended
    if suffix == ".ply":
        return part, smooth_normals(part.vertices, part.faces)
    index, faces, normals = split_at_creases(part.vertices, part.faces)
    return part.picked(index, faces), normals


def write_mesh(path: Path, mesh: Mesh) -> None:
    """Write a mesh as binary PLY, with its texture as PNG of the same name beside it.

    Vertices are stored as float32, as BOP does.

    Raises:
        DataError: the file cannot be written; what was there before is untouched.
    """
    path = Path(path)
    comment = ""
    if mesh.texture is not None:
        with write_whole(path.with_suffix(".png")) as temporary:
            PIL.Image.fromarray(mesh.texture).save(temporary, format="PNG", compress_level=3)
        comment = f"comment TextureFile {path.with_suffix('.png').name}\n"
    corners = _vertex_table(mesh)
    rows = np.empty(len(mesh.faces), [("n", "u1"), ("corners", "<i4", 3)])
    rows["n"], rows["corners"] = 3, mesh.faces
    header = (
        f"ply\nformat binary_little_endian 1.0\n{comment}element vertex {len(corners)}\n"
        + "".join(f"property {_PLY_TYPES[kind]} {name}\n" for name, kind, *_ in corners.dtype.descr)
        + f"element face {len(rows)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    with write_whole(path) as temporary:
        temporary.write_bytes(header.encode() + corners.tobytes() + rows.tobytes())


_PLY_TYPES = {"<f4": "float", "|u1": "uchar"}


def _vertex_table(mesh: Mesh) -> NDArray[np.void]:
    """Return what a PLY stores of each vertex, as a structured array (n,)."""
    columns: dict[str, NDArray[Any]] = dict(zip("xyz", mesh.vertices.T, strict=True))
    columns |= dict(zip(("nx", "ny", "nz"), mesh.normals.T, strict=True))
    if mesh.colours is not None:
        columns |= dict(zip(("red", "green", "blue"), mesh.colours.T, strict=True))
    if mesh.uv is not None:
        columns |= dict(zip(("texture_u", "texture_v"), mesh.uv.T, strict=True))
    kinds = [(name, "<f4" if c.dtype.kind == "f" else "|u1") for name, c in columns.items()]
    table = np.empty(len(mesh.vertices), kinds)
    for name, column in columns.items():
        table[name] = column
    return table


def diameter(mesh: Mesh) -> float:
    """Return the largest distance between two vertices, mm: the diameter as BOP defines it."""
    points = outermost(mesh.vertices)
    # In slices, because the hull of a fine sphere is all of its vertices.
    return max(
        float(cdist(points[start : start + 500], points).max())
        for start in range(0, len(points), 500)
    )


def outermost(points: Array) -> Array:
    """Return those of points (n, 3) that span their convex hull, flat sets included."""
    centred = points - points.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    rank = int((spread > spread[0] * 1e-9).sum())
    along = centred @ axes[:rank].T
    if rank == 1:
        return points[[along[:, 0].argmin(), along[:, 0].argmax()]]
    hull: Array = points[ConvexHull(along).vertices]
    return hull


def face_areas(mesh: Mesh) -> Array:
    """Return the area of each face, (f,), mm^2."""
    first, second, third = np.moveaxis(mesh.triangles, 1, 0)
    areas: Array = np.linalg.norm(np.cross(second - first, third - first), axis=1) / 2
    return areas


def sample_surface(mesh: Mesh, n: int, rng: np.random.Generator) -> Array:
    """Draw n points (n, 3), mm, evenly over the surface."""
    faces, weights = sample_places(mesh, n, rng)
    corners = mesh.triangles[faces]
    first, second, third = weights.T[..., None]
    points: Array = first * corners[:, 0] + second * corners[:, 1] + third * corners[:, 2]
    return points


def sample_places(mesh: Mesh, n: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Array]:
    """Draw n places evenly over the surface: faces (n,), and weights (n, 3) of their corners."""
    areas = face_areas(mesh)
    faces = rng.choice(len(areas), size=n, p=areas / areas.sum())
    # The square root makes the density even over the triangle.
    root, second = np.sqrt(rng.random(n)), rng.random(n)
    return faces, np.stack([1 - root, root * (1 - second), root * second], axis=1)


def sample_colours(mesh: Mesh, n: int, rng: np.random.Generator) -> tuple[Array, Array | None]:
    """Draw points (n, 3), mm, evenly over a surface, and their colours (n, 3), RGB up to 255.

    The colours are None where it has none.
    """
    chosen, weights = sample_places(mesh, n, rng)
    faces = mesh.faces[chosen]
    points = np.einsum("nc,ncd->nd", weights, mesh.vertices[faces])
    if mesh.texture is not None and mesh.uv is not None:
        height, width = mesh.texture.shape[:2]
        u, v = np.einsum("nc,ncd->dn", weights, mesh.uv[faces])
        columns, rows = np.floor(u * width).astype(int), np.floor((1 - v) * height).astype(int)
        return points, mesh.texture[rows % height, columns % width].astype(float)
    if mesh.colours is None:
        return points, None
    return points, np.einsum("nc,ncd->nd", weights, mesh.colours[faces].astype(float))
