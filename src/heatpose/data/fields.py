"""Reading values out of JSON files, with errors that name file, place, key and value."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heatpose.errors import DataError
from heatpose.files import write_whole
from heatpose.geometry.arrays import Array

# Published poses are not exact: R R^T of LM-O's ground truth is off by up to 0.0096.
ROTATION_TOLERANCE = 5e-2


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: there is no such file, it is not JSON, or an object has the same key twice.
    """
    try:
        return json.loads(read_text(path), object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error}") from None
    except _DuplicateKeyError as error:
        raise DataError(f"{path} has the key {error} twice in one object") from None


def write_json(path: Path, value: Any) -> None:
    """Write a list or an object as JSON, one element a line, whole or not at all.

    Raises:
        ValueError: the value holds NaN or infinity, which JSON has no word for.
    """
    if isinstance(value, Mapping):
        items = [f"{json.dumps(str(k))}: {_dumps(v)}" for k, v in value.items()]
        text = "{\n" + ",\n".join(items) + "\n}\n"
    else:
        text = "[\n" + ",\n".join(map(_dumps, value)) + "\n]\n"
    with write_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Raises:
        DataError: there is no such file, or it is not text.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"no file at {path}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text: {error}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


@dataclass(frozen=True)
class Record:
    """A JSON object that says where it stands when something is wrong with it."""

    place: str  # the file, and what it takes to find the object in it
    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.values, Mapping):
            raise DataError(f"{self.place} must be a JSON object, got {shown(self.values)}")

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def take(self, key: str) -> Any:
        """Return the value of a key that must be there."""
        if key not in self.values:
            raise DataError(f"{self.place} lacks {key}")
        return self.values[key]

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self.take(key)
        if not _is_finite_number(value):
            raise self.wrong(key, "a finite number")
        return float(value)

    def integer(self, key: str) -> int:
        """Return a whole number."""
        value = self.take(key)
        if not _is_finite_number(value) or int(value) != value:
            raise self.wrong(key, "a whole number")
        return int(value)

    def numbers(self, key: str, count: int) -> Array:
        """Return ``count`` finite numbers from a list, nested or flat, (count,)."""
        flat = list(_flatten(self.take(key)))
        if not all(map(_is_finite_number, flat)) or len(flat) != count:
            raise self.wrong(key, f"{count} finite numbers")
        return np.array(flat, float)

    def matrix(self, key: str) -> Array:
        """Return a 3 x 3 matrix from nine numbers, row by row."""
        return self.numbers(key, 9).reshape(3, 3)

    def rotation(self, key: str) -> Array:
        """Return a rotation matrix (3, 3), as it is in the file."""
        matrix = self.matrix(key)
        problem = rotation_problem(matrix)
        if problem:
            raise DataError(f"{self.place}: {key} is not a rotation: {problem}")
        return matrix

    def wrong(self, key: str, expected: str) -> DataError:
        """Return the error for a value that is not what it has to be."""
        return DataError(
            f"{self.place}: {key} must be {expected}, got {shown(self.values.get(key))}"
        )


def records_in(place: str, value: Any) -> Iterator[Record]:
    """Go through a JSON list of objects, each named by its index."""
    if not isinstance(value, list):
        raise DataError(f"{place} must be a JSON list, got {shown(value)}")
    for index, item in enumerate(value):
        yield Record(f"{place}, entry {index}", item)


def read_by_id(path: Path, word: str) -> Iterator[tuple[int, str, Any]]:
    """Go through a JSON object whose keys are ids.

    Yields:
        The id, the place for errors ("FILE, image 3"), and the value.
    """
    for key, value in Record(str(path), read_json(path)).values.items():
        try:
            yield int(key), f"{path}, {word} {key}", value
        except ValueError:
            raise DataError(
                f"{path}: the key {key!r} must be the whole number of an {word}"
            ) from None


def rotation_problem(matrix: Array) -> str | None:
    """Say why a matrix (3, 3) is not a rotation; None where it is one, rounding allowed."""
    off = float(np.abs(matrix @ matrix.T - np.eye(3)).max())
    if off > ROTATION_TOLERANCE:
        return f"R R^T differs from the identity by {off:.3g}"
    if np.linalg.det(matrix) < 0:
        return "it is a reflection, its determinant is -1"
    return None


def shown(value: Any) -> str:
    """Return a value as an error prints it: on one line, not without end."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


class _DuplicateKeyError(Exception):
    """A JSON object has a key twice."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateKeyError(next(repr(k) for k in keys if keys.count(k) > 1))
    return record


def _is_finite_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _flatten(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _flatten(item)
    else:
        yield value


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)
