"""`heatpose object inspect`: what is in a CAD model, before anything is trained on it."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatpose.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from heatpose.objects.inspection import Inspection


class Strategy(StrEnum):
    """How keypoints are chosen."""

    FPS = "fps"
    BBOX = "bbox"
    UNIFORM = "uniform"
    CURVATURE = "curvature"


def inspect(
    mesh: Annotated[Path, typer.Argument(metavar="MESH", help="PLY, OBJ, STL, GLB or OFF file.")],
    unit: Annotated[
        options.Unit | None,
        typer.Option(help="Unit of the file; guessed from the size if not given."),
    ] = None,
    as_json: options.Json = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Where the picture goes; by default MESH_views.png in this folder, "
            "and with --json nowhere.",
        ),
    ] = None,
    no_picture: Annotated[bool, typer.Option("--no-picture", help="Draw nothing.")] = False,
    keypoints: Annotated[
        Strategy, typer.Option(help="How the keypoints of the picture are chosen.")
    ] = Strategy.FPS,
    count: Annotated[
        int | None, typer.Option(min=1, max=1000, help="How many; 32, or 9 with bbox.")
    ] = None,
) -> None:
    """Show unit, size, holes, colour, symmetries, rests of a CAD model; draw it from four sides.

    Symmetries are turns after which shape, or shape and colour, look the same; --json has them as
    models_info.json of BOP wants them.
    """
    from heatpose.data.images import write_image
    from heatpose.draw.mesh_views import draw_mesh
    from heatpose.objects.inspection import inspect_mesh
    from heatpose.objects.keypoints import select_keypoints

    if keypoints is Strategy.BBOX and count not in (None, 9):
        raise typer.BadParameter(f"bbox gives 9 keypoints, not {count}", param_hint="--count")
    found = inspect_mesh(mesh, unit.value if unit else None)
    points = select_keypoints(found.mesh, keypoints.value, count)
    if picture is None and not as_json:
        picture = Path(f"{mesh.stem}_views.png")
    if picture is not None and not no_picture:
        write_image(picture, draw_mesh(found.mesh, points))
    if as_json:
        chosen = {"strategy": keypoints.value, "keypoints_mm": points.round(4).tolist()}
        typer.echo(json.dumps(found.to_record() | chosen))
        return
    _print(found)
    if not no_picture:
        typer.echo(f"four sides with axes, box and {len(points)} keypoints -> {picture}")


def _print(found: "Inspection") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_table(found))
    for warning in found.warnings:
        console.print(f"[yellow]![/] {warning}", soft_wrap=True)


def _table(found: "Inspection") -> "Table":
    from rich.table import Table

    table = Table(title=str(found.path), show_header=False)
    for name, value in _rows(found):
        table.add_row(name, value)
    return table


def _rows(found: "Inspection") -> list[tuple[str, str]]:
    mesh, topology = found.mesh, found.topology
    centre = ", ".join(f"{value:.2f}" for value in mesh.centre)
    directions = [(one.round(2) + 0.0).tolist() for one in found.down]  # no -0.00
    downs = ", ".join(f"({x:.2f} {y:.2f} {z:.2f})" for x, y, z in directions)
    rests = f"{len(found.down)} ways, down is {downs}" if downs else "in no way that is known"
    holes = f"{topology.holes} with {topology.boundary_edges} boundary edges"
    return [
        ("unit", str(found.unit)),
        ("extents", " x ".join(f"{extent:.2f}" for extent in mesh.extents) + " mm"),
        ("diameter", f"{found.diameter:.3f} mm"),
        ("box centre", f"({centre}) mm, {found.origin_to_centre:.2f} mm from the origin"),
        ("vertices", str(len(mesh.vertices))),
        ("faces", f"{len(mesh.faces)}, {topology.degenerate_faces} without area"),
        ("holes", holes if topology.holes else "none, the surface is closed"),
        ("components", str(topology.components)),
        ("colour", found.colour),
        ("symmetries", str(found.symmetries)),
        ("with colour", str(found.coloured_symmetries)),
        ("rests", rests),
    ]
