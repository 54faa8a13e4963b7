"""What happens between two passes over an image."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.geometry.transforms import make_transform
from heatpose.objects.catalogue import ObjectModel
from heatpose.solve.passes import (
    at_poses,
    box_in_pose,
    has_candidates,
    most_promising,
    surer,
    without_twins,
)
from heatpose.types import Detection, Evidence, PoseEstimate

BOX = (10.0, 20.0, 50.0, 60.0)


def posed(x=0.0, z=800.0, *, object_id=7, score=1.0, support=0.5, probability=None):
    return PoseEstimate(
        object_id=object_id,
        camera_from_object=make_transform(np.eye(3), [x, 0.0, z]),
        score=score,
        covariance=np.eye(6),
        keypoints=np.zeros((1, 2)),
        inliers=np.full(1, True),
        box=BOX,
        evidence=Evidence(support, 1.0, 0.5, 1.0, 1.0, 0.1),
        probability=probability,
    )


@pytest.fixture
def model(cube_mesh):
    return ObjectModel(7, "cube", cube_mesh, cube_mesh.vertices, np.eye(4)[None], 138.6)


def test_a_box_in_a_pose_reaches_from_the_leftmost_to_the_rightmost_corner(model, camera):
    """Corners of a cube of 80 mm, the near ones at 760 mm."""
    left, top, right, bottom = box_in_pose(posed(), model, camera)
    half = 40 / 760
    assert (left, right) == pytest.approx([camera.cx + s * camera.fx * half for s in (-1, 1)])
    assert (top, bottom) == pytest.approx([camera.cy + s * camera.fy * half for s in (-1, 1)])


def test_it_ends_where_the_image_does(model, camera):
    left, _, right, _ = box_in_pose(posed(x=-camera.cx / camera.fx * 800), model, camera)
    assert left == -0.5 and 20 < right < 60


@pytest.mark.parametrize(
    "pose", [posed(x=-5000.0), posed(z=20.0), posed(z=-800.0)], ids=["beside", "around", "behind"]
)
def test_what_cannot_be_seen_keeps_the_box_of_its_detection(model, camera, pose):
    assert box_in_pose(pose, model, camera) == BOX
    found = Detection(7, (0.0, 0, 9, 9), 0.4)
    assert at_poses([(found, pose)], {7: model}, camera) == [Detection(7, BOX, 0.4)]


def test_the_more_probable_pose_stays_with_the_box_of_the_first():
    first, second = posed(probability=0.3), replace(posed(probability=0.4), box=(0.0, 0, 5, 5))
    kept = surer(first, second)
    assert (kept.probability, kept.box) == (0.4, BOX)
    assert surer(second, first) is second
    assert surer(first, None) is first
    assert surer(first, replace(second, probability=0.3)).probability == 0.3
    assert surer(first, replace(second, probability=0.3)) is not first  # level: the second


def test_without_probabilities_keypoints_say_which_is_surer():
    weak, strong = posed(support=0.2), posed(support=0.6)
    assert surer(weak, strong).evidence.support == surer(strong, weak).evidence.support == 0.6
    mute = replace(weak, evidence=None)
    assert surer(mute, weak).evidence == weak.evidence


def scores(found):
    return [pose.score for _, pose in found]


def test_half_of_the_candidates_are_given_up_but_not_the_last_ones():
    found = [(Detection(7, BOX, 1.0), posed(score=s)) for s in (0.1, 0.5, 0.3, 0.9, 0.2)]
    found += [(Detection(3, BOX, 1.0), posed(object_id=3, score=0.01))]

    def best(found, wanted):
        return most_promising(found, scores(found), wanted)

    once = best(found, {7: 1, 3: 1})
    assert scores(once) == [0.9, 0.5, 0.3, 0.01]
    assert scores(best(once, {7: 1, 3: 1})) == [0.9, 0.5, 0.01]
    assert scores(best(found, {7: 4})) == [0.9, 0.5, 0.3, 0.2]
    assert best(found, None) == found
    assert best([], {7: 1}) == []


def test_candidates_are_kept_by_the_ranks_that_are_given():
    found = [(Detection(7, BOX, 1.0), posed(score=s)) for s in (0.1, 0.5, 0.3)]
    assert scores(most_promising(found, [3.0, 1.0, 2.0], {7: 1})) == [0.1, 0.3]


def test_candidates_are_boxes_beyond_those_wanted():
    two = [Detection(7, BOX, 1.0), Detection(7, BOX, 0.5), Detection(3, BOX, 0.5)]
    assert has_candidates(two, {7: 1, 3: 1}) and has_candidates(two, {7: 2})
    assert not has_candidates(two, {7: 2, 3: 1})
    assert not has_candidates(two, None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0.8 * 0.5 * 0.09),
        ({"probability": 0.25}, 0.8 * 0.5 * 0.25 * 0.09),
        ({"evidence": None}, 0.8 * 0.09),
        ({"depth_agreement": 0.9}, 0.8 * 0.5 * 0.81),
    ],
)
def test_ranks_by_hand(changes, expected):
    """An unknown agreement with depth counts as 0.3."""
    assert replace(posed(score=0.8), **changes).rank == pytest.approx(expected)


def test_of_two_of_a_kind_in_one_place_the_better_stays(model):
    """Cubes of 80 mm: 40 mm apart they would stand in each other."""
    close = [posed(score=0.4), posed(x=39.0, score=0.6)]
    assert without_twins(close, {7: model}) == [close[1]]
    apart = [posed(score=0.4), posed(x=41.0, score=0.6)]
    assert without_twins(apart, {7: model}) == apart[::-1]


def test_another_object_may_stand_in_its_place(model):
    both = [posed(score=0.6), posed(object_id=8, score=0.4)]
    assert without_twins(both, {7: model, 8: model}) == both


def test_what_is_flat_may_lie_close_to_its_like(model, brick_mesh):
    """Further apart than half the shortest side, nearer than half the longest."""
    sides = np.ptp(brick_mesh.corners, axis=0)
    assert sides.min() < 0.8 * sides.max()
    flat = replace(model, mesh=brick_mesh)
    both = [posed(score=0.6), posed(x=0.6 * sides.min(), score=0.4)]
    assert without_twins(both, {7: flat}) == both
