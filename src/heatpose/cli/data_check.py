"""``heatpose data check``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatpose.cli import options
from heatpose.cli.progress import progress

if TYPE_CHECKING:
    from rich.table import Table

    from heatpose.check.fit import Fit
    from heatpose.check.report import Report

NAMES = {
    "outline": "edges at the outline over those beside it, 1 by chance",
    "colour": "correlation of drawn and seen colours",
    "overlap": "overlap of silhouette and mask, IoU",
    "depth": "share of measured points on the surface",
    "offset": "measured minus true depth, mm",
}


def check(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Data set: BOP, Linemod_preprocessed, or the LINEMOD archive of 2012.",
        ),
    ],
    frames: Annotated[
        int, typer.Option(min=1, help="Frames to look at, at least one of each scene.")
    ] = 16,
    split: Annotated[
        str | None, typer.Option(help="Look only at this folder of scenes, of a BOP data set.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Where the picture goes; FOLDER_check.jpg here, with --json nowhere."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Say whether ground truth fits pictures, masks and depth, and if not, what is wrong.

    Units, rotations, colours, depth scale, camera and models are tried in all the ways in which
    they are known to go wrong. Exit status 1 if something is wrong.
    """
    import json

    from heatpose.check.report import check as check_source
    from heatpose.check.sheet import check_sheet
    from heatpose.data.images import write_image
    from heatpose.data.recognise import read_source

    report = check_source(read_source(folder, split), frames, progress("trying"))
    if picture is None and not as_json:
        picture = Path(f"{folder.resolve().name}_check.jpg")
    if picture is not None:
        write_image(picture, check_sheet(report))
    if as_json:
        typer.echo(json.dumps(_record(report), indent=2))
    else:
        _print(report)
        typer.echo(f"truth over pictures -> {picture}")
    if report.faults:
        raise typer.Exit(1)


def _print(report: "Report") -> None:
    from rich.console import Console

    version = f", {report.variant}" if report.variant else ""
    typer.echo(f"{report.source.root} is {report.source.layout}{version}")
    Console(width=max(Console().width, 100)).print(_table(report))
    for found in report.outcome.findings:
        typer.echo(f"fault: {found.explanation.fault}")
        typer.echo(f"  to put it right: {found.explanation.remedy}")
        typer.echo(f"  what that explains: {_growth(found.before, found.after)}")
    for fault in report.others:
        typer.echo(f"fault: {fault}")
    for note in report.notes:
        typer.echo(f"note: {note}")
    if not report.faults:
        typer.echo(
            f"healthy: agreement {_mean(report.outcome.fits):.2f} as it is, "
            f"{report.outcome.chance:.2f} in the median of what else was tried"
        )


def _mean(fits: Sequence["Fit"]) -> float:
    return sum(fit.agreement for fit in fits) / len(fits)


def _growth(before: Sequence["Fit"], after: Sequence["Fit"]) -> str:
    """Return what was measured before and after something was put right."""
    from heatpose.check.report import median_of

    words = [f"agreement {_mean(before):.2f} -> {_mean(after):.2f}"]
    for name in NAMES:
        pair = median_of(before, name), median_of(after, name)
        if pair != (None, None):
            old, new = ("none" if value is None else f"{value:.2f}" for value in pair)
            words.append(f"{name} {old} -> {new}")
    return ", ".join(words)


def _table(report: "Report") -> "Table":
    from rich.table import Table

    from heatpose.check.report import median_of

    table = Table(caption=", ".join(f"{name}: {text}" for name, text in NAMES.items()))
    for heading in ("object", "views", *NAMES, "agreement"):
        table.add_column(heading, justify="right", no_wrap=True)
    fits = list(zip(report.views, report.outcome.fits, strict=True))
    for object_id in sorted({view.object_id for view in report.views}):
        own = [fit for view, fit in fits if view.object_id == object_id]
        name = str(report.source.models[object_id].info.get("name", ""))
        values = [median_of(own, measure) for measure in NAMES]
        cells = ["" if value is None else f"{value:.2f}" for value in values]
        table.add_row(f"{object_id} {name}".strip(), str(len(own)), *cells, f"{_mean(own):.2f}")
    return table


def _record(report: "Report") -> dict[str, Any]:
    from heatpose.check.report import median_of

    outcome = report.outcome
    return {
        "layout": report.source.layout,
        "variant": report.variant,
        "healthy": not report.faults,
        "faults": report.faults,
        "notes": list(report.notes),
        "views": len(report.views),
        "agreement": _mean(outcome.fits),
        "agreement_put_right": _mean(outcome.final),
        "agreement_by_chance": outcome.chance,
        "measured": {name: median_of(outcome.fits, name) for name in NAMES},
        "found": [
            {
                "fault": one.explanation.fault,
                "remedy": one.explanation.remedy,
                "agreement": [_mean(one.before), _mean(one.after)],
            }
            for one in outcome.findings
        ],
    }
