import numpy as np
import pytest

from heatpose.export.agreement import compare, rendered_crops
from heatpose.model.heatmaps import encode
from heatpose.objects.catalogue import ObjectModel


def drawn(keypoints):
    return encode(keypoints, 32, 32, 1.5)[None].astype(np.float32)


def test_the_shift_is_measured_in_pixels_of_the_crop(rng):
    keypoints = rng.uniform(10, 20, (20, 2))
    moved = compare(drawn(keypoints + [0.3, 0.4]), drawn(keypoints))
    assert moved.median == pytest.approx(4 * 0.5, abs=0.01)
    assert moved.most == pytest.approx(4 * 0.5, abs=0.02)
    assert moved.n_keypoints == 20


def test_the_same_heatmaps_agree(rng):
    heatmaps = drawn(rng.uniform(10, 20, (5, 2)))
    same = compare(heatmaps, heatmaps)
    assert (same.median, same.most, same.heatmaps) == (0, 0, 0)


def test_keypoints_that_the_reference_does_not_see_do_not_count():
    flat = np.full((1, 3, 32, 32), 1 / 32**2, np.float32)
    assert compare(drawn(np.full((3, 2), 9.0)), flat).n_keypoints == 0
    assert "no keypoint is sure enough" in str(compare(flat, flat))


def test_views_show_each_object_whole_before_a_texture(cube_mesh, brick_mesh):
    keypoints = cube_mesh.vertices[:4]
    objects = [
        ObjectModel(5, "cube", cube_mesh, keypoints, np.eye(4)[None], 138.6),
        ObjectModel(1, "brick", brick_mesh, keypoints, np.eye(4)[None], 161.6),
    ]
    crops, index, depth = rendered_crops(objects, 64, 1.4, each=3)
    assert crops.shape == (6, 64, 64, 3) and crops.dtype == np.uint8
    np.testing.assert_array_equal(index, [0, 0, 0, 1, 1, 1])
    assert depth.shape == (6, 2, 64, 64)
    assert (depth[:, 1].mean(axis=(1, 2)) > 0.1).all()  # the objects are measured,
    assert not depth[:, :, [0, -1]].any()  # and nothing around them
    again, _, depth_again = rendered_crops(objects, 64, 1.4, each=3)
    np.testing.assert_array_equal(depth, depth_again)
    np.testing.assert_array_equal(crops, again)
