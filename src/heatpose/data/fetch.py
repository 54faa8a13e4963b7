"""BOP data sets from the place where they are published: fetched, checked and unpacked."""

import json
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from heatpose.data.archives import DATASETS, HOST, OWNER
from heatpose.data.download import TIMEOUT, RemoteFile, Report, download
from heatpose.data.fields import Record, read_json, records_in, write_json
from heatpose.errors import DataError, OptionError

RECORD = "fetched.json"  # SHA-256 (or size) of each archive that is unpacked, by name


def fetch(
    name: str,
    out: Path,
    parts: Sequence[str],
    report: Callable[[str], Report],
    host: str = HOST,
    keep: bool = False,
    pause: float = 1.0,
) -> list[str]:
    """Fetch parts of a data set and unpack them; what is there already is left as it is.

    Args:
        name: of the data set, see `heatpose.data.archives`.
        out: its folder.
        parts: as in `Archives`; none for the usual ones.
        report: gives, for the name of an archive, what is told how far it is.
        host: the server, or a mirror of it.
        keep: leave the archives where they were fetched to, OUT/archives.
        pause: see `download`.

    Returns:
        The archives that were unpacked now.

    Raises:
        OptionError: no such data set or part.
        DataError: the server cannot be asked or sends something else, or an archive is damaged.
    """
    wanted = _archive_names(name, parts)
    remote = remote_files(name, host)
    missing = [archive for archive in wanted if archive not in remote]
    if missing:
        there = ", ".join(sorted(remote))
        raise OptionError(f"{host} has no {missing[0]} of {name}; it has {there}")
    folder = out / "archives"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror}") from None
    record = out / RECORD
    done: dict[str, str] = dict(read_json(record)) if record.is_file() else {}
    unpacked = []
    for archive in wanted:
        file = remote[archive]
        if done.get(archive) == _fingerprint(file):
            continue
        path = folder / archive
        if not path.is_file():
            download(file, path, report(archive), pause)
        unpack(path, out, name)
        done[archive] = _fingerprint(file)
        write_json(record, done)
        unpacked.append(archive)
        if not keep:
            path.unlink()
    if not keep and not any(folder.iterdir()):
        folder.rmdir()
    return unpacked


def _archive_names(name: str, parts: Sequence[str]) -> list[str]:
    if name not in DATASETS:
        raise OptionError(f"{name} is not one of {', '.join(DATASETS)}")
    known = DATASETS[name]
    for part in parts:
        if part not in known.parts:
            raise OptionError(f"{name} has no part {part}; it has {', '.join(known.parts)}")
    return [f"{name}_{part}.zip" for part in parts or known.usual]


def remote_files(name: str, host: str = HOST) -> dict[str, RemoteFile]:
    """Ask the server for the files of a data set, their sizes and checksums.

    Raises:
        DataError: it does not answer, or not as it should.
    """
    url = f"{host}/api/datasets/{OWNER}/{name}/tree/main"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            listed = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise DataError(f"{url}: {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{url}: {error}") from None
    files = {}
    for record in records_in(url, listed):
        if record.values.get("type") != "file":
            continue
        path = str(record.take("path"))
        large = record.values.get("lfs")
        checksum = Record(record.place, large).take("oid") if isinstance(large, Mapping) else None
        place = f"{host}/datasets/{OWNER}/{name}/resolve/main/{path}"
        files[path] = RemoteFile(place, record.integer("size"), checksum)
    return files


def _fingerprint(file: RemoteFile) -> str:
    return file.sha256 or f"{file.size} bytes"


def unpack(archive: Path, out: Path, name: str) -> None:
    """Unpack an archive into the folder of a data set; some have that folder in them, some not.

    Each file comes into being under another name, so that one with its name is whole. Files that
    are there already, as long as they should be, stay.

    Raises:
        DataError: the archive is damaged, or would write outside the folder.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                if not member.is_dir():
                    _unpack_one(opened, member, out / _inside(archive, member.filename, name))
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise DataError(f"{archive} is damaged: {error}") from None
    except OSError as error:
        raise DataError(f"cannot write {error.filename or out}: {error.strerror}") from None


def _unpack_one(opened: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path) -> None:
    if place.is_file() and place.stat().st_size == member.file_size:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.part")
    with opened.open(member) as source, part.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    part.replace(place)


def _inside(archive: Path, filename: str, name: str) -> Path:
    """Return where in the folder of a data set a file of an archive belongs."""
    path = PurePosixPath(filename)
    if path.is_absolute() or ".." in path.parts or "\\" in filename:
        raise DataError(f"{archive} would write {filename}, outside of its folder")
    parts = path.parts[1:] if path.parts[0] == name and len(path.parts) > 1 else path.parts
    return Path(*parts)
