from dataclasses import replace

import numpy as np
import pytest

from heatpose.data.bop import BopDataset, read_scene_gt_info, write_scene_gt_info
from heatpose.data.detection_scenes import _shrunk, cut_pieces, find_frames
from heatpose.data.image_memory import ImageMemory
from heatpose.errors import DataError, UnknownObjectError
from heatpose.geometry.boxes import box_of_mask


def dataset(folder):
    return BopDataset(folder, "train")


def test_small_masks_unpack_to_what_they_were(rng):
    for _ in range(20):
        mask = np.zeros((30, 40), bool)
        top, left = rng.integers(0, 20), rng.integers(0, 30)
        mask[top : top + rng.integers(1, 10), left : left + rng.integers(1, 10)] = True
        mask &= rng.random(mask.shape) < 0.8
        small = _shrunk(mask)
        again = np.zeros_like(mask)
        place = (
            slice(small.top, small.top + small.height),
            slice(small.left, small.left + small.width),
        )
        again[place] = small.unpacked()
        np.testing.assert_array_equal(again, mask)
        assert small.bits.nbytes <= mask.sum() * 40 / 8 + 1


def test_frames_hold_what_is_looked_for_and_its_masks(drawn_bop):
    frames = find_frames([dataset(drawn_bop(n_images=3))], [2, 1])
    assert [frame.image_id for frame in frames] == [0, 1, 2]
    for frame in frames:
        assert [seen.label for seen in frame.objects] == [1, 0]  # the file has 1, 2 and 9
        for seen in frame.objects:
            box = box_of_mask(seen.mask.unpacked())
            moved = np.array(box) + [seen.mask.left, seen.mask.top] * 2
            np.testing.assert_array_equal(moved, seen.box)


def test_without_mask_files_there_are_boxes_and_no_pieces(drawn_bop):
    data = dataset(drawn_bop(n_images=2, masks=False))
    frames = find_frames([data], [1, 2])
    assert all(seen.mask is None for frame in frames for seen in frame.objects)
    images = ImageMemory([data.image_path(0, 0), data.image_path(0, 1)], 1e6)
    assert cut_pieces(frames, images, 2, 10) == [[], []]


def test_several_data_sets_are_one(drawn_bop):
    both = [dataset(drawn_bop("one", 2)), dataset(drawn_bop("other", 3))]
    frames = find_frames(both, [1])
    assert [frame.dataset for frame in frames] == [both[0]] * 2 + [both[1]] * 3


def test_pieces_show_one_object_whole(drawn_bop):
    data = dataset(drawn_bop())
    frames = find_frames([data], [1, 2])
    images = ImageMemory([data.image_path(0, i) for i in range(6)], 1e7)
    for label, pieces in enumerate(cut_pieces(frames, images, 2, most=4)):
        assert 0 < len(pieces) <= 4
        for piece in pieces:
            assert (piece.colours[piece.mask].argmax(axis=1) == label).all()  # pure red, green
            assert piece.mask.any(axis=0).all() and piece.mask.any(axis=1).all()
            assert piece.image_side == 160


def test_hidden_objects_are_not_cut_out(drawn_bop):
    data = dataset(drawn_bop())
    frames = find_frames([data], [1, 2])
    hidden = [
        replace(f, objects=tuple(replace(seen, visible_fraction=0.5) for seen in f.objects))
        for f in frames
    ]
    images = ImageMemory([data.image_path(0, i) for i in range(6)], 1e7)
    assert any(cut_pieces(frames, images, 2, 4)) and not any(cut_pieces(hidden, images, 2, 4))


def test_an_object_that_is_never_seen_is_an_error(drawn_bop):
    with pytest.raises(UnknownObjectError, match=r"object 4 is not seen in .*drawn/train"):
        find_frames([dataset(drawn_bop())], [1, 4])


def test_a_data_set_without_images_is_an_error(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="no images in"):
        find_frames([dataset(tmp_path)], [1])


def test_poses_and_visibilities_of_other_numbers_are_an_error(drawn_bop):
    folder = drawn_bop(n_images=1)
    info = folder / "train" / "000000" / "scene_gt_info.json"
    write_scene_gt_info(info, {0: read_scene_gt_info(info)[0][:2]})
    with pytest.raises(DataError, match=r"image 0 has 3 objects in scene_gt.json and 2 in"):
        find_frames([dataset(folder)], [1])
