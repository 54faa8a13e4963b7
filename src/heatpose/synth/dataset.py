"""The data set around the scenes: models, camera, targets, a picture to look at.

OUT/models/, camera.json         what is seen, and by what
    SPLIT/000000/ ...            the scenes, see `heatpose.synth.scene_files`
    SPLIT_targets_bop19.json     all objects of which more than a tenth is seen
    synth.json                   how the scenes are made; going on with another recipe is refused
    preview.jpg                  some of the images, with boxes
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import heatpose
from heatpose.data.bop import BopDataset
from heatpose.data.bop_files import (
    Target,
    read_models_info,
    write_models_info,
    write_targets,
)
from heatpose.data.cameras import write_camera
from heatpose.data.fields import Record, read_json, shown, write_json
from heatpose.data.images import read_image, write_image
from heatpose.draw.overlay import OUTLINES
from heatpose.errors import DataError, OptionError
from heatpose.geometry.arrays import Image
from heatpose.geometry.camera import Camera
from heatpose.objects.catalogue import ObjectModel, read_models, read_objects
from heatpose.objects.mesh import write_mesh
from heatpose.synth.scene_files import DEPTH_SCALE, LEAST_VISIBLE

FORMAT = 1
BEGUN = {"models", "solids", "camera.json"}  # what is written before synth.json
TILE, COLUMNS, TILES = 320, 4, 12  # width of an image in the preview, px; images in a row, in all


def find_models(
    paths: Sequence[Path], unit: str | None
) -> tuple[list[ObjectModel], dict[int, dict[str, Any]]]:
    """Read the objects: one BOP models folder, or CAD files, numbered 1, 2, ...

    Returns:
        The objects, with no more than one keypoint, and what ``models_info.json`` is to say.

    Raises:
        DataError: a folder or file cannot be used.
        OptionError: a folder is given beside other paths.
    """
    folders = [path for path in paths if path.is_dir()]
    if folders and len(paths) > 1:
        raise OptionError(f"give one models folder or CAD files: {folders[0]} is a folder")
    stated: dict[int, dict[str, Any]] = {}
    if folders:
        models = list(read_models(paths[0], n_keypoints=1).values())
        if (paths[0] / "models_info.json").is_file():
            stated = read_models_info(paths[0] / "models_info.json")
    else:
        models = list(read_objects(paths, unit, n_keypoints=1).values())
    return models, {one.object_id: _info(one) | stated.get(one.object_id, {}) for one in models}


def _info(model: ObjectModel) -> dict[str, Any]:
    info: dict[str, Any] = {"diameter": model.diameter, "name": model.name}
    for axis, low, side in zip("xyz", model.mesh.lower, model.mesh.extents, strict=True):
        info |= {f"min_{axis}": float(low), f"size_{axis}": float(side)}
    return info


def begin(
    out: Path,
    models: Sequence[ObjectModel],
    infos: Mapping[int, Mapping[str, Any]],
    camera: Camera,
    recipe: Mapping[str, Any],
) -> None:
    """Write what is known before the first scene, or look whether it is what is there already.

    Args:
        out: the folder of the data set, made if need be.
        models: the objects.
        infos: see `find_models`.
        camera: of all images.
        recipe: everything that scenes depend on, as plain data.

    Raises:
        OptionError: the data set was begun with another recipe.
        DataError: the folder cannot be written, or holds something else.
    """
    objects = {str(one.object_id): _digest(one) for one in models}
    stored = json.loads(json.dumps({"format": FORMAT, "recipe": {**recipe, "objects": objects}}))
    written = out / "synth.json"
    if written.exists():
        _check_same(written, stored)
        return
    # What an interrupted beginning has left may be there, and nothing else.
    if out.exists() and not (out.is_dir() and {p.name for p in out.iterdir()} <= BEGUN):
        raise DataError(f"{out} is there, and is no data set of this command: it has no synth.json")
    try:
        (out / "models").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror}") from None
    for one in models:
        write_mesh(out / "models" / f"obj_{one.object_id:06d}.ply", one.mesh)
    write_models_info(out / "models" / "models_info.json", infos)
    write_camera(out / "camera.json", camera, DEPTH_SCALE)
    write_json(written, {**stored, "heatpose": heatpose.__version__})


def _check_same(written: Path, wanted: Mapping[str, Any]) -> None:
    record = Record(str(written), read_json(written))
    before = _flat({name: record.take(name) for name in wanted})
    now = _flat(wanted)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise OptionError(
                f"{written.parent} was begun with {name.removeprefix('recipe.')} "
                f"{shown(before.get(name))}, not {shown(now.get(name))}: go on with the same "
                "options, or choose another folder"
            )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by names with dots: scene.views."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _digest(model: ObjectModel) -> str:
    mesh = model.mesh
    arrays = (mesh.vertices, mesh.faces, mesh.normals, mesh.colours, mesh.uv, mesh.texture)
    content = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays if a is not None)
    return hashlib.sha256(content).hexdigest()[:16]


def missing_scenes(out: Path, split: str, numbers: Sequence[int]) -> list[int]:
    """Return those of the scenes that are not there yet."""
    return [number for number in numbers if not (out / split / f"{number:06d}").is_dir()]


def finish(out: Path, split: str) -> int:
    """Write the targets of all scenes that are there, and the preview; return how many images."""
    if not any((out / split).glob("[0-9]*")):
        return 0
    dataset = BopDataset(out, split)
    images = [(s, i) for s in dataset.scene_ids() for i in dataset.image_ids(s)]
    write_targets(
        out / dataset.targets_file, [t for s, i in images for t in _targets(dataset, s, i)]
    )
    write_image(out / "preview.jpg", preview(dataset, images))
    return len(images)


def _targets(dataset: BopDataset, scene_id: int, image_id: int) -> list[Target]:
    truth, infos = dataset.ground_truth(scene_id, image_id), dataset.gt_info(scene_id, image_id)
    seen = Counter(
        one.object_id
        for one, info in zip(truth, infos, strict=True)
        if info.visible_fraction > LEAST_VISIBLE
    )
    return [Target(scene_id, image_id, object_id, seen[object_id]) for object_id in sorted(seen)]


def preview(dataset: BopDataset, images: Sequence[tuple[int, int]]) -> Image:
    """Draw images of a data set side by side, with a box around each object that is a target.

    Args:
        dataset: the data set.
        images: scene and image ids; twelve spread over them are drawn.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, TILES).round().astype(int))
    tiles = [_tile(dataset, *images[index]) for index in chosen]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)]
    return np.vstack(rows)


def _tile(dataset: BopDataset, scene_id: int, image_id: int) -> Image:
    image = read_image(dataset.image_path(scene_id, image_id))
    scale = TILE / image.shape[1]
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.array(small, np.uint8)
    truth, infos = dataset.ground_truth(scene_id, image_id), dataset.gt_info(scene_id, image_id)
    for one, info in zip(truth, infos, strict=True):
        if info.visible_box is None or info.visible_fraction <= LEAST_VISIBLE:
            continue
        left, top, right, bottom = (round((v + 0.5) * scale - 0.5) for v in info.visible_box)
        colour = OUTLINES[one.object_id % len(OUTLINES)]
        cv2.rectangle(tile, (left, top), (right, bottom), colour, 1)
        at, font = (left + 2, top + 10), cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(tile, str(one.object_id), at, font, 0.35, colour, 1, cv2.LINE_AA)
    return tile
