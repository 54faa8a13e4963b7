"""Data sets of other layouts, written as BOP has them."""

import json

import numpy as np
import pytest

from heatpose.data.bop import BopDataset, Target
from heatpose.data.conversion import convert, part_of
from heatpose.data.images import read_depth, read_image, read_mask
from heatpose.data.recognise import read_source
from heatpose.errors import DataError, OptionError
from heatpose.geometry.transforms import transform_points
from heatpose.objects.mesh import diameter, read_mesh


def write_preprocessed(lab, root):
    lab.write_preprocessed(root)


def write_original(lab, root):
    lab.write_original(root, registered=(1,))


def write_bop(lab, root):
    lab.write_bop(root)


WRITERS = [write_preprocessed, write_original, write_bop]


def every_file(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("write", WRITERS)
def test_what_is_converted_says_what_the_source_says(toy_lab, tmp_path, write):
    write(toy_lab, tmp_path / "source")
    source = read_source(tmp_path / "source")
    convert(source, tmp_path / "out")
    for frame in source.frames:
        dataset = BopDataset(tmp_path / "out", frame.split)
        ids = frame.scene_id, frame.image_id
        for stated, written in zip(frame.read_truth(), dataset.ground_truth(*ids), strict=True):
            assert stated.object_id == written.object_id
            np.testing.assert_allclose(
                stated.camera_from_object, written.camera_from_object, atol=1e-9
            )
        np.testing.assert_array_equal(read_image(dataset.image_path(*ids)), read_image(frame.image))
        depth = read_depth(dataset.depth_path(*ids), dataset.frame_camera(*ids).depth_scale)
        np.testing.assert_array_equal(depth, frame.read_depth())
        assert dataset.camera(*ids) == frame.camera()
    for one, model in source.models.items():
        mesh = read_mesh(dataset.model_path(one), "mm")
        np.testing.assert_allclose(mesh.vertices, model.read().vertices, atol=1e-4)
        info = dataset.models_info(evaluate=False)[one]
        assert info["diameter"] == pytest.approx(diameter(mesh), abs=1e-3)
        assert info["size_x"] == pytest.approx(mesh.extents[0], abs=1e-3)
    again = read_source(tmp_path / "out")
    assert again.layout == "a BOP data set"
    assert len(again.frames) == len(source.frames)


def test_lists_of_linemod_preprocessed_become_splits(toy_lab, tmp_path):
    toy_lab.write_preprocessed(tmp_path / "source")
    convert(read_source(tmp_path / "source"), tmp_path / "out")
    assert BopDataset(tmp_path / "out", "train").image_ids(1) == [0, 2, 4]
    dataset = BopDataset(tmp_path / "out", "test")
    assert dataset.image_ids(5) == [1, 3]
    # Object 1 is in the pictures of scene 5 too, but they are those of object 5.
    assert dataset.targets() == [Target(s, i, s) for s in (1, 5) for i in (1, 3)]
    assert [one.object_id for one in dataset.ground_truth(5, 1)] == [5, 1]


def test_masks_and_boxes_are_those_of_what_is_seen(toy_lab, tmp_path):
    toy_lab.write_bop(tmp_path / "source")
    convert(read_source(tmp_path / "source"), tmp_path / "out")
    dataset = BopDataset(tmp_path / "out")
    for (scene_id, image_id), (_, _, pairs, seen) in toy_lab.pictures.items():
        for index in range(len(pairs)):
            mask = read_mask(dataset.visible_mask_path(scene_id, image_id, index))
            np.testing.assert_array_equal(mask, seen.mask(index))
            info = dataset.gt_info(scene_id, image_id)[index]
            assert info.visible_pixels == mask.sum()
            assert info.visible_fraction == pytest.approx(seen.visible_fraction(index), abs=0.02)
    everything = {(t.scene_id, t.image_id, t.object_id) for t in dataset.targets()}
    assert everything == {
        (s, i, o) for (s, i), (_, _, p, _) in toy_lab.pictures.items() for o, _ in p
    }


def test_what_measured_depth_shows_in_front_hides_an_object(toy_lab, tmp_path):
    toy_lab.write_bop(tmp_path / "source")
    path = tmp_path / "source" / "test" / "000001" / "depth" / "000002.png"
    from PIL import Image

    depth = np.array(Image.open(path))
    expected = toy_lab.pictures[1, 2][3].mask(0).copy()
    middle = int(np.flatnonzero(expected.any(axis=0)).mean())
    depth[:, :middle] = 300  # something nearer covers the left half of the object
    Image.fromarray(depth).save(path)
    convert(read_source(tmp_path / "source"), tmp_path / "out")
    mask = read_mask(BopDataset(tmp_path / "out").visible_mask_path(1, 2, 0))
    expected[:, :middle] = False
    np.testing.assert_array_equal(mask, expected)


def test_masks_that_the_source_has_are_kept(toy_lab, tmp_path):
    toy_lab.write_preprocessed(tmp_path / "source")
    path = tmp_path / "source" / "data" / "01" / "mask" / "0001.png"
    from PIL import Image

    half = np.array(Image.open(path))
    rows = np.flatnonzero(half.any(axis=(1, 2)))
    half[: int(rows.mean())] = 0
    Image.fromarray(half).save(path)
    convert(read_source(tmp_path / "source"), tmp_path / "out")
    dataset = BopDataset(tmp_path / "out", "test")
    np.testing.assert_array_equal(read_mask(dataset.visible_mask_path(1, 1, 0)), half[..., 0] > 0)
    assert 0.3 < dataset.gt_info(1, 1)[0].visible_fraction < 0.7


def test_symmetries_that_nobody_states_are_found(tmp_path, small_bop):
    source = (
        small_bop()
    )  # its models_info.json states a half turn of the cube, and none of object 1
    convert(read_source(source), tmp_path / "out")
    infos = json.loads((tmp_path / "out" / "models" / "models_info.json").read_text())
    stated = json.loads((source / "models_eval" / "models_info.json").read_text())
    assert infos["2"]["symmetries_discrete"] == stated["2"]["symmetries_discrete"]


class Stop(Exception):
    """Somebody ends the process."""


def interrupted(after):
    def progress(frames):
        for count, frame in enumerate(frames):
            if count == after:
                raise Stop
            yield frame

    return progress


def test_an_interrupted_conversion_loses_nothing_and_goes_on(toy_lab, tmp_path):
    toy_lab.write_preprocessed(tmp_path / "source")
    source = read_source(tmp_path / "source")
    convert(source, tmp_path / "whole")
    out = tmp_path / "out"
    with pytest.raises(Stop):
        convert(source, out, interrupted(after=6))
    assert not out.exists() and part_of(out).is_dir()
    left = []

    def count(frames):
        left.extend(frames)
        return frames

    convert(source, out, count)
    assert len(left) == len(source.frames) - 6
    assert not part_of(out).exists()
    assert every_file(out) == every_file(tmp_path / "whole")


def test_a_damaged_file_is_named_and_the_rest_goes_on_once_it_is_mended(toy_lab, tmp_path):
    toy_lab.write_original(tmp_path / "source")
    depth = tmp_path / "source" / "can" / "data" / "depth3.dpt"
    whole = depth.read_bytes()
    depth.write_bytes(whole[:-5])
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"depth3.dpt must have 614408 bytes"):
        convert(read_source(tmp_path / "source"), out)
    assert not out.exists()
    depth.write_bytes(whole)
    convert(read_source(tmp_path / "source"), out)
    assert BopDataset(out).image_ids(5) == [0, 1, 2, 3, 4]


def test_a_folder_that_is_there_is_not_written_to(toy_lab, tmp_path):
    toy_lab.write_bop(tmp_path / "source")
    (tmp_path / "out").mkdir()
    with pytest.raises(OptionError, match="out is there already"):
        convert(read_source(tmp_path / "source"), tmp_path / "out")


def test_another_conversion_does_not_go_on_with_one_that_was_begun(toy_lab, tmp_path):
    toy_lab.write_bop(tmp_path / "first")
    toy_lab.write_original(tmp_path / "second")
    out = tmp_path / "out"
    with pytest.raises(Stop):
        convert(read_source(tmp_path / "first"), out, interrupted(after=1))
    with pytest.raises(
        OptionError, match=r"was begun from .*first with 10 frames, not from .*second"
    ):
        convert(read_source(tmp_path / "second"), out)


def test_poses_are_the_same_after_the_way_through_bop(toy_lab, tmp_path):
    """From the archive's frames to BOP files and back: the same surface, in mm."""
    toy_lab.write_original(tmp_path / "source")
    convert(read_source(tmp_path / "source"), tmp_path / "out")
    for frame in read_source(tmp_path / "out").frames:
        ((object_id, pose),) = frame.read_truth()
        drawn = dict(toy_lab.pictures[frame.scene_id, frame.image_id][2])[object_id]
        mesh = read_source(tmp_path / "out").models[object_id].read()
        np.testing.assert_allclose(
            transform_points(pose, mesh.vertices),
            transform_points(drawn, toy_lab.meshes[object_id].vertices),
            atol=1e-3,
        )
