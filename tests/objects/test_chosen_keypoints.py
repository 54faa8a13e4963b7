import json

import numpy as np
import pytest

from heatpose.errors import DataError
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.chosen_keypoints import (
    ChosenKeypoints,
    read_chosen,
    with_chosen_keypoints,
    write_chosen,
)
from heatpose.objects.keypoints import select_keypoints
from heatpose.objects.mesh import diameter


@pytest.fixture
def model(brick_mesh):
    keypoints = select_keypoints(brick_mesh, "fps", 32)
    return ObjectModel(3, "brick", brick_mesh, keypoints, np.eye(4)[None], diameter(brick_mesh))


@pytest.fixture
def write(tmp_path, model):
    """A function that writes a file of keypoints for object 3, or another one."""

    def written(keypoints, object_id=3, size=model.diameter):
        chosen = ChosenKeypoints(object_id, "brick", size, np.asarray(keypoints), {"found": [1.0]})
        write_chosen(tmp_path / "keypoints.json", [chosen], {"views": 100}, "learned")
        return tmp_path / "keypoints.json"

    return written


def test_what_is_written_is_read_back(write, model):
    path = write(model.keypoints[5:15])
    strategy, chosen = read_chosen(path)
    assert strategy == "learned" and list(chosen) == [3]
    assert (chosen[3].name, chosen[3].diameter) == ("brick", model.diameter)
    assert chosen[3].notes == {"found": [1.0]}
    np.testing.assert_allclose(chosen[3].keypoints, model.keypoints[5:15], atol=1e-4)
    assert json.loads(path.read_text())["views"] == 100


def test_objects_get_the_first_keypoints_of_the_file(write, model):
    path = write(model.keypoints[::-1])
    [all_of_them], strategy = with_chosen_keypoints([model], path)
    [some], _ = with_chosen_keypoints([model], path, 6)
    assert strategy == "learned" and some.mesh is model.mesh
    np.testing.assert_allclose(all_of_them.keypoints, model.keypoints[::-1], atol=1e-4)
    np.testing.assert_allclose(some.keypoints, model.keypoints[:-7:-1], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"object_id": 4}, r"has keypoints of objects \[4\], none of 3"),
        ({"size": 0.1616}, "object 3 of diameter 0.1616 mm, this one has 161.6 mm"),
        ({"scale": 0.001}, "span 0.1[0-9]* mm, its diameter is 161.6 mm: .* in millimetres"),
        ({"scale": 10}, "keypoints of object 3 lie up to .* mm from its surface"),
        ({"shift": 60.0}, "keypoints of object 3 lie up to .* mm from its surface"),
        ({"rows": 3}, "has 3 keypoints of object 3, at least 4 are needed"),
        ({"count": 33}, "has 32 keypoints of object 3, at least 33 are needed"),
    ],
)
def test_keypoints_that_are_not_of_the_object_are_refused(write, model, change, message):
    keypoints = change.get("scale", 1.0) * model.keypoints + change.get("shift", 0.0)
    only = {name: change[name] for name in ("object_id", "size") if name in change}
    path = write(keypoints[: change.get("rows", 32)], **only)
    with pytest.raises(DataError, match=message):
        with_chosen_keypoints([model], path, change.get("count"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a file of keypoints"),
        ("[1]", "is not a file of keypoints"),
        ('{"format": 2}', "has format 2, this heatpose reads 1"),
        ('{"format": 1, "strategy": "learned", "objects": []}', "objects: List should have"),
        ('{"format": 1, "strategy": "x", "objects": [{"id": 1}]}', r"objects\.0\.diameter_mm"),
    ],
)
def test_files_that_cannot_be_used_are_refused_by_name(tmp_path, text, message):
    (tmp_path / "k.json").write_text(text)
    with pytest.raises(DataError, match=f"k.json.*{message}"):
        read_chosen(tmp_path / "k.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*k\.json"):
        read_chosen(tmp_path / "k.json")
