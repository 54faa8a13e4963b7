"""The files of a BOP data set, each read and written.

Lengths are mm. In the files a box is x, y, width, height; here and nowhere else it is turned
into the left, top, right, bottom of `heatpose.geometry.boxes`. BOP writes two kinds:

* ``scene_gt_info``: x and y are the first pixel, and width and height the last pixel minus the
  first, as the BOP toolkit computes them, so a single pixel has width 0.
* detections: the corners of COCO, where pixel i spans [i, i + 1].
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heatpose.data.fields import Record, read_by_id, read_json, records_in, write_json
from heatpose.errors import DataError
from heatpose.geometry.arrays import Array, Box
from heatpose.geometry.transforms import make_transform
from heatpose.types import Detection


class Target(NamedTuple):
    """An object that is to be found in an image."""

    scene_id: int
    image_id: int
    object_id: int
    instances: int = 1


class GroundTruth(NamedTuple):
    """An object and its true pose."""

    object_id: int
    camera_from_object: Array  # (4, 4), mm


@dataclass(frozen=True, eq=False)
class FrameCamera:
    """What ``scene_camera.json`` says of one image; it does not know the size of the image."""

    matrix: Array  # K, (3, 3), px
    depth_scale: float = 1.0  # mm per unit of the depth image
    camera_from_world: Array | None = None  # (4, 4), mm


@dataclass(frozen=True)
class Visibility:
    """What ``scene_gt_info.json`` says of one object in one image."""

    box: Box | None  # around the whole silhouette, also outside the image, px
    visible_box: Box | None  # around what is seen of it, px
    pixels: int  # of the silhouette, hidden ones and those beyond the image too
    valid_pixels: int  # of those inside the image, with a measured depth
    visible_pixels: int
    visible_fraction: float  # in [0, 1]


def read_scene_camera(path: Path) -> dict[int, FrameCamera]:
    """Read ``scene_camera.json``: the camera of each image."""
    frames = {}
    for image_id, place, value in read_by_id(path, "image"):
        record = Record(place, value)
        pose = _pose(record, "cam_R_w2c", "cam_t_w2c") if "cam_R_w2c" in record else None
        scale = record.number("depth_scale") if "depth_scale" in record else 1.0
        if scale <= 0:
            raise record.wrong("depth_scale", "positive")
        frames[image_id] = FrameCamera(_calibration(record), scale, pose)
    return frames


def write_scene_camera(path: Path, frames: Mapping[int, FrameCamera]) -> None:
    """Write ``scene_camera.json``."""
    records: dict[int, Any] = {}
    for image_id, frame in frames.items():
        record = {"cam_K": frame.matrix.ravel().tolist(), "depth_scale": frame.depth_scale}
        if frame.camera_from_world is not None:
            record |= _pose_record(frame.camera_from_world, "cam_R_w2c", "cam_t_w2c")
        records[image_id] = record
    write_json(path, records)


def read_scene_gt(path: Path) -> dict[int, list[GroundTruth]]:
    """Read ``scene_gt.json``: the objects in each image and their poses."""
    return {
        image_id: [
            GroundTruth(record.integer("obj_id"), _pose(record, "cam_R_m2c", "cam_t_m2c"))
            for record in records_in(place, value)
        ]
        for image_id, place, value in read_by_id(path, "image")
    }


def write_scene_gt(path: Path, scene: Mapping[int, Sequence[GroundTruth]]) -> None:
    """Write ``scene_gt.json``."""
    records = {
        image_id: [
            {**_pose_record(pose, "cam_R_m2c", "cam_t_m2c"), "obj_id": object_id}
            for object_id, pose in objects
        ]
        for image_id, objects in scene.items()
    }
    write_json(path, records)


def read_scene_gt_info(path: Path) -> dict[int, list[Visibility]]:
    """Read ``scene_gt_info.json``: how much is seen of each object, in the order of the poses."""
    return {
        image_id: [_visibility(record) for record in records_in(place, value)]
        for image_id, place, value in read_by_id(path, "image")
    }


def write_scene_gt_info(path: Path, scene: Mapping[int, Sequence[Visibility]]) -> None:
    """Write ``scene_gt_info.json``."""
    records = {
        image_id: [
            {
                "bbox_obj": _mask_bbox(seen.box),
                "bbox_visib": _mask_bbox(seen.visible_box),
                "px_count_all": seen.pixels,
                "px_count_valid": seen.valid_pixels,
                "px_count_visib": seen.visible_pixels,
                "visib_fract": seen.visible_fraction,
            }
            for seen in objects
        ]
        for image_id, objects in scene.items()
    }
    write_json(path, records)


def read_targets(path: Path) -> list[Target]:
    """Read a targets file; without ``inst_count`` a target is one instance.

    Raises:
        DataError: an object is a target of the same image twice, besides what is not there or
            not a number.
    """
    targets: dict[tuple[int, int, int], Target] = {}
    for record in records_in(str(path), read_json(path)):
        key = (record.integer("scene_id"), record.integer("im_id"), record.integer("obj_id"))
        count = record.integer("inst_count") if "inst_count" in record else 1
        if count < 1:
            raise record.wrong("inst_count", "at least 1")
        if key in targets:
            raise DataError(f"{record.place}: object {key[2]} in image {key[1]} is there twice")
        targets[key] = Target(*key, count)
    return list(targets.values())


def write_targets(path: Path, targets: Iterable[Target]) -> None:
    """Write a targets file."""
    names = ("scene_id", "im_id", "obj_id", "inst_count")
    write_json(path, [dict(zip(names, target, strict=True)) for target in targets])


def read_models_info(path: Path) -> dict[int, dict[str, Any]]:
    """Read ``models_info.json``: the diameter (checked), size and symmetries of each object.

    The values stay as they are in the file; `heatpose.objects.symmetry` reads the symmetries.
    """
    infos = {}
    for object_id, place, value in read_by_id(path, "object"):
        record = Record(place, value)
        if record.number("diameter") <= 0:
            raise record.wrong("diameter", "positive")
        infos[object_id] = dict(record.values)
    return infos


def write_models_info(path: Path, infos: Mapping[int, Mapping[str, Any]]) -> None:
    """Write ``models_info.json``."""
    write_json(path, infos)


def read_detections(path: Path) -> dict[tuple[int, int], list[Detection]]:
    """Read detections as those of the BOP challenge, a list in the style of COCO.

    Returns:
        The detections by scene and image id, in the order of the file.
    """
    found: dict[tuple[int, int], list[Detection]] = {}
    for record in records_in(str(path), read_json(path)):
        key = (record.integer("scene_id"), record.integer("image_id"))
        x, y, width, height = record.numbers("bbox", 4).tolist()
        if width <= 0 or height <= 0:
            raise record.wrong("bbox", "x, y and a positive width and height")
        score = record.number("score")
        if not 0 <= score <= 1:
            raise record.wrong("score", "in [0, 1]")
        box = (x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5)
        found.setdefault(key, []).append(Detection(record.integer("category_id"), box, score))
    return found


def write_detections(
    path: Path, detections: Mapping[tuple[int, int], Sequence[Detection]], seconds: float = -1.0
) -> None:
    """Write detections by scene and image id.

    Args:
        path: the file.
        detections: by scene and image id.
        seconds: what the detector took for one image; -1 is BOP's word for unknown.
    """
    records = [
        {
            "scene_id": scene_id,
            "image_id": image_id,
            "category_id": found.object_id,
            "score": found.score,
            "bbox": _corner_bbox(found.box),
            "time": seconds,
        }
        for (scene_id, image_id), objects in detections.items()
        for found in objects
    ]
    write_json(path, records)


def _calibration(record: Record) -> Array:
    """Return cam_K after looking at its form, so that a damaged file is named at once."""
    k = record.matrix("cam_K")
    if k[0, 0] <= 0 or k[1, 1] <= 0 or k[1, 0] != 0 or not np.array_equal(k[2], [0, 0, 1]):
        raise record.wrong("cam_K", "[fx, 0, cx, 0, fy, cy, 0, 0, 1]")
    return k


def _pose(record: Record, rotation: str, translation: str) -> Array:
    return make_transform(record.rotation(rotation), record.numbers(translation, 3))


def _pose_record(transform: Array, rotation: str, translation: str) -> dict[str, list[float]]:
    return {
        rotation: transform[:3, :3].ravel().tolist(),
        translation: transform[:3, 3].tolist(),
    }


def _visibility(record: Record) -> Visibility:
    return Visibility(
        box=_box_of_mask_bbox(record.numbers("bbox_obj", 4)),
        visible_box=_box_of_mask_bbox(record.numbers("bbox_visib", 4)),
        pixels=record.integer("px_count_all"),
        valid_pixels=record.integer("px_count_valid"),
        visible_pixels=record.integer("px_count_visib"),
        visible_fraction=record.number("visib_fract"),
    )


def _box_of_mask_bbox(bbox: Array) -> Box | None:
    """Turn the first pixel and the way to the last one into edges; BOP's -1 into None."""
    x, y, width, height = bbox.tolist()
    if width < 0 or height < 0:
        return None
    return x - 0.5, y - 0.5, x + width + 0.5, y + height + 0.5


def _mask_bbox(box: Box | None) -> list[int]:
    """Undo `_box_of_mask_bbox`."""
    if box is None:
        return [-1, -1, -1, -1]
    left, top, right, bottom = box
    return [round(v) for v in (left + 0.5, top + 0.5, right - left - 1, bottom - top - 1)]


def _corner_bbox(box: Box) -> list[float]:
    left, top, right, bottom = box
    return [left + 0.5, top + 0.5, right - left, bottom - top]
