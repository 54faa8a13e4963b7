"""``heatpose object keypoints``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from heatpose.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table


def keypoints(
    trained: Annotated[
        Path,
        typer.Argument(
            metavar="NETWORK",
            help="Run folder of a network that learned many candidates, or a bundle.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="File of keypoints to write.")] = Path("keypoints.json"),
    n_keypoints: Annotated[
        int, typer.Option(min=4, help="Keypoints to choose for each object.")
    ] = 32,
    views: Annotated[
        int,
        typer.Option(min=2, help="Rendered views of each object, half of them to compare on."),
    ] = 600,
    criterion: Annotated[
        Literal["A", "D"],
        typer.Option(help="What is made small: A, the object's displacement; D, log det."),
    ] = "A",
    backgrounds: options.Backgrounds = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw views.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the views.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Choose the keypoints of objects by how well a trained network finds each of many.

    Prints what poses are expected to be off with them and with as many others, on views that
    nothing was chosen by, and what poses solved in these views are off.
    """
    from json import dumps

    from rich.console import Console

    from heatpose.objects.chosen_keypoints import write_chosen
    from heatpose.train.choice import (
        STRATEGY,
        as_record,
        choose_keypoints,
        mean_over_objects,
        view_maker,
    )
    from heatpose.train.start import open_trained

    network = open_trained(trained)
    choices = choose_keypoints(
        network,
        view_maker(network, backgrounds),
        n_keypoints,
        views,
        criterion=criterion,
        seed=seed,
        workers=workers,
    )
    notes = {"network": str(trained), "criterion": criterion, "views": views, "seed": seed}
    write_chosen(out, [choice.keypoints for choice in choices], notes, STRATEGY)
    rows = list(mean_over_objects(choices))
    if as_json:
        each = [as_record(one) for choice in choices for one in choice.comparisons]
        typer.echo(dumps({"mean": rows, "objects": each}))
        return
    Console(width=max(Console().width, 100)).print(_table(rows))
    typer.echo(
        f"{n_keypoints} keypoints of {len(choices)} objects -> {out}; next: "
        f"heatpose train keypoints --objects MODELS --keypoints {out} --init NETWORK --out RUN"
    )


def _table(rows: "Iterable[dict[str, Any]]") -> "Table":
    from rich.table import Table

    table = Table("keypoints", "count", title="means over objects, on views not chosen by")
    heads = ("expected, % of d", "shift, % of d", "turn, deg")
    for head in (*heads, "solved, median % of d", "below 5 %", "below 10 %"):
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(
            row["strategy"],
            str(row["count"]),
            f"{100 * row['expected_displacement']:.2f}",
            f"{100 * row['expected_translation']:.2f}",
            f"{row['expected_degrees']:.2f}",
            f"{100 * row['median']:.2f}",
            f"{100 * row['within_5']:.1f} %",
            f"{100 * row['within_10']:.1f} %",
        )
    return table
