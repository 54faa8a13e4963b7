"""Objects come to rest as gravity has it."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from heatpose.errors import UnknownObjectError
from heatpose.geometry.transforms import transform_points
from heatpose.synth.physics import Ground, _free_height, _stayed, settle
from heatpose.synth.solids import Solid

TABLE = Ground(800.0, 800.0, spread=250.0)
BIN = Ground(300.0, 240.0, wall=150.0, spread=300.0)


@pytest.fixture
def solids(cube, rng):
    """A cube, a long brick away from its origin, and an L of two bricks."""
    brick = cube * [0.3, 0.5, 1.2] + [30, -20, 10]
    foot = cube * [1.2, 0.5, 0.25]
    return {
        1: Solid((cube,)),
        2: Solid((brick,)),
        3: Solid((foot, foot[:, [2, 1, 0]] + [40, 0, 40])),
    }


def depth_inside(points, corners):
    """How deep the deepest of points lies inside the hull of corners, mm."""
    planes = ConvexHull(corners).equations
    return -(points @ planes[:, :3].T + planes[:, 3]).max(axis=1).min()


def test_a_cube_lands_on_a_face(solids):
    for seed in range(6):
        (pose,) = settle(np.random.default_rng(seed), solids, [1], TABLE)
        corners = np.sort(transform_points(pose, solids[1].corners)[:, 2])
        assert np.abs(corners[:4]).max() < 1
        assert np.abs(corners[4:] - 80).max() < 1
        tilt = np.arccos(min(np.abs(pose[2, :3]).max(), 1))
        assert tilt < np.radians(1)


@pytest.mark.parametrize("ground", [TABLE, BIN], ids=["table", "bin"])
def test_nothing_sinks_into_the_ground_or_another(solids, ground, rng):
    ids = [1, 2, 3] * 3
    poses = settle(rng, solids, ids, ground)
    placed = [
        [transform_points(pose, part) for part in solids[i].parts]
        for i, pose in zip(ids, poses, strict=True)
        if pose is not None
    ]
    assert len(placed) >= 7
    assert min(part[:, 2].min() for parts in placed for part in parts) > -1
    for number, parts in enumerate(placed):
        others = [part for other in placed[:number] + placed[number + 1 :] for part in other]
        assert all(depth_inside(a, b) < 1.5 for a in parts for b in others)


def test_everything_that_lies_is_held_up(solids, rng):
    """No object floats: each has a low point on the ground or touches another."""
    ids = [1, 2, 3] * 3
    poses = settle(rng, solids, ids, TABLE)
    lowest = [
        transform_points(pose, solids[i].corners)[:, 2].min()
        for i, pose in zip(ids, poses, strict=True)
        if pose is not None
    ]
    assert np.median(np.abs(lowest)) < 1
    assert max(lowest) < 120


def test_a_bin_keeps_what_falls_into_it(solids, rng):
    ids = [1, 2, 3] * 3
    for i, pose in zip(ids, settle(rng, solids, ids, BIN), strict=True):
        if pose is not None:
            corners = transform_points(pose, solids[i].corners)
            assert (np.abs(corners[:, :2]) < [152, 122]).all()


def test_what_falls_off_the_table_is_not_there(solids):
    small = Ground(60.0, 60.0, spread=400.0)
    heap = settle(np.random.default_rng(0), solids, [1] * 6, small)
    assert heap.count(None) >= 3


def test_over_the_edge_is_on_the_table_but_not_in_the_bin(cube):
    edge = cube + [395.0, 0, 40]
    assert _stayed(edge, TABLE)
    assert not _stayed(edge + [20, 0, 0], TABLE)
    assert not _stayed(edge, Ground(800.0, 800.0, wall=100.0))
    assert not _stayed(cube, TABLE)  # half of it below
    assert _stayed(edge - [60, 0, 0], Ground(800.0, 800.0, wall=100.0))


def test_standing_objects_stand_beside_each_other(solids, rng):
    ids = [1, 2, 3, 2]
    poses = settle(rng, solids, ids, TABLE, standing=[True] * 4)
    assert all(np.allclose(pose[2, :3], [0, 0, 1]) for pose in poses)
    placed = [transform_points(p, solids[i].corners) for i, p in zip(ids, poses, strict=True)]
    assert all(points[:, 2].min() == pytest.approx(0, abs=1e-9) for points in placed)
    for number, points in enumerate(placed):
        assert all(depth_inside(points, other) < 0 for other in placed[:number])


def test_dropped_objects_leave_standing_ones_alone(solids):
    poses = settle(
        np.random.default_rng(3), solids, [2, 1, 1], TABLE, standing=[True, False, False]
    )
    alone = settle(np.random.default_rng(3), solids, [2], TABLE, standing=[True])
    assert np.array_equal(poses[0], alone[0])


def test_the_same_seed_gives_the_same_heap(solids):
    one, two = (settle(np.random.default_rng(7), solids, [1, 2, 3], TABLE) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    other = settle(np.random.default_rng(8), solids, [1, 2, 3], TABLE)
    assert not np.allclose(one[0], other[0])


def test_objects_start_clear_of_each_other(rng):
    balls = [(rng.uniform(-100, 100, 3), float(r)) for r in rng.uniform(10, 60, 12)]
    for _ in range(50):
        place, radius = rng.uniform(-100, 100, 3), float(rng.uniform(10, 60))
        height = _free_height(place, radius, balls)
        assert height >= place[2]
        place[2] = height
        assert all(np.linalg.norm(c - place) >= radius + r for c, r in balls)


def test_objects_without_parts_and_senseless_grounds_are_refused(solids, rng):
    with pytest.raises(UnknownObjectError, match=r"\[9\]"):
        settle(rng, solids, [1, 9], TABLE)
    with pytest.raises(ValueError, match="positive"):
        Ground(0.0, 100.0)


def test_nothing_at_all_is_a_scene_too(solids, rng):
    assert settle(rng, solids, [], TABLE) == []


def test_rotations_at_rest_are_rotations(solids, rng):
    for pose in settle(rng, solids, [1, 3], TABLE):
        assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
