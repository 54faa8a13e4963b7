from dataclasses import replace

import numpy as np
import pytest
import trimesh

from heatpose.export.small_mesh import small_mesh
from heatpose.objects.mesh import Mesh, diameter, face_areas


@pytest.fixture
def ball():
    """A ball of radius 50 mm, red where x is positive, blue elsewhere, 20,480 faces."""
    shape = trimesh.creation.icosphere(subdivisions=5, radius=50.0)
    vertices = np.array(shape.vertices)
    colours = np.where(vertices[:, :1] > 0, [200, 0, 0], [0, 0, 200]).astype(np.uint8)
    return Mesh(vertices, np.array(shape.faces, np.int32), vertices / 50, colours)


def test_the_shape_stays_with_fewer_faces(ball):
    small = small_mesh(ball, 1000)
    assert 900 < len(small.faces) <= 1000
    assert diameter(small) == pytest.approx(100, rel=0.01)
    assert face_areas(small).sum() == pytest.approx(4 * np.pi * 50**2, rel=0.02)
    outwards = small.vertices / np.linalg.norm(small.vertices, axis=1, keepdims=True)
    assert (small.normals * outwards).sum(axis=1).min() > 0.95


def test_colours_come_from_the_same_place(ball):
    small = small_mesh(ball, 1000)
    clear = np.abs(small.vertices[:, 0]) > 3
    red = small.colours[:, 0] == 200
    np.testing.assert_array_equal(red[clear], small.vertices[clear, 0] > 0)


def test_a_small_mesh_stays_as_it_is(brick_mesh):
    small = small_mesh(brick_mesh)
    assert len(small.faces) == 12
    np.testing.assert_allclose(
        np.unique(small.vertices, axis=0), np.unique(brick_mesh.vertices, axis=0)
    )


def test_surfaces_that_share_no_vertices_are_not_torn_apart(ball):
    torn = Mesh(
        ball.triangles.reshape(-1, 3),
        np.arange(3 * len(ball.faces), dtype=np.int32).reshape(-1, 3),
        ball.normals[ball.faces].reshape(-1, 3),
    )
    small = small_mesh(torn, 1000)
    edges = np.sort(small.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    counts = np.unique(edges, axis=0, return_counts=True)[1]
    assert (counts == 2).all()  # closed
    assert small.colours is None


def test_textures_become_vertex_colours(brick_mesh):
    # Red left of the middle of the texture, green right of it; blue in its upper half.
    texture = np.zeros((10, 10, 3), np.uint8)
    texture[:, :5, 0] = texture[:, 5:, 1] = texture[:5, :, 2] = 255
    uv = np.tile([[0.1, 0.9], [0.8, 0.9], [0.1, 0.2], [1.8, 0.2]], (2, 1))
    textured = replace(brick_mesh, colours=None, uv=uv, texture=texture)
    small = small_mesh(textured)
    expected = np.tile([[255, 0, 255], [0, 255, 255], [255, 0, 0], [0, 255, 0]], (2, 1))
    order = np.lexsort(brick_mesh.vertices.T[::-1])
    np.testing.assert_array_equal(small.colours, expected[order])


def test_what_is_too_fine_in_a_texture_becomes_its_mean(brick_mesh):
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[::2, ::2] = texture[1::2, 1::2] = [200, 100, 0]
    uv = np.tile([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]], (2, 1))
    textured = replace(brick_mesh, colours=None, uv=uv, texture=texture)
    colours = small_mesh(textured).colours.astype(float)
    np.testing.assert_allclose(colours.mean(axis=0), [100, 50, 0], atol=25)
    assert (np.ptp(colours[:, 0]) < 150) and set(np.unique(colours[:, 0])) - {0.0, 200.0}
