"""``heatpose export``."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="Run folder that `heatpose train` wrote.")],
    out: Annotated[Path, typer.Option(help="Bundle to write: NAME.heatpose, or a folder.")],
    name: Annotated[str | None, typer.Option(help="Of the bundle; by default the file's.")] = None,
    notes: Annotated[str, typer.Option(help="Figures and the like, for the card.")] = "",
    attribution: Annotated[
        str, typer.Option(help="Where the CAD models come from, and their licence.")
    ] = "",
    names: Annotated[str, typer.Option(help="Names for objects by id, as in 1=ape,5=can.")] = "",
) -> None:
    """Turn a training run into one bundle that finds poses without torch."""
    from heatpose.export.bundle import export_run

    report = export_run(
        run,
        out,
        name=name,
        notes=notes,
        attribution=attribution,
        object_names=_names_by_id(names),
    )
    size = sum(f.stat().st_size for f in [out, *out.rglob("*")] if f.is_file())
    typer.echo(
        f"{out}: {size / 1e6:.1f} MB; keypoints against torch: {report.exact} in f32, "
        f"{report.fast} in {report.precision} (OpenVINO's choice here)"
    )


def _names_by_id(text: str) -> dict[int, str]:
    """Read ``1=ape,5=can``."""
    names = {}
    for part in filter(None, text.split(",")):
        object_id, _, name = part.partition("=")
        if not object_id.strip().isdigit() or not name.strip():
            raise typer.BadParameter(f"must be as in 1=ape,5=can, got {part!r}", param_hint="names")
        names[int(object_id)] = name.strip()
    return names
