import itertools

import numpy as np
import pytest
import trimesh
from scipy.spatial.distance import cdist, pdist

from heatpose.objects.keypoints import select_keypoints, surface_centre, surface_variation
from heatpose.objects.mesh import Mesh, sample_surface


def mesh_of(shape):
    return Mesh(
        np.array(shape.vertices), np.array(shape.faces, np.int32), np.array(shape.vertex_normals)
    )


def test_each_farthest_point_is_the_farthest_from_those_before(brick_mesh, rng):
    points = select_keypoints(brick_mesh, "fps", 24)
    assert np.abs(brick_mesh.vertices - points[0]).sum(axis=1).min() < 1e-9  # a corner
    gaps = [cdist(points[i : i + 1], points[:i]).min() for i in range(1, 24)]
    assert (np.diff(gaps) <= 1e-9).all()
    everywhere = sample_surface(brick_mesh, 5000, rng)
    # No place was farther away than the last one chosen, but for places between the candidates.
    assert cdist(everywhere, points).min(axis=1).max() < gaps[-1] + 3


@pytest.mark.parametrize("strategy", ["fps", "curvature"])
@pytest.mark.parametrize("count", [1, 9, 32, 64])
def test_keypoints_lie_on_the_surface_apart_from_each_other(brick_mesh, strategy, count):
    points = select_keypoints(brick_mesh, strategy, count)
    assert points.shape == (count, 3)
    to_side = np.abs(np.abs(points - brick_mesh.centre) - brick_mesh.extents / 2)
    assert (to_side.min(axis=1) < 1e-9).all()
    if count > 1:
        # 46800 mm^2 shared evenly give each a square of 27 mm (32 points), 19 mm (64).
        assert pdist(points).min() > 0.45 * np.sqrt(46_800 / count)


@pytest.mark.parametrize("strategy", ["fps", "bbox", "curvature"])
def test_the_same_mesh_gives_the_same_keypoints(brick_mesh, strategy):
    first, second = (select_keypoints(brick_mesh, strategy) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len(first) == (9 if strategy == "bbox" else 32)


def test_a_plate_without_inner_vertices_gets_inner_keypoints():
    corners = np.array([[0, 0, 0], [90, 0, 0], [90, 90, 0], [0, 90, 0.0]])
    plate = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32), np.tile([0, 0, 1.0], (4, 1)))
    inner = select_keypoints(plate, "fps", 5)[4]
    np.testing.assert_allclose(inner, [45, 45, 0], atol=2)


def test_the_box_gives_its_corners_and_centre(brick_mesh):
    points = select_keypoints(brick_mesh, "bbox")
    ends = zip(brick_mesh.lower, brick_mesh.upper, strict=True)
    np.testing.assert_allclose(points[:8], list(itertools.product(*ends)))
    np.testing.assert_allclose(points[8], [5, -8, 12])


def test_curvature_prefers_edges_to_sides_and_far_to_near(brick_mesh):
    points = select_keypoints(brick_mesh, "curvature", 8)
    to_side = np.sort(np.abs(np.abs(points - brick_mesh.centre) - brick_mesh.extents / 2), axis=1)
    assert (to_side[:, 1] < 6).all()  # near a second side: on an edge
    assert (np.linalg.norm(points - brick_mesh.centre, axis=1) > 60).all()  # corners: 80.8 mm


def test_surface_variation_is_zero_on_a_plane_and_a_third_in_a_cloud(rng):
    plane = rng.random((2000, 3)) * [1, 1, 0]
    assert surface_variation(plane).max() < 1e-12
    cloud = rng.normal(size=(4000, 3))
    inner = np.linalg.norm(cloud, axis=1) < 1
    assert surface_variation(cloud)[inner].mean() > 0.2


def test_the_centre_of_the_surface_ignores_where_vertices_crowd():
    ball = trimesh.creation.icosphere(subdivisions=2, radius=30)
    crowded = ball.subdivide(np.flatnonzero(ball.triangles_center[:, 2] > 0))
    crowded.apply_translation([10, 20, 30])
    np.testing.assert_allclose(surface_centre(mesh_of(crowded)), [10, 20, 30], atol=0.2)


@pytest.mark.parametrize(
    ("strategy", "count", "message"),
    [
        ("bbox", 32, "bbox gives 9 keypoints, 32 were asked for"),
        ("fps", 0, r"count must lie in \[1, 1000\], got 0"),
        ("best", None, "strategy must be one of .*, got 'best'"),
    ],
)
def test_what_cannot_be_given_is_refused(brick_mesh, strategy, count, message):
    with pytest.raises(ValueError, match=message):
        select_keypoints(brick_mesh, strategy, count)


def test_random_keypoints_are_shared_out_by_area(brick_mesh):
    points = select_keypoints(brick_mesh, "uniform", 1000)
    to_side = np.abs(np.abs(points - brick_mesh.centre) - brick_mesh.extents / 2)
    # Sides of 90 x 120, 60 x 120 and 60 x 90 mm, normal to x, y and z.
    counts = np.bincount(to_side.argmin(axis=1), minlength=3)
    expected = 1000 * np.array([10_800, 7_200, 5_400]) / 23_400
    assert to_side.min(axis=1).max() < 1e-9
    np.testing.assert_allclose(counts, expected, atol=4 * np.sqrt(250))
    np.testing.assert_array_equal(points, select_keypoints(brick_mesh, "uniform", 1000))
