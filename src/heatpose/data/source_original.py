"""The LINEMOD archive of 2012 (Hinterstoisser et al., ACCV 2012), as a `Source`.

ROOT/ape/data/color0.jpg   picture
              depth0.dpt   depth, see `heatpose.data.dpt`
              rot0.rot     "3 3", then R row by row: camera from object
              tra0.tra     "1 3", then t in cm
         mesh.ply          the model, mm; where there is none:
         OLDmesh.ply       the model in another frame, mm, and
         transform.dat     a line to skip, then 12 lines "number value": [R t] row by row, t in m
         object.xyz        its surface as points, in cm, with normals and colours in [0, 1]
         distance.txt      the diameter, cm

Poses, object.xyz and mesh.ply share one frame per object, whose origin is not the centre of the
object; BOP's LM has others. The folder of one object can be read alone, too.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from heatpose.data.bop_files import GroundTruth
from heatpose.data.fields import read_text, rotation_problem
from heatpose.data.sources import Source, SourceFrame, SourceModel
from heatpose.errors import DataError
from heatpose.geometry.arrays import Array
from heatpose.geometry.transforms import make_transform

LAYOUT = "the LINEMOD archive of 2012"
MATRIX = np.array([[572.4114, 0, 325.2611], [0, 573.57043, 242.04899], [0, 0, 1]])
MM_PER_CM, MM_PER_M = 10.0, 1000.0
IDS = {  # of BOP, by name of the folder
    "ape": 1,
    "benchviseblue": 2,
    "benchvise": 2,
    "bowl": 3,
    "cam": 4,
    "can": 5,
    "cat": 6,
    "cup": 7,
    "driller": 8,
    "duck": 9,
    "eggbox": 10,
    "glue": 11,
    "holepuncher": 12,
    "iron": 13,
    "lamp": 14,
    "phone": 15,
}


def is_original(root: Path) -> bool:
    """Say whether a folder looks like the archive, or like the folder of one of its objects."""
    return bool(_object_folders(root))


def read_original(root: Path) -> Source:
    """Read all objects of which there are pictures.

    Raises:
        DataError: a file is missing or not what it should be, or an object has no known name.
    """
    folders = {_object_id(folder): folder for folder in _object_folders(root)}
    models = {one: _model(folder) for one, folder in sorted(folders.items())}
    frames = [frame for one, folder in sorted(folders.items()) for frame in _frames(one, folder)]
    return Source(root, LAYOUT, models, frames)


def read_matrix(path: Path, shape: tuple[int, int]) -> Array:
    """Read a .rot or .tra file: a line with its shape, then its numbers, row by row.

    Raises:
        DataError: there is no such file, or it holds something else.
    """
    first, _, rest = read_text(path).partition("\n")
    try:
        numbers = [float(word) for word in rest.split()]
    except ValueError:
        raise DataError(f"{path} must hold numbers, got {rest.strip()[:60]!r}") from None
    # The first line gives columns and rows, in either order.
    if sorted(first.split()) != sorted(map(str, shape)) or len(numbers) != shape[0] * shape[1]:
        raise DataError(
            f"{path} must start with a line {shape[1]} {shape[0]} and hold "
            f"{shape[0] * shape[1]} numbers, got {first.strip()[:20]!r} and {len(numbers)}"
        )
    if not np.isfinite(numbers).all():
        raise DataError(f"{path} must hold finite numbers")
    return np.array(numbers).reshape(shape)


def read_registration(path: Path) -> Array:
    """Read ``transform.dat``: object from the frame of OLDmesh.ply, (4, 4), mm."""
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    try:
        values = np.array([float(line[1]) for line in lines[1:]])
    except (ValueError, IndexError):
        raise DataError(f"{path} must hold 12 lines of a number and a value") from None
    if len(values) != 12:
        raise DataError(f"{path} must hold 12 values, got {len(values)}")
    rows = values.reshape(3, 4)
    problem = rotation_problem(rows[:, :3])
    if problem:
        raise DataError(f"{path} holds no rotation: {problem}")
    return make_transform(rows[:, :3], rows[:, 3] * MM_PER_M)


def read_points(path: Path) -> tuple[Array, Array, Array]:
    """Read ``object.xyz``: points (n, 3), mm, normals (n, 3) and RGB in [0, 1], (n, 3).

    Raises:
        DataError: there is no such file, or its lines have not nine numbers each.
    """
    first, _, rest = read_text(path).partition("\n")
    try:
        count = int(first.split()[0])
        table = np.array([line.split() for line in rest.splitlines() if line.strip()], float)
    except (ValueError, IndexError):
        raise DataError(f"{path} must hold a count and lines of nine numbers") from None
    if table.shape != (count, 9):
        raise DataError(f"{path} must hold {count} lines of nine numbers, got {table.shape}")
    return table[:, :3] * MM_PER_CM, table[:, 3:6], table[:, 6:]


def _object_folders(root: Path) -> list[Path]:
    alone = [root] if _has_poses(root) else []
    return alone or sorted(path for path in root.glob("*") if _has_poses(path))


def _has_poses(folder: Path) -> bool:
    return next(folder.glob("data/rot*.rot"), None) is not None


def _object_id(folder: Path) -> int:
    name = folder.resolve().name.lower()
    if name not in IDS:
        raise DataError(f"{folder} must have the name of an object of LINEMOD: {', '.join(IDS)}")
    return IDS[name]


def _model(folder: Path) -> SourceModel:
    info: dict[str, float | str] = {"name": folder.resolve().name.lower()}
    distance = folder / "distance.txt"
    if distance.is_file():
        try:
            info["diameter"] = float(read_text(distance).split()[0]) * MM_PER_CM
        except (ValueError, IndexError):
            raise DataError(f"{distance} must hold the diameter in cm") from None
    if (folder / "mesh.ply").is_file():
        return SourceModel(folder / "mesh.ply", info=info)
    if (folder / "OLDmesh.ply").is_file():
        registration = read_registration(folder / "transform.dat")
        return SourceModel(folder / "OLDmesh.ply", registration, info)
    raise DataError(f"{folder} has neither mesh.ply nor OLDmesh.ply")


def _frames(object_id: int, folder: Path) -> list[SourceFrame]:
    numbers = sorted(
        int(match[1])
        for path in (folder / "data").iterdir()
        if (match := re.fullmatch(r"rot(\d+)\.rot", path.name))
    )
    return [_frame(object_id, folder / "data", number) for number in numbers]


def _frame(object_id: int, data: Path, number: int) -> SourceFrame:
    depth = data / f"depth{number}.dpt"
    image = data / f"color{number}.jpg"
    return SourceFrame(
        scene_id=object_id,
        image_id=number,
        image=image if image.is_file() else image.with_suffix(".png"),
        matrix=MATRIX,
        read_truth=partial(_truth, object_id, data, number),
        depth=depth if depth.is_file() else None,
    )


def _truth(object_id: int, data: Path, number: int) -> Sequence[GroundTruth]:
    rotation = read_matrix(data / f"rot{number}.rot", (3, 3))
    problem = rotation_problem(rotation)
    if problem:
        raise DataError(f"{data / f'rot{number}.rot'} is not a rotation: {problem}")
    translation = read_matrix(data / f"tra{number}.tra", (3, 1))[:, 0] * MM_PER_CM
    return [GroundTruth(object_id, make_transform(rotation, translation))]
