"""Values out of JSON files, and the words for what is wrong with them."""

import json

import numpy as np
import pytest

from heatpose.data.fields import (
    Record,
    read_by_id,
    read_json,
    records_in,
    rotation_problem,
    write_json,
)
from heatpose.errors import DataError
from heatpose.geometry.rotations import random_rotation


@pytest.mark.parametrize("value", [[{"a": 1}, {"b": [0.1, 2]}], {"3": [1], "12": {"c": "é"}}, []])
def test_what_is_written_is_read(tmp_path, value):
    write_json(tmp_path / "file.json", value)
    assert read_json(tmp_path / "file.json") == value


def test_nan_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "file.json", [float("nan")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "file.json is not JSON"),
        (b'{"a": 1, "b": 2, "a": 3}', "file.json has the key 'a' twice"),
        (b"\xff\xfe\x00\x80", "file.json is not text"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, message):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_json(path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no file at .*none\.json"):
        read_json(tmp_path / "none.json")
    with pytest.raises(DataError, match=r"cannot read .*: Is a directory"):
        read_json(tmp_path)


def test_a_byte_order_mark_does_no_harm(tmp_path):
    (tmp_path / "file.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "file.json") == [1]


@pytest.mark.parametrize("value", [None, True, "7", [7], float("nan"), float("inf")])
def test_a_number_is_a_finite_number(value):
    with pytest.raises(DataError, match="here: key must be a finite number, got"):
        Record("here", {"key": value}).number("key")


def test_a_whole_number_may_look_like_a_float():
    assert Record("here", {"key": 7.0}).integer("key") == 7
    with pytest.raises(DataError, match=r"here: key must be a whole number, got 7\.5"):
        Record("here", {"key": 7.5}).integer("key")


def test_a_missing_key_is_named():
    with pytest.raises(DataError, match=r"^here lacks key$"):
        Record("here", {}).number("key")


def test_matrices_come_nested_or_flat_row_by_row():
    rows = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    for value in (rows, np.ravel(rows).tolist()):
        np.testing.assert_array_equal(Record("here", {"key": value}).matrix("key"), rows)
    with pytest.raises(DataError, match=r"here: key must be 9 finite numbers, got \[1, 2\]"):
        Record("here", {"key": [1, 2]}).matrix("key")


def test_lists_and_objects_are_told_apart():
    with pytest.raises(DataError, match="here must be a JSON list, got 5"):
        list(records_in("here", 5))
    with pytest.raises(DataError, match="here, entry 1 must be a JSON object, got 5"):
        list(records_in("here", [{}, 5]))


def test_ids_are_whole_numbers(tmp_path):
    (tmp_path / "file.json").write_text(json.dumps({"3": "x", "a": "y"}))
    with pytest.raises(DataError, match="the key 'a' must be the whole number of an image"):
        list(read_by_id(tmp_path / "file.json", "image"))


def test_long_values_are_cut(tmp_path):
    with pytest.raises(DataError) as caught:
        Record("here", {"key": list(range(1000))}).numbers("key", 3)
    assert len(str(caught.value)) < 200


def test_rounded_rotations_pass_and_others_do_not(rng):
    rotation = random_rotation(rng)
    assert rotation_problem(rotation) is None
    assert rotation_problem(rotation.round(4)) is None
    assert "differs from the identity by 0.21" in rotation_problem(1.1 * rotation)
    assert "reflection" in rotation_problem(-rotation)
    with pytest.raises(DataError, match="here: key is not a rotation: R R"):
        Record("here", {"key": [1.0] * 9}).rotation("key")
