"""Named files kept together, as a folder or as one zip archive that guards its every byte."""

import io
import os
import secrets
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from heatpose.errors import BundleError, DataError
from heatpose.files import write_whole
from heatpose.runtime.bundle_record import sha256

SUFFIX = ".heatpose"
RECORD = "bundle.json"

# What zipfile raises on damaged archives, by trial: every byte of one was changed.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,  # a compression that does not exist
    OSError,
    RuntimeError,  # said to be encrypted
    ValueError,
)
_SEAL = b"sha256 "  # starts the archive's comment, which ends in the SHA-256 of all bytes before
_SEAL_LENGTH = len(_SEAL) + 64


def write_files(path: Path, files: Mapping[str, bytes]) -> None:
    """Write files whole or not at all, zipped if the path ends in .heatpose, else as a folder.

    Raises:
        DataError: they cannot be written, or a folder that is no bundle is in the place.
    """
    if path.suffix == SUFFIX:
        with write_whole(path) as temporary:
            temporary.write_bytes(_zipped(files))
    else:
        _write_folder(path, files)


@contextmanager
def opened(path: Path) -> Iterator[Callable[[str], bytes]]:
    """Give a function that reads one of the files by its name.

    Raises:
        BundleError: there is nothing, a file is missing, or the archive is damaged.
    """
    if path.is_dir():
        yield lambda name: _read_from_folder(path, name)
        return
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}") from None
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except _ZIP_ERRORS:
        raise BundleError(f"{path} is damaged, or is not a bundle") from None
    with archive:
        yield lambda name: _read_from_zip(archive, path, name)
    _check_seal(content, path)


def _read_from_folder(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {name} of {path}: {error.strerror}") from None


def _read_from_zip(archive: zipfile.ZipFile, path: Path, name: str) -> bytes:
    if name not in archive.namelist():
        raise BundleError(f"{path} lacks {name}")
    try:
        return archive.read(name)
    except _ZIP_ERRORS:
        raise BundleError(f"{name} of {path} is damaged") from None


def _zipped(files: Mapping[str, bytes]) -> bytes:
    """Pack files into a zip archive; the same files always give the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 9)
        archive.comment = _SEAL + b"0" * 64  # so that its length is already the right one
    content = packed.getvalue()[:-_SEAL_LENGTH]
    return content + _SEAL + sha256(content).encode()


def _check_seal(content: bytes, path: Path) -> None:
    """Find changes in what zipfile passes over, such as dates and the archive's end.

    A folder that somebody zipped has no seal, and no comment: its end record comes last.
    """
    rest, seal = content[:-_SEAL_LENGTH], content[-_SEAL_LENGTH:]
    if seal.startswith(_SEAL):
        intact = seal == _SEAL + sha256(rest).encode()
    else:
        intact = content[-22:-18] == b"PK\5\6" and content[-2:] == b"\0\0"
    if not intact:
        raise BundleError(f"{path} was changed or damaged: its seal does not fit")


def _write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    if path.exists() and not (path / RECORD).is_file():
        raise DataError(f"{path} exists and is not a bundle")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        for name, content in files.items():
            place = temporary / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _put_in_place(temporary, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, path: Path) -> None:
    """Rename a folder to ``path``; what was there goes aside first, and comes back on failure."""
    if not path.exists():
        temporary.rename(path)
        return
    aside = temporary.with_suffix(".old")
    path.rename(aside)
    try:
        temporary.rename(path)
    except OSError:
        aside.rename(path)
        raise
    shutil.rmtree(aside)
