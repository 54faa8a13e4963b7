"""Convex parts fill their mesh and no more."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from heatpose.errors import DataError
from heatpose.objects.mesh import Mesh
from heatpose.objects.surface import smooth_normals
from heatpose.synth.distractors import _turned
from heatpose.synth.solids import _convex, read_solids, solid_of


@pytest.fixture(scope="module")
def bowl():
    """A thin-walled bowl of 100 mm."""
    angle = np.linspace(-np.pi / 2, -0.1, 8)
    outside = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 50
    profile = np.concatenate([outside, outside[::-1] * 0.9])
    vertices, faces, _ = _turned(profile)
    return Mesh(vertices, faces, smooth_normals(vertices, faces))


def inside(points, corners):
    planes = ConvexHull(corners).equations
    return (points @ planes[:, :3].T + planes[:, 3] < 1e-6).all(axis=1)


def test_a_convex_mesh_is_its_hull(brick_mesh):
    (part,) = solid_of(brick_mesh).parts
    assert ConvexHull(part).volume == pytest.approx(60 * 90 * 120)


@pytest.fixture(scope="module")
def bowl_solid(bowl):
    return solid_of(bowl)


def test_a_bowl_is_hollow(bowl_solid):
    """The thin wall is not far from the hull: depth inside the hull would not tell."""
    assert len(bowl_solid.parts) > 3
    air = np.array([[0.0, 0, -15], [10, 0, -12], [0, -12, -20]])
    assert not any(inside(air, part).any() for part in bowl_solid.parts)


def test_parts_reach_as_far_as_the_mesh(bowl, bowl_solid):
    corners = bowl_solid.corners
    assert np.allclose(corners.min(axis=0), bowl.lower, atol=0.4)
    assert np.allclose(corners.max(axis=0), bowl.upper, atol=0.4)


def test_simplified_hulls_stay_close(rng):
    points = rng.normal(size=(2000, 3))
    points = points / np.linalg.norm(points, axis=1, keepdims=True) * 100
    few = _convex(points)
    assert len(few) < 800
    planes = ConvexHull(few).equations
    assert (points @ planes[:, :3].T + planes[:, 3]).max() < 0.61  # 0.003 of 200 mm


@pytest.mark.parametrize("flat", [[1, 1, 0], [1, 0, 0]], ids=["sheet", "needle"])
def test_flat_things_get_a_thickness(rng, flat):
    assert ConvexHull(_convex(rng.normal(size=(50, 3)) * 50 * flat)).volume > 0


def test_the_cache_gives_back_what_was_put_in(tmp_path, brick_mesh, cube_mesh, monkeypatch):
    first = read_solids({1: brick_mesh, 4: cube_mesh}, tmp_path / "parts")
    monkeypatch.setattr("heatpose.synth.solids.solid_of", lambda mesh: pytest.fail("computed anew"))
    again = read_solids({7: cube_mesh, 1: brick_mesh}, tmp_path / "parts")
    for one, other in ((first[1], again[1]), (first[4], again[7])):
        assert all(np.array_equal(a, b) for a, b in zip(one.parts, other.parts, strict=True))


def test_a_damaged_cache_is_named(tmp_path, cube_mesh):
    read_solids({1: cube_mesh}, tmp_path)
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(DataError, match=rf"{file.name} holds no convex parts.*delete it"):
        read_solids({1: cube_mesh}, tmp_path)
