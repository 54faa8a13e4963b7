"""Files that are written whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from heatpose.errors import DataError


@contextlib.contextmanager
def write_whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary file beside ``path`` to write to, and put it in place when all went well.

    A reader sees the previous file or the new one, never half of one: the content is on the disk
    before the name changes. After any error, an interrupt included, the temporary file is gone
    and ``path`` is as it was. A process that is killed leaves at most a hidden file
    ``.STEM.XXXXXXXX.EXT`` behind. The temporary name ends as the true one does, because some
    writers (OpenCV, trimesh) choose the format by it.

        with write_whole("poses.json") as temporary:
            temporary.write_text(text)

    Raises:
        DataError: the file cannot be written: the disk is full, the folder missing or read-only.
            Only an `OSError` tells so; give this the bytes of writers that hide it (torch).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem[:100]}.{secrets.token_hex(4)}{path.suffix}")
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        # An error that names another file comes from reading, and is not ours to explain.
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            raise DataError(f"cannot write {path}: {error.strerror or error}") from error
        raise


def _flush(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
