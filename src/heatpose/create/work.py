"""The work folder of a creation: what was asked for, and what is done.

WORK/creation.json   what was asked for, and the plan
     STEP.json       that a step is done, and what it has found
     seconds.json    how long each step has taken
     models/, scenes/, unseen/, keypoints/, detector/   the results of the steps
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import heatpose
from heatpose.create.plan import CreateConfig, Plan, plan_from_record
from heatpose.data.fields import read_json, shown, write_json
from heatpose.errors import DataError, OptionError

FORMAT = 1


class WorkFolder:
    """Knows what is done; every mark is written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder / "creation.json"

    def begin(self, request: Mapping[str, Any]) -> Plan | None:
        """Make the folder, or look whether it was begun with the same request.

        Returns:
            The plan that was made before, if there is one.

        Raises:
            OptionError: the folder was begun with something else.
            DataError: it holds other things, or cannot be written.
        """
        if not self.record.exists():
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
                raise DataError(
                    f"{self.folder} is there already and holds no creation.json: "
                    "choose another work folder with --work"
                )
            return None
        stored = read_json(self.record)
        if not isinstance(stored, dict) or not isinstance(stored.get("request"), dict):
            raise DataError(f"{self.record} is not the record of a creation")
        before = stored["request"]
        for key in sorted(before.keys() | request.keys()):
            if before.get(key) != request.get(key):
                raise OptionError(
                    f"{self.folder} was begun with {key} {shown(before.get(key))}, not "
                    f"{shown(request.get(key))}: go on with the same command, "
                    "or choose another work folder with --work"
                )
        try:
            return plan_from_record(stored["plan"])
        except (KeyError, TypeError):
            raise DataError(f"{self.record} holds no plan that this heatpose can read") from None

    def keep(self, request: Mapping[str, Any], plan: Plan) -> None:
        """Write what was asked for and the plan: from here on it can be gone on with."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot make {self.folder}: {error.strerror}") from None
        write_json(self.record, {"request": request, "plan": asdict(plan)})

    def is_done(self, step: str) -> bool:
        """Say whether a step is done."""
        return (self.folder / f"{step}.json").exists()

    def done(self, step: str, found: Mapping[str, Any]) -> None:
        """Mark a step as done, with what it has found."""
        write_json(self.folder / f"{step}.json", found)

    def found(self, step: str) -> dict[str, Any]:
        """Return what a step that is done has found."""
        content: dict[str, Any] = read_json(self.folder / f"{step}.json")
        return content

    def seconds(self) -> dict[str, float]:
        """Return how long each step has taken so far."""
        path = self.folder / "seconds.json"
        content: dict[str, float] = read_json(path) if path.exists() else {}
        return content

    @contextlib.contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time that runs inside to a step's; interrupted steps count what they took."""
        start = time.monotonic()
        try:
            yield
        finally:
            seconds = self.seconds()
            seconds[step] = seconds.get(step, 0.0) + time.monotonic() - start
            write_json(self.folder / "seconds.json", seconds)


def describe_request(
    paths: Sequence[Path], unit: str | None, config: CreateConfig
) -> dict[str, Any]:
    """Return everything that the result depends on, as plain data.

    Meshes count by their content: a file that was changed is another request.
    """
    files = mesh_files(paths)
    options = json.loads(json.dumps(asdict(config), default=str))
    return {
        "format": FORMAT,
        "heatpose": heatpose.__version__,
        "meshes": [f"{path.name} {_digest(path)}" for path in files],
        "unit": unit,
        **options,
    }


def mesh_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that are meant: those given, or the models of a BOP folder.

    Raises:
        DataError: a file is missing, or a folder holds no models.
        OptionError: a folder is given beside other paths, or a mesh twice.
    """
    folders = [path for path in paths if path.is_dir()]
    if folders and len(paths) > 1:
        raise OptionError(f"give one models folder or CAD files: {folders[0]} is a folder")
    if folders:
        files = sorted(folders[0].glob("obj_*.ply"))
        if not files:
            raise DataError(f"{folders[0]} holds no obj_*.ply")
        return files + [p for p in [folders[0] / "models_info.json"] if p.exists()]
    for number, path in enumerate(paths):
        if not path.is_file():
            raise DataError(f"there is no mesh {path}")
        if path.resolve() in [other.resolve() for other in paths[:number]]:
            raise OptionError(f"{path} is given twice")
    return list(paths)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
