"""The objects that are looked for: meshes with keypoints, symmetries and diameters.

They come from a BOP models folder or from single CAD files, and are stored as JSON records
beside their meshes in run folders and bundles.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from heatpose.errors import DataError, MeshError, UnknownObjectError
from heatpose.geometry.arrays import Array
from heatpose.objects.keypoints import Strategy, select_keypoints
from heatpose.objects.mesh import Mesh, diameter, read_mesh
from heatpose.objects.rests import Rests, find_rests
from heatpose.objects.symmetry import symmetries_from_info
from heatpose.objects.symmetry_search import find_symmetries

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ObjectModel:
    """One object, and all that is known about it before it is seen."""

    object_id: int  # BOP's id
    name: str
    mesh: Mesh
    keypoints: Array  # (k, 3), mm, object frame
    symmetries: Array  # (m, 4, 4), object from object, the identity first
    diameter: float  # mm
    # Symmetries of its shape, whatever its colours, as models_info.json has them; None where
    # nobody has looked for them.
    shape_symmetries: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        k, m = len(self.keypoints), len(self.symmetries)
        if self.keypoints.shape != (k, 3) or k == 0 or not np.isfinite(self.keypoints).all():
            raise ValueError(f"keypoints must be finite (k, 3), got {self.keypoints.shape}")
        if self.symmetries.shape != (m, 4, 4) or m == 0:
            raise ValueError(f"symmetries must be (m, 4, 4), got {self.symmetries.shape}")
        if not np.array_equal(self.symmetries[0], np.eye(4)):
            raise ValueError("the first symmetry must be the identity")
        if not 0 < self.diameter < np.inf:
            raise ValueError(f"diameter must be positive, got {self.diameter}")

    @cached_property
    def rests(self) -> Rests:
        """How it rests on a plane; takes some 50 ms to find."""
        return find_rests(self.mesh)


def read_models(
    folder: Path,
    n_keypoints: int | None = 32,
    strategy: Strategy = "fps",
    ids: Sequence[int] | None = None,
    max_symmetry_step: float = 0.01,
) -> dict[int, ObjectModel]:
    """Read a BOP models folder: ``obj_*.ply`` in mm and, if there, ``models_info.json``.

    Without the latter, diameters are measured and no object is symmetric.

    Args:
        folder: the folder.
        n_keypoints: for each object; None for as many as the strategy likes.
        strategy: how keypoints are chosen.
        ids: the objects to read; None for all.
        max_symmetry_step: see `symmetries_from_info`.

    Returns:
        The objects by id, in order of ids.

    Raises:
        DataError: the folder has no models, or a file in it cannot be used.
        UnknownObjectError: an id has no model there.
    """
    folder = Path(folder)
    files = _model_files(folder)
    if ids is not None:
        missing = [object_id for object_id in ids if object_id not in files]
        if missing:
            raise UnknownObjectError(f"object {missing[0]} is not one of {list(files)} in {folder}")
        files = {object_id: files[object_id] for object_id in sorted(set(ids))}
    infos = _read_infos(folder / "models_info.json")
    return {
        object_id: _make_object(
            object_id,
            path,
            read_mesh(path, "mm"),
            infos.get(str(object_id), {}),
            (n_keypoints, strategy, max_symmetry_step),
        )
        for object_id, path in files.items()
    }


def read_objects(
    paths: Sequence[Path],
    unit: str | None = None,
    n_keypoints: int | None = 32,
    strategy: Strategy = "fps",
    max_symmetry_step: float = 0.01,
) -> dict[int, ObjectModel]:
    """Read single CAD files of any kind; they are numbered 1, 2, ... as given.

    Their symmetries, of shape and colour, are found and said aloud.

    Args:
        paths: the files.
        unit: of all of them; None guesses it for each from its size and logs what it took.
        n_keypoints: for each object; None for as many as the strategy likes.
        strategy: how keypoints are chosen.
        max_symmetry_step: see `symmetries_from_info`.

    Raises:
        MeshError: a file cannot be used.
    """
    options = n_keypoints, strategy, max_symmetry_step
    objects = {}
    for object_id, path in enumerate(map(Path, paths), start=1):
        mesh = read_mesh(path, unit)
        found = find_symmetries(mesh)
        log.info("%s: symmetries: %s", path, found)
        objects[object_id] = _make_object(object_id, path, mesh, found.as_info(), options)
    return objects


def _make_object(
    object_id: int,
    path: Path,
    mesh: Mesh,
    info: Mapping[str, Any],
    options: tuple[int | None, Strategy, float],
) -> ObjectModel:
    n_keypoints, strategy, max_symmetry_step = options
    measured = diameter(mesh)
    stated = float(info.get("diameter", measured))
    # Simplified models differ by a little; another unit by a lot.
    if not 0.9 < stated / measured < 1.1:
        raise MeshError(
            f"{path} has diameter {measured:.4g} mm, but models_info.json says {stated:.4g} mm "
            f"for object {object_id}"
        )
    return ObjectModel(
        object_id=object_id,
        name=str(info.get("name", path.stem)),
        mesh=mesh,
        keypoints=select_keypoints(mesh, strategy, n_keypoints),
        symmetries=symmetries_from_info(info, max_symmetry_step),
        diameter=stated,
    )


def model_ids(folder: Path) -> list[int]:
    """Return the ids of the objects in a BOP models folder.

    Raises:
        DataError: the folder has no models.
    """
    return list(_model_files(Path(folder)))


def _model_files(folder: Path) -> dict[int, Path]:
    if not folder.is_dir():
        raise DataError(f"models folder {folder} is missing")
    named = [(re.fullmatch(r"obj_(\d+)\.ply", path.name), path) for path in folder.iterdir()]
    files = {int(match[1]): path for match, path in named if match}
    if not files:
        raise DataError(f"{folder} holds no obj_*.ply")
    return dict(sorted(files.items()))


def _read_infos(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        infos = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(infos, dict) or not all(isinstance(info, dict) for info in infos.values()):
        raise DataError(f"{path} must map object ids to objects")
    return infos


class _Record(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    id: int
    name: str
    diameter_mm: float = Field(gt=0)
    keypoints_mm: list[tuple[float, float, float]] = Field(min_length=1)
    symmetries: list[list[list[float]]] = Field(min_length=1)
    shape_symmetries: dict[str, Any] | None = None
    mesh: str


def object_to_record(model: ObjectModel, mesh_file: str) -> dict[str, Any]:
    """Return an object as plain data for JSON; its mesh stands in mesh_file, to be written apart.

    Args:
        model: the object.
        mesh_file: path of the mesh, relative to the folder of the record.
    """
    record = {
        "id": model.object_id,
        "name": model.name,
        "diameter_mm": model.diameter,
        "keypoints_mm": model.keypoints.tolist(),
        "symmetries": model.symmetries.tolist(),
        "mesh": mesh_file,
    }
    if model.shape_symmetries is not None:
        record["shape_symmetries"] = dict(model.shape_symmetries)
    return record


def object_from_record(record: Any, folder: Path) -> ObjectModel:
    """Undo `object_to_record`, reading the mesh (in mm) from the record's folder.

    Raises:
        DataError: the record lacks a key or holds a wrong value, or the mesh cannot be used.
    """
    try:
        read = _Record.model_validate(record)
        mesh_path = (folder / read.mesh).resolve()
        if not mesh_path.is_relative_to(folder.resolve()):
            raise ValueError(f"mesh {read.mesh} lies outside {folder}")
        symmetries_from_info(read.shape_symmetries or {})  # an error now, not when it is used
        return ObjectModel(
            object_id=read.id,
            name=read.name,
            mesh=read_mesh(mesh_path, "mm"),
            keypoints=np.array(read.keypoints_mm, float),
            symmetries=np.array(read.symmetries, float),
            diameter=read.diameter_mm,
            shape_symmetries=read.shape_symmetries,
        )
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(f"object record in {folder}: {key}: {first['msg']}") from error
    except ValueError as error:
        raise DataError(f"object record in {folder}: {error}") from error
