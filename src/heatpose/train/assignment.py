"""Which cell of the detector's maps learns which object: task-aligned assignment.

TOOD (Feng et al. 2021, arXiv 2108.07755): a cell is as good for an object as its score s and
its box's overlap u with the object's box say, alignment = s^alpha u^beta, and the best cells
learn the object with soft targets. YOLOv10 (Wang et al. 2024, arXiv 2405.14458) does this twice
with the same measure: ten cells an object for one head, one for the other, which so needs no
suppression of doubles.

Positions here are YOLO's: the corner of the image is 0, the centre of the first pixel 0.5.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Truths:
    """The objects of a batch in one row, without padding."""

    image: Tensor  # position in the batch, (g,) int64
    label: Tensor  # class index, (g,) int64
    boxes: Tensor  # left, top, right, bottom, (g, 4), px


@dataclass(frozen=True, eq=False)
class Assignment:
    """Cells that learn an object, each once at most."""

    truth: Tensor  # position in the row of objects, (p,) int64
    cell: Tensor  # position in the row of cells, (p,) int64
    target: Tensor  # the score to learn, (p,), in [0, 1]


def truths_of(boxes: Tensor, labels: Tensor) -> Truths:
    """Take the padding out of a batch.

    Args:
        boxes: (b, m, 4), px; NaN where there is no object.
        labels: (b, m), class indices; -1 where there is no object.
    """
    image, place = (labels >= 0).nonzero(as_tuple=True)
    return Truths(image, labels[image, place], boxes[image, place].float())


def candidates(points: Tensor, strides: Tensor, truths: Truths) -> tuple[Tensor, Tensor]:
    """Return the pairs of object and cell whose centre lies in the object's box, (n,) each.

    A box smaller than the smallest cell is widened to it, so that no object is without.

    Args:
        points: centres of the cells of an image, (a, 2), px.
        strides: sides of the cells, (a,), px.
        truths: the objects.
    """
    low, high = truths.boxes[:, None].chunk(2, dim=2)  # (g, 1, 2)
    centre, half = (low + high) / 2, ((high - low) / 2).clamp_min(strides.min() / 2)
    inside = ((points >= centre - half) & (points < centre + half)).all(dim=2)  # (g, a)
    truth, cell = inside.nonzero(as_tuple=True)
    return truth, cell


def assign(
    pairs: tuple[Tensor, Tensor],
    truths: Truths,
    n_cells: int,
    scores: Tensor,
    overlaps: Tensor,
    per_object: int,
    alpha: float = 0.5,
    beta: float = 6.0,
) -> Assignment:
    """Choose the best cells of each object.

    A cell that several objects choose learns the one that its box overlaps most. The targets
    of an object's cells are proportional to their alignment, the largest of them being the
    largest overlap (TOOD, section 3.2.1).

    Args:
        pairs: candidate objects and cells, (n,) each.
        truths: the objects.
        n_cells: number of cells of an image, a.
        scores: of the object's class in the cell, (n,), in [0, 1].
        overlaps: intersection over union of the cell's box and the object's, (n,), in [0, 1].
        per_object: cells that an object chooses at most.
        alpha: exponent of the scores.
        beta: exponent of the overlaps.
    """
    truth, cell = pairs
    # Candidates without any overlap stay candidates: hence not less than a tiny number.
    alignment = (scores**alpha * overlaps**beta).clamp_min(1e-30)
    chosen = _best(alignment, pairs, len(truths.boxes), n_cells, per_object)
    cell_in_batch = truths.image[truth] * n_cells + cell
    chosen = chosen[_first_of_each(cell_in_batch[chosen], overlaps[chosen])]
    truth, cell, alignment, overlaps = (v[chosen] for v in (truth, cell, alignment, overlaps))
    top_alignment = _largest(alignment, truth, len(truths.boxes))
    top_overlap = _largest(overlaps, truth, len(truths.boxes))
    return Assignment(truth, cell, alignment / top_alignment[truth] * top_overlap[truth])


def _best(
    alignment: Tensor, pairs: tuple[Tensor, Tensor], n_truths: int, n_cells: int, count: int
) -> Tensor:
    """Return the positions of those pairs that are among the ``count`` best of their object."""
    table = alignment.new_zeros(n_truths, n_cells)
    table[pairs] = alignment
    place = torch.zeros(n_truths, n_cells, dtype=torch.int64, device=table.device)
    place[pairs] = torch.arange(len(alignment), device=table.device)
    values, cells = table.topk(min(count, n_cells), dim=1)
    return place.gather(1, cells)[values > 0]


def _first_of_each(keys: Tensor, worth: Tensor) -> Tensor:
    """Return for each key that occurs the position where its worth is largest."""
    order = worth.argsort(descending=True, stable=True)
    keys = keys[order]
    order_of_keys = keys.argsort(stable=True)
    keys = keys[order_of_keys]
    first = torch.ones_like(keys, dtype=torch.bool)
    first[1:] = keys[1:] != keys[:-1]
    return order[order_of_keys[first]]


def _largest(values: Tensor, group: Tensor, n_groups: int) -> Tensor:
    """Return the largest of the values (>= 0) in each group, (n_groups,); 0 where none is."""
    return values.new_zeros(n_groups).scatter_reduce(0, group, values, "amax")
