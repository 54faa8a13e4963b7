"""Boxes of objects in plain image files, from a JSON file.

Two forms are read. By file name, with boxes as left, top, right, bottom in px (the edges of the
image lie at -0.5 and width - 0.5):

    {"table.jpg": [{"object_id": 5, "box": [120.5, 88.0, 210.0, 190.5], "score": 0.97}]}

And the list of detections of the BOP challenge, in the style of COCO. There ``image_id`` is the
number that the image file is named by, and ``scene_id`` the scene it lies in
(000002/rgb/000563.png); it does not matter where the file has boxes of one scene only.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heatpose.data.bop_files import read_detections
from heatpose.data.fields import Record, read_json, records_in
from heatpose.errors import DataError
from heatpose.geometry.boxes import intersection_over_union
from heatpose.types import Detection

DOUBLE = 0.7  # overlap (IoU) of two boxes of one object from which on they are of one instance


def without_doubles(found: Sequence[Detection]) -> list[Detection]:
    """Keep each detection that does not lie on a better one of the same object, best first."""
    kept: list[Detection] = []
    for one in sorted(found, key=lambda detection: -detection.score):
        rivals = np.array([other.box for other in kept if other.object_id == one.object_id])
        if not len(rivals) or intersection_over_union(np.array([one.box]), rivals).max() < DOUBLE:
            kept.append(one)
    return kept


def read_boxes(path: Path, images: Sequence[Path]) -> dict[Path, list[Detection]]:
    """Read which boxes a file has for each of some images.

    Args:
        path: the file; the module says what it may hold.
        images: the image files. One that the file does not name has no boxes.

    Raises:
        DataError: the file cannot be read, a value is not what it should be, or the file has
            boxes for none of the images.
    """
    content = read_json(path)
    if isinstance(content, list):
        boxes = _of_scenes(read_detections(path), images, path)
    else:
        boxes = _of_names(_by_name(path, content), images)
    if images and not any(boxes.values()):
        shown = ", ".join(str(image) for image in images[:3])
        raise DataError(f"{path} has no boxes for any of the {len(images)} images ({shown}, ...)")
    return boxes


def scene_and_number(image: Path) -> tuple[int | None, int | None]:
    """Return scene and image id as a BOP path has them, each None where it does not say.

    >>> scene_and_number(Path("lmo/test/000002/rgb/000563.png"))
    (2, 563)
    >>> scene_and_number(Path("photos/7.jpg"))
    (None, 7)
    """
    scene = image.absolute().parent.parent.name
    in_scene = image.absolute().parent.name in ("rgb", "gray") and scene.isdecimal()
    return int(scene) if in_scene else None, int(image.stem) if image.stem.isdecimal() else None


def _by_name(path: Path, content: Any) -> dict[str, list[Detection]]:
    """Read boxes by file name."""
    names = Record(str(path), content).values
    return {
        name: [_detection(record) for record in records_in(f"{path}, {name}", listed)]
        for name, listed in names.items()
    }


def _detection(record: Record) -> Detection:
    left, top, right, bottom = record.numbers("box", 4).tolist()
    if right <= left or bottom <= top:
        raise record.wrong("box", "left, top, right, bottom with right > left, bottom > top")
    score = record.number("score") if "score" in record else 1.0
    if not 0 <= score <= 1:
        raise record.wrong("score", "in [0, 1]")
    return Detection(record.integer("object_id"), (left, top, right, bottom), score)


def _of_names(
    boxes: Mapping[str, list[Detection]], images: Sequence[Path]
) -> dict[Path, list[Detection]]:
    return {image: boxes.get(str(image), boxes.get(image.name, [])) for image in images}


def _of_scenes(
    boxes: Mapping[tuple[int, int], list[Detection]], images: Sequence[Path], path: Path
) -> dict[Path, list[Detection]]:
    scenes = {scene for scene, _ in boxes}
    found = {}
    for image in images:
        scene, number = scene_and_number(image)
        if scene is None and len(scenes) > 1:
            raise DataError(
                f"{path} has boxes of {len(scenes)} scenes, and {image} does not say which it is of"
            )
        if scene is None:
            scene = next(iter(scenes), 0)
        found[image] = boxes.get((scene, -1 if number is None else number), [])
    return found
