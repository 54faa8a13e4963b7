import threading
import time
import weakref
from types import SimpleNamespace

import pytest
import torch

from heatpose.data.batch_samples import BatchStream
from heatpose.train import ahead
from heatpose.train.ahead import THREADS, BatchesAhead
from heatpose.train.loop import EpochNumbers

EPOCH = 8


class Maker:
    """Draws a few numbers, every third batch more slowly than the others."""

    device = torch.device("cpu")

    def __init__(self, broken=None):
        self.drawn, self.alive, self.broken = 0, [], broken

    def __call__(self, generator, b):
        number, self.drawn = self.drawn, self.drawn + 1
        if number == self.broken:
            raise RuntimeError(f"no batch {number}")
        time.sleep(0.02 if number % 3 == 0 else 0.001)
        values = torch.rand(b, generator=generator)
        self.alive.append(weakref.ref(values))
        return {"values": values}


def ahead_of(maker):
    return BatchesAhead(BatchStream(maker, 5, 3 * EPOCH), EpochNumbers(EPOCH))


def threads():
    return [t for t in threading.enumerate() if t.name.startswith(ahead.NAME)]


def test_batches_come_in_order_and_are_those_of_the_stream():
    expected = [
        drawn["values"]
        for drawn in map(BatchStream(Maker(), 5, 3 * EPOCH).__getitem__, range(3 * EPOCH))
    ]
    batches = ahead_of(Maker())
    assert len(batches) == EPOCH
    seen = []
    for epoch in range(3):
        batches.sampler.set_epoch(epoch)
        seen += [batch["values"] for batch in batches]
    assert len(seen) == len(expected) and all(map(torch.equal, seen, expected))
    assert len({tuple(values.tolist()) for values in seen}) == 3 * EPOCH  # none comes twice


def test_few_batches_are_drawn_ahead_and_none_is_kept():
    maker = Maker()
    for number, _ in enumerate(ahead_of(maker), 1):
        ready, patience = min(THREADS, EPOCH - number), time.monotonic() + 20
        while len(maker.alive) < number + ready and time.monotonic() < patience:
            time.sleep(0.001)
        time.sleep(0.01)  # in which another one would begin
        assert maker.drawn == number + ready
        assert sum(values() is not None for values in maker.alive) == 1 + ready
    assert not threads()


def test_an_error_while_drawing_comes_in_its_turn():
    seen = []
    with pytest.raises(RuntimeError, match="no batch 4"):
        seen.extend(ahead_of(Maker(broken=4)))
    assert not threads()
    seen = []
    with pytest.raises(RuntimeError, match="no batch 0"):
        seen.extend(ahead_of(Maker(broken=0)))
    assert not seen


def test_who_leaves_early_waits_for_what_is_being_drawn_only():
    maker = Maker()
    for _ in ahead_of(maker):
        assert len(threads()) == THREADS
        break
    assert not threads()
    assert maker.drawn <= 1 + THREADS
    assert sum(values() is not None for values in maker.alive) == 1  # the one in the loop


class Queues:
    """Stands in for the queues of a GPU, and notes what is done in which."""

    def __init__(self, monkeypatch):
        self.made, self.busy, self.waited, self.synchronized = [], set(), [], 0
        cuda = SimpleNamespace(
            Stream=self.make,
            Event=object,
            stream=self.use,
            synchronize=self.synchronize,
            current_stream=lambda device: SimpleNamespace(wait_event=self.waited.append),
        )
        monkeypatch.setattr(ahead, "torch", SimpleNamespace(cuda=cuda, device=torch.device))

    def make(self, device):
        number = len(self.made)
        queue = SimpleNamespace(number=number, record_event=lambda: f"event in {number}")
        self.made.append(queue)
        return queue

    def use(self, queue):
        queues = self

        class Use:
            def __enter__(self):
                assert queue.number not in queues.busy  # no other thread's at this time
                queues.busy.add(queue.number)

            def __exit__(self, *error):
                queues.busy.remove(queue.number)

        return Use()

    def synchronize(self, device):
        self.synchronized += 1


class OnGpu:
    """A stream whose batches say in which queue they were asked for, and are used."""

    def __init__(self, queues):
        self.maker = SimpleNamespace(device=torch.device("cuda"))
        self.queues, self.used = queues, []

    def __getitem__(self, number):
        assert self.queues.synchronized and self.queues.busy
        time.sleep(0.002)
        return {"values": SimpleNamespace(number=number, record_stream=self.used.append)}


def test_on_a_gpu_each_thread_draws_in_a_queue_of_its_own_and_all_epochs_in_the_same(monkeypatch):
    queues = Queues(monkeypatch)
    stream = OnGpu(queues)
    batches = BatchesAhead(stream, EpochNumbers(EPOCH))
    for epoch in range(3):
        batches.sampler.set_epoch(epoch)
        numbers = [batch["values"].number for batch in batches]
        assert numbers == list(range(EPOCH * epoch, EPOCH * (epoch + 1)))
    assert len(queues.made) == THREADS and queues.synchronized == 3
    # Training waits for each batch, and keeps its memory until it has used it.
    assert len(queues.waited) == len(stream.used) == 3 * EPOCH
    assert set(queues.waited) == {f"event in {number}" for number in range(THREADS)}
