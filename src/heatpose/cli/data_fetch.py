"""``heatpose data fetch``."""

from pathlib import Path
from typing import Annotated

import typer

from heatpose.data.archives import HOST


def fetch(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Data set, see --list.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the data set.", show_default=False)
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Part to fetch, see --list; several times. By default the starred ones."),
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Say what there is.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the archives in FOLDER/archives.")
    ] = False,
    mirror: Annotated[str, typer.Option(help="Server to ask.", metavar="URL")] = HOST,
) -> None:
    """Fetch a BOP data set, check its archives and unpack them.

    Stopped or cut off at any point, the same command goes on where it was.
    """
    if show:
        _list()
        return
    if name is None or out is None:
        raise typer.BadParameter("say NAME and --out FOLDER, or --list")
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from heatpose.data.download import Report
    from heatpose.data.fetch import fetch as fetch_dataset

    screen = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=screen,
        disable=not screen.is_terminal,
    )

    def report(archive: str) -> Report:
        task = bar.add_task(archive, total=None)
        return lambda have, total: bar.update(task, completed=have, total=total)

    with bar:
        unpacked = fetch_dataset(name, out, part or (), report, mirror.rstrip("/"), keep)
    what = ", ".join(unpacked) if unpacked else "nothing new"
    typer.echo(f"{what} -> {out}; next: heatpose data check {out}")


def _list() -> None:
    from heatpose.data.archives import DATASETS

    for name, archives in DATASETS.items():
        parts = ", ".join(f"{p}*" if p in archives.usual else p for p in archives.parts)
        typer.echo(f"{name:6} {archives.title}: {parts}")
    typer.echo("* is fetched unless parts are asked for")
