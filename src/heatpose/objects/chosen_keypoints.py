"""Keypoints that were chosen for objects, as a file: what `train keypoints --keypoints` reads.

    {"format": 1, "strategy": "learned", "objects": [
        {"id": 1, "name": "ape", "diameter_mm": 102.1, "keypoints_mm": [[x, y, z], ...]}]}

Other keys say where they come from, and are not read. The best keypoints of an object come first.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.spatial import KDTree

from heatpose.errors import DataError
from heatpose.files import write_whole
from heatpose.geometry.arrays import Array
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.mesh import sample_surface

FORMAT = 1
FEWEST = 4  # that fix a pose for sure
FARTHEST = 0.1  # diameters; from the surface
N_SAMPLES = 20_000  # of the surface


@dataclass(frozen=True, eq=False)
class ChosenKeypoints:
    """The keypoints that were chosen for one object."""

    object_id: int
    name: str
    diameter: float  # mm, of the object that they were chosen for
    keypoints: Array  # (k, 3), mm, object frame, the best first
    notes: Mapping[str, Any]  # what was measured of them; plain values


class _Record(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, extra="allow")

    id: int
    name: str = ""
    diameter_mm: float = Field(gt=0)
    keypoints_mm: list[tuple[float, float, float]]


class _File(BaseModel):
    model_config = ConfigDict(extra="allow")

    strategy: str
    objects: list[_Record] = Field(min_length=1)


def write_chosen(
    path: Path, chosen: Sequence[ChosenKeypoints], notes: Mapping[str, Any], strategy: str
) -> None:
    """Write chosen keypoints, whole or not at all.

    Args:
        path: the file.
        chosen: of each object.
        notes: where they come from; plain values.
        strategy: what this way of choosing is called.
    """
    objects = [
        {
            "id": one.object_id,
            "name": one.name,
            "diameter_mm": one.diameter,
            "keypoints_mm": one.keypoints.round(4).tolist(),
            **one.notes,
        }
        for one in chosen
    ]
    record = {"format": FORMAT, "strategy": strategy, **notes, "objects": objects}
    with write_whole(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


def read_chosen(path: Path) -> tuple[str, dict[int, ChosenKeypoints]]:
    """Read chosen keypoints: the name of the strategy, and those of each object by its id.

    Raises:
        DataError: the file is missing, of a newer format or not such a file.
    """
    try:
        plain = json.loads(path.read_text())
        version = plain["format"]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{path} is not a file of keypoints") from None
    if version != FORMAT:
        raise DataError(f"{path} has format {version!r}, this heatpose reads {FORMAT}")
    try:
        read = _File.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return read.strategy, {
        one.id: ChosenKeypoints(
            one.id,
            one.name,
            one.diameter_mm,
            np.array(one.keypoints_mm, float).reshape(-1, 3),
            one.model_extra or {},
        )
        for one in read.objects
    }


def with_chosen_keypoints(
    objects: Sequence[ObjectModel], path: Path, count: int | None = None
) -> tuple[list[ObjectModel], str]:
    """Give objects the keypoints of a file.

    Args:
        objects: that are to be learned.
        path: the file.
        count: how many of each object, the first of the file; None for all.

    Returns:
        The objects, and the name of the strategy that the file says.

    Raises:
        DataError: the file cannot be used, lacks an object or has too few keypoints of one, or
            its keypoints do not lie on the object.
    """
    strategy, chosen = read_chosen(path)
    given = []
    for model in objects:
        if model.object_id not in chosen:
            raise DataError(
                f"{path} has keypoints of objects {sorted(chosen)}, none of {model.object_id}"
            )
        one = chosen[model.object_id]
        _check(path, one, model, count)
        given.append(replace(model, keypoints=one.keypoints[:count]))
    counts = {len(model.keypoints) for model in given}
    if len(counts) > 1:
        raise DataError(
            f"{path} has {min(counts)} to {max(counts)} keypoints of an object: "
            f"choose how many to take, {min(counts)} at most"
        )
    return given, strategy


def _check(path: Path, one: ChosenKeypoints, model: ObjectModel, count: int | None) -> None:
    """Refuse keypoints that are too few, or not of this object in mm."""
    wanted = max(FEWEST, count or 0)
    if len(one.keypoints) < wanted:
        raise DataError(
            f"{path} has {len(one.keypoints)} keypoints of object {one.object_id}, "
            f"at least {wanted} are needed"
        )
    if not 0.9 < one.diameter / model.diameter < 1.1:
        raise DataError(
            f"{path} was made for an object {one.object_id} of diameter {one.diameter:.4g} mm, "
            f"this one has {model.diameter:.4g} mm"
        )
    surface = sample_surface(model.mesh, N_SAMPLES, np.random.default_rng(0))
    away = float(np.max(KDTree(surface).query(one.keypoints)[0]))
    # Of metres taken for millimetres all lie in the origin, which may be near to the surface.
    extent = float(np.ptp(one.keypoints, axis=0).max())
    if away > FARTHEST * model.diameter or extent < FARTHEST * model.diameter:
        raise DataError(
            f"{path}: keypoints of object {one.object_id} lie up to {away:.4g} mm from its "
            f"surface and span {extent:.4g} mm, its diameter is {model.diameter:.4g} mm: are they "
            "of this model, and in millimetres?"
        )
