import pytest
import torch

from heatpose.train.assignment import Truths, assign, candidates, truths_of

NAN = float("nan")


def grid(side, stride):
    """Centres and sides of the cells of a square image."""
    line = (torch.arange(side // stride) + 0.5) * stride
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([columns, rows], dim=2).view(-1, 2)
    return points, torch.full_like(points[:, 0], stride)


def truths(*boxes, image=None):
    count = len(boxes)
    where = torch.tensor(image or [0] * count)
    return Truths(where, torch.zeros(count, dtype=torch.int64), torch.tensor(boxes).float())


@pytest.fixture
def random_pairs():
    """Two images with three objects each, and what a network may say of every candidate."""
    generator = torch.Generator().manual_seed(3)
    corners = torch.rand(6, 2, generator=generator) * 60
    sides = 20 + torch.rand(6, 2, generator=generator) * 40
    boxes = torch.cat([corners, corners + sides], dim=1)
    objects = truths(*boxes.tolist(), image=[0, 0, 0, 1, 1, 1])
    pairs = candidates(*grid(128, 8), objects)
    scores, overlaps = torch.rand(2, len(pairs[0]), generator=generator)
    return pairs, objects, scores, overlaps


def test_padding_is_left_out():
    boxes = torch.tensor([[[0.0, 0, 9, 9], [NAN] * 4], [[NAN] * 4] * 2, [[1.0, 1, 5, 5]] * 2])
    found = truths_of(boxes, torch.tensor([[4, -1], [-1, -1], [0, 2]]))
    assert found.image.tolist() == [0, 2, 2]
    assert found.label.tolist() == [4, 0, 2]
    assert found.boxes.isfinite().all()


def test_candidates_have_their_centre_in_the_box():
    points, strides = grid(64, 8)
    objects = truths([10.0, 0.0, 31.0, 20.5])  # centres at 12, 20, 28 and 4, 12, 20
    truth, cell = candidates(points, strides, objects)
    assert truth.tolist() == [0] * 9
    expected = {(float(x), float(y)) for x in (12, 20, 28) for y in (4, 12, 20)}
    assert {tuple(points[c].tolist()) for c in cell} == expected


@pytest.mark.parametrize("x", [8.0, 11.9, 12.0, 16.0, 19.9])
def test_an_object_smaller_than_a_cell_has_a_candidate_wherever_it_is(x):
    truth, _ = candidates(*grid(64, 8), truths([x - 1, 30.0, x + 1, 33.0]))
    assert len(truth) == 1


def test_the_best_candidates_are_chosen_and_no_more(random_pairs):
    pairs, objects, scores, overlaps = random_pairs
    found = assign(pairs, objects, 256, scores, overlaps, 4)
    assert found.truth.bincount().max() <= 4
    alignment = scores**0.5 * overlaps**6
    for row in range(6):
        own = pairs[0] == row
        best = set(pairs[1][own][alignment[own].topk(4).indices].tolist())
        assert set(found.cell[found.truth == row].tolist()) <= best


def test_a_cell_learns_one_object_the_one_it_overlaps_most(random_pairs):
    pairs, objects, scores, overlaps = random_pairs
    found = assign(pairs, objects, 256, scores, overlaps, 10)
    keys = objects.image[found.truth] * 256 + found.cell
    assert len(keys) == len(keys.unique())
    both = truths([0.0, 0, 8, 8], [0.0, 0, 8, 8])
    two = (torch.tensor([0, 1]), torch.tensor([0, 0]))
    choice = assign(two, both, 4, torch.tensor([0.9, 0.1]), torch.tensor([0.6, 0.7]), 1)
    assert choice.truth.tolist() == [1] and choice.cell.tolist() == [0]


def test_the_largest_target_of_an_object_is_its_largest_overlap(random_pairs):
    pairs, objects, scores, overlaps = random_pairs
    found = assign(pairs, objects, 256, scores, overlaps, 10)
    table = torch.zeros(6, 256)
    table[pairs] = overlaps
    for row in found.truth.unique():
        own = found.truth == row
        best = table[row, found.cell[own]].max()
        torch.testing.assert_close(found.target[own].max(), best)
    # By hand: alignments 0.5 and 0.25 of two cells, the larger overlap being 1.
    two = (torch.tensor([0, 0]), torch.tensor([0, 1]))
    hand = assign(two, truths([0.0, 0, 9, 9]), 4, torch.tensor([0.25, 0.0625]), torch.ones(2), 10)
    torch.testing.assert_close(hand.target, torch.tensor([1.0, 0.5]))


def test_an_object_that_no_box_overlaps_is_learnt_all_the_same(random_pairs):
    pairs, objects, scores, _ = random_pairs
    found = assign(pairs, objects, 256, scores, torch.zeros_like(scores), 10)
    assert set(found.truth.tolist()) == set(range(6))
    assert not found.target.any()


def test_no_objects_no_assignment():
    nothing = truths_of(torch.full((2, 3, 4), NAN), torch.full((2, 3), -1))
    pairs = candidates(*grid(64, 8), nothing)
    found = assign(pairs, nothing, 64, torch.zeros(0), torch.zeros(0), 10)
    assert len(found.truth) == len(found.cell) == len(found.target) == 0
