"""Scores of detections, against what can be said by hand."""

import numpy as np
import pytest

from heatpose.data.bop import BopDataset, Target, read_detections, write_targets
from heatpose.data.bop_files import read_scene_gt_info, write_scene_gt, write_scene_gt_info
from heatpose.errors import DataError
from heatpose.evaluate.detections import (
    TrueBox,
    average_precision,
    evaluate_detections,
    instances_met,
    true_boxes,
)
from heatpose.types import Detection

BOX = (10.0, 20.0, 50.0, 60.0)
FAR = (200.0, 200.0, 240.0, 240.0)


def moved(box, right):
    """The box shifted: over 40 px wide ones IoU is (40 - right) / (40 + right)."""
    return box[0] + right, box[1], box[2] + right, box[3]


def precision(truths, found):
    return average_precision({0: truths}, {0: found})


# -- average precision


def test_perfect_detections_have_precision_1_whatever_their_scores():
    truths = {7: [TrueBox(1, BOX), TrueBox(1, FAR)], 9: [TrueBox(2, BOX)], 4: []}
    found = {7: [Detection(1, BOX, 0.2), Detection(1, FAR, 0.9)], 9: [Detection(2, BOX, 0.1)]}
    assert average_precision(truths, found) == {1: (1.0, 1.0), 2: (1.0, 1.0)}


def test_no_detections_have_precision_0():
    assert precision([TrueBox(1, BOX)], []) == {1: (0.0, 0.0)}
    assert precision([], [Detection(1, BOX, 1.0)]) == {}


def test_a_box_counts_at_the_overlaps_it_reaches():
    # (40 - 8) / (40 + 8) is 2 / 3: enough at 0.50, 0.55, 0.60 and 0.65 of ten limits.
    ap, ap50 = precision([TrueBox(1, BOX)], [Detection(1, moved(BOX, 8.0), 0.9)])[1]
    assert ap == pytest.approx(0.4) and ap50 == 1


def test_a_false_alarm_before_the_right_box_halves_precision_and_after_it_nothing():
    right, wrong = Detection(1, BOX, 0.5), (200.0, 10.0, 220.0, 30.0)
    before, after = Detection(1, wrong, 0.6), Detection(1, wrong, 0.4)
    assert precision([TrueBox(1, BOX)], [right, before])[1] == pytest.approx((0.5, 0.5))
    assert precision([TrueBox(1, BOX)], [right, after])[1] == (1.0, 1.0)


def test_the_same_object_found_twice_is_a_false_alarm():
    truths = [TrueBox(1, BOX), TrueBox(1, FAR)]
    found = [Detection(1, BOX, 0.9), Detection(1, moved(BOX, 1), 0.8), Detection(1, FAR, 0.7)]
    # Recall 1/2 at precision 1, recall 1 at 2/3: 51 of COCO's 101 points and the other 50.
    assert precision(truths, found)[1][1] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_another_object_in_the_right_place_is_wrong():
    found = [Detection(2, BOX, 0.9), Detection(1, FAR, 0.9)]
    assert precision([TrueBox(1, BOX), TrueBox(2, FAR)], found) == {1: (0, 0), 2: (0, 0)}


def test_what_is_hardly_visible_is_neither_right_nor_wrong():
    truths = [TrueBox(1, BOX), TrueBox(1, FAR, counts=False)]
    sure_of_hidden = [Detection(1, FAR, 0.9), Detection(1, BOX, 0.5)]
    assert precision(truths, sure_of_hidden)[1] == (1.0, 1.0)
    assert precision(truths, [Detection(1, BOX, 0.5)])[1] == (1.0, 1.0)


def test_nothing_is_printed(capsys):
    precision([TrueBox(1, BOX)], [Detection(1, BOX, 1.0)])
    assert capsys.readouterr().out == ""


# -- recall of targets


@pytest.mark.parametrize(("right", "expected"), [(0, [1, 1]), (8, [1, 0]), (20, [0, 0])])
def test_an_instance_is_met_at_the_overlaps_its_detection_reaches(right, expected):
    found = [Detection(1, moved(BOX, right), 0.5)]
    assert instances_met([TrueBox(1, BOX)], found, 1, 1).tolist() == [expected]


def test_an_overlap_of_exactly_one_half_is_enough():
    found = [Detection(1, (10.0, 20.0, 50.0, 40.0), 0.5)]
    assert instances_met([TrueBox(1, BOX)], found, 1, 1).tolist() == [[1, 0]]


def test_only_the_best_detections_of_the_object_take_part():
    truths = [TrueBox(1, BOX)]
    found = [Detection(1, BOX, 0.4), Detection(1, FAR, 0.5), Detection(2, BOX, 0.9)]
    assert instances_met(truths, found, 1, 1).tolist() == [[0, 0]]
    assert instances_met([*truths, TrueBox(1, (0, 0, 9, 9))], found, 1, 2).tolist() == [
        [1, 1],
        [0, 0],
    ]


def test_two_boxes_on_one_instance_meet_one():
    truths = [TrueBox(1, BOX), TrueBox(1, FAR)]
    found = [Detection(1, BOX, 0.9), Detection(1, moved(BOX, 1), 0.8)]
    assert instances_met(truths, found, 1, 2).sum(axis=0).tolist() == [1, 1]


def test_of_more_boxes_than_instances_any_will_do():
    truths = [TrueBox(1, BOX), TrueBox(1, FAR), TrueBox(1, (0, 0, 9, 9), counts=False)]
    assert instances_met(truths, [Detection(1, FAR, 0.9)], 1, 1).tolist() == [[1, 1]]
    assert instances_met(truths[2:], [Detection(1, FAR, 0.9)], 1, 1).shape == (0, 2)


# -- on a data set


@pytest.fixture
def dataset(small_bop):
    return BopDataset(small_bop())


def perfect(dataset, boxes="visible"):
    return {
        (5, image_id): [
            Detection(one.object_id, one.box, 0.8)
            for one in true_boxes(dataset, (5, image_id), boxes)
        ]
        for image_id in (3, 12)
    }


@pytest.mark.parametrize("boxes", ["visible", "whole"])
def test_the_truth_is_perfect(dataset, boxes):
    found = evaluate_detections(dataset, perfect(dataset, boxes), boxes)
    assert found.mean.targets == 4 and found.objects[2].targets == 2
    for scores in (found.mean, *found.objects.values()):
        assert (scores.ap, scores.ap50, scores.recall50, scores.recall75) == (1, 1, 1, 1)


@pytest.mark.parametrize("boxes", ["visible", "whole"])
def test_without_boxes_of_the_data_set_those_of_the_rendered_models_are_taken(dataset, boxes):
    stated = {key: true_boxes(dataset, key, boxes) for key in [(5, 3), (5, 12)]}
    (dataset.scene_folder(5) / "scene_gt_info.json").unlink()
    for key, expected in stated.items():
        found = true_boxes(BopDataset(dataset.root), key, boxes)
        assert [one.object_id for one in found] == [one.object_id for one in expected]
        # LM-O's files count from the first pixel to the last, masks to its outer edge.
        for ours, theirs in zip(found, expected, strict=True):
            assert np.abs(np.subtract(ours.box, theirs.box)).max() <= 1


def test_objects_without_a_label_count_only_if_labels_are_complete(dataset):
    found = perfect(dataset)
    truth, info = dataset.ground_truth(5, 3), dataset.gt_info(5, 3)
    write_scene_gt(
        dataset.scene_folder(5) / "scene_gt.json", {3: truth[:1], 12: dataset.ground_truth(5, 12)}
    )
    write_scene_gt_info(
        dataset.scene_folder(5) / "scene_gt_info.json", {3: info[:1], 12: dataset.gt_info(5, 12)}
    )
    found[5, 3] = [Detection(one.object_id, one.box, 0.9) for one in found[5, 3]]
    partly = BopDataset(dataset.root)
    assert evaluate_detections(partly, found).objects[2].ap50 == pytest.approx(0.5)
    assert evaluate_detections(partly, found, labelled_only=True).objects[2].ap50 == 1


def test_the_mean_of_precision_is_over_objects_that_of_recall_over_targets(dataset):
    found = perfect(dataset)
    found[5, 3] = [one for one in found[5, 3] if one.object_id == 1]  # one of four is missed
    scores = evaluate_detections(dataset, found)
    assert scores.objects[1].ap50 == 1
    assert scores.objects[2].ap50 == pytest.approx(51 / 101)
    assert scores.mean.ap50 == pytest.approx((1 + 51 / 101) / 2)
    assert scores.objects[2].recall50 == 0.5 and scores.mean.recall50 == 0.75


def test_visible_and_whole_boxes_are_told_apart(dataset):
    info = dataset.scene_folder(5) / "scene_gt_info.json"
    seen = read_scene_gt_info(info)
    first = seen[3][0]
    left, top, right, bottom = first.box
    half = (left, top, (left + right) // 2 + 0.5, bottom)
    seen[3][0] = type(first)(first.box, half, *list(vars(first).values())[2:-1], 0.5)
    write_scene_gt_info(info, seen)
    fresh = BopDataset(dataset.root)
    assert evaluate_detections(fresh, perfect(fresh, "visible"), "visible").mean.ap == 1
    assert evaluate_detections(fresh, perfect(fresh, "whole"), "whole").mean.ap == 1
    assert evaluate_detections(fresh, perfect(fresh, "whole"), "visible").mean.ap < 1


def test_a_target_that_is_hardly_visible_is_left_out(dataset):
    info = dataset.scene_folder(5) / "scene_gt_info.json"
    seen = read_scene_gt_info(info)
    hidden = seen[3][1]
    seen[3][1] = type(hidden)(*list(vars(hidden).values())[:-1], visible_fraction=0.1)
    write_scene_gt_info(info, seen)
    scores = evaluate_detections(BopDataset(dataset.root), {})
    assert scores.mean.targets == 3 and scores.objects[2].targets == 1
    assert scores.mean.recall50 == 0


def test_images_without_targets_do_not_count(dataset):
    write_targets(dataset.root / "test_targets_bop19.json", [Target(5, 3, 1)])
    found = perfect(dataset)
    found[5, 12] = [Detection(1, (0.0, 0.0, 9.0, 9.0), 1.0)]
    scores = evaluate_detections(BopDataset(dataset.root), found)
    assert scores.objects[1].ap == 1 and scores.objects[1].targets == 1
    assert scores.objects[2].ap == 1 and scores.objects[2].recall50 is None


def test_detections_of_other_images_are_warned_of(dataset, caplog):
    evaluate_detections(dataset, {(77, 1): [Detection(1, BOX, 1.0)]})
    assert "none of the detections is in an image" in caplog.text


def test_ground_truth_that_does_not_go_together_is_refused(dataset):
    truth = {i: dataset.ground_truth(5, i) for i in (3, 12)}
    write_scene_gt(dataset.scene_folder(5) / "scene_gt.json", {**truth, 3: truth[3][:1]})
    with pytest.raises(DataError, match=r"image 3: scene_gt.json has 1 objects, .*info.json 2"):
        evaluate_detections(BopDataset(dataset.root), {})
    write_targets(dataset.root / "test_targets_bop19.json", [])
    with pytest.raises(DataError, match="names no targets"):
        evaluate_detections(BopDataset(dataset.root), {})


@pytest.mark.real
def test_public_detections_of_lmo(real_data):
    """Mask R-CNN's boxes are what its mask scores let expect: most objects, not all."""
    found = read_detections(real_data / "lmo" / "detections_bop22_maskrcnn_pbr.json")
    scores = evaluate_detections(BopDataset(real_data / "lmo"), found)
    assert scores.mean.targets == 480
    assert scores.mean.recall50 == pytest.approx(443 / 480)
    assert scores.mean.ap50 == pytest.approx(0.9076, abs=1e-4)
    means = np.mean([[s.ap, s.ap50] for s in scores.objects.values()], axis=0)
    assert (scores.mean.ap, scores.mean.ap50) == pytest.approx(means.tolist())
