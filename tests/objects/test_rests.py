import numpy as np
import pytest
import trimesh

from heatpose.geometry.rotations import random_rotation
from heatpose.objects.mesh import Mesh
from heatpose.objects.rests import find_rests


def as_mesh(shape):
    return Mesh(
        np.array(shape.vertices), np.array(shape.faces, np.int32), np.array(shape.vertex_normals)
    )


def box(*extents):
    return as_mesh(trimesh.creation.box(extents))


def cylinder(radius, height, sections=64):
    return as_mesh(trimesh.creation.cylinder(radius, height, sections=sections))


def same_directions(found, expected):
    """Whether two sets of directions are the same, in any order."""
    expected = np.array(expected, float).reshape(-1, 3)
    return len(found) == len(expected) and (
        len(found) == 0 or np.all((found @ expected.T).max(axis=0) > 1 - 1e-9)
    )


ALONG = np.concatenate([np.eye(3), -np.eye(3)])


@pytest.mark.parametrize(
    ("mesh", "expected"),
    [
        (box(60, 40, 30), ALONG),
        (box(12, 12, 100), ALONG[[0, 1, 3, 4]]),  # falls over where it stands on end
        (box(18, 18, 100), ALONG),  # half as wide as high for ten degrees
        (cylinder(30, 80), ALONG[[2, 5]]),  # rolls about its axis
        (cylinder(5, 80), []),  # a pencil
        (as_mesh(trimesh.creation.cone(30, 60, sections=64)), [[0, 0, -1.0]]),
        (as_mesh(trimesh.creation.cone(18, 400, sections=64)), [[0, 0, -1.0]]),  # a quarter up
        (as_mesh(trimesh.creation.cone(12, 400, sections=64)), []),
        (as_mesh(trimesh.creation.icosphere(3, 30)), []),
    ],
    ids=["box", "pole", "stout pole", "can", "pencil", "cone", "high cone", "needle", "ball"],
)
def test_an_object_rests_where_it_comes_back_from_a_push(mesh, expected):
    assert same_directions(find_rests(mesh).down, expected)


def test_how_an_object_rests_turns_moves_and_grows_with_it(brick_mesh, rng):
    turn, place = random_rotation(rng), rng.uniform(-100, 100, 3)
    turned = Mesh(3 * brick_mesh.vertices @ turn.T + place, brick_mesh.faces, brick_mesh.normals)
    plain, other = find_rests(brick_mesh), find_rests(turned)
    assert same_directions(other.down @ turn, plain.down)
    assert len(plain.down) == 6
    np.testing.assert_allclose(
        np.sort(np.ptp((other.corners - place) @ turn / 3, axis=0)),
        np.sort(np.ptp(plain.corners, axis=0)),
    )


def test_what_leans_too_far_over_its_foot_does_not_rest_on_it():
    """A box pushed aside at the top: its middle of mass lies beyond its foot."""
    leaning = box(30, 60, 80)
    top = leaning.vertices[:, 2] > 0
    for aside, stands in ((10.0, True), (45.0, False)):
        vertices = leaning.vertices + np.where(top[:, None], [aside, 0, 0], 0)
        down = find_rests(Mesh(vertices, leaning.faces, leaning.normals)).down
        assert (down @ [0, 0, -1.0] > 0.999).any() == stands


def test_what_lies_inside_does_not_matter():
    """A hollow can rests as a solid one does: what counts is the hull."""
    hollow = as_mesh(trimesh.creation.annulus(25, 30, 80, sections=64))
    assert same_directions(find_rests(hollow).down, ALONG[[2, 5]])


def test_a_flat_sheet_rests_nowhere_that_is_known():
    square = np.array([[0, 0, 0], [50, 0, 0], [50, 50, 0], [0, 50, 0], [20, 20, 0]], float)
    sheet = Mesh(square, np.array([[0, 1, 2], [0, 2, 3]], np.int32), np.tile([0, 0, 1.0], (5, 1)))
    rests = find_rests(sheet)
    assert rests.down.shape == (0, 3)
    assert same_directions(rests.corners / 50 - [0, 0, 1], square[:4] / 50 - [0, 0, 1])
