"""``heatpose data convert``."""

from pathlib import Path
from typing import Annotated

import typer

from heatpose.cli.progress import progress


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="Data set: BOP, Linemod_preprocessed, or the LINEMOD archive of 2012.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; it must not be there.")],
    split: Annotated[
        str | None, typer.Option(help="Take only this folder of scenes, of a BOP data set.")
    ] = None,
) -> None:
    """Write a data set of any known layout as BOP has it: in mm, with masks and targets.

    Stopped at any point, the same command goes on where it was.
    """
    from heatpose.data.conversion import convert as convert_source
    from heatpose.data.recognise import read_source

    found = read_source(source, split)
    typer.echo(
        f"{source} is {found.layout}: {len(found.models)} models, {len(found.frames)} frames"
    )
    convert_source(found, out, progress("converting"))
    splits = ", ".join(
        f"{sum(one.split == name for one in found.frames)} in {name}"
        for name in sorted({one.split for one in found.frames})
    )
    typer.echo(f"{out} is a BOP data set, frames: {splits}; next: heatpose data check {out}")
