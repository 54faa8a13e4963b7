"""What the training of a detector minimises: boxes, their distributions and scores, per head.

The terms and gains are those of YOLOv8 and YOLOv10 (arXiv 2405.14458): complete IoU
(arXiv 1911.08287) and distribution focal loss (arXiv 2006.04388) over cells that learn an
object, weighted with their soft targets, and binary cross-entropy with these targets over all.
Everything is computed in float32, under autocast too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from heatpose.model.yolov10 import N_BINS, Decoded, decode_boxes
from heatpose.train.assignment import Assignment, Truths, assign, candidates, truths_of


@dataclass(frozen=True)
class DetectionLossConfig:
    """Weights of the terms, and how cells are assigned."""

    box: float = 7.5
    classification: float = 0.5
    distribution: float = 1.5
    alpha: float = 0.5  # exponents of score and overlap in the alignment
    beta: float = 6.0
    cells_per_object: int = 10  # in the one-to-many head


@dataclass(frozen=True, eq=False)
class DetectionLoss:
    """The terms, scalars without their weights and summed over heads, and their weighted sum."""

    total: Tensor
    box: Tensor  # 1 - CIoU
    classification: Tensor
    distribution: Tensor
    overlap: Tensor  # mean IoU of one-to-one boxes with the truth, to watch; NaN without objects


def detection_loss(
    raw: Mapping[str, Sequence[Tensor]],
    boxes: Tensor,
    labels: Tensor,
    config: DetectionLossConfig | None = None,
) -> DetectionLoss:
    """Compare the maps of a detector with what is in the images.

    Args:
        raw: "one2many" and "one2one", each the maps of all levels, as `YoloV10` gives them.
        boxes: left, top, right, bottom, (b, m, 4), px with pixel centres at whole numbers.
        labels: class indices, (b, m); -1 where there is no object.
        config: weights; the default ones if not given.
    """
    config = config or DetectionLossConfig()
    with torch.autocast(boxes.device.type, enabled=False):
        truths = truths_of(boxes + 0.5, labels)  # the only place where ours become YOLO's
        many, one = decode_boxes(list(raw["one2many"])), decode_boxes(list(raw["one2one"]))
        pairs = candidates(many.points, many.strides, truths)
        first = _head_loss(many, truths, pairs, config, config.cells_per_object)
        second = _head_loss(one, truths, pairs, config, 1)
    box, classification, distribution = (a + b for a, b in zip(first[:3], second[:3], strict=True))
    total = (
        config.box * box
        + config.classification * classification
        + config.distribution * distribution
    )
    return DetectionLoss(total, box, classification, distribution, second[3].detach().mean())


def _head_loss(
    head: Decoded,
    truths: Truths,
    pairs: tuple[Tensor, Tensor],
    config: DetectionLossConfig,
    per_object: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the three terms of one head, and the overlaps (p,) of the cells that learn a box."""
    with torch.no_grad():
        truth, cell = pairs
        image = truths.image[truth]
        chosen = assign(
            pairs,
            truths,
            len(head.points),
            head.logits[image, cell, truths.label[truth]].sigmoid(),
            overlap(head.boxes[image, cell], truths.boxes[truth]),
            per_object,
            config.alpha,
            config.beta,
        )
    norm = chosen.target.sum().clamp_min(1.0)
    image, true = truths.image[chosen.truth], truths.boxes[chosen.truth]
    boxes, bins = head.boxes[image, chosen.cell], head.bins[image, chosen.cell]
    points, strides = head.points[chosen.cell], head.strides[chosen.cell]
    box = ((1 - complete_overlap(boxes, true)) * chosen.target).sum() / norm
    distribution = _distribution_loss(bins, points, strides, true)
    distribution = (distribution * chosen.target).sum() / norm
    classification = _classification_loss(head.logits, image, truths.label, chosen) / norm
    return box, classification, distribution, overlap(boxes, true)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return intersection over union of boxes (n, 4) pair by pair, (n,)."""
    low, high = (
        torch.maximum(first[:, :2], second[:, :2]),
        torch.minimum(first[:, 2:], second[:, 2:]),
    )
    common = (high - low).clamp_min(0).prod(dim=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (first, second)]
    return common / (areas[0] + areas[1] - common).clamp_min(1e-9)


def complete_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return complete IoU of boxes (n, 4) pair by pair, (n,) (arXiv 1911.08287, eq. 10 to 12).

    IoU minus the squared distance of the centres over the squared diagonal of the box around
    both, minus a measure of how much the aspect ratios differ.
    """
    plain = overlap(first, second)
    around = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    apart = (first[:, :2] + first[:, 2:] - second[:, :2] - second[:, 2:]) / 2
    distance = apart.square().sum(dim=1) / around.square().sum(dim=1).clamp_min(1e-9)
    angles = [_aspect_angle(boxes) for boxes in (first, second)]
    aspect = 4 / math.pi**2 * (angles[0] - angles[1]).square()
    with torch.no_grad():
        weight = aspect / (1 - plain + aspect).clamp_min(1e-9)
    return plain - distance - weight * aspect


def _aspect_angle(boxes: Tensor) -> Tensor:
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(dim=1)
    return torch.atan2(width, height.clamp_min(1e-6))


def _distribution_loss(bins: Tensor, points: Tensor, strides: Tensor, true: Tensor) -> Tensor:
    """Return the cross-entropy of each box's edges with the two bins around the truth, (n,)."""
    distances = torch.cat([points - true[:, :2], true[:, 2:] - points], dim=1) / strides[:, None]
    distances = distances.clamp(0, N_BINS - 1 - 1e-3)
    lower = distances.floor()
    share = distances - lower  # that the upper bin has
    logs = bins.log_softmax(dim=-1)
    index = lower.long()[..., None]
    low, high = logs.gather(2, index)[..., 0], logs.gather(2, index + 1)[..., 0]
    return -((1 - share) * low + share * high).mean(dim=1)


def _classification_loss(
    logits: Tensor, image: Tensor, labels: Tensor, chosen: Assignment
) -> Tensor:
    """Return the sum of binary cross-entropies over all cells and classes.

    -t log s(x) - (1 - t) log(1 - s(x)) = softplus(x) - t x, and t is 0 but for the chosen.
    """
    at_targets = logits[image, chosen.cell, labels[chosen.truth]]
    return functional.softplus(logits.contiguous()).sum() - (chosen.target * at_targets).sum()
