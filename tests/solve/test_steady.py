"""Symmetric objects from frame to frame."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.geometry.rotations import matrix_from_vector, random_rotation
from heatpose.geometry.transforms import invert, make_transform, rotation_angle, transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.symmetry import symmetries_from_info
from heatpose.solve.steady import nearest_twin, steady
from heatpose.types import PoseEstimate

AXIS = {"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [5, 0, 0]}]}
FLIP = {"symmetries_discrete": [[-1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]]}


@pytest.fixture
def brick(brick_mesh):
    return ObjectModel(4, "brick", brick_mesh, brick_mesh.vertices[:8], np.eye(4)[None], 161.6)


def estimate(pose):
    return PoseEstimate(
        object_id=4,
        camera_from_object=pose,
        score=0.5,
        covariance=np.eye(6),
        keypoints=np.zeros((8, 2)),
        inliers=np.full(8, True),
        box=(0.0, 0.0, 1.0, 1.0),
    )


@pytest.mark.parametrize(("info", "most"), [(FLIP, 3.1), (AXIS, 4.5)])
def test_an_object_that_turns_slowly_is_seen_to_turn_slowly(brick, rng, info, most):
    """3 degrees a frame; an axis is known in steps of 3.6 degrees, of which half may be added."""
    model = replace(brick, symmetries=symmetries_from_info(info, max_step=0.0314))
    true = make_transform(random_rotation(rng), [0.0, 0, 800])
    step = make_transform(matrix_from_vector(np.radians([0.0, 3.0, 0.0])), np.zeros(3))
    before, angles = [estimate(true)], []
    for _ in range(20):
        true = true @ step
        any_twin = true @ model.symmetries[rng.integers(len(model.symmetries))]
        found = steady([estimate(any_twin)], before, {4: model})
        turn = found[0].camera_from_object[:3, :3] @ before[0].camera_from_object[:3, :3].T
        angles.append(np.degrees(rotation_angle(turn)))
        before = found
    assert max(angles) < most


def test_each_instance_follows_the_one_that_was_nearest(brick):
    model = replace(brick, symmetries=symmetries_from_info(FLIP))
    left = make_transform(np.eye(3), [-300.0, 0, 900])
    right = make_transform(np.eye(3), [300.0, 0, 900]) @ model.symmetries[1]
    now = [estimate(right @ model.symmetries[1]), estimate(left @ model.symmetries[1])]
    found = steady(now, [estimate(left), estimate(right)], {4: model})
    np.testing.assert_allclose(found[0].camera_from_object, right, atol=1e-9)
    np.testing.assert_allclose(found[1].camera_from_object, left, atol=1e-9)


def test_keypoints_stay_where_they_are_seen(brick):
    """A third of a turn, which is not its own inverse, about an axis beside the origin."""
    third = matrix_from_vector(np.array([0.0, 0, 2 * np.pi / 3]))
    turn = make_transform(third, [7.0, 3, 0])
    model = replace(brick, symmetries=np.stack([np.eye(4), turn, invert(turn)]))
    pose = make_transform(np.eye(3), [0.0, 0, 900])
    now = estimate(pose @ turn)
    [found] = steady([now], [estimate(pose)], {4: model})
    np.testing.assert_allclose(found.camera_from_object, pose, atol=1e-9)
    [again] = steady([found], [now], {4: model})
    for one in (found, again):
        np.testing.assert_allclose(
            transform_points(one.camera_from_object, one.points),
            transform_points(now.camera_from_object, model.keypoints),
            atol=1e-9,
        )


def test_what_was_not_there_and_what_has_no_symmetry_stays(brick):
    model = replace(brick, symmetries=symmetries_from_info(FLIP))
    pose = make_transform(np.eye(3), [0.0, 0, 900])
    assert steady([estimate(pose)], [], {4: model})[0].camera_from_object is pose
    turned = [estimate(pose @ model.symmetries[1])]
    assert steady(turned, [estimate(pose)], {4: brick}) == turned


def test_a_twin_looks_the_same(brick):
    model = replace(brick, symmetries=symmetries_from_info(FLIP))
    pose = make_transform(np.eye(3), [0.0, 0, 900])
    twin = nearest_twin(pose @ model.symmetries[1], pose, model)
    np.testing.assert_allclose(twin, pose, atol=1e-9)
