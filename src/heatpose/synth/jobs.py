"""Scenes made by several processes at once.

Each process makes one scene at a time. One that dies (killed, out of memory, a crash in a library)
is replaced and its scene tried again; what is done stays done. Only the standard library is
imported here, so that a new process is told its number of threads before numpy starts them.
"""

import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeAlias

from heatpose.errors import HeatposeError

LOG = logging.getLogger(__name__)
ATTEMPTS = 3  # at a scene whose process dies
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Maker: TypeAlias = Callable[[int, Path], dict[str, float]]  # scene number, folder -> seconds


@dataclass(frozen=True)
class Outcome:
    """What became of a scene."""

    number: int
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    problem: str | None = None  # why there is no scene; None where there is one


def make_scenes(
    numbers: Iterable[int],
    open_maker: Callable[[], Maker],
    folder: Path,
    workers: int,
    threads: int = 1,
) -> Iterator[Outcome]:
    """Make scenes with several processes, and report each as soon as it is done.

    An exception ends the scene, and the others go on: the same scene would fail again. A death
    may have come from outside, so the scene is tried anew. Closing the iterator, as an interrupt
    does, ends the processes; what is not done then is not there.

    Args:
        numbers: of the scenes.
        open_maker: returns what makes scenes; it is pickled, and called once in each process.
        folder: where the scenes are written.
        workers: processes.
        threads: of each.

    Raises:
        HeatposeError: a process raised it (all others would), or three died before they were
            ready to make anything.
    """
    waiting = deque(numbers)
    pickled = pickle.dumps(open_maker)
    deaths: Counter[int | None] = Counter()
    crew = [_Worker(pickled, folder, threads) for _ in range(min(workers, len(waiting)))]
    try:
        while waiting or any(worker.number is not None for worker in crew):
            news = wait([worker.connection for worker in crew])
            for place, worker in enumerate(crew):
                if worker.connection not in news:
                    continue
                number = worker.number
                try:
                    outcome = worker.receive()
                except EOFError:
                    deaths[number] += 1
                    crew[place] = _Worker(pickled, folder, threads)
                    outcome = _after_death(worker.end(), number, deaths[number])
                    if outcome is None and number is not None:
                        waiting.appendleft(number)
                if outcome is not None:
                    yield outcome
            for worker in crew:
                if worker.is_idle and waiting:
                    worker.begin(waiting.popleft())
    finally:
        for worker in crew:
            worker.end()


def remove_leftovers(folder: Path, number: int) -> None:
    """Remove what a killed process has left of a scene."""
    for leftover in folder.glob(f".{number:06d}.*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _after_death(status: int | None, number: int | None, deaths: int) -> Outcome | None:
    """Say what follows from the death of a process; None to try again."""
    how = f"was ended by signal {-status}" if status and status < 0 else f"ended with {status}"
    if number is None:
        if deaths >= ATTEMPTS:
            raise HeatposeError(f"a process {how} before it made a scene, {deaths} times")
        return None
    if deaths < ATTEMPTS:
        LOG.warning("scene %d: its process %s; trying again", number, how)
        return None
    return Outcome(number, problem=f"its process {how}, {deaths} times")


class _Worker:
    """A process that makes one scene after the other, seen from outside."""

    def __init__(self, pickled: bytes, folder: Path, threads: int) -> None:
        self.folder = folder
        self.number: int | None = None  # the scene that it makes
        self.is_idle = False
        # Spawned, not forked: the libraries have threads, which a fork does not survive.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, folder, threads)
        self.process = context.Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        with suppress(BrokenPipeError):  # it died already, which `receive` finds
            self.connection.send_bytes(pickled)

    def begin(self, number: int) -> None:
        """Let it make a scene."""
        self.number, self.is_idle = number, False
        with suppress(BrokenPipeError):
            self.connection.send(number)

    def receive(self) -> Outcome | None:
        """Return what it has to say: what became of its scene, or None when it is ready.

        Raises:
            EOFError: it died.
            HeatposeError: what it met.
        """
        try:
            message: Any = self.connection.recv()
        except ConnectionResetError:
            raise EOFError from None
        if isinstance(message, HeatposeError):
            raise message
        self.number, self.is_idle = None, True
        return message if isinstance(message, Outcome) else None

    def end(self) -> int | None:
        """End it, take away what it leaves half done, and return its exit status."""
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()
        if self.number is not None:
            remove_leftovers(self.folder, self.number)
        return self.process.exitcode


def _work(connection: Connection, folder: Path, threads: int) -> None:
    """Make scenes until told to stop: what a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    with suppress(EOFError, BrokenPipeError):  # the parent is gone
        try:
            make = _opened(connection.recv_bytes(), threads)
        except HeatposeError as error:
            connection.send(error)
            return
        connection.send(None)
        while True:
            connection.send(_outcome(make, connection.recv(), folder))


def _opened(pickled: bytes, threads: int) -> Maker:
    import cv2  # now that the threads are known

    cv2.setNumThreads(threads)
    open_maker: Callable[[], Maker] = pickle.loads(pickled)
    return open_maker()


def _outcome(make: Maker, number: int, folder: Path) -> Outcome | HeatposeError:
    try:
        return Outcome(number, make(number, folder))
    except HeatposeError as error:
        return error
    except Exception as error:  # of any library: the other scenes may be fine
        LOG.error("scene %d\n%s", number, traceback.format_exc())
        return Outcome(number, problem=f"{type(error).__name__}: {error}")
