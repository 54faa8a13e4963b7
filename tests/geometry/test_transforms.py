import numpy as np
import pytest

from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import invert, make_transform, rotation_angle, transform_points


def test_inverse_undoes_a_transform(random_pose, cube):
    b_from_a = random_pose()
    there = transform_points(b_from_a, cube)
    np.testing.assert_allclose(transform_points(invert(b_from_a), there), cube, atol=1e-9)


def test_inverse_is_the_matrix_inverse_in_batches(random_pose):
    b_from_a = np.stack([[random_pose() for _ in range(3)] for _ in range(2)])
    np.testing.assert_allclose(invert(b_from_a), np.linalg.inv(b_from_a), atol=1e-9)


def test_neighbouring_names_cancel(random_pose, cube):
    c_from_b, b_from_a = random_pose(), random_pose()
    step_by_step = transform_points(c_from_b, transform_points(b_from_a, cube))
    np.testing.assert_allclose(transform_points(c_from_b @ b_from_a, cube), step_by_step)


def test_a_quarter_turn_by_hand():
    # A quarter turn about z takes x to y: (1, 2, 3) -> (-2, 1, 3), then 10, 20, 30 are added.
    b_from_a = make_transform([[0, -1, 0], [1, 0, 0], [0, 0, 1]], [10, 20, 30])
    moved = transform_points(b_from_a, np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(moved, [[8, 21, 33]])


def test_one_function_serves_a_pose_and_many(random_pose, cube):
    poses = np.stack([random_pose() for _ in range(4)])
    together = transform_points(poses, cube)
    np.testing.assert_array_equal(together, [transform_points(pose, cube) for pose in poses])


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, 1.0, 3.0, np.pi])
def test_rotation_angle_is_exact_from_tiny_to_half_turns(angle):
    c, s = np.cos(angle), np.sin(angle)
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    assert rotation_angle(about_z) == pytest.approx(angle, rel=1e-6, abs=1e-15)


def test_rotation_angle_is_the_length_of_the_rotation_vector(rng):
    vectors = rng.uniform(-1.8, 1.8, (50, 3))  # at most 1.8 * sqrt(3) < pi
    angles = rotation_angle(matrix_from_vector(vectors))
    np.testing.assert_allclose(angles, np.linalg.norm(vectors, axis=1))
