import re

import numpy as np
import pytest

from heatpose.data.bop_files import GroundTruth
from heatpose.evaluate.comparison import compare_poses, summary
from heatpose.geometry.transforms import make_transform
from heatpose.objects.catalogue import ObjectModel
from heatpose.types import PoseEstimate


@pytest.fixture
def models(cube_mesh, brick_mesh):
    return {
        4: ObjectModel(4, "cube", cube_mesh, cube_mesh.vertices, np.eye(4)[None], 100.0),
        9: ObjectModel(9, "brick", brick_mesh, brick_mesh.vertices, np.eye(4)[None], 200.0),
    }


def at(x, z=800.0):
    return make_transform(np.eye(3), [x, 0.0, z])


def estimate(object_id, x, score=0.5):
    box, keypoints = (10, 10, 90, 90), np.full((8, 2), 50.0)
    return PoseEstimate(object_id, at(x), score, np.eye(6), keypoints, np.full(8, True), box)


def test_instances_take_the_nearest_estimate_each_once(models):
    """Three cubes and two estimates: the best pairs are made first, whatever the scores."""
    truth = [GroundTruth(4, at(100)), GroundTruth(4, at(0)), GroundTruth(4, at(300))]
    # By score the first would take the instance at 100, which is nearest to the other.
    estimates = [estimate(4, 70, 0.9), estimate(4, 98, 0.2)]
    findings = compare_poses(estimates, truth, models)
    assert [one.estimate for one in findings] == [estimates[1], estimates[0], None]
    assert [one.verdict for one in findings] == ["right", "off", "not found"]
    assert [one.deviation.shift for one in findings[:2]] == pytest.approx([2, 70])


def test_what_is_left_over_is_a_false_alarm(models):
    truth = [GroundTruth(9, at(0)), GroundTruth(4, at(-200))]
    estimates = [estimate(9, 1), estimate(9, 2), estimate(4, -200)]
    findings = compare_poses(estimates, truth, models)
    assert [(one.model.name, one.verdict) for one in findings] == [
        ("cube", "right"),
        ("brick", "right"),
        ("brick", "false alarm"),
    ]
    assert findings[2].estimate is estimates[1]


def test_objects_are_never_taken_for_each_other(models):
    findings = compare_poses([estimate(9, 0)], [GroundTruth(4, at(0))], models)
    assert [one.verdict for one in findings] == ["not found", "false alarm"]


def test_nothing_there_and_nothing_found_is_nothing_to_say(models):
    assert compare_poses([], [], models) == []


@pytest.mark.parametrize(
    ("estimates", "sentence"),
    [
        ([], "0 of 1 poses within 0.1 diameters of the truth .* no false alarms$"),
        ([9.9], "1 of 1 .* no false alarms"),
        ([10.1], "0 of 1 .* no false alarms"),
        ([0, 50], "1 of 1 .* 1 false alarm$"),
        ([0, 50, 60], "1 of 1 .* 2 false alarms"),
    ],
)
def test_the_sentence_counts_right_poses_of_those_that_are_there(models, estimates, sentence):
    found = compare_poses([estimate(4, x) for x in estimates], [GroundTruth(4, at(0))], models)
    text = summary(found)
    assert re.match(sentence, text)
