import numpy as np
import pytest

from heatpose.geometry.rotations import random_rotation
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.solve.p3p import solve_p3p


@pytest.fixture
def triples(rng):
    """Points (200, 3, 3), mm, poses (200, 4, 4) and the rays that see the points."""
    points = 40 * rng.standard_normal((200, 3, 3))
    places = rng.uniform([-100, -80, 500], [100, 80, 1100], (200, 3))
    poses = make_transform(np.stack([random_rotation(rng) for _ in points]), places)
    return points, poses, towards(transform_points(poses, points))


def towards(points):
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def test_the_true_pose_is_one_of_the_two(triples):
    """But for triangles that are seen so nearly from the front that both are nearly the same."""
    points, poses, rays = triples
    found = solve_p3p(points, rays)
    off = np.nan_to_num(np.abs(found - poses[:, None]).max(axis=(2, 3)), nan=np.inf).min(axis=1)
    assert np.mean(off < 1e-2) > 0.95  # of rotations, and of mm
    assert np.median(off) < 1e-6


def test_triangles_seen_from_near_have_the_pose_more_often_than_not(triples):
    """As far away as they are large: nothing that a crop of one object shows."""
    points, poses, _ = triples
    poses[:, 2, 3] = 300
    found = solve_p3p(points, towards(transform_points(poses, points)))
    off = np.nan_to_num(np.abs(found - poses[:, None]).max(axis=(2, 3)), nan=np.inf).min(axis=1)
    assert np.mean(off < 1) > 0.8


def test_the_two_poses_see_the_points_along_the_rays(triples):
    points, _, rays = triples
    found = solve_p3p(points, rays)
    assert found.shape == (200, 2, 4, 4)
    there = np.isfinite(found).all(axis=(2, 3))
    seen = towards(transform_points(found, points[:, None]))
    off = np.abs(seen - rays[:, None])[there].max(axis=(1, 2))
    assert np.median(off) < 1e-9 and np.mean(off < 1e-3) > 0.98
    rotations = found[..., :3, :3][there]
    eyes = np.broadcast_to(np.eye(3), rotations.shape)
    np.testing.assert_allclose(rotations @ rotations.swapaxes(1, 2), eyes, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(rotations), 1)


def test_triples_do_not_influence_each_other(triples):
    points, _, rays = triples
    together = solve_p3p(points[:5], rays[:5])
    alone = np.concatenate([solve_p3p(points[i, None], rays[i, None]) for i in range(5)])
    np.testing.assert_allclose(together, alone, rtol=1e-9)


@pytest.mark.parametrize("spoil", ["one point", "a line", "nan"])
def test_degenerate_triples_have_no_pose_and_spoil_no_others(triples, spoil):
    points, poses, rays = triples
    points, rays = points[:2].copy(), rays[:2].copy()
    if spoil == "one point":
        points[0] = points[0, 0]
    elif spoil == "a line":
        points[0, 2] = 2 * points[0, 1] - points[0, 0]
    else:
        rays[0, 1] = np.nan
    found = solve_p3p(points, rays)
    assert not np.isfinite(found[0]).all(axis=(1, 2)).any()
    assert np.nanmin(np.abs(found[1] - poses[1]).max(axis=(1, 2))) < 1e-5
