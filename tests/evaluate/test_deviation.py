import numpy as np
import pytest

from heatpose.evaluate.deviation import deviation
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform
from heatpose.objects.catalogue import ObjectModel


def test_a_shift_and_a_turn_are_found_apart(random_pose, brick_mesh):
    model = ObjectModel(1, "brick", brick_mesh, brick_mesh.vertices, np.eye(4)[None], 160.0)
    truth = random_pose()
    moved = truth.copy()
    moved[:3, 3] += [0, 3, 4]
    only_shifted = deviation(moved, truth, model)
    assert only_shifted.shift == pytest.approx(5)
    assert only_shifted.turn == pytest.approx(0, abs=1e-7)
    assert only_shifted.add == pytest.approx(5)
    assert only_shifted.share == pytest.approx(5 / 160)

    turned = truth @ make_transform(matrix_from_vector(np.array([0, 0, 0.1])), np.zeros(3))
    only_turned = deviation(turned, truth, model)
    assert only_turned.turn == pytest.approx(0.1)
    assert only_turned.shift == pytest.approx(0)


def test_poses_that_look_alike_do_not_differ(random_pose, cube_mesh):
    half_turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    symmetries = np.stack([np.eye(4), half_turn])
    model = ObjectModel(1, "cube", cube_mesh, cube_mesh.vertices, symmetries, 138.6)
    truth = random_pose()
    same = deviation(truth @ half_turn, truth, model)
    assert (same.shift, same.turn, same.add) == pytest.approx((0, 0, 0), abs=1e-6)
