"""Scores of detections as people and programs read them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

if TYPE_CHECKING:  # poses are scored where there is no pycocotools
    from heatpose.evaluate.detections import DetectionEvaluation, DetectionScores

HEADERS = {
    "ap": "mAP\n50-95",
    "ap50": "mAP\n50",
    "recall50": "recall\nIoU 0.5",
    "recall75": "recall\nIoU 0.75",
}


def as_record(evaluation: "DetectionEvaluation") -> dict[str, Any]:
    """Return what ``--json`` prints: the mean, and objects by id."""
    return {
        "mean": asdict(evaluation.mean),
        "objects": {str(i): asdict(scores) for i, scores in evaluation.objects.items()},
    }


def as_table(evaluation: "DetectionEvaluation", names: Mapping[int, str]) -> Table:
    """Return one line per object and one for all.

    Args:
        evaluation: the scores.
        names: of objects, for those that have one.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("object", no_wrap=True)
    for header in ("targets", *HEADERS.values()):
        table.add_column(header, justify="right", no_wrap=True)
    for object_id, scores in evaluation.objects.items():
        table.add_row(f"{object_id} {names.get(object_id, '')}".strip(), *_cells(scores))
    table.add_section()
    table.add_row("all", *_cells(evaluation.mean))
    return table


def as_sentence(evaluation: "DetectionEvaluation") -> str:
    """Return the scores over all on one line."""
    mean = evaluation.mean
    scores = [(name.replace("\n", " "), getattr(mean, key)) for key, name in HEADERS.items()]
    shown = [f"{name} {value:.4f}" for name, value in scores if value is not None]
    return f"{', '.join(shown)} over {mean.targets} targets"


def _cells(scores: "DetectionScores") -> list[str]:
    values = [getattr(scores, key) for key in HEADERS]
    return [str(scores.targets), *("-" if v is None else f"{v:.4f}" for v in values)]
