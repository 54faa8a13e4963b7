"""How an object rests on a plane: where its middle of mass lies lower than in any turn nearby."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from heatpose.geometry.arrays import Array
from heatpose.geometry.directions import tangents
from heatpose.objects.mesh import Mesh, outermost

TILT = np.radians(10)  # by which an object is pushed over, to see whether it comes back
N_PUSHES = 16  # to all sides
# Faces as low at such an angle are those on which it rolls; those of a round side of any number of
# faces, but for the fewest, are among them.
BESIDE = (0.9 * TILT, 2.1 * TILT)
RISE = 0.01  # of the height of its middle, by which it must be lifted for that


@dataclass(frozen=True, eq=False)
class Rests:
    """What of an object can touch a plane, and which way is down where it rests on one."""

    corners: Array  # of its convex hull, (n, 3), mm, object frame
    down: Array  # (k, 3), unit, object frame; none for flat sheets and what only rolls


def find_rests(mesh: Mesh) -> Rests:
    """Find the ways in which an object as dense everywhere as its convex hull rests on a plane.

    They are faces of the hull. Of those within `TILT` of each other it is the one with the middle
    of mass lowest, and pushed over by that to any side it must rise; nor may it lie as low on a
    face nearby: then it rolls.
    """
    try:
        hull = ConvexHull(mesh.vertices)
    except QhullError:  # flat
        return Rests(outermost(mesh.vertices), np.zeros((0, 3)))
    corners, normals = mesh.vertices[hull.vertices], hull.equations[:, :3]
    middle = _middle_of_mass(mesh.vertices[hull.simplices])
    from_middle = corners - middle
    heights = -(normals @ middle + hull.equations[:, 3])
    down, left = [], np.argsort(heights, kind="stable")
    while len(left):
        normal, height = normals[left[0]], heights[left[0]]
        pushed = (_around(normal) @ from_middle.T).max(axis=1)
        nearness = normals @ normal
        beside = (nearness < np.cos(BESIDE[0])) & (nearness > np.cos(BESIDE[1]))
        if min(pushed.min(), heights[beside].min(initial=np.inf)) > (1 + RISE) * height:
            down.append(normal)
        left = left[nearness[left] < np.cos(TILT)]
    return Rests(corners, np.array(down).reshape(-1, 3))


def _middle_of_mass(triangles: Array) -> Array:
    """Return the middle of mass (3,) of the solid that is within triangles (f, 3, 3)."""
    inside = triangles.mean(axis=(0, 1))
    edges = triangles - inside
    volumes = np.abs(np.linalg.det(edges))  # of tetrahedra from there, six times
    middle: Array = inside + volumes @ edges.sum(axis=1) / (4 * volumes.sum())
    return middle


def _around(direction: Array) -> Array:
    """Return directions that are `TILT` away from one (3,), unit, to all sides, (p, 3)."""
    aside, up = tangents(direction)
    angles = np.arange(N_PUSHES)[:, None] * 2 * np.pi / N_PUSHES
    sides = np.cos(angles) * aside + np.sin(angles) * up
    around: Array = np.cos(TILT) * direction + np.sin(TILT) * sides
    return around
