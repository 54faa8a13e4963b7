"""Scenes made by a Ray cluster.

The machines of a cluster need heatpose and nothing else: no shared folder. What scenes are made of
travels to them as one archive, put into Ray's object store once; scenes come back as archives and
are written here, whole or not at all. A task whose worker dies is started again by Ray.
"""

import io
import logging
import os
import re
import secrets
import shutil
import socket
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import ray
from ray.exceptions import RayError, RayTaskError

from heatpose.errors import DataError, HeatposeError, OptionError
from heatpose.synth.jobs import ATTEMPTS, Maker, Outcome, outcome_of

Places: TypeAlias = Mapping[str, Path]  # folders by the name that the maker knows them by
MakerOpener: TypeAlias = Callable[[Places], Maker]
STORE = 80_000_000, 40_000_000  # bytes of the object store of a local cluster: plus for each worker


def make_scenes(
    numbers: Iterable[int],
    open_maker: MakerOpener,
    places: Places,
    folder: Path,
    address: str,
    workers: int,
    threads: int = 1,
) -> Generator[Outcome, None, None]:
    """Make scenes on a cluster, and report each as soon as it is written here.

    Args:
        numbers: of the scenes.
        open_maker: returns what makes scenes, given the places on the machine that it runs on; it
            has to read them at once, for they do not stay.
        places: the folders that it needs; they are sent.
        folder: where the scenes are written.
        address: of the cluster; ``local`` starts one on this machine for as long as it is needed.
        workers: cores of the local one.
        threads: cores that a scene takes.

    Raises:
        HeatposeError: a worker raised it: all others would.
        OptionError: there is no cluster at the address.
    """
    with _connected(address, workers * threads):
        job = (secrets.token_hex(8), open_maker, [ray.put(_packed(places))])
        task = ray.remote(_scene).options(num_cpus=threads, max_retries=ATTEMPTS - 1)
        waiting = deque(numbers)
        running: dict[ray.ObjectRef[Any], int] = {}
        while waiting or running:
            # Two for each core: one that runs, one that need not be waited for.
            while waiting and len(running) < 2 * max(_cores() // threads, 1):
                number = waiting.popleft()
                running[task.remote(job, number, threads)] = number
            (done, *_), _ = ray.wait(list(running), num_returns=1)
            yield _received(done, running.pop(done), folder)


def _received(result: "ray.ObjectRef[Any]", number: int, folder: Path) -> Outcome:
    """Write a scene that has come back."""
    try:
        outcome, archive = ray.get(result)
    except RayTaskError as error:  # not of a scene, but of a machine: heatpose is not there
        raise HeatposeError(f"a worker of the cluster cannot make scenes: {error.cause}") from None
    except RayError as error:  # it died, or its machine
        what = str(error).strip().splitlines()[0]
        return Outcome(number, problem=f"{type(error).__name__}, {ATTEMPTS} times: {what}")
    if isinstance(outcome, HeatposeError):
        raise outcome
    if archive is not None:
        write_scene(archive, number, folder)
    assert isinstance(outcome, Outcome)
    return outcome


def write_scene(archive: bytes, number: int, folder: Path) -> None:
    """Unpack a scene and put it in place, whole or not at all.

    Raises:
        DataError: the folder cannot be written.
    """
    place = folder / f"{number:06d}"
    temporary = folder / f".{number:06d}.{secrets.token_hex(4)}"
    try:
        temporary.mkdir(parents=True)
        _unpack(archive, temporary)
        (temporary / place.name).rename(place)
    except OSError as error:
        raise DataError(f"cannot write {place}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


# Its name, what opens the maker, and the archive of its places. In a list a reference stays one:
# the archive is fetched where it is asked for, once for each worker.
Work: TypeAlias = tuple[str, MakerOpener, list["ray.ObjectRef[bytes]"]]


def _scene(work: Work, number: int, threads: int) -> tuple[Outcome | HeatposeError, bytes | None]:
    """Make a scene and return it as an archive: what runs on the cluster."""
    try:
        make = _maker(*work, threads)
    except HeatposeError as error:
        return error, None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcome = outcome_of(make, number, folder)
        scene = folder / f"{number:06d}"
        return outcome, _packed({scene.name: scene}) if scene.is_dir() else None


_MAKERS: dict[str, Maker] = {}  # of this worker: opening one takes longer than making a scene


def _maker(
    name: str, open_maker: MakerOpener, archive: "list[ray.ObjectRef[bytes]]", threads: int
) -> Maker:
    if name not in _MAKERS:
        import cv2

        cv2.setNumThreads(threads)
        # Not kept: workers are ended without being asked, and could not tidy up.
        with tempfile.TemporaryDirectory(prefix="heatpose-") as folder:
            _unpack(ray.get(archive[0]), Path(folder))
            _MAKERS[name] = open_maker({path.name: path for path in Path(folder).iterdir()})
    return _MAKERS[name]


def _packed(places: Places) -> bytes:
    """Return folders as one archive; images are packed already, so it is not compressed."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, folder in places.items():
            archive.add(folder, arcname=name)
    return stream.getvalue()


def _unpack(archive: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        opened.extractall(folder, filter="data")


def _cores() -> int:
    """Return the cores that the cluster has now; it may grow."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1))


@contextmanager
def _connected(address: str, cores: int) -> Iterator[None]:
    """Connect to a cluster, and leave it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        store = STORE[0] + STORE[1] * cores
        options |= {"num_cpus": cores, "object_store_memory": store, "include_dashboard": False}
    else:
        _check_reachable(address)
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError) as error:
        what = str(error).strip().splitlines()[0]
        raise OptionError(f"no Ray cluster at {address}: {what}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Knock at an address: Ray itself waits for minutes, and then ends the process."""
    if address == "auto":
        return
    named = re.fullmatch(r"(?:ray://)?(.+):(\d+)", address)
    if not named:
        raise OptionError(f"a Ray cluster is at local, auto or HOST:PORT, got {address!r}")
    try:
        socket.create_connection((named[1], int(named[2])), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise OptionError(f"no Ray cluster at {address}: {error}") from None
