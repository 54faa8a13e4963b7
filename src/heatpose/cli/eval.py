"""heatpose eval: score a file of poses or of detections."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from heatpose.cli import options
from heatpose.cli.progress import progress

if TYPE_CHECKING:
    from heatpose.data.bop import BopDataset
    from heatpose.evaluate.detections import DetectionEvaluation
    from heatpose.evaluate.scores import Evaluation


def evaluate(
    results: Annotated[
        Path, typer.Argument(help="BOP results file (.csv), or detections as BOP has them (.json).")
    ],
    dataset: Annotated[Path, typer.Option(help="BOP data set with ground truth.")],
    json: options.Json = False,
    split: options.Split = "test",
    targets: options.Targets = None,
    boxes: Annotated[
        Literal["visible", "whole"],
        typer.Option(help="Of detections: around what is seen of an object, or all of it."),
    ] = "visible",
    against: Annotated[
        Path | None,
        typer.Option(help="Results of another method on the same targets, to compare poses with."),
    ] = None,
    labelled_only: Annotated[
        bool,
        typer.Option(
            "--labelled-only",
            help="Pass over detections of objects that an image has no label of, as LINEMOD needs.",
        ),
    ] = False,
) -> None:
    """Score estimated poses, or detections, against the ground truth, per object and over all.

    Intervals say where means would lie in 95 of 100 other sets of such images.
    """
    from json import dumps

    from rich.console import Console

    from heatpose.data.bop import BopDataset
    from heatpose.errors import OptionError
    from heatpose.evaluate import detection_report, report

    data = BopDataset(dataset, split, targets)
    tables = []
    if results.suffix.lower() == ".json":
        if against is not None:
            raise OptionError(f"--against compares poses, but {results} has detections")
        found = _detections(data, results, boxes, labelled_only)
        record, sentence = detection_report.as_record(found), detection_report.as_sentence(found)
        tables.append(detection_report.as_table(found, _names(data)))
    else:
        poses = _poses(data, results)
        other = _poses(data, against) if against else None
        record, sentence = report.as_record(poses, other), report.as_sentence(poses)
        tables.append(report.as_table(poses, _names(data)))
        if other is not None:
            tables.append(report.as_comparison(poses, other, _names(data)))
    if json:
        typer.echo(dumps(record, indent=2))
        return
    # Numbers must not be cut off where the output is narrow or goes to a file.
    Console(width=max(Console().width, 160 if against else 140)).print(*tables, sep="\n")
    typer.echo(sentence)


def _poses(data: "BopDataset", results: Path) -> "Evaluation":
    from heatpose.data.bop import read_results
    from heatpose.evaluate.scores import evaluate_results

    return evaluate_results(data, read_results(results), progress("scoring"))


def _detections(
    data: "BopDataset",
    results: Path,
    boxes: Literal["visible", "whole"],
    labelled_only: bool,
) -> "DetectionEvaluation":
    from heatpose.data.bop import read_detections
    from heatpose.evaluate.detections import evaluate_detections

    return evaluate_detections(data, read_detections(results), boxes, labelled_only)


def _names(data: "BopDataset") -> dict[int, str]:
    """Return names of objects, where the data set comes with models."""
    if not (data.models_folder() / "models_info.json").is_file():
        return {}
    return {i: str(info.get("name", "")) for i, info in data.models_info().items()}
