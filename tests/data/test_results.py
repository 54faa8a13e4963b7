"""The results file of BOP: what is written is read, and a wrong line is named."""

import numpy as np
import pytest

from heatpose.data.results import HEADER, Result, read_results, write_results
from heatpose.errors import DataError

LINE = "2,3,8,0.5,0 -1 0 1 0 0 0 0 1,10.5 -20 700,0.25"


@pytest.fixture
def file(tmp_path):
    def write(text):
        (tmp_path / "poses.csv").write_text(text)
        return tmp_path / "poses.csv"

    return write


def test_results_come_back_to_the_last_bit(tmp_path, random_pose):
    results = [Result(2, 3, 8, 1 / 3, random_pose(), 0.1), Result(48, 1, 1, -5.0, random_pose())]
    write_results(tmp_path / "poses.csv", results)
    back = read_results(tmp_path / "poses.csv")
    for result, expected in zip(back, results, strict=True):
        np.testing.assert_array_equal(result.camera_from_object, expected.camera_from_object)
        for name in ("scene_id", "image_id", "object_id", "score", "time"):
            assert getattr(result, name) == getattr(expected, name)


def test_the_file_is_the_one_of_bop(tmp_path):
    write_results(tmp_path / "poses.csv", [Result(2, 3, 8, 0.5, np.eye(4))])
    assert (tmp_path / "poses.csv").read_text().splitlines() == [
        "scene_id,im_id,obj_id,score,R,t,time",
        "2,3,8,0.5,1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0 1.0,0.0 0.0 0.0,-1",
    ]


@pytest.mark.parametrize("text", [f"{HEADER}\n{LINE}\n", f"{HEADER}\r\n{LINE}\r\n\r\n", LINE])
def test_the_header_line_may_be_missing(file, text):
    (result,) = read_results(file(text))
    # R row by row: a quarter turn about z takes x to y.
    np.testing.assert_array_equal(result.camera_from_object @ [1, 0, 0, 1], [10.5, -19, 700, 1])
    assert (result.scene_id, result.image_id, result.object_id) == (2, 3, 8)
    assert (result.score, result.time) == (0.5, 0.25)


def test_an_unknown_time_is_none(file):
    (result,) = read_results(file(LINE.replace("0.25", "-1")))
    assert result.time is None


def test_a_file_without_poses_is_an_empty_list(tmp_path):
    write_results(tmp_path / "poses.csv", [])
    assert read_results(tmp_path / "poses.csv") == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",0.25", "", "poses.csv, line 2 must have 7 fields .*, got 6"),
        ("2,3,8", "2,x,8", "line 2: im_id must be a whole number, got 'x'"),
        ("8,0.5", "8,nan", "line 2: score must be a finite number, got 'nan'"),
        ("0 -1 0 1", "0 -1 0", "line 2: R must be 9 finite numbers, got '0 -1 0 0 0"),
        ("0 -1 0 1", "0 -1.2 0 1", "line 2: R is not a rotation: R R.T differs"),
        ("0 -1 0 1", "0 1 0 1", "line 2: R is not a rotation: it is a reflection"),
        ("10.5 -20 700", "10.5 -20 inf", "line 2: t must be 3 finite numbers"),
        ("10.5 -20 700", "10.5 -20 far", "line 2: t must be 3 finite numbers"),
        ("0.25", "", "line 2: time must be a finite number, got ''"),
    ],
)
def test_wrong_lines_are_named(file, old, new, message):
    with pytest.raises(DataError, match=message):
        read_results(file(f"{HEADER}\n{LINE.replace(old, new, 1)}\n"))


def test_what_is_not_finite_is_not_written(tmp_path):
    path = tmp_path / "poses.csv"
    path.write_text("before")
    with pytest.raises(ValueError, match="must be finite"):
        write_results(path, [Result(2, 3, 8, float("nan"), np.eye(4))])
    assert path.read_text() == "before"
