"""Draw the parts of the tutorial: a bracket and a mug, as coloured PLY files in mm.

    pip install manifold3d
    python tools/draw_parts.py parts

writes parts/bracket.ply and parts/mug.ply. Both are closed, neither looks the same from two sides.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from manifold3d import CrossSection, Manifold

from heatpose.geometry.arrays import Array
from heatpose.objects.mesh import Mesh, write_mesh
from heatpose.objects.surface import split_at_creases

Colours = np.ndarray  # (n, 3), RGB, uint8
ROUND = 64  # corners of a circle
BORES = ((74, 14, 4), (74, 46, 4), (40, 42, 8))  # x, y, radius, mm

STEEL, BARE, PAINT = (96, 116, 140), (186, 190, 194), (214, 120, 40)
BLUE, CREAM, RED, YELLOW = (38, 84, 150), (236, 228, 208), (196, 52, 44), (240, 190, 50)


def main() -> None:
    """Draw both into the folder that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, solid, paint, longest in (
        ("bracket", bracket(), bracket_colours, 4.0),
        ("mug", mug(), mug_colours, 2.5),
    ):
        mesh = painted(solid, paint, longest)
        write_mesh(folder / f"{name}.ply", mesh)
        sides = " x ".join(f"{side:.0f}" for side in mesh.extents)
        print(f"{folder / name}.ply: {sides} mm, {len(mesh.faces)} faces")


def bracket() -> Manifold:
    """An angle of two plates with a rib, bores of two sizes, a slot and a cut corner."""
    foot = plate(90, 60, 6)
    wall = plate(60, 70, 6) - corner(60, 70, 22)
    wall = wall.rotate((90, 0, 90))  # stands at x = 0, its width along y, its height along z
    rib = CrossSection([[(6, 6), (52, 6), (6, 50)]]).extrude(6).rotate((90, 0, 0))
    solid = foot + wall + rib.translate((0, 20, 0))  # from y = 14 to 20
    for x, y, radius in BORES:
        solid -= bore(radius).translate((x, y, 0))
    slot = CrossSection.batch_hull([circle(4).translate((0, y)) for y in (0.0, 14.0)])
    return solid - slot.extrude(40).rotate((90, 0, 90)).translate((-10, 40, 42))


def bracket_colours(points: Array, normals: Array) -> Colours:
    """Painted steel, bare in the bores, with a mark across the foot's end."""
    x, y, _ = points.T
    colours = np.tile(np.uint8(STEEL), (len(points), 1))
    colours[(x > 81) & (y < 30)] = PAINT
    upright = np.abs(normals[:, 2]) < 0.5  # the walls of the bores, not the faces around them
    for centre_x, centre_y, radius in BORES:
        near = np.hypot(x - centre_x, y - centre_y) < radius + 0.01
        colours[near & upright] = BARE
    return colours


def mug() -> Manifold:
    """A body with a wall of 4 mm and a bent handle at +x; it stands on z = 0."""
    body = turned([(0, 0), (34, 0), (38, 4), (40, 12), (40, 93), (39, 95), (0, 95)])
    room = turned([(0, 6), (31, 6), (36, 14), (36, 120), (0, 120)])
    ring = circle(5.5).translate((26, 0)).revolve(ROUND).rotate((90, 0, 0)).scale((0.9, 1, 1.15))
    return body + ring.translate((42, 0, 50)) - room


def mug_colours(points: Array, normals: Array) -> Colours:
    """Blue with a yellow band and two red patches of different size, cream inside, red handle."""
    x, y, z = points.T
    radius, angle = np.hypot(x, y), np.degrees(np.arctan2(y, x))
    colours = np.tile(np.uint8(BLUE), (len(points), 1))
    colours[(z > 62) & (z < 72)] = YELLOW
    colours[(np.hypot((angle - 120) * 0.7, z - 36) < 14)] = RED
    colours[(np.abs(angle + 110) < 30) & (np.abs(z - 30) < 9)] = CREAM
    colours[radius > 40.05] = RED
    colours[((radius < 37.5) & (z > 5)) | (z > 94.9)] = CREAM
    return colours


def painted(solid: Manifold, paint: Callable[[Array, Array], Colours], longest: float) -> Mesh:
    """Divide a solid's faces until no edge is longer, mm, and colour its vertices."""
    shell = solid.refine_to_length(longest).to_mesh()
    vertices = np.asarray(shell.vert_properties, float)[:, :3]
    index, faces, normals = split_at_creases(vertices, np.asarray(shell.tri_verts, np.int64))
    return Mesh(vertices[index], faces, normals, paint(vertices[index], normals))


def plate(width: float, height: float, thickness: float) -> Manifold:
    """Return a plate with a corner at the origin."""
    return CrossSection.square((width, height)).extrude(thickness)


def corner(width: float, height: float, cut: float) -> Manifold:
    """Return what cuts the upper right corner of a plate."""
    ends = [(width - cut, height), (width, height - cut), (width, height)]
    return CrossSection([ends]).extrude(100).translate((0, 0, -10))


def circle(radius: float) -> CrossSection:
    """Return a disc around the origin."""
    return CrossSection.circle(radius, ROUND)


def bore(radius: float) -> Manifold:
    """Return what drills through the foot."""
    return circle(radius).extrude(40).translate((0, 0, -10))


def turned(profile: list[tuple[float, float]]) -> Manifold:
    """Return the body that a profile (radius, height) makes when turned around z."""
    return CrossSection([profile]).revolve(ROUND)


if __name__ == "__main__":
    main()
