"""Depth files of the LINEMOD archive."""

import struct

import numpy as np
import pytest

from heatpose.data.dpt import read_dpt, write_dpt
from heatpose.errors import DataError


def test_depth_comes_back_as_it_was(tmp_path, rng):
    depth = rng.integers(0, 2**16, (48, 64), dtype=np.uint16)
    write_dpt(tmp_path / "depth0.dpt", depth)
    np.testing.assert_array_equal(read_dpt(tmp_path / "depth0.dpt"), depth)


def test_a_file_by_hand(tmp_path):
    content = struct.pack("<ii", 2, 3) + struct.pack("<6H", 1, 2, 3, 900, 901, 65535)
    (tmp_path / "depth0.dpt").write_bytes(content)
    np.testing.assert_array_equal(read_dpt(tmp_path / "depth0.dpt"), [[1, 2, 3], [900, 901, 65535]])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"abc", "has 3 bytes, too few for a depth file"),
        (struct.pack("<ii", 2, -3), "it says 2 rows and -3 columns"),
        (struct.pack("<ii", 2, 3) + b"12", "must have 20 bytes for 2 x 3 values, got 10"),
    ],
)
def test_what_is_no_depth_file_is_named(tmp_path, content, problem):
    (tmp_path / "depth0.dpt").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        read_dpt(tmp_path / "depth0.dpt")
