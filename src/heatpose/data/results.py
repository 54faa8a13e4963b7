"""The results file of the BOP challenge: one pose a line."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heatpose.data.fields import read_text, rotation_problem, shown
from heatpose.errors import DataError
from heatpose.files import write_whole
from heatpose.geometry.arrays import Array
from heatpose.geometry.transforms import make_transform

HEADER = "scene_id,im_id,obj_id,score,R,t,time"


@dataclass(frozen=True, eq=False)
class Result:
    """One estimated pose."""

    scene_id: int
    image_id: int
    object_id: int
    score: float  # of any scale; larger is better
    camera_from_object: Array  # (4, 4), mm
    time: float | None = None  # that the whole image took, s


def read_results(path: Path) -> list[Result]:
    """Read a results file, with or without the header line.

    Rotations stay as they are in the file, rounding included.

    Raises:
        DataError: a line does not have seven fields, or a field is not what it should be.
    """
    results = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip() and not (number == 1 and line.strip() == HEADER):
            results.append(_result(line, f"{path}, line {number}"))
    return results


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Write a results file with its header line, whole or not at all."""
    lines = [HEADER, *map(_line, results)]
    with write_whole(path) as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _result(line: str, place: str) -> Result:
    fields = line.split(",")
    names = HEADER.split(",")
    if len(fields) != len(names):
        raise DataError(f"{place} must have 7 fields ({HEADER}), got {len(fields)}")
    row = dict(zip(names, fields, strict=True))
    rotation = _numbers(row, "R", 9, place).reshape(3, 3)
    problem = rotation_problem(rotation)
    if problem:
        raise DataError(f"{place}: R is not a rotation: {problem}")
    time = float(_numbers(row, "time", 1, place)[0])
    return Result(
        scene_id=_integer(row, "scene_id", place),
        image_id=_integer(row, "im_id", place),
        object_id=_integer(row, "obj_id", place),
        score=float(_numbers(row, "score", 1, place)[0]),
        camera_from_object=make_transform(rotation, _numbers(row, "t", 3, place)),
        time=time if time >= 0 else None,
    )


def _line(result: Result) -> str:
    pose = result.camera_from_object
    if not np.isfinite(pose).all() or not math.isfinite(result.score):
        raise ValueError(f"score and pose must be finite, got {result}")
    rotation = " ".join(map(repr, pose[:3, :3].ravel().tolist()))
    translation = " ".join(map(repr, pose[:3, 3].tolist()))
    ids = f"{result.scene_id},{result.image_id},{result.object_id}"
    time = -1 if result.time is None else float(result.time)
    return f"{ids},{float(result.score)!r},{rotation},{translation},{time!r}"


def _integer(row: dict[str, str], name: str, place: str) -> int:
    try:
        return int(row[name])
    except ValueError:
        raise DataError(f"{place}: {name} must be a whole number, got {shown(row[name])}") from None


def _numbers(row: dict[str, str], name: str, count: int, place: str) -> Array:
    try:
        numbers = np.array([float(word) for word in row[name].split()])
    except ValueError:
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        expected = "a finite number" if count == 1 else f"{count} finite numbers"
        raise DataError(f"{place}: {name} must be {expected}, got {shown(row[name])}")
    return numbers
