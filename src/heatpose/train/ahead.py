"""Batches that are drawn while the ones before are trained on."""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch.utils.data import Sampler

from heatpose.data.batch_samples import BatchStream
from heatpose.train.training import Batch

THREADS = 2  # that draw: to tell a GPU what to do takes a processor as long as doing it takes


class BatchesAhead:
    """Draws the batches of a stream ahead, in threads, each with its own queue on the GPU.

    They come in the order of their numbers, and are what the stream draws, however many threads
    there are.
    """

    def __init__(self, stream: BatchStream, sampler: Sampler[int]) -> None:
        """Take what draws, and the numbers of an epoch; the trainer tells these the epoch."""
        self.stream = stream
        self.sampler = sampler
        self._own = threading.local()

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        device = self.stream.maker.device
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # what all batches share is there
        numbers = iter(self.sampler)
        with ThreadPoolExecutor(THREADS) as pool:
            coming: deque[Future[tuple[Batch, torch.cuda.Event | None]]] = deque()
            try:
                for number in numbers:
                    coming.append(pool.submit(self._draw, number))
                    if len(coming) > THREADS:
                        yield _received(coming.popleft(), device)
                while coming:
                    yield _received(coming.popleft(), device)
            finally:
                for one in coming:
                    one.cancel()

    def _draw(self, number: int) -> tuple[Batch, "torch.cuda.Event | None"]:
        """Draw a batch in this thread's queue, and say when it will be there."""
        device = self.stream.maker.device
        if device.type != "cuda":
            return self.stream[number], None
        if not hasattr(self._own, "queue"):
            self._own.queue = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._own.queue):
            return self.stream[number], self._own.queue.record_event()


def _received(
    future: "Future[tuple[Batch, torch.cuda.Event | None]]", device: torch.device
) -> Batch:
    """Return a batch for use in this thread's queue on the GPU."""
    batch, there = future.result()
    if there is not None:
        queue = torch.cuda.current_stream(device)
        queue.wait_event(there)
        for tensor in batch.values():
            tensor.record_stream(queue)  # its memory is not used again before
    return batch
