"""What a person should know about a CAD model before training on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from heatpose.geometry.arrays import Array
from heatpose.objects.mesh import Mesh, diameter, face_areas, read_mesh_with_unit
from heatpose.objects.rests import find_rests
from heatpose.objects.symmetry_search import Symmetries, find_symmetries
from heatpose.objects.units import LengthUnit

MANY_FACES = 500_000


@dataclass(frozen=True)
class Topology:
    """How the faces of a mesh hang together; vertices at one place count as one."""

    components: int  # surfaces that do not touch
    boundary_edges: int  # with a face on one side only
    holes: int  # connected runs of those
    crowded_edges: int  # with more than two faces
    degenerate_faces: int  # without area
    inside_out: bool  # closed, but its faces look inwards


@dataclass(frozen=True, eq=False)
class Inspection:
    """A mesh and what was found about it."""

    path: Path
    mesh: Mesh
    unit: LengthUnit
    diameter: float  # mm
    topology: Topology
    symmetries: Symmetries  # of the shape
    coloured_symmetries: Symmetries  # of shape and colour
    down: Array  # which way is down where it rests on a plane, (k, 3), unit
    unused_vertices: int  # that no face needs
    warnings: tuple[str, ...]

    @property
    def colour(self) -> str:
        """What kind of colour the mesh has, in words."""
        if self.mesh.texture is not None:
            height, width = self.mesh.texture.shape[:2]
            return f"texture {width} x {height}"
        return "none" if self.mesh.colours is None else "vertex colours"

    @property
    def origin_to_centre(self) -> float:
        """How far the object's origin lies from the centre of its box, mm."""
        return float(np.linalg.norm(self.mesh.centre))

    def to_record(self) -> dict[str, Any]:
        """Return all but the mesh itself as plain data for JSON."""
        return {
            "file": str(self.path),
            "unit": self.unit.unit,
            "unit_guessed": self.unit.guessed,
            "extents_mm": self.mesh.extents.tolist(),
            "diameter_mm": self.diameter,
            "box_centre_mm": self.mesh.centre.tolist(),
            "origin_to_centre_mm": self.origin_to_centre,
            "vertices": len(self.mesh.vertices),
            "faces": len(self.mesh.faces),
            "components": self.topology.components,
            "closed": self.topology.boundary_edges == 0,
            "holes": self.topology.holes,
            "boundary_edges": self.topology.boundary_edges,
            "crowded_edges": self.topology.crowded_edges,
            "inside_out": self.topology.inside_out,
            "degenerate_faces": self.topology.degenerate_faces,
            "symmetries": self.symmetries.as_info(),
            "coloured_symmetries": self.coloured_symmetries.as_info(),
            "down": self.down.round(6).tolist(),
            "unused_vertices": self.unused_vertices,
            "colour": self.colour,
            "warnings": list(self.warnings),
        }


def inspect_mesh(path: Path, unit: str | None = None) -> Inspection:
    """Read a mesh and find out about it.

    Args:
        path: a PLY, OBJ, STL, GLB or OFF file.
        unit: mm, cm, m or inch; None guesses it from the size.

    Raises:
        MeshError: the file cannot be used.
    """
    mesh, found = read_mesh_with_unit(path, unit)
    topology = find_topology(mesh)
    unused = len(mesh.vertices) - len(np.unique(mesh.faces))
    across = diameter(mesh)
    return Inspection(
        path=Path(path),
        mesh=mesh,
        unit=found,
        diameter=across,
        topology=topology,
        symmetries=find_symmetries(mesh, with_colour=False),
        coloured_symmetries=find_symmetries(mesh),
        down=find_rests(mesh).down,
        unused_vertices=unused,
        warnings=tuple(_warnings(mesh, found, across, topology, unused)),
    )


def find_topology(mesh: Mesh) -> Topology:
    """Find out how the faces of a mesh hang together."""
    whole = face_areas(mesh) > 1e-12 * float(np.square(mesh.extents).sum())
    faces = _weld(mesh)[mesh.faces][whole]
    edges, uses = _edges(faces)
    boundary = edges[uses == 1]
    return Topology(
        components=_count_groups(edges),
        boundary_edges=len(boundary),
        holes=_count_groups(boundary),
        crowded_edges=int((uses > 2).sum()),
        degenerate_faces=int((~whole).sum()),
        inside_out=not len(boundary) and _signed_volume(mesh) < 0,
    )


def _weld(mesh: Mesh) -> NDArray[np.intp]:
    """Number the places (n,) at which vertices lie, to a millionth of the size."""
    step = float(mesh.extents.max()) * 1e-6
    places = np.round(mesh.vertices / step)
    numbers: NDArray[np.intp] = np.unique(places, axis=0, return_inverse=True)[1].ravel()
    return numbers


def _edges(faces: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the edges (e, 2) of faces (f, 3), and how many faces have each, (e,)."""
    sides = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, uses = np.unique(sides, axis=0, return_counts=True)
    return edges, uses


def _count_groups(edges: NDArray[np.intp]) -> int:
    """Count the connected parts of a graph given by its edges (e, 2)."""
    if not len(edges):
        return 0
    ends = np.unique(edges, return_inverse=True)[1].reshape(-1, 2)
    size = int(ends.max()) + 1
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(size, size))
    return int(connected_components(graph, directed=False)[0])


def _signed_volume(mesh: Mesh) -> float:
    """Return the volume of a closed mesh, mm^3, negative if its faces look inwards."""
    first, second, third = np.moveaxis(mesh.triangles - mesh.centre, 1, 0)
    return float(np.einsum("fi,fi->", first, np.cross(second, third)) / 6)


def _warnings(
    mesh: Mesh, unit: LengthUnit, across: float, topology: Topology, unused: int
) -> list[str]:
    """Say what may go wrong with this mesh, one sentence each."""
    offset: Array = np.abs(mesh.centre)
    found = [
        (unit.doubt is not None, f"unit: {unit.doubt}"),
        (
            bool((offset > mesh.extents / 2).any()),
            "the origin lies outside the box: poses tell where the origin is, not the object",
        ),
        (
            topology.boundary_edges > 0,
            f"{topology.holes} holes with {topology.boundary_edges} boundary edges: "
            "the inside may be seen",
        ),
        (topology.inside_out, "the faces look inwards: turn them round in the CAD program"),
        (
            topology.degenerate_faces > len(mesh.faces) / 1000,
            f"{topology.degenerate_faces} faces have no area",
        ),
        (unused > 0, f"{unused} vertices belong to no face, yet count for size and diameter"),
        (
            mesh.colours is None and mesh.texture is None,
            "no colour: training will have to guess what the object looks like",
        ),
        (
            float(mesh.extents.min()) < 0.01 * across,
            "flat: one extent is less than a hundredth of the diameter",
        ),
        (len(mesh.faces) > MANY_FACES, f"{len(mesh.faces)} faces: rendering will be slow"),
    ]
    return [text for holds, text in found if holds]
