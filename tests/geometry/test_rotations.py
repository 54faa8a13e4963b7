import cv2
import numpy as np
import pytest

from heatpose.geometry.rotations import (
    matrix_from_quaternion,
    matrix_from_vector,
    nearest_rotation,
    quaternion_from_matrix,
    random_rotation,
    skew,
    vector_from_matrix,
)
from heatpose.geometry.transforms import rotation_angle

ANGLES = [0.0, 1e-13, 1e-9, 1e-3, 0.5, 2.0, np.pi - 1e-6, np.pi]


def turn(angle, rng):
    axis = rng.standard_normal(3)
    return angle * axis / np.linalg.norm(axis)


def test_skew_multiplies_like_the_cross_product(rng):
    first, second = rng.standard_normal((2, 5, 3))
    product = (skew(first) @ second[..., None])[..., 0]
    np.testing.assert_allclose(product, np.cross(first, second))


@pytest.mark.parametrize("angle", ANGLES)
def test_rotation_vectors_mean_what_opencv_means(angle, rng):
    vector = turn(angle, rng)
    np.testing.assert_allclose(matrix_from_vector(vector), cv2.Rodrigues(vector)[0], atol=1e-12)


@pytest.mark.parametrize("angle", ANGLES)
def test_a_rotation_vector_comes_back(angle, rng):
    vector = turn(angle, rng)
    back = vector_from_matrix(matrix_from_vector(vector))
    # Half turns about an axis and about its opposite are the same rotation.
    if angle == np.pi and back @ vector < 0:
        back = -back
    np.testing.assert_allclose(back, vector, rtol=1e-9, atol=1e-15)


def test_every_batch_shape_is_kept(rng):
    vectors = rng.standard_normal((2, 3, 3))
    matrices = matrix_from_vector(vectors)
    assert matrices.shape == (2, 3, 3, 3)
    np.testing.assert_array_equal(matrices[1, 2], matrix_from_vector(vectors[1, 2]))


def test_a_quaternion_by_hand():
    # A quarter turn about z: half the angle is 45 degrees, so w = z = 1 / sqrt(2).
    quarter = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    np.testing.assert_allclose(quaternion_from_matrix(quarter), [0.5**0.5, 0, 0, 0.5**0.5])


def test_a_quaternion_comes_back(rng):
    for quaternion in rng.standard_normal((50, 4)):
        unit = quaternion / np.linalg.norm(quaternion) * np.sign(quaternion[0])
        back = quaternion_from_matrix(matrix_from_quaternion(quaternion))
        np.testing.assert_allclose(back, unit, atol=1e-14)


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_have_quaternions_without_w(axis):
    half_turn = -np.eye(3)
    half_turn[axis, axis] = 1
    expected = np.zeros(4)
    expected[1 + axis] = 1
    np.testing.assert_allclose(np.abs(quaternion_from_matrix(half_turn)), expected)


def test_the_length_of_a_quaternion_does_not_matter(rng):
    quaternion = rng.standard_normal((4, 4))
    np.testing.assert_allclose(
        matrix_from_quaternion(quaternion), matrix_from_quaternion(-3 * quaternion), atol=1e-15
    )


def test_random_rotations_are_rotations_and_uniform(rng):
    rotations = np.stack([random_rotation(rng) for _ in range(4000)])
    unit = rotations @ np.swapaxes(rotations, 1, 2)
    np.testing.assert_allclose(unit, np.broadcast_to(np.eye(3), unit.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1)
    # Uniform rotations turn by angle a with density (1 - cos a) / pi: on average pi / 2 + 2 / pi,
    # with a spread of 0.65, so the mean of 4000 lies within 0.05 (five sigma).
    assert rotation_angle(rotations).mean() == pytest.approx(np.pi / 2 + 2 / np.pi, abs=0.05)
    # Each entry has mean 0 and variance 1/3.
    np.testing.assert_allclose(rotations.mean(axis=0), 0, atol=0.05)


def test_the_nearest_rotation_of_a_rotation_is_itself(rng):
    rotation = random_rotation(rng)
    np.testing.assert_allclose(nearest_rotation(2.5 * rotation), rotation, atol=1e-12)


def test_no_neighbour_is_nearer_than_the_nearest_rotation(rng):
    for matrix in rng.standard_normal((20, 3, 3)):
        nearest = nearest_rotation(matrix)
        assert np.linalg.det(nearest) == pytest.approx(1)
        distance = np.linalg.norm(nearest - matrix)
        for vector in 1e-3 * rng.standard_normal((10, 3)):
            assert np.linalg.norm(matrix_from_vector(vector) @ nearest - matrix) > distance
