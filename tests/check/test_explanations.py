"""Each explanation undoes the fault that it names."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.check.explanations import OFF_CENTRE, axis_rotations, explanations, model_frame
from heatpose.check.views import View
from heatpose.geometry.rotations import matrix_from_vector, random_rotation
from heatpose.geometry.transforms import invert, make_transform, transform_points

CENTRES = {1: np.array([4.0, -7.0, 30.0]), 2: np.array([0.0, 12.0, -5.0])}


@pytest.fixture
def view(camera, rng):
    """Object 1 before object 2, in no picture."""
    poses = [make_transform(random_rotation(rng), np.array([10.0, -20, z])) for z in (700, 800)]
    return View(None, 1, camera, poses[0], [(2, poses[1])], None)


def explanation(words, centres=CENTRES, has_depth=True):
    (found,) = [one for one in explanations(centres, has_depth) if one.fault.startswith(words)]
    return found


def assert_same(view, other):
    np.testing.assert_allclose(view.camera_from_object, other.camera_from_object, atol=1e-9)
    for (one, pose), (another, expected) in zip(view.others, other.others, strict=True):
        assert one == another
        np.testing.assert_allclose(pose, expected, atol=1e-9)
    assert view.camera.fx == pytest.approx(other.camera.fx)
    assert view.camera.cx == pytest.approx(other.camera.cx)
    assert (view.length, view.depth_factor, view.swapped) == pytest.approx(
        (other.length, other.depth_factor, other.swapped)
    )


def shrunk(factor):
    return lambda _, pose: make_transform(pose[:3, :3], pose[:3, 3] * factor)


@pytest.mark.parametrize(
    ("words", "plant"),
    [
        ("red and blue", lambda v: replace(v, swapped=True)),
        ("the depth scale is off by 1000", lambda v: replace(v, depth_factor=1000.0)),
        ("translations are in metres", lambda v: v.reposed(shrunk(0.001))),
        ("translations are in centimetres", lambda v: v.reposed(shrunk(0.1))),
        ("translations are 100 times", lambda v: v.reposed(shrunk(100))),
        ("models and translations are in metres", lambda v: replace(v, length=0.001)),
        (
            "rotations are transposed",
            lambda v: v.reposed(lambda _, p: make_transform(p[:3, :3].T, p[:3, 3])),
        ),
        ("poses are inverted", lambda v: v.reposed(lambda _, p: invert(p))),
        (
            "poses are those of a camera that looks along -z",
            lambda v: v.reposed(lambda _, p: np.diag([1.0, -1, -1, 1]) @ p),
        ),
        (
            "the camera matrix is that of pictures 0.5 times",
            lambda v: replace(v, camera=v.camera.warped(0.5, np.full(2, -0.25), 640, 480)),
        ),
    ],
)
def test_a_fault_is_undone(view, words, plant):
    assert_same(explanation(words).undo(plant(view)), view)


def test_models_in_metres_are_seen_as_if_they_were_enlarged(view, cube):
    """A vertex at v / 1000 projects where v would, and lies as deep."""
    right = explanation("models are in metres").undo(view)
    seen = transform_points(right.camera_from_object, cube / 1000)
    expected = transform_points(view.camera_from_object, cube)
    np.testing.assert_allclose(view.camera.project(seen), view.camera.project(expected))
    np.testing.assert_allclose(seen[:, 2] * right.length, expected[:, 2])


def test_models_in_another_frame_come_to_lie_where_those_of_the_poses_would(view, cube):
    turn = matrix_from_vector(np.array([0, np.pi, 0]))
    their_cube = cube @ turn + CENTRES[1]  # x_right = turn (x_theirs - origin)
    frame = model_frame(turn, CENTRES, OFF_CENTRE)
    seen = transform_points(frame.undo(view).camera_from_object, their_cube)
    np.testing.assert_allclose(seen, transform_points(view.camera_from_object, cube), atol=1e-9)
    assert "turned by 180 degrees about y, and their origins are not" in frame.fault


def test_axes_can_be_turned_in_24_ways():
    rotations = axis_rotations()
    assert len({tuple(matrix.ravel()) for matrix in rotations}) == 24
    np.testing.assert_array_equal(rotations[0], np.eye(3))
    for matrix in rotations:
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3))
        assert np.linalg.det(matrix) == pytest.approx(1)


def test_what_cannot_be_is_not_tried():
    few = explanations(dict.fromkeys((1, 2), np.zeros(3)), has_depth=False)
    many = explanations(CENTRES, has_depth=True)
    assert len(many) - len(few) == 6 + 24  # depth scales; frames whose origins are elsewhere
    assert len({one.fault for one in many}) == len(many)
