"""Batches that are drawn while the ones before are trained on."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import torch
from torch.utils.data import Sampler

from heatpose.data.batch_samples import BatchStream
from heatpose.train.training import Batch

THREADS = 3  # that draw: to tell a GPU what to do takes a processor as long as doing it takes
NAME = "batches ahead"  # of these threads


class BatchesAhead:
    """Draws the batches of a stream ahead, in threads, each with its own queue on the GPU.

    They come in the order of their numbers, and are what the stream draws, however many threads
    there are.
    """

    def __init__(self, stream: BatchStream, sampler: Sampler[int]) -> None:
        """Take what draws, and the numbers of an epoch; the trainer tells these the epoch."""
        self.stream = stream
        self.sampler = sampler
        # The same in all epochs: memory that was used in a queue is used again in that one only.
        self._queues: SimpleQueue[torch.cuda.Stream] = SimpleQueue()
        if stream.maker.device.type == "cuda":
            for _ in range(THREADS):
                self._queues.put(torch.cuda.Stream(stream.maker.device))  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        device = self.stream.maker.device
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # what all batches share is there
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix=NAME)
        coming: deque[Future[tuple[Batch, torch.cuda.Event | None]]] = deque()
        try:
            for number in self.sampler:
                coming.append(pool.submit(self._draw, number))
                if len(coming) > THREADS:
                    yield _received(coming.popleft(), device)
            while coming:
                yield _received(coming.popleft(), device)
        finally:  # also where no more are asked for
            pool.shutdown(cancel_futures=True)

    def _draw(self, number: int) -> tuple[Batch, "torch.cuda.Event | None"]:
        """Draw a batch in a queue that no other thread uses now, and say when it will be there."""
        if self.stream.maker.device.type != "cuda":
            return self.stream[number], None
        queue = self._queues.get()
        try:
            with torch.cuda.stream(queue):
                return self.stream[number], queue.record_event()
        finally:
            self._queues.put(queue)


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
