"""The part of YAML that data sets are written in."""

import pytest

from heatpose.data.plain_yaml import read_yaml
from heatpose.errors import DataError

VALUES = {
    0: [
        {"cam_R_m2c": [0.1, -2.5e-3, 3.0], "obj_bb": [244, -1, 44, 58], "obj_id": 1},
        {"cam_t_m2c": [-105.3577, 1014.877], "obj_id": 10},
    ],
    12: [],
    "name": "driller, green",
    "nested": {"deep": {"K": [[1.0, 0.0], [0.0, 1.0]]}, "flag": True, "nothing": None},
}


@pytest.fixture
def read(tmp_path):
    """A function that reads a text as a file."""

    def read_text(text):
        (tmp_path / "gt.yml").write_text(text)
        return read_yaml(tmp_path / "gt.yml")

    return read_text


@pytest.mark.parametrize("flow", [None, False, True], ids=["mixed", "block", "flow"])
@pytest.mark.parametrize("width", [20, 10_000])
def test_what_yaml_libraries_write_is_read_as_they_read_it(read, flow, width):
    yaml = pytest.importorskip("yaml")
    assert read(yaml.safe_dump(VALUES, default_flow_style=flow, width=width)) == VALUES


def test_a_file_of_poses_by_hand(read):
    text = """---
# poses
0:
- cam_R_m2c: [1.0, 0, 0,
    0, 1.0, 0]   # the third row is missing
  obj_id: 1
- obj_id: 2
1:
  - {obj_id: 3, cam_t_m2c: [1, 2, .5]}
"""
    assert read(text) == {
        0: [{"cam_R_m2c": [1.0, 0, 0, 0, 1.0, 0], "obj_id": 1}, {"obj_id": 2}],
        1: [{"obj_id": 3, "cam_t_m2c": [1, 2, 0.5]}],
    }


def test_an_empty_file_is_none(read):
    assert read("# nothing\n\n") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0: [1, 2\n", "line 1: a bracket is not closed"),
        ("0: {a 1}\n", "line 1: 'a 1' has no value"),
        ("0: [1 2] 3\n", "line 1: '3' follows what was complete"),
        ("0: 1\n0: 2\n", "line 2: the key 0 is there twice"),
        ("a:\n    b: 1\n  c: 2\n", "line 3: its indentation fits nothing above"),
        ("a: &anchor 1\n", "line 1: '&anchor 1' is not a plain value"),
        ("a: |\n  text\n", "line 1: '|' is not a plain value"),
        ("\ta: 1\n", "line 1 is indented with tabs"),
    ],
)
def test_what_is_not_plain_is_named_with_its_line(read, text, problem):
    with pytest.raises(DataError) as error:
        read(text)
    assert problem in str(error.value) and "gt.yml" in str(error.value)
