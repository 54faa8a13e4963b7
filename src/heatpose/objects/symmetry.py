"""Symmetries of an object as a set of transforms after which it looks the same.

BOP's ``models_info.json`` names them: ``symmetries_discrete`` as transforms (4, 4) in a row of 16
numbers, ``symmetries_continuous`` as axes, with a point on each, around which any turn will do.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from heatpose.errors import DataError
from heatpose.geometry.arrays import Array
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform


def symmetries_from_info(info: Mapping[str, Any], max_step: float = 0.01) -> Array:
    """Return the symmetries that ``models_info.json`` gives for one object.

    As the BOP toolkit's ``get_symmetry_transformations``: each turn around a continuous axis
    combined with each discrete symmetry. The toolkit leaves out the turn by zero when there is
    a continuous axis; here it is in, so that the identity always comes first.

    Args:
        info: the object's part of the file; lengths in mm.
        max_step: how far a point moves at most from one turn around a continuous axis to the
            next, in diameters (BOP: 0.01, which makes 315 turns).

    Returns:
        (m, 4, 4), object from object, mm; the identity first, and alone without symmetries.

    Raises:
        DataError: an entry is not what BOP says it is.
    """
    discrete = [np.eye(4)]
    discrete += [_read_transform(row) for row in info.get("symmetries_discrete", [])]
    turns = [np.eye(4)]
    for axis in info.get("symmetries_continuous", []):
        turns += list(_turns_around(*_read_axis(axis), max_step)[1:])
    return np.stack([turn @ flip for flip in discrete for turn in turns])


def _turns_around(axis: Array, offset: Array, max_step: float) -> Array:
    """Return evenly spaced turns (m, 4, 4) around an axis (3,) through offset (3,), mm."""
    if max_step <= 0:
        raise ValueError(f"max_step must be positive, got {max_step}")
    # The farthest point runs through pi diameters in a full turn.
    count = int(np.ceil(np.pi / max_step))
    angles = 2 * np.pi * np.arange(count) / count
    rotations = matrix_from_vector(angles[:, None] * axis / np.linalg.norm(axis))
    return make_transform(rotations, offset - rotations @ offset)


def _read_transform(row: Any) -> Array:
    transform = _read_numbers("symmetries_discrete", row, 16).reshape(4, 4)
    rotation = transform[:3, :3]
    # BOP files round to six digits or so.
    rigid = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
    if not rigid or np.linalg.det(rotation) < 0 or not np.allclose(transform[3], [0, 0, 0, 1]):
        raise DataError(f"symmetries_discrete must hold rigid transforms, got {row}")
    return transform


def _read_axis(entry: Any) -> tuple[Array, Array]:
    if not isinstance(entry, Mapping) or not {"axis", "offset"} <= set(entry):
        raise DataError(f"symmetries_continuous must hold axis and offset, got {entry}")
    axis = _read_numbers("axis of symmetries_continuous", entry["axis"], 3)
    if not axis.any():
        raise DataError("axis of symmetries_continuous must not be zero")
    return axis, _read_numbers("offset of symmetries_continuous", entry["offset"], 3)


def _read_numbers(key: str, values: Any, count: int) -> Array:
    try:
        numbers = np.asarray(values, float).ravel()
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise DataError(f"{key} must be {count} finite numbers, got {values}")
    return numbers
