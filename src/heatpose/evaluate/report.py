"""Scores as people and programs read them."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from heatpose.evaluate.intervals import N_DRAWS, Interval, differences, intervals
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
    "adi_auc": "ADD-S\nAUC",
    "proj_5px": "proj\n5 px",
    "deg5_cm5": "5 deg\n5 cm",
}


QUOTED = {
    "AR_MSSD": "ar_mssd",
    "AR_MSPD": "ar_mspd",
    "AR_VSD": "ar_vsd",
    "ADD(-S) 0.1d": "add_s_0.1d",
}  # what papers quote


def as_record(evaluation: Evaluation, other: Evaluation | None = None) -> dict[str, Any]:
    """Return what ``--json`` prints: targets, mean, its 95 % interval, and objects by id.

    Args:
        evaluation: the scores.
        other: of another method on the same targets; the record then says how much better ours is.
    """
    objects = _objects(evaluation)
    record: dict[str, Any] = {
        "targets": len(evaluation.object_ids),
        "mean": evaluation.mean(),
        "interval": _bounds(intervals(evaluation)),
        "objects": {str(one): evaluation.mean(one) for one in objects},
    }
    if other is not None:
        record["against"] = {
            "mean": other.mean(),
            "objects": {str(one): other.mean(one) for one in objects},
            "difference_interval": _bounds(differences(evaluation, other)),
            "difference_interval_objects": {
                str(one): _bounds(differences(evaluation, other, one)) for one in objects
            },
        }
    return record


def _bounds(found: Mapping[str, Interval | None]) -> dict[str, list[float] | None]:
    return {key: None if one is None else [one.low, one.high] for key, one in found.items()}


def as_table(evaluation: Evaluation, names: Mapping[int, str]) -> Table:
    """Return one line per object and one for the mean over all targets.

    Args:
        evaluation: the scores.
        names: of objects, for those that have one.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("object", no_wrap=True)
    table.add_column("targets", justify="right", no_wrap=True)
    for key in KEYS:
        table.add_column(HEADERS[key], justify="right", no_wrap=True)
    for object_id in _objects(evaluation):
        label = f"{object_id} {names.get(object_id, '')}".strip()
        count = int((evaluation.object_ids == object_id).sum())
        table.add_row(label, str(count), *_cells(evaluation.mean(object_id)))
    table.add_section()
    table.add_row("mean", str(len(evaluation.object_ids)), *_cells(evaluation.mean()))
    return table


def as_comparison(ours: Evaluation, theirs: Evaluation, names: Mapping[int, str]) -> Table:
    """Return one line per object and one for all: ours, theirs, and the interval between them.

    Args:
        ours: the scores.
        theirs: of another method on the same targets.
        names: of objects, for those that have one.

    Raises:
        DataError: the targets are not the same.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("object", no_wrap=True)
    for key in QUOTED.values():
        if ours.scores[key] is not None:
            for heading in (HEADERS[key], "\ntheirs", "\nours less theirs"):
                table.add_column(heading, justify="right", no_wrap=True)
    for object_id in _objects(ours):
        label = f"{object_id} {names.get(object_id, '')}".strip()
        table.add_row(label, *_compared(ours, theirs, object_id))
    table.add_section()
    table.add_row("mean", *_compared(ours, theirs, None))
    return table


def _compared(ours: Evaluation, theirs: Evaluation, object_id: int | None) -> list[str]:
    between = differences(ours, theirs, object_id)
    means = ours.mean(object_id), theirs.mean(object_id)
    cells = []
    for key in QUOTED.values():
        if (gap := between[key]) is not None:
            cells += [f"{mean[key]:.3f}" for mean in means]
            cells.append(f"{gap.low:+.3f} to {gap.high:+.3f}")
    return cells


def as_sentence(evaluation: Evaluation) -> str:
    """Return the scores that papers quote, on one line, with their 95 % intervals."""
    found = intervals(evaluation)
    scores = [
        f"{name} {one.mean:.4f} ({one.low:.4f} to {one.high:.4f})"
        for name, key in QUOTED.items()
        if (one := found[key]) is not None
    ]
    n_images = len({tuple(image) for image in evaluation.images.tolist()})
    return (
        f"{', '.join(scores)} over {len(evaluation.object_ids)} targets; in brackets the range of "
        f"95 % of {N_DRAWS} draws of {n_images} images"
    )


def _objects(evaluation: Evaluation) -> list[int]:
    return sorted(set(evaluation.object_ids.tolist()))


def _cells(scores: Mapping[str, float | None]) -> list[str]:
    return ["-" if scores[key] is None else f"{scores[key]:.4f}" for key in KEYS]
