import numpy as np
import pytest

from heatpose.geometry.boxes import (
    area,
    box_of_mask,
    box_of_points,
    clip_box,
    intersection_over_union,
)


def random_boxes(rng, n):
    corner = rng.uniform(-50, 600, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(1, 200, (n, 2))], axis=1)


def test_a_box_around_one_pixel_is_one_pixel_wide():
    mask = np.zeros((10, 12), bool)
    mask[5, 3] = True
    assert box_of_mask(mask) == (2.5, 4.5, 3.5, 5.5)
    assert area(box_of_mask(mask)) == 1


def test_a_full_rectangle_has_as_much_area_as_pixels():
    mask = np.zeros((30, 40), bool)
    mask[4:11, 7:30] = True
    assert area(box_of_mask(mask)) == mask.sum()


def test_a_box_spans_parts_that_do_not_touch():
    mask = np.zeros((30, 40), bool)
    mask[2, 35] = mask[20, 1] = True
    assert box_of_mask(mask) == (0.5, 1.5, 35.5, 20.5)


def test_an_empty_mask_has_no_box():
    assert box_of_mask(np.zeros((4, 4), bool)) is None


def test_points_that_are_not_there_do_not_count():
    pixels = np.array([[3.0, 4.0], [np.nan, np.nan], [-1.5, 9.0]])
    assert box_of_points(pixels) == (-1.5, 4.0, 3.0, 9.0)


def test_boxes_turned_inside_out_have_no_area():
    np.testing.assert_array_equal(area([[0, 0, 4, 5], [4, 0, 0, 5], [4, 5, 0, 0]]), [20, 0, 0])


def test_an_overlap_by_hand():
    # 4 x 4 and 4 x 2 share 2 x 2: 4 / (16 + 8 - 4) = 0.2
    ratio = intersection_over_union([[0, 0, 4, 4]], [[2, 1, 6, 3]])
    np.testing.assert_allclose(ratio, [[0.2]])


def test_overlap_is_one_with_oneself_symmetric_and_blind_to_place_and_scale(rng):
    first, second = random_boxes(rng, 6), random_boxes(rng, 4)
    ratio = intersection_over_union(first, second)
    assert ratio.shape == (6, 4)
    np.testing.assert_allclose(np.diag(intersection_over_union(first, first)), 1)
    np.testing.assert_allclose(ratio, intersection_over_union(second, first).T)
    np.testing.assert_allclose(ratio, intersection_over_union(3 * first + 7, 3 * second + 7))


def test_overlap_counts_pixels(rng):
    def mask_of(left, top, right, bottom):
        mask = np.zeros((50, 60), bool)
        mask[top:bottom, left:right] = True
        return mask

    for _ in range(20):
        x, y = np.sort(rng.integers(0, 50, (2, 2, 2)), axis=-1)  # (axis, box, end)
        masks = [mask_of(x[i, 0], y[i, 0], x[i, 1] + 1, y[i, 1] + 1) for i in range(2)]
        boxes = np.array([box_of_mask(mask) for mask in masks])
        expected = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
        assert intersection_over_union(boxes[:1], boxes[1:])[0, 0] == pytest.approx(expected)


def test_touching_and_empty_boxes_do_not_overlap():
    boxes = np.array([[0, 0, 2, 2], [2, 0, 4, 2], [1, 1, 1, 1]], float)
    np.testing.assert_array_equal(intersection_over_union(boxes[:1], boxes[1:]), [[0, 0]])
    np.testing.assert_array_equal(intersection_over_union(boxes[2:], boxes[2:]), [[0]])


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((10.0, 20.0, 30.0, 40.0), (10.0, 20.0, 30.0, 40.0)),
        ((-9.0, -9.0, 999.0, 999.0), (-0.5, -0.5, 639.5, 479.5)),
        ((600.0, -4.0, 700.0, 100.0), (600.0, -0.5, 639.5, 100.0)),
    ],
)
def test_clipping_keeps_what_lies_inside(box, clipped):
    assert clip_box(box, 640, 480) == clipped
