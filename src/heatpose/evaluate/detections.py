"""Scores of detections: average precision as COCO has it, and recall where poses start.

Average precision is that of pycocotools, over the objects that occur: ``ap`` is the mean over
overlaps (IoU) of 0.50, 0.55, ..., 0.95, ``ap50`` that at 0.50, with 100 detections an image at
most. What is hardly visible is neither right nor wrong (COCO's ``iscrowd``).

Recall is what poses can be estimated from: a target that asks for n instances of an object takes
its n detections with the highest scores and no others, as `heatpose.data.frames` does.
"""

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from heatpose.data.bop import BopDataset
from heatpose.errors import DataError
from heatpose.evaluate.matching import match
from heatpose.geometry.arrays import Array, Box
from heatpose.geometry.boxes import intersection_over_union
from heatpose.types import Detection

LOG = logging.getLogger(__name__)
LEAST_VISIBLE = 0.1  # share of a silhouette up to which BOP does not look for an object
MOST = 100  # detections of an image that count, the best ones

ImageKey = tuple[int, int]  # scene and image id
BoxKind = Literal["visible", "whole"]


@dataclass(frozen=True)
class TrueBox:
    """Where an object is in an image."""

    object_id: int  # BOP's id
    box: Box  # left, top, right, bottom, px
    counts: bool = True  # or is hardly visible, so that finding it is neither right nor wrong


@dataclass(frozen=True)
class DetectionScores:
    """Each in [0, 1]; None where there is nothing to be found."""

    ap: float | None
    ap50: float | None
    recall50: float | None  # of targets, at an overlap of 0.50 and of 0.75
    recall75: float | None
    targets: int  # instances asked for


@dataclass(frozen=True, eq=False)
class DetectionEvaluation:
    """The scores of each object, and over all: the mean of ap over objects, recall of targets."""

    mean: DetectionScores
    objects: dict[int, DetectionScores]


def evaluate_detections(
    dataset: BopDataset,
    found: Mapping[ImageKey, Sequence[Detection]],
    boxes: BoxKind = "visible",
) -> DetectionEvaluation:
    """Score detections on the images that a data set has targets in.

    Args:
        dataset: with targets, scene_gt and scene_gt_info.
        found: detections by scene and image id, in any order.
        boxes: around what is ``visible`` of an object, or around the ``whole`` of it (the
            amodal boxes of BOP's own detection score).

    Raises:
        DataError: the data set lacks what this takes.
    """
    targets = dataset.targets()
    if not targets:
        raise DataError(f"{dataset.root / dataset.targets_file} names no targets")
    keys = sorted({(t.scene_id, t.image_id) for t in targets})
    if not any(found.get(key) for key in keys):
        LOG.warning("none of the detections is in an image that %s has targets in", dataset.root)
    truths = {key: true_boxes(dataset, key, boxes) for key in keys}
    found = {key: found.get(key, ()) for key in keys}
    overlaps: dict[int, list[Array]] = {}
    for target in targets:
        key = (target.scene_id, target.image_id)
        best = best_overlaps(truths[key], found[key], target.object_id, target.instances)
        overlaps.setdefault(target.object_id, []).append(best)
    return _joined(
        average_precision(truths, found), {i: np.concatenate(o) for i, o in overlaps.items()}
    )


def true_boxes(dataset: BopDataset, key: ImageKey, boxes: BoxKind = "visible") -> list[TrueBox]:
    """Return the boxes of all objects that are seen in an image.

    Raises:
        DataError: there is no ground truth, or scene_gt and scene_gt_info do not go together.
    """
    truth, info = dataset.ground_truth(*key), dataset.gt_info(*key)
    if len(truth) != len(info):
        raise DataError(
            f"{dataset.scene_folder(key[0])}, image {key[1]}: scene_gt.json has {len(truth)} "
            f"objects, scene_gt_info.json {len(info)}"
        )
    pairs = [
        (one.object_id, seen.visible_box if boxes == "visible" else seen.box, seen)
        for one, seen in zip(truth, info, strict=True)
    ]
    return [
        TrueBox(object_id, box, seen.visible_fraction > LEAST_VISIBLE)
        for object_id, box, seen in pairs
        if box is not None and seen.pixels > 0
    ]


def average_precision(
    truths: Mapping[Any, Sequence[TrueBox]], found: Mapping[Any, Sequence[Detection]]
) -> dict[int, tuple[float, float]]:
    """Return ap and ap50 of each object that is to be found somewhere.

    Args:
        truths: the objects in each image.
        found: detections in the same images, in any order.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    numbers = {key: number for number, key in enumerate(truths, start=1)}
    object_ids = sorted({t.object_id for those in truths.values() for t in those if t.counts})
    annotations = [
        _annotation(numbers[key], one.object_id, one.box, {"iscrowd": int(not one.counts)})
        for key, those in truths.items()
        for one in those
    ]
    results = [
        _annotation(numbers[key], one.object_id, one.box, {"score": one.score})
        for key in truths
        for one in found.get(key, ())
    ]
    if not results or not object_ids:
        return dict.fromkeys(object_ids, (0.0, 0.0))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it is doing
        coco = COCO()
        images = [{"id": number} for number in numbers.values()]
        categories = [{"id": object_id} for object_id in object_ids]
        coco.dataset = {"images": images, "categories": categories}
        coco.dataset["annotations"] = [{**a, "id": i} for i, a in enumerate(annotations, start=1)]
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
    # Precision at (overlap, recall, object, area: all, detections: 100).
    precision = judge.eval["precision"][:, :, :, 0, -1]
    return {
        object_id: (float(precision[:, :, k].mean()), float(precision[0, :, k].mean()))
        for k, object_id in enumerate(object_ids)
    }


def _annotation(image: int, object_id: int, box: Box, rest: dict[str, Any]) -> dict[str, Any]:
    """Return a box as COCO has it; all are shifted alike, so that pixel centres do not matter."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return {
        "image_id": image,
        "category_id": object_id,
        "bbox": [left, top, width, height],
        "area": width * height,
        **rest,
    }


def best_overlaps(
    truths: Sequence[TrueBox], found: Sequence[Detection], object_id: int, instances: int
) -> Array:
    """Return how well each instance that a target asks for is met by its best detections.

    Args:
        truths: in the image.
        found: in the image.
        object_id: of the target.
        instances: that the target asks for.

    Returns:
        The overlap of each instance with the detection it got, 0 where it got none, (g,); for
        more true boxes than instances, those that are met best.
    """
    boxes = [t.box for t in truths if t.object_id == object_id and t.counts]
    those = sorted((d for d in found if d.object_id == object_id), key=lambda d: -d.score)
    if not boxes or not those:
        return np.zeros(min(len(boxes), instances))
    detected = np.array([d.box for d in those[:instances]])
    overlaps = intersection_over_union(detected, np.array(boxes))
    got = match(1 - overlaps, limit=1.0)
    met = np.where(np.isfinite(got), 1 - got, 0.0)
    best: Array = np.sort(met)[::-1][:instances]
    return best


def _joined(
    precision: Mapping[int, tuple[float, float]], overlaps: Mapping[int, Array]
) -> DetectionEvaluation:
    """Put both kinds of scores together, per object and over all."""
    objects = {}
    for object_id in sorted({*precision, *overlaps}):
        met = overlaps.get(object_id, np.zeros(0))
        ap, ap50 = precision.get(object_id, (None, None))
        recalls = _share(met >= 0.5), _share(met >= 0.75)
        objects[object_id] = DetectionScores(ap, ap50, *recalls, len(met))
    everything = np.concatenate([*overlaps.values(), np.zeros(0)])
    mean = DetectionScores(
        _mean([ap for ap, _ in precision.values()]),
        _mean([ap50 for _, ap50 in precision.values()]),
        _share(everything >= 0.5),
        _share(everything >= 0.75),
        len(everything),
    )
    return DetectionEvaluation(mean, objects)


def _share(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


SCORES = tuple(field.name for field in fields(DetectionScores))
