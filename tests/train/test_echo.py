from collections import Counter
from itertools import pairwise

import pytest
import torch

from heatpose.data.batch_samples import BatchStream
from heatpose.train.ahead import BatchesAhead
from heatpose.train.echo import APART, EchoedBatches
from heatpose.train.loop import EpochNumbers

SIZE, EPOCH, EPOCHS = 7, 10, 6
DRAWN = SIZE * EPOCH * EPOCHS


class Maker:
    """Draws samples that are their number, once as it is and once in a row of two."""

    device = torch.device("cpu")

    def __call__(self, generator, b):
        first = torch.randint(2**40, (1,), generator=generator)
        numbers = first + torch.arange(b)
        return {"number": numbers, "row": torch.stack([numbers, -numbers], dim=1)}


def echoed(times):
    stream = BatchStream(Maker(), SIZE, EPOCH * EPOCHS)
    batches = EchoedBatches(BatchesAhead(stream, EpochNumbers(EPOCH)), times)
    assert len(batches) == times * EPOCH
    seen = []
    for epoch in range(EPOCHS):
        batches.sampler.set_epoch(epoch)
        seen += list(batches)
    assert len(seen) == times * EPOCH * EPOCHS
    return seen


@pytest.mark.parametrize("times", [2, 3])
def test_each_sample_comes_so_often_and_never_twice_in_a_batch(times):
    seen = [batch["number"].tolist() for batch in echoed(times)]
    steady = APART * (times - 1)  # batches drawn before all parts have their own
    assert all(len(batch) == SIZE for batch in seen)
    assert all(len(set(batch)) == SIZE for batch in seen[steady * times :])
    often = Counter(number for batch in seen for number in batch)
    stream = BatchStream(Maker(), SIZE, EPOCH * EPOCHS)
    drawn = [stream[i]["number"].tolist() for i in range(EPOCH * EPOCHS)]
    assert set(often) == {number for batch in drawn for number in batch}  # over all epochs
    middle = [number for batch in drawn[1:-steady] for number in batch]
    assert {often[number] for number in middle} == {times}


def test_a_sample_comes_again_only_many_batches_later():
    places = {}
    for place, batch in enumerate(echoed(3)):
        for number in batch["number"].tolist():
            places.setdefault(number, []).append(place)
    later = [b - a for one in places.values() if len(one) == 3 for a, b in pairwise(one)]
    assert min(later) >= 3 * (APART - 1) and len(later) > DRAWN


def test_what_belongs_to_a_sample_stays_with_it():
    for batch in echoed(2):
        assert torch.equal(batch["row"][:, 0], batch["number"])
        assert torch.equal(batch["row"][:, 1], -batch["number"])
