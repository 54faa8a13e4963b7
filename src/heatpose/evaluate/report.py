"""Scores as people and programs read them."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from heatpose.evaluate.scores import KEYS, Evaluation

HEADERS = {
    "ar_mssd": "AR\nMSSD",
    "ar_mspd": "AR\nMSPD",
    "ar_vsd": "AR\nVSD",
    "add_s_0.1d": "ADD(-S)\n0.1d",
    "add_s_0.05d": "ADD(-S)\n0.05d",
    "add_s_0.02d": "ADD(-S)\n0.02d",
    "add_s_auc": "ADD(-S)\nAUC",
    "add_auc": "ADD\nAUC",
    "proj_5px": "proj\n5 px",
    "deg5_cm5": "5 deg\n5 cm",
}


def as_record(evaluation: Evaluation) -> dict[str, Any]:
    """Return what ``--json`` prints: targets, mean, and objects by id."""
    return {
        "targets": len(evaluation.object_ids),
        "mean": evaluation.mean(),
        "objects": {
            str(object_id): evaluation.mean(object_id) for object_id in _objects(evaluation)
        },
    }


def as_table(evaluation: Evaluation, names: Mapping[int, str]) -> Table:
    """Return one line per object and one for the mean over all targets.

    Args:
        evaluation: the scores.
        names: of objects, for those that have one.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("object", no_wrap=True)
    table.add_column("targets", justify="right")
    for key in KEYS:
        table.add_column(HEADERS[key], justify="right", no_wrap=True)
    for object_id in _objects(evaluation):
        label = f"{object_id} {names.get(object_id, '')}".strip()
        count = int((evaluation.object_ids == object_id).sum())
        table.add_row(label, str(count), *_cells(evaluation.mean(object_id)))
    table.add_section()
    table.add_row("mean", str(len(evaluation.object_ids)), *_cells(evaluation.mean()))
    return table


def as_sentence(evaluation: Evaluation) -> str:
    """Return the scores that papers quote, on one line."""
    quoted = {"AR_MSSD": "ar_mssd", "AR_MSPD": "ar_mspd", "AR_VSD": "ar_vsd"}
    quoted["ADD(-S) 0.1d"] = "add_s_0.1d"
    mean = evaluation.mean()
    scores = [f"{name} {mean[key]:.4f}" for name, key in quoted.items() if mean[key] is not None]
    return f"{', '.join(scores)} over {len(evaluation.object_ids)} targets"


def _objects(evaluation: Evaluation) -> list[int]:
    return sorted(set(evaluation.object_ids.tolist()))


def _cells(scores: Mapping[str, float | None]) -> list[str]:
    return ["-" if scores[key] is None else f"{scores[key]:.4f}" for key in KEYS]
