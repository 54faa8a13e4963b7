"""The first step: the meshes are looked at and written as a BOP models folder, in mm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heatpose.create.work import mesh_files
from heatpose.data.bop_files import read_models_info, write_models_info
from heatpose.objects.catalogue import ObjectModel, read_models
from heatpose.objects.inspection import Inspection, inspect_mesh
from heatpose.objects.mesh import write_mesh

N_KEYPOINTS = 32


@dataclass(frozen=True, eq=False)
class Part:
    """One object as it came."""

    object_id: int
    name: str
    inspection: Inspection
    info: Mapping[str, Any]  # as models_info.json has it: diameter, symmetries if they are known


def look_at(paths: Sequence[Path], unit: str | None) -> list[Part]:
    """Read and inspect all meshes: CAD files, numbered 1, 2, ..., or one BOP models folder.

    Raises:
        DataError: a file cannot be used.
        OptionError: a folder is given beside other paths.
    """
    files = mesh_files(paths)
    if files[-1].name != "models_info.json" and not paths[0].is_dir():
        return [_part(number, path, unit, {}) for number, path in enumerate(files, start=1)]
    stated = {}
    if files[-1].name == "models_info.json":
        stated = read_models_info(files.pop())
    read_models(paths[0], n_keypoints=1)  # compares the diameters with those that are stated
    numbers = {int(path.stem.removeprefix("obj_")): path for path in files}
    return [_part(i, path, "mm", stated.get(i, {})) for i, path in sorted(numbers.items())]


def _part(object_id: int, path: Path, unit: str | None, stated: Mapping[str, Any]) -> Part:
    inspection = inspect_mesh(path, unit)
    name = str(stated.get("name", path.stem))
    found = {} if stated else inspection.coloured_symmetries.as_info()
    info = {"diameter": inspection.diameter, "name": name, **found, **stated}
    return Part(object_id, name, inspection, info)


def write_models(parts: Sequence[Part], folder: Path) -> None:
    """Write all parts as a BOP models folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        write_mesh(folder / f"obj_{part.object_id:06d}.ply", part.inspection.mesh)
    write_models_info(folder / "models_info.json", {p.object_id: p.info for p in parts})


def read_written(folder: Path) -> list[ObjectModel]:
    """Read what `write_models` wrote, with keypoints.

    Symmetries come in steps of a tenth of the diameter: see `heatpose.train.start.find_objects`.
    """
    return list(read_models(folder, N_KEYPOINTS, max_symmetry_step=0.1).values())


def as_record(parts: Sequence[Part]) -> dict[str, Any]:
    """Return what is to be kept of the inspection, as plain data."""
    sides = {p.object_id: " x ".join(f"{s:.0f}" for s in p.inspection.mesh.extents) for p in parts}
    return {
        "made": ", ".join(f"{p.name} {sides[p.object_id]} mm" for p in parts),
        "objects": [
            {"id": p.object_id, "name": p.name, "warnings": list(p.inspection.warnings)}
            for p in parts
        ],
    }
