import json
from dataclasses import replace

import numpy as np
import pytest

from heatpose.errors import DataError, MeshError, UnknownObjectError
from heatpose.objects.catalogue import (
    ObjectModel,
    object_from_record,
    object_to_record,
    read_models,
    read_objects,
)
from heatpose.objects.mesh import write_mesh

FLIP = [-1, 0, 0, 10, 0, -1, 0, -16, 0, 0, 1, 0, 0, 0, 0, 1]
DIAMETER = float(np.linalg.norm([60, 90, 120]))


@pytest.fixture
def folder(tmp_path, brick_mesh, cube_mesh):
    """A models folder with a symmetric brick (2) and a cube (10)."""
    write_mesh(tmp_path / "obj_000002.ply", brick_mesh)
    write_mesh(tmp_path / "obj_000010.ply", cube_mesh)
    (tmp_path / "notes.txt").write_text("not a model")
    write_infos(
        tmp_path, {"2": {"diameter": 155.0, "symmetries_discrete": [FLIP], "name": "brick"}}
    )
    return tmp_path


def write_infos(folder, infos):
    (folder / "models_info.json").write_text(json.dumps(infos))


def test_a_models_folder_gives_objects_by_id(folder):
    models = read_models(folder, 16)
    assert list(models) == [2, 10]
    brick, cube = models.values()
    assert (brick.object_id, brick.name, brick.diameter) == (2, "brick", 155.0)
    np.testing.assert_array_equal(brick.symmetries, [np.eye(4), np.reshape(FLIP, (4, 4))])
    # Nothing is said of the cube: its name is the file's, its diameter is measured.
    assert (cube.object_id, cube.name) == (10, "obj_000010")
    assert cube.diameter == pytest.approx(80 * np.sqrt(3))
    assert cube.symmetries.shape == (1, 4, 4)
    assert cube.keypoints.shape == (16, 3)


def test_only_the_objects_asked_for_are_read(folder):
    assert list(read_models(folder, 9, "bbox", ids=[10])) == [10]
    with pytest.raises(UnknownObjectError, match=r"object 3 is not one of \[2, 10\]"):
        read_models(folder, ids=[2, 3])


def test_a_folder_without_infos_is_measured(folder):
    (folder / "models_info.json").unlink()
    assert read_models(folder)[2].diameter == pytest.approx(DIAMETER)


@pytest.mark.parametrize(
    ("infos", "error", "message"),
    [
        ({"2": {"diameter": 0.155}}, MeshError, "has diameter 161.6 mm, but models_info.json says"),
        ({"2": {"diameter": 1616.0}}, MeshError, r"models_info\.json says 1616 mm for object 2"),
        ({"2": {"symmetries_discrete": [[1]]}}, DataError, "16 finite numbers"),
        ([1, 2], DataError, r"models_info\.json must map object ids to objects"),
        ({"2": 7}, DataError, r"models_info\.json must map object ids to objects"),
    ],
)
def test_wrong_infos_are_refused(folder, infos, error, message):
    write_infos(folder, infos)
    with pytest.raises(error, match=message):
        read_models(folder)


def test_broken_folders_are_refused(folder, tmp_path):
    (folder / "models_info.json").write_text("{")
    with pytest.raises(DataError, match=r"models_info\.json is not JSON"):
        read_models(folder)
    with pytest.raises(DataError, match=r"folder .*gone is missing"):
        read_models(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no obj_\*\.ply"):
        read_models(tmp_path / "empty")


def test_single_files_are_numbered_as_given(folder):
    files = [folder / "obj_000010.ply", folder / "obj_000002.ply"]
    models = read_objects(files, "cm", 9, "bbox")
    assert [(i, m.object_id, m.name) for i, m in models.items()] == [
        (1, 1, "obj_000010"),
        (2, 2, "obj_000002"),
    ]
    assert models[2].diameter == pytest.approx(10 * DIAMETER)


def test_a_record_gives_the_object_back(folder):
    model = read_models(folder, 16)[2]
    record = json.loads(json.dumps(object_to_record(model, "obj_000002.ply")))
    assert set(record) == {"id", "name", "diameter_mm", "keypoints_mm", "symmetries", "mesh"}
    back = object_from_record(record, folder)
    assert (back.object_id, back.name, back.diameter) == (2, "brick", 155.0)
    np.testing.assert_array_equal(back.keypoints, model.keypoints)
    np.testing.assert_array_equal(back.symmetries, model.symmetries)
    np.testing.assert_array_equal(back.mesh.vertices, model.mesh.vertices)


def test_and_what_is_known_of_the_symmetries_of_its_shape(folder):
    model = read_models(folder, 16)[2]
    assert model.shape_symmetries is None
    for known in ({}, {"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]}):
        record = object_to_record(replace(model, shape_symmetries=known), "obj_000002.ply")
        back = object_from_record(json.loads(json.dumps(record)), folder)
        assert back.shape_symmetries == known
    wrong = record | {"shape_symmetries": {"symmetries_discrete": [[1, 2, 3]]}}
    with pytest.raises(DataError, match="symmetries_discrete must be 16 finite numbers"):
        object_from_record(wrong, folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "object record in .*: name: "),
        ({"diameter_mm": -1}, "diameter_mm: .*greater than 0"),
        ({"keypoints_mm": [[1, 2]]}, r"keypoints_mm\.0\.2: Field required"),
        ({"keypoints_mm": [[1, 2, float("nan")]]}, r"keypoints_mm\.0\.2: .*finite"),
        ({"keypoints_mm": []}, "keypoints_mm: "),
        ({"symmetries": [[[1, 0], [0, 1]]]}, r"symmetries must be \(m, 4, 4\)"),
        ({"symmetries": [np.diag([-1, -1, 1, 1]).tolist()]}, "must be the identity"),
        ({"mesh": "gone.ply"}, r"gone\.ply is missing"),
        ({"mesh": "../part.ply"}, r"mesh \.\./part\.ply lies outside"),
    ],
)
def test_a_wrong_record_is_named_by_its_key(folder, change, message):
    record = object_to_record(read_models(folder, 16)[2], "obj_000002.ply")
    with pytest.raises(DataError, match=message):
        object_from_record(record | change, folder)
    with pytest.raises(DataError, match=f"{next(iter(change))}: Field required"):
        object_from_record({k: v for k, v in record.items() if k not in change}, folder)
    with pytest.raises(DataError):
        object_from_record([record], folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": np.zeros((0, 3))}, r"keypoints must be finite \(k, 3\), got \(0, 3\)"),
        ({"keypoints": np.full((4, 3), np.nan)}, "keypoints must be finite"),
        ({"symmetries": np.eye(4)}, r"symmetries must be \(m, 4, 4\), got \(4, 4\)"),
        ({"diameter": 0.0}, "diameter must be positive, got 0.0"),
    ],
)
def test_an_object_checks_itself(folder, change, message):
    model = read_models(folder, 16, ids=[2])[2]
    with pytest.raises(ValueError, match=message):
        ObjectModel(**{**vars(model), **change})


@pytest.mark.real
def test_the_models_of_linemod_have_names_and_keypoints(real_data):
    models = read_models(real_data / "lmo" / "models", ids=[1, 10])
    assert [m.keypoints.shape for m in models.values()] == [(32, 3), (32, 3)]
    assert [len(m.symmetries) for m in models.values()] == [1, 2]
    assert read_models(real_data / "lm" / "models", 9, "bbox", [2])[2].name == "benchvise"
