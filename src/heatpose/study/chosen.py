"""Keypoints that were chosen elsewhere, from a file: what `heatpose object keypoints` writes.

    {"format": 1, "strategy": "learned", "objects": [
        {"id": 1, "keypoints_mm": [[x, y, z], ...]}]}

The best keypoints of an object come first, so that the first few are a choice too.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from heatpose.data.fields import read_json
from heatpose.errors import DataError
from heatpose.geometry.arrays import Array
from heatpose.objects.catalogue import ObjectModel


def describe_chosen(path: Path) -> tuple[str, int]:
    """Return what the way of choosing is called, and how many keypoints every object has.

    Raises:
        DataError: the file is missing or not one of these.
    """
    record, found = _read(path)
    return str(record.get("strategy", path.stem)), min(map(len, found.values()))


def with_first_chosen(models: Sequence[ObjectModel], path: Path, count: int) -> list[ObjectModel]:
    """Return objects with the first so many of their chosen keypoints.

    Raises:
        DataError: the file cannot be used, or lacks an object or has too few keypoints for it.
    """
    _, found = _read(path)
    for model in models:
        there = len(found.get(model.object_id, ()))
        if there < count:
            raise DataError(
                f"{path} has {there} keypoints for object {model.object_id}, {count} are needed"
            )
    return [replace(model, keypoints=found[model.object_id][:count]) for model in models]


def _read(path: Path) -> tuple[dict[str, Any], dict[int, Array]]:
    record = read_json(path)
    try:
        found = {
            int(one["id"]): np.array(one["keypoints_mm"], float).reshape(-1, 3)
            for one in record["objects"]
        }
        known = record["format"] == 1 and found and all(map(len, found.values()))
    except (KeyError, TypeError, ValueError):
        known = False
    if not known:
        raise DataError(f"{path} is not a file of chosen keypoints of format 1")
    return record, found
