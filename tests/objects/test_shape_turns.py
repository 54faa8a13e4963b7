"""Which turns of an object only its colours tell from each other."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform, rotation_angle
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.mesh import diameter
from heatpose.objects.shape_turns import turns_of_shape, with_shape_symmetries, without_markings
from heatpose.objects.symmetry import symmetries_from_info

STEP = np.radians(5)
ROUND = {"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]}


def model_of(mesh):
    return ObjectModel(1, "", mesh, mesh.corners, np.eye(4)[None], diameter(mesh))


@pytest.fixture
def can(can_mesh):
    return model_of(can_mesh)


@pytest.fixture
def brick(brick_mesh):
    return model_of(brick_mesh)


def test_half_turns_of_a_brick_and_any_turn_of_a_can(brick, can, cube_mesh):
    assert len(turns_of_shape(brick, STEP)) == 4
    assert len(turns_of_shape(can, STEP)) == 2 * 72
    assert len(turns_of_shape(can, 4 * STEP)) == 2 * 18
    assert len(turns_of_shape(model_of(cube_mesh), STEP)) == 24
    for model in (brick, can):
        np.testing.assert_array_equal(turns_of_shape(model, STEP)[0], np.eye(4))


def test_what_was_found_before_is_not_looked_for_again(brick):
    """Small meshes of bundles need not have all symmetries that the whole ones had."""
    known = with_shape_symmetries(brick)
    assert len(known.shape_symmetries["symmetries_discrete"]) == 3
    skewed = brick.mesh.vertices.copy()
    skewed[0] += 40  # one corner
    small = replace(known, mesh=replace(known.mesh, vertices=skewed))
    assert len(turns_of_shape(small, STEP)) == 4
    assert len(turns_of_shape(replace(small, shape_symmetries=None), STEP)) < 4
    assert len(turns_of_shape(replace(small, shape_symmetries={}), STEP)) == 1


def test_without_colours_nothing_tells_them_apart(brick, can):
    for model in (brick, can):
        plain = replace(model, mesh=replace(model.mesh, colours=None))
        assert len(turns_of_shape(plain, STEP)) == 1


def test_turns_that_colours_allow_too_are_not_told_apart(brick, can):
    """Of a plain can it does not matter, nor of a brick painted alike on opposite sides."""
    all_round = symmetries_from_info(ROUND, max_step=0.1)
    assert len(turns_of_shape(replace(can, symmetries=all_round), STEP)) == 2  # and upside down
    half_turn = turns_of_shape(brick, STEP)[:2]
    assert len(turns_of_shape(replace(brick, symmetries=half_turn), STEP)) == 2


def test_symmetries_that_others_measured_are_the_same(brick):
    """Those of LINEMOD's egg box and glue are up to 3 degrees from the ones that are found."""
    turns = turns_of_shape(brick, STEP)
    tilted = turns[1] @ make_transform(matrix_from_vector(np.radians([0, 2, 3])), np.zeros(3))
    measured = replace(brick, symmetries=np.stack([np.eye(4), tilted]))
    assert len(turns_of_shape(measured, STEP)) == 2
    measured = replace(brick, symmetries=np.concatenate([measured.symmetries, turns[2:]]))
    assert len(turns_of_shape(measured, STEP)) == 1


def test_without_markings_all_of_them_are_symmetries(brick, can):
    """Those that it has anyway included, each once."""
    half_turn = turns_of_shape(brick, STEP)[:2]
    for model, count in [(brick, 4), (replace(brick, symmetries=half_turn), 4), (can, 2 * 18)]:
        plain = without_markings(model, 4 * STEP)
        assert plain.mesh is model.mesh and len(plain.symmetries) == count
        np.testing.assert_array_equal(plain.symmetries[0], np.eye(4))
        turns = plain.symmetries[:, :3, :3]
        between = rotation_angle(turns[:, None].swapaxes(-1, -2) @ turns)
        assert between[~np.eye(count, dtype=bool)].min() > np.radians(15)
        assert len(turns_of_shape(plain, 4 * STEP)) == 1
