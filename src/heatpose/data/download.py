"""One file from a server: resumed where it was cut, and only taken if it is the right one."""

import hashlib
import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from heatpose.errors import DataError

log = logging.getLogger(__name__)

BLOCK = 1 << 20  # bytes read at once
ATTEMPTS = 6  # without a single byte of progress
TIMEOUT = 60.0  # s without a byte

Report = Callable[[int, int], None]  # bytes that are there, and in all


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server."""

    url: str
    size: int  # bytes
    sha256: str | None  # None where the server does not say


def download(remote: RemoteFile, path: Path, report: Report, pause: float = 1.0) -> None:
    """Fetch a file; what an earlier call has fetched of it is not fetched again.

    It grows in PATH.part, and takes its name when size and SHA-256 are right.

    Args:
        remote: what is fetched.
        path: where it goes.
        report: is told how far it is.
        pause: after a first failure, s; twice as long after each further one.

    Raises:
        DataError: the server does not answer or sends something else.
    """
    part = path.with_name(f"{path.name}.part")
    for fresh in (False, True):
        if fresh:
            log.warning("%s: what is here is not that file; starting again", remote.url)
            part.unlink(missing_ok=True)
        _fetch(remote, part, report, pause)
        problem = _problem(remote, part)
        if problem is None:
            part.replace(path)
            return
    part.unlink(missing_ok=True)
    raise DataError(f"{remote.url} {problem}: the server sends another file than it describes")


def _fetch(remote: RemoteFile, part: Path, report: Report, pause: float) -> None:
    """Append to a file until it is as long as it should be, over interruptions."""
    failures = 0
    while _length(part) < remote.size:
        before = _length(part)
        try:
            _continue(remote, part, report)
            reason = "the connection was closed"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # there is no more than we have
                return
            if error.code < 500 and error.code != 429:
                raise DataError(f"{remote.url}: {error.code} {error.reason}") from None
            reason = f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        if _length(part) >= remote.size:
            return
        failures = 1 if _length(part) > before else failures + 1
        if failures >= ATTEMPTS:
            raise DataError(
                f"{remote.url}: {reason}; {_length(part)} of {remote.size} bytes are here, "
                "and the same command goes on from there"
            )
        log.info("%s: %s; trying again", remote.url, reason)
        time.sleep(pause * 2 ** (failures - 1))


def _continue(remote: RemoteFile, part: Path, report: Report) -> None:
    """Ask for what is missing of a file, and append what comes."""
    have = _length(part)
    request = urllib.request.Request(remote.url)
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        goes_on = have and answer.status == 206
        if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise DataError(
                f"{remote.url}: asked for bytes from {have} on, the server sent "
                f"{answer.headers.get('Content-Range')}"
            )
        if have and not goes_on:
            log.info("%s: the server does not resume; starting again", remote.url)
        with part.open("ab" if goes_on else "wb") as file:
            have = have if goes_on else 0
            while block := answer.read(BLOCK):
                file.write(block)
                have += len(block)
                report(min(have, remote.size), remote.size)
                if have > remote.size:
                    return


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _problem(remote: RemoteFile, path: Path) -> str | None:
    """Say why a file is not the one that was asked for."""
    if _length(path) != remote.size:
        return f"has {_length(path)} bytes, not {remote.size}"
    if remote.sha256 is None:
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    found = digest.hexdigest()
    return None if found == remote.sha256 else f"has SHA-256 {found}, not {remote.sha256}"
