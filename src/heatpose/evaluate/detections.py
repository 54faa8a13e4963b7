"""Scores of detections: average precision as COCO has it, and recall where poses start.

Average precision is that of pycocotools, over the objects that occur: ``ap`` is the mean over
overlaps (IoU) of 0.50, 0.55, ..., 0.95, ``ap50`` that at 0.50. The best 100 detections of an
object in an image take part. What is hardly visible is neither right nor wrong (COCO's
``iscrowd``).

Recall is what poses can be estimated from: a target that asks for n instances of an object takes
its n detections with the highest scores and no others, as `heatpose.data.frames` does.
"""

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from heatpose.data.bop import BopDataset
from heatpose.errors import DataError
from heatpose.evaluate.matching import match
from heatpose.evaluate.rendered_boxes import rendered_boxes
from heatpose.geometry.arrays import Array, Box
from heatpose.geometry.boxes import intersection_over_union
from heatpose.types import Detection

LOG = logging.getLogger(__name__)
LEAST_VISIBLE = 0.1  # share of a silhouette up to which BOP does not look for an object
OVERLAPS = (0.5, 0.75)  # at which recall is counted

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
    labelled_only: bool = False,
) -> DetectionEvaluation:
    """Score detections on the images that a data set has targets in.

    Args:
        dataset: with targets and scene_gt; without scene_gt_info, boxes are those of the
            rendered models.
        found: detections by scene and image id, in any order.
        boxes: around what is ``visible`` of an object, or around the ``whole`` of it (the
            amodal boxes of BOP's own detection score).
        labelled_only: leave detections out of objects that their image has no label of. For
            data sets as LINEMOD, which label one of the many objects in an image.

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
    if labelled_only:
        found = {key: _of_labelled(found[key], truths[key]) for key in keys}
    met: dict[int, list[Array]] = {}
    for target in targets:
        key = (target.scene_id, target.image_id)
        met.setdefault(target.object_id, []).append(
            instances_met(truths[key], found[key], target.object_id, target.instances)
        )
    joined = {object_id: np.concatenate(each) for object_id, each in met.items()}
    return _evaluation(average_precision(truths, found), joined)


def true_boxes(dataset: BopDataset, key: ImageKey, boxes: BoxKind = "visible") -> list[TrueBox]:
    """Return the boxes of all objects that are seen in an image.

    Raises:
        DataError: there is no ground truth, or scene_gt and scene_gt_info do not go together.
    """
    if not (dataset.scene_folder(key[0]) / "scene_gt_info.json").is_file():
        return _rendered(dataset, key, boxes)
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


def _rendered(dataset: BopDataset, key: ImageKey, boxes: BoxKind) -> list[TrueBox]:
    found = []
    for object_id, fraction, visible, whole in rendered_boxes(dataset, *key):
        box = visible if boxes == "visible" else whole
        if box is not None:
            found.append(TrueBox(object_id, box, fraction > LEAST_VISIBLE))
    return found


def _of_labelled(found: Sequence[Detection], truths: Sequence[TrueBox]) -> list[Detection]:
    labelled = {one.object_id for one in truths}
    return [one for one in found if one.object_id in labelled]


def average_precision(
    truths: Mapping[Any, Sequence[TrueBox]], found: Mapping[Any, Sequence[Detection]]
) -> dict[int, tuple[float, float]]:
    """Return ap and ap50 of each object that is to be found somewhere.

    Args:
        truths: the objects in each image.
        found: detections in the same images, in any order.
    """
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
    # It divides by a hair more than there is, which rounding undoes.
    precision = judge.eval["precision"][:, :, :, 0, -1].round(9)
    return {
        object_id: (float(precision[..., k].mean()), float(precision[0, :, k].mean()))
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


def instances_met(
    truths: Sequence[TrueBox], found: Sequence[Detection], object_id: int, instances: int
) -> Array:
    """Return which of the instances that a target asks for are found by its best detections.

    Args:
        truths: in the image.
        found: in the image.
        object_id: of the target.
        instances: that the target asks for. Of more true boxes than that, those count that are
            found.

    Returns:
        0 or 1 for each instance, at each of `OVERLAPS`, (g, 2).
    """
    boxes = np.array([t.box for t in truths if t.object_id == object_id and t.counts])
    those = sorted((d for d in found if d.object_id == object_id), key=lambda d: -d.score)
    met = np.zeros((min(len(boxes), instances), len(OVERLAPS)))
    if len(met) and those:
        detected = np.array([d.box for d in those[:instances]])
        errors = 1 - intersection_over_union(detected, boxes)
        for column, least in enumerate(OVERLAPS):
            count = int(np.isfinite(match(errors, 1 - least + 1e-9)).sum())
            met[:count, column] = 1
    return met


def _evaluation(
    precision: Mapping[int, tuple[float, float]], met: Mapping[int, Array]
) -> DetectionEvaluation:
    """Put both kinds of scores together, per object and over all."""
    none = np.zeros((0, len(OVERLAPS)))
    objects = {
        object_id: _scores(precision.get(object_id), met.get(object_id, none))
        for object_id in sorted({*precision, *met})
    }
    mean = np.mean([*precision.values()], axis=0) if precision else None
    return DetectionEvaluation(_scores(mean, np.concatenate([*met.values(), none])), objects)


def _scores(precision: Sequence[float] | Array | None, met: Array) -> DetectionScores:
    ap, ap50 = (None, None) if precision is None else (float(value) for value in precision)
    recall50, recall75 = met.mean(axis=0).tolist() if len(met) else (None, None)
    return DetectionScores(ap, ap50, recall50, recall75, targets=len(met))
