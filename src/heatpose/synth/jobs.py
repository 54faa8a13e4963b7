"""Scenes, or other things with numbers, made by several processes at once.

Each process makes one at a time. One that dies (killed, out of memory, a crash in a library)
is replaced and its scene tried again; what is done stays done. Only the standard library is
imported here, so that a new process is told its number of threads before numpy starts them.
"""

import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
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
    manner: "Manner | None" = None,
) -> Generator[Outcome, None, None]:
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
        manner: for what are no scenes.

    Raises:
        HeatposeError: a process raised it (all others would), or three died before they were
            ready to make anything.
    """
    crew = _Crew(numbers, pickle.dumps(open_maker), folder, threads, manner or Manner())
    try:
        crew.start(workers)
        while crew.is_busy:
            outcomes = crew.wait()
            crew.hand_out()  # before the caller looks at outcomes, for as long as it likes
            yield from outcomes
    finally:
        crew.end()


@dataclass(frozen=True)
class Manner:
    """How processes are kept, and what is said of what they make."""

    what: str = "scene"  # they make
    devices: tuple[str, ...] = ()  # CUDA's names of those that processes are dealt out to
    with_children: bool = False  # whether they start processes of their own


class _Crew:
    """Processes, and the scenes that wait for them."""

    def __init__(
        self,
        numbers: Iterable[int],
        pickled: bytes,
        folder: Path,
        threads: int,
        manner: Manner,
    ) -> None:
        self.waiting = deque(numbers)
        self.what = manner.what
        self.new_worker = partial(_Worker, pickled, folder, threads, manner)
        self.workers: list[_Worker] = []
        self.deaths: Counter[int | None] = Counter()  # by scene

    @property
    def is_busy(self) -> bool:
        """Whether there are scenes left."""
        return bool(self.waiting) or any(one.number is not None for one in self.workers)

    def start(self, workers: int) -> None:
        """Start processes, no more than there are scenes."""
        for place in range(min(workers, len(self.waiting))):
            self.workers.append(self.new_worker(place))

    def wait(self) -> list[Outcome]:
        """Wait until a process has something to say, and return what became of scenes."""
        news = wait([one.connection for one in self.workers])
        heard = [self._heard(one) for one in self.workers if one.connection in news]
        return [outcome for outcome in heard if outcome is not None]

    def hand_out(self) -> None:
        """Give scenes to the processes that have none."""
        for worker in self.workers:
            if worker.is_idle and self.waiting:
                worker.begin(self.waiting.popleft())

    def end(self) -> None:
        """End all processes."""
        for worker in self.workers:
            worker.end()

    def _heard(self, worker: "_Worker") -> Outcome | None:
        """Return what a process says; replace it if it has died."""
        number = worker.number
        try:
            return worker.receive()
        except EOFError:
            self.deaths[number] += 1
            outcome = _after_death(worker.end(), number, self.deaths[number], self.what)
            self.workers[self.workers.index(worker)] = self.new_worker(worker.place)
            if outcome is None and number is not None:
                self.waiting.appendleft(number)
            return outcome


def remove_leftovers(folder: Path, number: int) -> None:
    """Remove what a killed process has left of a scene."""
    for leftover in folder.glob(f".{number:06d}.*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _after_death(status: int | None, number: int | None, deaths: int, what: str) -> Outcome | None:
    """Say what follows from the death of a process; None to try again."""
    how = f"was ended by signal {-status}" if status and status < 0 else f"ended with {status}"
    if number is None:
        if deaths >= ATTEMPTS:
            raise HeatposeError(f"a process {how} before it made a {what}, {deaths} times")
        return None
    if deaths < ATTEMPTS:
        LOG.warning("%s %d: its process %s; trying again", what, number, how)
        return None
    return Outcome(number, problem=f"its process {how}, {deaths} times")


class _Worker:
    """A process that makes one scene after the other, seen from outside."""

    def __init__(
        self, pickled: bytes, folder: Path, threads: int, manner: Manner, place: int
    ) -> None:
        self.folder = folder
        self.place = place  # among the processes
        self.number: int | None = None  # the scene that it makes
        self.is_idle = False
        # Spawned, not forked: the libraries have threads, which a fork does not survive.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        devices = manner.devices
        device = devices[place % len(devices)] if devices else None
        arguments = (theirs, folder, threads, manner.what, device)
        # Python lets no daemon have children.
        self.process = context.Process(
            target=_work, args=arguments, daemon=not manner.with_children
        )
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


def _work(
    connection: Connection, folder: Path, threads: int, what: str, device: str | None
) -> None:
    """Make scenes until told to stop: what a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    with suppress(EOFError, BrokenPipeError):  # the parent is gone
        try:
            make = _opened(connection.recv_bytes(), threads)
        except HeatposeError as error:
            connection.send(error)
            return
        connection.send(None)
        while True:
            connection.send(outcome_of(make, connection.recv(), folder, what))


def _end_with_parent() -> None:
    """End this process once its parent is gone, were it in the middle of an hour's work."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _opened(pickled: bytes, threads: int) -> Maker:
    import cv2  # now that the threads are known

    cv2.setNumThreads(threads)
    open_maker: Callable[[], Maker] = pickle.loads(pickled)
    return open_maker()


def outcome_of(
    make: Maker, number: int, folder: Path, what: str = "scene"
) -> Outcome | HeatposeError:
    """Make a scene and return what became of it, or the error that would end all others too."""
    try:
        return Outcome(number, make(number, folder))
    except HeatposeError as error:
        return error
    except Exception as error:  # of any library: the other scenes may be fine
        LOG.error("%s %d\n%s", what, number, traceback.format_exc())
        return Outcome(number, problem=f"{type(error).__name__}: {error}")
