"""The depth files of the LINEMOD archive of 2012: rows, columns, then mm as uint16, row by row."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heatpose.errors import DataError
from heatpose.files import write_whole

LARGEST = 1 << 14  # side of a picture, px: a file that says more is no depth file


def read_dpt(path: Path) -> NDArray[np.uint16]:
    """Read a depth file: (h, w), mm, 0 where nothing was measured.

    Raises:
        DataError: there is no such file, or it is not as long as it says.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    if len(content) < 8:
        raise DataError(f"{path} has {len(content)} bytes, too few for a depth file")
    rows, columns = (int(n) for n in np.frombuffer(content[:8], "<i4"))
    if not (0 < rows <= LARGEST and 0 < columns <= LARGEST):
        raise DataError(f"{path} is no depth file: it says {rows} rows and {columns} columns")
    expected = 8 + 2 * rows * columns
    if len(content) != expected:
        raise DataError(
            f"{path} must have {expected} bytes for {rows} x {columns} values, got {len(content)}"
        )
    return np.frombuffer(content[8:], "<u2").reshape(rows, columns)


def write_dpt(path: Path, depth: NDArray[np.uint16]) -> None:
    """Write depth (h, w), mm, 0 where nothing was measured."""
    with write_whole(path) as part:
        header = np.array(depth.shape, "<i4").tobytes()
        part.write_bytes(header + depth.astype("<u2").tobytes())
