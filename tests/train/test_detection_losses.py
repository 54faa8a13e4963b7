import collections
import math

import pytest
import torch

from heatpose.model.yolov10 import N_BINS, STRIDES, decode_boxes
from heatpose.train.detection_losses import (
    DetectionLossConfig,
    complete_overlap,
    detection_loss,
    overlap,
)

NAN = float("nan")
SIDE = 128


def maps_of(boxes, labels, n_classes=3, sure=12.0, most=10**6):
    """The maps of a network that finds objects (our px): boxes in every cell inside them.

    The first `most` of an object's cells know its class too.
    """
    result, known = [], collections.Counter()
    for stride in STRIDES:
        size = SIDE // stride
        level = torch.zeros(len(boxes), 4 * N_BINS + n_classes, size, size)
        level[:, 4 * N_BINS :] = -sure
        line = (torch.arange(size) + 0.5) * stride
        for image, those in enumerate(boxes):
            for box, label in zip(those + 0.5, labels[image], strict=True):
                if label < 0:
                    continue
                left, top, right, bottom = box.tolist()
                for row in ((line > top) & (line < bottom)).nonzero()[:, 0]:
                    for column in ((line > left) & (line < right)).nonzero()[:, 0]:
                        x, y = line[column], line[row]
                        sides = torch.stack([x - left, y - top, right - x, bottom - y]) / stride
                        level[image, : 4 * N_BINS, row, column] = peaks(sides).flatten()
                        known[image, label.item()] += 1
                        if known[image, label.item()] <= most:
                            level[image, 4 * N_BINS + label, row, column] = sure
        result.append(level)
    return result


def peaks(distances):
    """Logits (4, 16) of distributions whose means are the distances."""
    bins = torch.arange(N_BINS)
    return (1 - (distances[:, None] - bins).abs()).clamp_min(0).add(1e-9).log()


@pytest.fixture
def batch():
    """Three images: two objects, none, one; our pixel convention."""
    boxes = torch.full((3, 2, 4), NAN)
    boxes[0] = torch.tensor([[9.5, 11.5, 57.5, 50.5], [70.2, 60.3, 121.7, 117.9]])
    boxes[2, 0] = torch.tensor([30.0, 20.0, 90.0, 100.0])
    return boxes, torch.tensor([[0, 2], [-1, -1], [1, -1]])


@pytest.fixture
def raw(batch):
    torch.manual_seed(4)
    shapes = [(3, 4 * N_BINS + 3, SIDE // s, SIDE // s) for s in STRIDES]
    return {head: [torch.randn(shape) for shape in shapes] for head in ("one2many", "one2one")}


def perfect(batch):
    return {"one2many": maps_of(*batch, most=10), "one2one": maps_of(*batch, most=1)}


def test_overlaps_by_hand():
    first = torch.tensor([[0.0, 0, 4, 4], [0.0, 0, 4, 4], [0.0, 0, 2, 2], [1.0, 1, 3, 5]])
    second = torch.tensor([[0.0, 0, 4, 4], [2.0, 0, 6, 4], [3.0, 3, 5, 5], [0.0, 2, 4, 4]])
    torch.testing.assert_close(overlap(first, second), torch.tensor([1, 8 / 24, 0, 4 / 12]))
    complete = complete_overlap(first, second)
    assert complete[0] == pytest.approx(1)
    assert complete[1] == pytest.approx(1 / 3 - 2**2 / (6**2 + 4**2))
    assert complete[2] == pytest.approx(0 - 18 / 50)
    # Same centre, sides 2 x 4 and 4 x 2: v = 4 / pi^2 (atan 0.5 - atan 2)^2, alpha v.
    v = 4 / math.pi**2 * (math.atan(0.5) - math.atan(2)) ** 2
    assert complete[3] == pytest.approx(1 / 3 - v * v / (1 - 1 / 3 + v))


def test_a_perfect_network_has_next_to_no_loss(batch):
    loss = detection_loss(perfect(batch), *batch)
    assert loss.box < 1e-3 and loss.classification < 0.05
    assert loss.overlap > 0.999


def test_boxes_are_ours_half_a_pixel_beside_those_of_the_network(batch):
    maps = perfect(batch)
    decoded = decode_boxes(maps["one2one"])
    row = decoded.logits[2, :, 1].argmax()
    torch.testing.assert_close(decoded.boxes[2, row], batch[0][2, 0] + 0.5, atol=0.02, rtol=0)
    shifted = detection_loss(maps, batch[0] + 0.5, batch[1])
    assert shifted.box > 10 * detection_loss(maps, *batch).box


def test_the_distribution_costs_its_entropy_at_the_truth_and_more_elsewhere(batch):
    # The best that two bins can do is to be as likely as the truth is near them.
    best = detection_loss(perfect(batch), *batch).distribution
    assert best < 2 * 2 * math.log(2)
    moved = detection_loss(perfect(batch), batch[0] + 3, batch[1]).distribution
    assert moved > 2 * best


def test_the_loss_grows_as_boxes_move_away(batch):
    losses = [detection_loss(perfect(batch), batch[0] + d, batch[1]).box for d in (0, 1, 2, 4, 8)]
    assert losses == sorted(losses)


def test_wrong_classes_cost(batch):
    right = detection_loss(perfect(batch), *batch)
    other = torch.where(batch[1] >= 0, (batch[1] + 1) % 3, -1)
    assert detection_loss(perfect(batch), batch[0], other).classification > (
        100 * right.classification
    )


def test_the_total_is_the_weighted_sum_of_both_heads(batch, raw):
    config = DetectionLossConfig(box=2.0, classification=3.0, distribution=5.0)
    loss = detection_loss(raw, *batch, config)
    total = 2 * loss.box + 3 * loss.classification + 5 * loss.distribution
    torch.testing.assert_close(loss.total, total)
    swapped = {"one2many": raw["one2one"], "one2one": raw["one2many"]}
    assert detection_loss(swapped, *batch, config).total != loss.total  # ten cells are not one


def test_one_head_is_taught_by_ten_cells_and_the_other_by_one(batch, raw):
    for maps in raw.values():
        for level in maps:
            level.requires_grad_()
    detection_loss(raw, *batch).total.backward()
    taught = {
        head: [sum((m.grad[i, :64] != 0).any(dim=0).sum().item() for m in maps) for i in range(3)]
        for head, maps in raw.items()
    }
    assert taught["one2one"] == [2, 0, 1]
    assert taught["one2many"] == [20, 0, 10]


def test_classes_are_the_binary_cross_entropy_of_dense_targets(batch, raw):
    """Where boxes are perfect and scores alike, the targets are known: 1 for the chosen cells."""
    maps = maps_of(*batch, sure=0.3)
    loss = detection_loss({"one2many": maps, "one2one": maps}, *batch)
    logits = torch.cat([m[:, 64:].flatten() for m in maps])
    everything = torch.nn.functional.softplus(logits).sum()
    expected = (everything - 30 * 0.3) / 30 + (everything - 3 * 0.3) / 3
    torch.testing.assert_close(loss.classification, expected, rtol=2e-3, atol=0)


def test_a_batch_without_objects_teaches_silence(raw):
    nothing = torch.full((3, 2, 4), NAN), torch.full((3, 2), -1)
    for maps in raw.values():
        for level in maps:
            level.requires_grad_()
    loss = detection_loss(raw, *nothing)
    loss.total.backward()
    assert loss.box == loss.distribution == 0 and loss.overlap.isnan()
    for level in (level for maps in raw.values() for level in maps):
        assert not level.grad[:, :64].any() and (level.grad[:, 64:] > 0).all()


def test_padding_and_the_order_of_objects_do_not_matter(batch, raw):
    boxes, labels = batch
    plain = detection_loss(raw, boxes, labels).total
    more = torch.cat([torch.full((3, 5, 4), NAN), boxes.flip(1)], dim=1)
    padded = torch.cat([torch.full((3, 5), -1), labels.flip(1)], dim=1)
    torch.testing.assert_close(detection_loss(raw, more, padded).total, plain)


def test_everything_is_finite_and_float32_under_autocast(batch, raw):
    for scale in (0.0, 1.0, 1e3):
        scaled = {head: [scale * m for m in maps] for head, maps in raw.items()}
        with torch.autocast("cpu", torch.bfloat16):
            loss = detection_loss(scaled, *batch)
        assert loss.total.dtype == torch.float32 and loss.total.isfinite()
        torch.testing.assert_close(loss.total, detection_loss(scaled, *batch).total)


def test_steps_along_the_gradient_find_the_objects(batch, raw):
    levels = [level.requires_grad_() for maps in raw.values() for level in maps]
    optimiser = torch.optim.Adam(levels, lr=0.3)
    for _ in range(80):
        optimiser.zero_grad()
        loss = detection_loss(raw, *batch)
        loss.total.backward()
        optimiser.step()
    assert loss.overlap > 0.95
    found = decode_boxes(raw["one2one"])
    scores = found.logits.sigmoid()
    assert (scores > 0.5).sum(dim=(1, 2)).tolist() == [2, 0, 1]
