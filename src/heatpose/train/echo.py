"""Samples that are learned from several times: where drawing them takes longer than learning."""

from collections import deque
from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from heatpose.train.ahead import BatchesAhead
from heatpose.train.training import Batch

APART = 8  # drawn batches between two of which one sample is learned from


class EchoedBatches:
    """Batches in which each sample comes several times, each time among others.

    Data echoing (Choi et al., 2019, arXiv 1907.05550): what waits for its samples learns faster
    from each of them twice or more than from as few new ones. Every batch is made of as many parts
    as there are times, each of a batch that was drawn `APART` batches before that of the one
    before, and each another part of it. So no sample is twice in a batch.
    """

    def __init__(self, batches: BatchesAhead, times: int) -> None:
        """Take what is drawn, and how often each sample comes; only the first come more often."""
        self.batches = batches
        self.times = times
        self._drawn: deque[list[Batch]] = deque(maxlen=APART * (times - 1) + 1)  # newest first

    @property
    def sampler(self) -> Sampler[int]:
        """The numbers of the batches that are drawn: the trainer tells it the epoch."""
        return self.batches.sampler

    def __len__(self) -> int:
        return self.times * len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            self._drawn.appendleft(_parts(batch, self.times))
            for turn in range(self.times):
                yield self._joined(turn)

    def _joined(self, turn: int) -> Batch:
        oldest = len(self._drawn) - 1
        parts = [
            self._drawn[min(APART * back, oldest)][(turn + back) % self.times]
            for back in range(self.times)
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _parts(batch: Batch, n: int) -> list[Batch]:
    """Cut a batch into n parts, of sizes that differ by one at most."""
    cut = {name: values.tensor_split(n) for name, values in batch.items()}
    return [{name: values[part] for name, values in cut.items()} for part in range(n)]
