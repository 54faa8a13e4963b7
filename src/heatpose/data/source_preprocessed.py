"""``Linemod_preprocessed``, the LINEMOD that DenseFusion gave out, as a `Source`.

ROOT/data/01/rgb/0000.png, depth/0000.png (mm), mask/0000.png
            gt.yml, info.yml       poses (mm) and cameras, by image
            train.txt, test.txt    images of the literature's 15 % for training, and the others
     models/obj_01.ply, models_info.yml (mm)

Its models, poses and cameras are those of BOP's LM. Folder 02 has the poses of other objects in the
picture too (LM-O), but masks of its own object only.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from heatpose.data.bop_files import GroundTruth, Target
from heatpose.data.fields import Record, read_text, records_in
from heatpose.data.plain_yaml import read_yaml
from heatpose.data.sources import Source, SourceFrame, SourceModel
from heatpose.errors import DataError
from heatpose.geometry.transforms import make_transform

LAYOUT = "Linemod_preprocessed"
ENDINGS = (".png", ".jpg")


def is_preprocessed(root: Path) -> bool:
    """Say whether a folder looks like Linemod_preprocessed."""
    return any(root.glob("data/[0-9]*/gt.yml"))


def read_preprocessed(root: Path) -> Source:
    """Read all of it.

    Raises:
        DataError: a file is missing or not what it should be.
    """
    folders = sorted(path.parent for path in root.glob("data/[0-9]*/gt.yml"))
    frames = [frame for folder in folders for frame in _frames(folder)]
    # Pictures of folder 02 show more objects with poses, but are those of its own.
    targets = {
        split: [Target(f.scene_id, f.image_id, f.scene_id) for f in frames if f.split == split]
        for split in ("train", "test")
    }
    return Source(root, LAYOUT, _models(root / "models"), frames, targets)


def _models(folder: Path) -> dict[int, SourceModel]:
    info_file = folder / "models_info.yml"
    infos = dict(_by_id(info_file, "object")) if info_file.is_file() else {}
    named = [(re.fullmatch(r"obj_(\d+)\.ply", path.name), path) for path in folder.glob("*.ply")]
    return {
        int(match[1]): SourceModel(path, info=infos.get(int(match[1]), {}))
        for match, path in sorted(named, key=lambda pair: pair[1])
        if match
    }


def _by_id(path: Path, word: str) -> Iterator[tuple[int, Any]]:
    for key, value in Record(str(path), read_yaml(path)).values.items():
        if not isinstance(key, int):
            raise DataError(f"{path}: the key {key!r} must be the whole number of an {word}")
        yield key, value


def _frames(folder: Path) -> list[SourceFrame]:
    scene_id = int(folder.name)
    infos = dict(_by_id(folder / "info.yml", "image"))
    splits = _splits(folder)
    return [
        _frame(folder, scene_id, image_id, infos, truth, splits.get(image_id, "test"))
        for image_id, truth in _by_id(folder / "gt.yml", "image")
    ]


def _frame(
    folder: Path, scene_id: int, image_id: int, infos: Mapping[int, Any], truth: Any, split: str
) -> SourceFrame:
    if image_id not in infos:
        raise DataError(f"{folder / 'info.yml'} lacks image {image_id}")
    info = Record(f"{folder / 'info.yml'}, image {image_id}", infos[image_id])
    poses = [
        _pose(record) for record in records_in(f"{folder / 'gt.yml'}, image {image_id}", truth)
    ]
    name = f"{image_id:04d}"
    own = [index for index, one in enumerate(poses) if one.object_id == scene_id]
    mask = folder / "mask" / f"{name}.png"
    depth = folder / "depth" / f"{name}.png"
    return SourceFrame(
        scene_id=scene_id,
        image_id=image_id,
        image=_image(folder / "rgb", name),
        matrix=info.matrix("cam_K"),
        read_truth=partial(tuple, poses),
        depth=depth if depth.is_file() else None,
        depth_scale=info.number("depth_scale") if "depth_scale" in info else 1.0,
        masks={own[0]: mask} if len(own) == 1 and mask.is_file() else {},
        split=split,
    )


def _pose(record: Record) -> GroundTruth:
    pose = make_transform(record.rotation("cam_R_m2c"), record.numbers("cam_t_m2c", 3))
    return GroundTruth(record.integer("obj_id"), pose)


def _image(folder: Path, name: str) -> Path:
    for ending in ENDINGS:
        if (folder / f"{name}{ending}").is_file():
            return folder / f"{name}{ending}"
    raise DataError(f"no image {name} ({', '.join(ENDINGS)}) in {folder}")


def _splits(folder: Path) -> dict[int, str]:
    """Return the split of each image that the lists name."""
    splits: dict[int, str] = {}
    for split in ("train", "test"):
        path = folder / f"{split}.txt"
        if not path.is_file():
            continue
        for word in read_text(path).split():
            if not word.isdigit():
                raise DataError(f"{path} must list numbers of images, got {word!r}")
            if splits.setdefault(int(word), split) != split:
                raise DataError(f"{folder}: image {word} is in both train.txt and test.txt")
    return splits
