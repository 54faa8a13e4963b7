import numpy as np
import pytest

from heatpose.geometry.transforms import make_transform
from heatpose.objects.mesh import Mesh
from heatpose.render.raycast import Renderer
from heatpose.render.shading import Lighting, shade

AHEAD = make_transform(np.eye(3), np.array([0.0, 0.0, 600.0]))


@pytest.fixture
def face(camera):
    """A grey square that faces the camera, rendered."""
    vertices = np.array([[-40.0, -40, 0], [40, -40, 0], [40, 40, 0], [-40, 40, 0]])
    normals = np.tile([0.0, 0.0, -1.0], (4, 1))
    mesh = Mesh(vertices, np.array([[0, 2, 1], [0, 3, 2]], np.int32), normals, None, None, None)
    return Renderer({1: mesh}).render([1], [AHEAD], camera)


def light(direction, colour=(1.0, 1.0, 1.0), **others):
    return Lighting(np.array([direction], float), np.array([colour], float), np.zeros(3), **others)


@pytest.mark.parametrize("degrees", [0, 30, 60])
def test_diffuse_light_falls_with_the_cosine(face, camera, degrees):
    angle = np.radians(degrees)
    image = shade(face, camera, light([np.sin(angle), 0, -np.cos(angle)], specular=0.0))
    # Albedo 0.6: 153 where the light comes from the front.
    np.testing.assert_allclose(image[face.mask(0)], 153 * np.cos(angle), atol=1)


def test_light_from_behind_gives_nothing(face, camera):
    assert not shade(face, camera, light([0, 0, 1], specular=0.0)).any()


def test_highlights_are_where_the_light_is_mirrored_to_the_camera(face, camera):
    image = shade(face, camera, light([0, 0, -1], specular=0.3, shininess=400.0))
    rows, cols = np.nonzero(image[..., 0] == image[..., 0].max())
    np.testing.assert_allclose([cols.mean(), rows.mean()], [camera.cx, camera.cy], atol=1)


def test_the_colour_of_the_light_colours_the_object_and_the_rest_stays_black(face, camera):
    image = shade(face, camera, light([0, 0, -1], colour=(1.0, 0.5, 0.0), specular=0.0))
    np.testing.assert_allclose(image[face.mask(0)][0], [153, 76, 0], atol=1)
    assert not image[~face.mask(0)].any()


def test_default_light_leaves_nothing_dark_and_little_burnt(face, camera):
    values = shade(face, camera)[face.mask(0)]
    assert 60 < values.mean() < 220
