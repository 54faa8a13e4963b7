"""Any data set that can be read, written as BOP has it.

OUT/models/obj_000001.ply, models_info.json    mm
    camera.json
    SPLIT/000001/rgb, depth, mask, mask_visib, scene_camera.json, scene_gt.json, scene_gt_info.json
    SPLIT_targets_bop19.json
    conversion.json                            where it comes from

All of it is made in OUT.part, frame by frame, and moved at the end: OUT is whole or not there.
What an interrupted conversion has finished is not done again. Pictures are copied as they are, and
so is depth in PNG files; masks and visible parts are drawn, as BOP's own are, and masks that the
data set brings along are preferred to them.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from heatpose.data.bop_files import (
    FrameCamera,
    GroundTruth,
    Target,
    Visibility,
    read_scene_gt_info,
    write_models_info,
    write_scene_camera,
    write_scene_gt,
    write_scene_gt_info,
    write_targets,
)
from heatpose.data.cameras import write_camera
from heatpose.data.dpt import read_dpt
from heatpose.data.fields import read_json, write_json
from heatpose.data.silhouettes import LEAST_VISIBLE, silhouettes
from heatpose.data.sources import Source, SourceFrame, SourceModel
from heatpose.errors import DataError, OptionError
from heatpose.geometry.arrays import Mask
from heatpose.objects.mesh import Mesh, diameter, write_mesh
from heatpose.objects.symmetry_search import find_symmetries
from heatpose.render.raycast import Renderer

FORMAT = 1
SYMMETRIES = ("symmetries_discrete", "symmetries_continuous")

Progress = Callable[[Sequence[SourceFrame]], Iterable[SourceFrame]]


def convert(source: Source, out: Path, progress: Progress = iter) -> None:
    """Write a data set in BOP's layout.

    Args:
        source: what is read.
        out: the folder to write.
        progress: goes through frames, telling how far it is.

    Raises:
        OptionError: the folder is there, or another conversion into it was begun.
        DataError: a file of the source is missing or damaged, or the folder cannot be written.
            What is done already stays, for the next call.
    """
    part = _begin(source, out)
    data = part / "data"
    meshes = {one: model.read() for one, model in source.models.items()}
    _write_models(data / "models", source.models, meshes)
    renderer = Renderer(meshes)
    for frame in progress([one for one in source.frames if not _labels(part, one).is_file()]):
        _write_frame(part, frame, renderer)
    first = source.frames[0]
    write_camera(data / "camera.json", first.camera(), first.depth_scale)
    for frames in _by_scene(source):
        _finish_scene(part, frames)
    for split in {frame.split for frame in source.frames}:
        targets = source.targets.get(split) or _targets(part, source, split)
        write_targets(data / f"{split}_targets_bop19.json", targets)
    shutil.copyfile(part / "conversion.json", data / "conversion.json")
    data.rename(out)
    shutil.rmtree(part)


def part_of(out: Path) -> Path:
    """Return the folder that a conversion is made in."""
    return out.with_name(f"{out.name}.part")


def _begin(source: Source, out: Path) -> Path:
    """Make the folder that is worked in, or look whether it is of the same conversion."""
    if out.exists():
        raise OptionError(f"{out} is there already: choose another folder, or remove it")
    part, root = part_of(out), str(source.root.resolve())
    record = part / "conversion.json"
    stored = {
        "format": FORMAT,
        "source": root,
        "layout": source.layout,
        "frames": len(source.frames),
    }
    if record.is_file():
        begun = read_json(record)
        if begun != stored:
            raise OptionError(
                f"{part} was begun from {begun.get('source')} with {begun.get('frames')} frames, "
                f"not from {root} with {len(source.frames)}: remove it, or choose another folder"
            )
        return part
    try:
        (part / "data").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {part}: {error.strerror}") from None
    write_json(record, stored)
    return part


def _by_scene(source: Source) -> list[list[SourceFrame]]:
    scenes: dict[tuple[str, int], list[SourceFrame]] = {}
    for frame in source.frames:
        scenes.setdefault((frame.split, frame.scene_id), []).append(frame)
    return list(scenes.values())


def _scene(part: Path, frame: SourceFrame) -> Path:
    return part / "data" / frame.split / f"{frame.scene_id:06d}"


def _write_models(
    folder: Path, models: Mapping[int, SourceModel], meshes: Mapping[int, Mesh]
) -> None:
    if (folder / "models_info.json").is_file():
        return
    folder.mkdir(exist_ok=True)
    infos = {one: _info(models[one], mesh) for one, mesh in meshes.items()}
    for one, mesh in meshes.items():
        write_mesh(folder / f"obj_{one:06d}.ply", mesh)
    write_models_info(folder / "models_info.json", infos)


def _info(model: SourceModel, mesh: Mesh) -> dict[str, Any]:
    """Measure a model; symmetries are found where nobody states any."""
    stated = {key: model.info[key] for key in ("name", *SYMMETRIES) if key in model.info}
    info: dict[str, Any] = {"diameter": diameter(mesh)}
    for axis, low, side in zip("xyz", mesh.lower, mesh.extents, strict=True):
        info |= {f"min_{axis}": float(low), f"size_{axis}": float(side)}
    if not any(key in stated for key in SYMMETRIES):
        info |= find_symmetries(mesh).as_info()
    return info | stated


def _labels(part: Path, frame: SourceFrame) -> Path:
    """Return the file that is written when all else of a frame is."""
    labels = part / "labels" / frame.split / f"{frame.scene_id:06d}"
    return labels / f"{frame.image_id:06d}.json"


def _write_frame(part: Path, frame: SourceFrame, renderer: Renderer) -> None:
    scene = _scene(part, frame)
    for name in ("rgb", "mask", "mask_visib"):
        (scene / name).mkdir(parents=True, exist_ok=True)
    name, truth = f"{frame.image_id:06d}", frame.read_truth()
    known = [frame.read_mask(index) for index in range(len(truth))]
    camera, depth = frame.camera(), frame.read_depth()
    found = silhouettes(truth, camera, renderer, depth, known)
    _copy(frame.image, scene / "rgb" / f"{name}{frame.image.suffix.lower()}")
    if frame.depth is not None:
        (scene / "depth").mkdir(exist_ok=True)
        _copy_depth(frame.depth, scene / "depth" / f"{name}.png")
    for index, one in enumerate(found):
        _write_mask(scene / "mask" / f"{name}_{index:06d}.png", one.whole)
        _write_mask(scene / "mask_visib" / f"{name}_{index:06d}.png", one.visible)
    labels = _labels(part, frame)
    labels.parent.mkdir(parents=True, exist_ok=True)
    write_scene_gt_info(labels, {frame.image_id: [one.visibility for one in found]})


# Not by write_whole: labels come last, and what has none is written again. Waiting for the disk
# after each of a hundred thousand small files would take as long as all else.


def _copy(path: Path, to: Path) -> None:
    try:
        shutil.copyfile(path, to)
    except FileNotFoundError:
        raise DataError(f"no image at {path}") from None
    except OSError as error:
        raise DataError(f"cannot write {to}: {error.strerror}") from None


def _copy_depth(path: Path, to: Path) -> None:
    """Copy a depth image, or write what is in no image as one of 16 bits."""
    if path.suffix == ".dpt":
        _write_png(to, read_dpt(path))
    else:
        _copy(path, to)


def _write_mask(path: Path, mask: Mask) -> None:
    _write_png(path, mask.astype(np.uint8) * 255)


def _write_png(path: Path, values: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    try:
        Pillow.fromarray(values).save(path, format="PNG", compress_level=1)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from None


def _finish_scene(part: Path, frames: Sequence[SourceFrame]) -> None:
    """Write the files of a scene out of those of its frames."""
    scene = _scene(part, frames[0])
    truth: dict[int, Sequence[GroundTruth]] = {}
    seen: dict[int, Sequence[Visibility]] = {}
    for frame in frames:
        truth[frame.image_id] = frame.read_truth()
        seen |= read_scene_gt_info(_labels(part, frame))
    cameras = {one.image_id: FrameCamera(one.matrix, one.depth_scale) for one in frames}
    write_scene_camera(scene / "scene_camera.json", cameras)
    write_scene_gt(scene / "scene_gt.json", truth)
    write_scene_gt_info(scene / "scene_gt_info.json", seen)


def _targets(part: Path, source: Source, split: str) -> list[Target]:
    """Return all objects of a split of which more than a tenth is seen, as BOP does."""
    targets = []
    for frame in source.frames:
        if frame.split != split:
            continue
        (seen,) = read_scene_gt_info(_labels(part, frame)).values()
        ids = [
            truth.object_id
            for truth, one in zip(frame.read_truth(), seen, strict=True)
            if one.visible_fraction > LEAST_VISIBLE
        ]
        places = (frame.scene_id, frame.image_id)
        targets += [Target(*places, one, ids.count(one)) for one in sorted(set(ids))]
    return targets
