"""LINEMOD in the layouts it circulates in: each is recognised, and all say the same."""

import json
import shutil

import numpy as np
import pytest

from heatpose.data.recognise import read_source
from heatpose.data.source_original import read_points
from heatpose.errors import DataError
from heatpose.geometry.transforms import transform_points


@pytest.fixture
def preprocessed(toy_lab, tmp_path):
    toy_lab.write_preprocessed(tmp_path / "lm")
    return tmp_path / "lm"


@pytest.fixture
def original(toy_lab, tmp_path):
    toy_lab.write_original(tmp_path / "lm")
    return tmp_path / "lm"


@pytest.fixture
def bop(toy_lab, tmp_path):
    toy_lab.write_bop(tmp_path / "lm")
    return tmp_path / "lm"


def frames_by_ids(source):
    return {(frame.scene_id, frame.image_id): frame for frame in source.frames}


def assert_same_surface_in_camera(source, toy_lab, only_own=False):
    """Vertices of all objects lie where they lay when the pictures were drawn."""
    meshes = {one: model.read() for one, model in source.models.items()}
    frames = frames_by_ids(source)
    assert frames.keys() == toy_lab.pictures.keys()
    for ids, (_, depth, pairs, _) in toy_lab.pictures.items():
        frame = frames[ids]
        truth = dict(frame.read_truth())
        expected = {one: pose for one, pose in pairs if not only_own or one == ids[0]}
        assert truth.keys() == expected.keys()
        for one, pose in expected.items():
            np.testing.assert_allclose(
                transform_points(truth[one], meshes[one].vertices),
                transform_points(pose, toy_lab.meshes[one].vertices),
                atol=1e-3,
            )
        np.testing.assert_array_equal(frame.read_depth(), depth)
        assert frame.camera() == toy_lab.camera


def test_linemod_preprocessed(preprocessed, toy_lab):
    source = read_source(preprocessed)
    assert source.layout == "Linemod_preprocessed"
    assert_same_surface_in_camera(source, toy_lab)
    splits = {ids: frame.split for ids, frame in frames_by_ids(source).items()}
    assert [splits[1, i] for i in range(5)] == ["train", "test", "train", "test", "train"]
    assert source.models[1].info["diameter"] == pytest.approx(
        float(np.ptp(source.models[1].read().vertices, axis=0).max()), rel=0.5
    )


def test_masks_of_linemod_preprocessed_are_those_of_the_scenes_own_object(preprocessed, toy_lab):
    frame = frames_by_ids(read_source(preprocessed))[5, 3]
    np.testing.assert_array_equal(frame.read_mask(0), toy_lab.pictures[5, 3][3].mask(0))
    assert frame.read_mask(1) is None
    targets = read_source(preprocessed).targets["test"]
    assert {(t.scene_id, t.image_id, t.object_id) for t in targets} == {
        (s, i, s) for s in (1, 5) for i in (1, 3)
    }


@pytest.mark.parametrize("registered", [(1, 5), (1,)], ids=["mesh.ply", "OLDmesh.ply"])
def test_the_archive_of_2012(toy_lab, tmp_path, registered):
    toy_lab.write_original(tmp_path, registered)
    source = read_source(tmp_path)
    assert source.layout == "the LINEMOD archive of 2012"
    assert_same_surface_in_camera(source, toy_lab, only_own=True)
    assert source.models[5].info["name"] == "can"


def test_the_folder_of_one_object_of_the_archive(original):
    source = read_source(original / "can")
    assert {frame.scene_id for frame in source.frames} == {5}


def test_points_of_the_archive_are_those_of_its_mesh(original, toy_lab):
    points, normals, colours = read_points(original / "ape" / "object.xyz")
    mesh = toy_lab.archive_mesh(1)
    np.testing.assert_allclose(points, mesh.vertices, atol=1e-4)
    np.testing.assert_allclose(normals, mesh.normals, atol=1e-6)
    np.testing.assert_allclose(colours, mesh.colours / 255, atol=1e-6)


def test_bop(bop, toy_lab):
    source = read_source(bop)
    assert source.layout == "a BOP data set"
    assert_same_surface_in_camera(source, toy_lab)


def test_a_split_of_bop_alone(bop):
    shutil.copytree(bop / "test" / "000001", bop / "train" / "000007")
    assert {frame.scene_id for frame in read_source(bop).frames} == {1, 5, 7}
    assert {frame.scene_id for frame in read_source(bop, "train").frames} == {7}
    with pytest.raises(DataError, match="no scenes with ground truth in val"):
        read_source(bop, "val")


def test_other_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="has no layout that is known"):
        read_source(tmp_path)
    with pytest.raises(DataError, match="no folder at"):
        read_source(tmp_path / "missing")


def damage(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


def test_damage_in_linemod_preprocessed_is_named(preprocessed):
    damage(preprocessed / "data" / "01" / "train.txt", "0002", "0003")
    with pytest.raises(DataError, match=r"image 0003 is in both train.txt and test.txt"):
        read_source(preprocessed)
    damage(preprocessed / "data" / "01" / "info.yml", "\n3:\n", "\n33:\n")
    (preprocessed / "data" / "01" / "train.txt").unlink()
    with pytest.raises(DataError, match=r"info.yml lacks image 3"):
        read_source(preprocessed)


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("tra2.tra", "1 3", "3 3", r"tra2.tra must start with a line 1 3 and hold 3 numbers"),
        ("tra2.tra", ".", "x", r"tra2.tra must hold numbers"),
        ("rot2.rot", "0.", "9.", r"rot2.rot is not a rotation"),
    ],
)
def test_damage_in_the_archive_is_named(original, name, old, new, problem):
    damage(original / "ape" / "data" / name, old, new)
    frame = frames_by_ids(read_source(original))[1, 2]
    with pytest.raises(DataError, match=problem):
        frame.read_truth()


def test_an_object_of_the_archive_without_a_model_or_a_name_is_named(original):
    (original / "ape" / "mesh.ply").unlink()
    with pytest.raises(DataError, match=r"ape has neither mesh.ply nor OLDmesh.ply"):
        read_source(original)
    (original / "ape").rename(original / "apex")
    with pytest.raises(DataError, match="must have the name of an object of LINEMOD: ape"):
        read_source(original)


def test_bop_models_keep_what_is_said_of_them(bop):
    path = bop / "models" / "models_info.json"
    infos = json.loads(path.read_text())
    infos["1"]["symmetries_discrete"] = [np.eye(4).ravel().tolist()]
    path.write_text(json.dumps(infos))
    assert read_source(bop).models[1].info == infos["1"]
