import numpy as np
import pytest
import trimesh

from heatpose.objects import surface
from heatpose.objects.surface import mended_normals, smooth_normals, split_at_creases


@pytest.fixture
def ball():
    return trimesh.creation.icosphere(subdivisions=3, radius=30)


def test_smooth_normals_of_a_ball_point_from_its_centre(ball):
    normals = smooth_normals(ball.vertices, ball.faces)
    np.testing.assert_allclose(normals, ball.vertices / 30, atol=0.015)


def test_a_vertex_without_faces_gets_some_unit_normal():
    normals = smooth_normals(np.eye(4, 3), np.array([[0, 1, 2]]))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)


def test_a_ball_is_not_split_and_a_can_at_its_rims(ball):
    assert len(split_at_creases(ball.vertices, ball.faces)[0]) == len(ball.vertices)
    can = trimesh.creation.cylinder(radius=30, height=80, sections=32)
    kept, faces, normals = split_at_creases(can.vertices, can.faces)
    # Two middles, and each of the 64 points of the rims once for the lid and once for the side.
    assert len(kept) == 2 + 2 * 64
    np.testing.assert_allclose(can.vertices[kept][faces], can.vertices[can.faces])
    upright = np.abs(normals[:, 2])
    np.testing.assert_allclose(
        upright, np.round(upright), atol=1e-6
    )  # lid or side, nothing between


def test_too_many_corners_at_one_vertex_are_smoothed(ball, monkeypatch):
    monkeypatch.setattr(surface, "MAX_PAIRS", 10)
    kept, faces, normals = split_at_creases(ball.vertices, ball.faces)
    np.testing.assert_array_equal(kept, np.arange(len(ball.vertices)))
    np.testing.assert_array_equal(faces, ball.faces)
    np.testing.assert_allclose(normals, ball.vertices / 30, atol=0.015)


def test_good_normals_are_kept_at_length_one_and_gaps_filled(ball):
    given = ball.vertices.copy()  # of length 30
    given[5] = 0
    mended = mended_normals(given, ball.vertices, ball.faces)
    np.testing.assert_allclose(mended, ball.vertices / 30, atol=0.015)


@pytest.mark.parametrize("fault", ["inwards", "nan", "zero", "too few"])
def test_normals_that_cannot_be_right_are_refused(ball, fault):
    given = ball.vertices / 30
    given = {
        "inwards": -given,
        "nan": np.where(np.arange(len(given))[:, None] == 3, np.nan, given),
        "zero": given * 0,
        "too few": given[:-1],
    }[fault]
    assert mended_normals(given, ball.vertices, ball.faces) is None
