"""OFF files, whose colours trimesh leaves out: of vertices (COFF) or of faces."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.arrays import Array

Colours = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class OffFile:
    """What an OFF file holds, with its polygons cut into triangles."""

    vertices: Array  # (n, 3), unit of the file
    faces: NDArray[np.int64]  # (f, 3)
    vertex_colours: Colours | None  # (n, 3), RGB
    face_colours: Colours | None  # (f, 3), RGB


def read_off(path: Path) -> OffFile:
    """Read an OFF or COFF text file.

    Raises:
        ValueError: it is not one, or it breaks off.
    """
    lines = [line.split("#")[0].split() for line in path.read_text().splitlines()]
    words = [line for line in lines if line]
    if not words or words[0][0] not in ("OFF", "COFF"):
        raise ValueError("it does not begin with OFF or COFF")
    coloured = words[0][0] == "COFF"
    # Some writers put the counts behind the first word.
    words = [words[0][1:], *words[1:]] if len(words[0]) > 1 else words[1:]
    if not words or len(words[0]) < 2:
        raise ValueError("it lacks the numbers of vertices and faces")
    n_vertices, n_faces = int(words[0][0]), int(words[0][1])
    vertices, polygons = words[1 : n_vertices + 1], words[n_vertices + 1 :][:n_faces]
    if len(polygons) < n_faces or len(vertices) < n_vertices:
        raise ValueError(f"it breaks off before the last of {n_faces} faces")
    triangles = [_triangles(words) for words in polygons]
    owner = np.repeat(np.arange(n_faces), [len(fan) for fan in triangles])
    face_colours = _colours([words[int(words[0]) + 1 :] for words in polygons])
    return OffFile(
        vertices=np.array([words[:3] for words in vertices], float).reshape(-1, 3),
        faces=np.array([corner for fan in triangles for corner in fan], np.int64).reshape(-1, 3),
        vertex_colours=_colours([words[3:] for words in vertices]) if coloured else None,
        face_colours=None if face_colours is None else face_colours[owner],
    )


def _triangles(words: list[str]) -> list[tuple[int, int, int]]:
    """Cut one polygon, given as its number of corners and those corners, into a fan."""
    corners = [int(word) for word in words[1 : int(words[0]) + 1]]
    if len(corners) < int(words[0]):
        raise ValueError(f"a face of {words[0]} corners has {len(corners)}")
    return [(corners[0], *pair) for pair in itertools.pairwise(corners[1:])]


def _colours(rows: list[list[str]]) -> Colours | None:
    """Read colours (n, 3) as whole numbers to 255 or fractions; None unless every row has one."""
    if not rows or any(len(row) < 3 for row in rows):
        return None
    values = np.array([row[:3] for row in rows], float)
    if any("." in word for row in rows for word in row[:3]) and values.max() <= 1:
        values = np.round(values * 255)
    return values.clip(0, 255).astype(np.uint8)
