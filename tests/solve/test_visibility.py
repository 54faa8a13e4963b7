"""Which keypoints can be seen."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.geometry.rotations import random_rotation
from heatpose.geometry.transforms import make_transform
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.solve.visibility import with_visibility
from heatpose.types import PoseEstimate


@pytest.fixture
def cubes(cube_mesh):
    """Two cubes of 80 mm, known by the middles of their faces: -x, +x, -y, +y, -z, +z."""
    lower, upper = cube_mesh.lower, cube_mesh.upper
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    sides = np.array([sign * axis for axis in np.eye(3) for sign in (-1, 1)])
    keypoints = middle + sides * half
    return {
        i: ObjectModel(i, f"cube {i}", cube_mesh, keypoints, np.eye(4)[None], 138.6) for i in (1, 2)
    }


def estimate(object_id, pose):
    return PoseEstimate(
        object_id=object_id,
        camera_from_object=pose,
        score=0.5,
        covariance=np.eye(6),
        keypoints=np.zeros((6, 2)),
        inliers=np.full(6, True),
        box=(0.0, 0.0, 1.0, 1.0),
    )


def seen(cubes, *estimates):
    renderer = Renderer({i: model.mesh for i, model in cubes.items()})
    return [one.visible for one in with_visibility(list(estimates), cubes, renderer)]


def test_a_face_is_seen_when_it_looks_at_the_camera(cubes, rng):
    normals = np.array([sign * axis for axis in np.eye(3) for sign in (-1, 1)])
    for _ in range(20):
        pose = make_transform(random_rotation(rng), [*rng.uniform(-300, 300, 2), 900.0])
        points = pose[:3, 3] + cubes[1].keypoints @ pose[:3, :3].T
        facing = np.einsum("ki,ki->k", normals @ pose[:3, :3].T, points) < 0
        slanted = np.abs(np.einsum("ki,ki->k", normals @ pose[:3, :3].T, points)) < 100
        [visible] = seen(cubes, estimate(1, pose))
        np.testing.assert_array_equal(visible[~slanted], facing[~slanted])


def test_points_that_an_estimate_says_its_keypoints_are_count(cubes):
    """Turned half around, what was in front is behind."""
    pose = make_transform(np.eye(3), [0.0, 0, 900.0])
    back = cubes[1].keypoints * [1, -1, -1]
    [before] = seen(cubes, estimate(1, pose))
    [after] = seen(cubes, replace(estimate(1, pose), points=back))
    np.testing.assert_array_equal(before, [False, False, False, False, True, False])
    np.testing.assert_array_equal(after, [False, False, False, False, False, True])


def test_another_object_in_front_hides_all_and_one_behind_nothing(cubes):
    back, front = (make_transform(np.eye(3), [0.0, 0, z]) for z in (1200, 600))
    alone = seen(cubes, estimate(1, back))[0]
    behind, before = seen(cubes, estimate(1, back), estimate(2, front))
    assert alone.any() and not behind.any()
    np.testing.assert_array_equal(before, seen(cubes, estimate(2, front))[0])


def test_one_of_its_own_kind_hides_nothing(cubes):
    back, front = (make_transform(np.eye(3), [0.0, 0, z]) for z in (1200, 600))
    alone = seen(cubes, estimate(1, back))[0]
    np.testing.assert_array_equal(seen(cubes, estimate(1, back), estimate(1, front))[0], alone)
