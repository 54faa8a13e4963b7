"""heatpose eval: score a BOP results file."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    results: Annotated[Path, typer.Argument(help="BOP results file (.csv).")],
    dataset: Annotated[Path, typer.Option(help="BOP data set with ground truth.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    split: Annotated[str, typer.Option(help="Folder of the scenes.")] = "test",
    targets: Annotated[
        str | None,
        typer.Option(help="Name of the targets file.", show_default="SPLIT_targets_bop19.json"),
    ] = None,
) -> None:
    """Score estimated poses against the ground truth, per object and over all targets."""
    from json import dumps

    from rich.console import Console
    from rich.progress import track

    from heatpose.data.bop import BopDataset, read_results
    from heatpose.evaluate.report import as_record, as_sentence, as_table
    from heatpose.evaluate.scores import evaluate_results

    data = BopDataset(dataset, split, targets)
    poses = read_results(results)
    screen = Console(stderr=True)
    evaluation = evaluate_results(
        data,
        poses,
        lambda todo: track(
            todo, "scoring", console=screen, transient=True, disable=not screen.is_terminal
        ),
    )
    if json:
        typer.echo(dumps(as_record(evaluation), indent=2))
        return
    names = {i: str(info.get("name", "")) for i, info in data.models_info().items()}
    # Numbers must not be cut off where the output is narrow or goes to a file.
    Console(width=max(Console().width, 120)).print(as_table(evaluation, names))
    typer.echo(as_sentence(evaluation))
