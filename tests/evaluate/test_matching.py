"""Which estimate belongs to which true pose."""

import json

import numpy as np
import pytest

from heatpose.data.bop import BopDataset, Result, Target
from heatpose.errors import DataError
from heatpose.evaluate.matching import group_results, match, recall, true_poses


def test_results_are_grouped_best_first():
    scores = [(3, 1, 0.2), (3, 2, 0.9), (3, 1, 0.8), (3, 1, 0.5), (4, 1, 0.1)]
    results = [Result(5, image, obj, score, np.eye(4)) for image, obj, score in scores]
    groups = group_results(results)
    assert {key: [r.score for r in rs] for key, rs in groups.items()} == {
        (5, 3, 1): [0.8, 0.5, 0.2],
        (5, 3, 2): [0.9],
        (5, 4, 1): [0.1],
    }


def test_the_better_score_chooses_first():
    # The first takes truth 0, which is nearer to the second; that one has to take truth 1.
    errors = np.array([[2.0, 3.0], [1.0, 4.0]])
    np.testing.assert_array_equal(match(errors, 5.0), [2, 4])
    np.testing.assert_array_equal(match(errors, 4.0), [2, np.inf])
    np.testing.assert_array_equal(match(errors[::-1], 5.0), [1, 3])


def test_a_true_pose_is_found_once():
    np.testing.assert_array_equal(match(np.array([[1.0], [0.5]]), 5.0), [1.0])
    # An estimate that is too far off leaves the truth to the next one.
    np.testing.assert_array_equal(match(np.array([[9.0], [0.5]]), 5.0), [0.5])


def test_errors_have_to_be_below_the_limit():
    assert match(np.array([[5.0]]), 5.0) == np.inf
    assert match(np.array([[np.nan]]), 5.0) == np.inf


def test_without_estimates_nothing_is_found():
    np.testing.assert_array_equal(match(np.empty((0, 2)), 5.0), [np.inf, np.inf])
    np.testing.assert_array_equal(recall(np.empty((0, 2)), [1, 2, 3]), [0, 0])


def test_recall_by_hand():
    errors = np.array([[0.7, 9.0], [9.0, 2.5]])  # below 1, 2, 3, 4 and below 3, 4
    np.testing.assert_array_equal(recall(errors, [1, 2, 3, 4]), [1.0, 0.5])


def edit(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_the_most_visible_true_poses_are_asked_for(small_bop):
    scene = small_bop() / "test" / "000005"
    edit(scene / "scene_gt.json", lambda r: [entry.update(obj_id=1) for entry in r["3"]])
    edit(scene / "scene_gt_info.json", lambda r: r["3"][0].update(visib_fract=0.2))
    dataset = BopDataset(scene.parent.parent)
    first, second = (t.camera_from_object for t in dataset.ground_truth(5, 3))
    (chosen,) = true_poses(dataset, Target(5, 3, 1, 1))
    np.testing.assert_array_equal(chosen.camera_from_object, second)
    both = [t.camera_from_object for t in true_poses(dataset, Target(5, 3, 1, 2))]
    np.testing.assert_array_equal(both, [first, second])


def test_a_target_that_is_not_in_the_image_is_named(small_bop):
    dataset = BopDataset(small_bop())
    with pytest.raises(DataError, match=r"scene_gt\.json, image 3 lacks object 8, which"):
        true_poses(dataset, Target(5, 3, 8))
