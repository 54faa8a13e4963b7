"""``heatpose study``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from heatpose.cli import options

if TYPE_CHECKING:
    from heatpose.study.rows import TestSet


def study(
    name: Annotated[
        Literal["keypoints", "activation", "schedule", "precision", "fusion", "baseline", "ladder"],
        typer.Argument(help="Which study."),
    ],
    objects: Annotated[Path, typer.Option(help="BOP models folder: what is learned.")],
    dataset: Annotated[
        list[Path], typer.Option(help="BOP data set to try networks on; several times.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the study.")],
    budget: Annotated[int, typer.Option(min=1, help="Training samples of each run.")] = 20_000,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each row.")] = 3,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Of the data sets: one for all, or one each.", show_default="test"),
    ] = None,
    boxes: Annotated[
        list[Path] | None,
        typer.Option(
            help="Detections as BOP has them, one file for each data set, or the word true.",
            show_default="the true boxes",
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Images of each data set, spread over it.", show_default="all"),
    ] = None,
    crop_size: options.CropSize = 128,
    batch_size: options.BatchSize = 16,
    learning_rate: options.LearningRate = 1e-3,
    backbone: options.Backbone = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="network.safetensors of a run, or a bundle: all rows begin with its trunk and "
            "decoder."
        ),
    ] = None,
    backgrounds: options.Backgrounds = None,
    keypoints: Annotated[
        Path | None,
        typer.Option(help="File of chosen keypoints, best first: rows of the study `keypoints`."),
    ] = None,
    upright: options.Upright = 0.0,
    hidden: Annotated[
        float, typer.Option(help="Share of views with another object in front.")
    ] = 0.0,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            help="Names of rows to do, beside the first; several times.", show_default="all"
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw samples for a run.")] = 0,
    parallel: Annotated[
        int, typer.Option(min=1, help="Runs at the same time, dealt out to the GPUs if any.")
    ] = 1,
) -> None:
    """Train and score the rows of a study, each several times, and write a report.

    Runs that are done are never repeated; interrupted ones go on where they were.
    """
    import sys

    from heatpose.cli.failures import checked_options
    from heatpose.errors import OptionError
    from heatpose.objects.catalogue import model_ids
    from heatpose.study.conduct import Means, conduct
    from heatpose.study.report import as_text, write_results
    from heatpose.study.results import read_results
    from heatpose.study.rows import StudyOptions
    from heatpose.study.studies import make_study

    with checked_options():
        options = StudyOptions(
            objects=objects,
            datasets=_test_sets(dataset, split or ["test"], boxes),
            samples=budget,
            images=images,
            crop_size=crop_size,
            batch_size=batch_size,
            learning_rate=learning_rate,
            backbone=backbone,
            keypoints=keypoints,
            init=init,
            backgrounds=backgrounds,
            upright=upright,
            hidden=hidden,
        )
        what = make_study(name, options, len(model_ids(objects)))
    if rows:
        unknown = sorted(set(rows) - {row.name for row in what.rows})
        if unknown:
            known = ", ".join(row.name for row in what.rows)
            raise OptionError(f"the study {name} has no row {unknown[0]!r}: it has {known}")
        what = what.only(set(rows))
    conduct(what, options, seeds, out, Means(workers, parallel))
    found = read_results(out, what, seeds)
    report = write_results(out, found, options, ["heatpose", *sys.argv[1:]])
    typer.echo(as_text(found))
    typer.echo(f"report: {report}")


def _test_sets(
    roots: list[Path], splits: list[str], boxes: list[Path] | None
) -> "tuple[TestSet, ...]":
    """Put data sets, their splits and boxes together."""
    from heatpose.errors import OptionError
    from heatpose.study.rows import TestSet

    splits = splits * len(roots) if len(splits) == 1 else splits
    files = [Path("true")] * len(roots) if boxes is None else boxes
    for option, values in (("--split", splits), ("--boxes", files)):
        if len(values) != len(roots):
            raise OptionError(f"{option} was given {len(values)} times for {len(roots)} data sets")
    return tuple(
        TestSet(root, one, None if file == Path("true") else file)
        for root, one, file in zip(roots, splits, files, strict=True)
    )
