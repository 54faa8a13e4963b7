"""The quick engine: light as the formulas have it, shadows where they belong."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import make_transform
from heatpose.render.occlusion import Occluders, coarse_triangles, frames
from heatpose.render.preview import PreviewEngine
from heatpose.render.raycast import Renderer
from heatpose.render.scene import (
    AreaLight,
    Environment,
    Instance,
    Material,
    Panel,
    Scene,
    albedo_of,
)
from heatpose.render.skylight import Skylight, split_sun
from heatpose.render.surfaces import linear, see

MATT = Material(roughness=1.0, specular=0.0)
FROM_ABOVE = np.diag([1.0, -1.0, -1.0])  # rotation of a camera that looks down


def looking_down(height, x=0.0):
    return make_transform(FROM_ABOVE, np.array([x, 0.0, height]))


@pytest.fixture
def table_scene():
    """A white table of 2 m under an even sky of radiance 1, seen from 1 m above."""
    return Scene(
        instances=(),
        panels=(Panel(np.eye(4), 2000.0, 2000.0, np.full((4, 4, 3), 255, np.uint8), MATT),),
        lights=(),
        environment=Environment(np.ones((16, 32, 3), np.float32)),
        camera=Camera(fx=100.0, fy=100.0, cx=39.5, cy=29.5, width=80, height=60),
        world_from_cameras=(looking_down(1000.0),),
    )


def lamp(height=2000.0, x=0.0, side=10.0, radiance=1e4):
    pose = make_transform(FROM_ABOVE, np.array([x, 0.0, height]))
    return AreaLight(pose, side, side, np.full(3, radiance))


def dark(scene, **changes):
    return replace(scene, environment=Environment(np.zeros((16, 32, 3), np.float32)), **changes)


def on_table(object_id=1, at=(0.0, 0.0, 40.0)):
    return Instance(object_id, make_transform(np.eye(3), np.array(at)), MATT)


def test_a_white_table_under_an_even_sky_has_the_sky_s_radiance(table_scene):
    image = PreviewEngine({})(table_scene, 0)
    assert image.shape == (60, 80, 3)
    assert image.dtype == np.float32
    assert np.allclose(image, 1, atol=0.06)  # of matt surfaces the edge of the mirror remains


def test_a_lamp_lights_by_the_square_and_the_cosine(table_scene):
    scene = dark(table_scene, lights=(lamp(),))
    image = PreviewEngine({})(scene, 0)
    below = 1e4 * 100 / 2000**2 / np.pi
    assert image[29:31, 39:41] == pytest.approx(below, rel=0.03)
    aside = (np.arange(80) - 39.5) / 100 * 1000
    falloff = (2000**2 / (2000**2 + aside**2)) ** 2  # cos^4, at the lamp and on the table
    assert np.allclose(image[30, :, 0], below * falloff, rtol=0.03)


def test_a_lamp_from_behind_is_dark(table_scene):
    turned = replace(lamp(), world_from_light=make_transform(np.eye(3), np.array([0, 0, 2000.0])))
    assert PreviewEngine({})(dark(table_scene, lights=(turned,)), 0).max() == 0


def test_a_lamp_in_view_shines_on_its_front_only(table_scene):
    low = lamp(height=500.0, side=100.0, radiance=7.0)
    from_above = PreviewEngine({})(dark(table_scene, lights=(low,)), 0)
    assert from_above[30, 40] == pytest.approx(0)
    up = replace(low, world_from_light=make_transform(np.eye(3), np.array([0, 0, 500.0])))
    from_above = PreviewEngine({})(dark(table_scene, lights=(up,)), 0)
    assert from_above[30, 40] == pytest.approx(7)


def test_an_object_throws_its_shadow_away_from_the_lamp(table_scene, cube_mesh):
    """From a lamp 45 degrees to the left, a cube of 80 mm covers 80 mm on its right."""
    towards = np.array([1.0, 0, -1]) / np.sqrt(2)
    axes = np.stack([[0, 1.0, 0], np.cross(towards, [0, 1.0, 0]), towards], axis=1)
    light = AreaLight(make_transform(axes, np.array([-1e4, 0, 1e4])), 10, 10, np.full(3, 1e8))
    camera = Camera(fx=500.0, fy=500.0, cx=79.5, cy=59.5, width=160, height=120)
    instances = (on_table(),)
    scene = dark(table_scene, lights=(light,), instances=instances, camera=camera)
    row = PreviewEngine({1: cube_mesh})(scene, 0)[60, :, 0]
    x = (np.arange(160) - 79.5) / 500 * 1000  # mm on the table
    assert (row[(x > 46) & (x < 112)] < 0.3 * row[0]).all()  # some light bounces
    assert (row[(x > 128) | (x < -48)] > 0.9 * row[0]).all()


def test_under_an_even_sky_it_is_darker_beside_an_object(table_scene, cube_mesh):
    camera = Camera(fx=500.0, fy=500.0, cx=79.5, cy=59.5, width=160, height=120)
    scene = replace(table_scene, camera=camera, instances=(on_table(),))
    row = PreviewEngine({1: cube_mesh})(scene, 0)[60, :, 0]
    x = (np.arange(160) - 79.5) / 500 * 1000
    beside, far = row[(np.abs(x) > 46) & (np.abs(x) < 60)].mean(), row[np.abs(x) > 140].mean()
    assert 0.5 * far < beside < 0.9 * far  # a wall takes half of the sky, the rest is kept


def test_labels_and_picture_agree(table_scene, cube_mesh, brick_mesh):
    """The objects are where the ray casting that gives masks and depth has them."""
    instances = (on_table(1, (-60, 0, 40)), on_table(2, (60, 20, 60)))
    scene = replace(table_scene, instances=instances)
    rendering = Renderer({1: cube_mesh, 2: brick_mesh}).render(
        [1, 2], scene.camera_from_objects(0), scene.camera
    )
    seen = see(scene, 0, rendering)
    assert np.array_equal(
        seen.index[rendering.instance >= 0], rendering.instance[rendering.instance >= 0]
    )
    assert (seen.index[rendering.instance < 0] == 2).all()
    rows, cols = np.nonzero(rendering.instance == 0)
    world = (scene.world_from_cameras[0] @ scene.camera_from_objects(0)[0])[:3, 3]
    assert np.allclose(
        seen.points[rows, cols] - world, rendering.object_coordinates[rows, cols], atol=0.01
    )
    assert (seen.normals[rows, cols, 2] > 0).all()
    assert np.allclose(seen.points[rendering.instance < 0][:, 2], 0, atol=0.01)


def test_what_is_seen_may_be_handed_over(table_scene, cube_mesh):
    scene = replace(table_scene, instances=(on_table(),))
    engine = PreviewEngine({1: cube_mesh})
    rendering = Renderer({1: cube_mesh}).render([1], scene.camera_from_objects(0), scene.camera)
    assert np.array_equal(engine(scene, 0), engine(scene, 0, seen=see(scene, 0, rendering)))


def test_a_table_s_picture_lies_the_right_way_round(table_scene):
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0, 0] = 255  # left and top: -x, +y
    panel = replace(table_scene.panels[0], texture=texture, width=400.0, height=400.0)
    scene = replace(table_scene, panels=(panel,))
    image = PreviewEngine({})(scene, 0)
    # Seen from above with x to the right, +y is up in the image.
    assert image[29 - 12, 39 - 12, 0] > 0.9
    assert max(image[29 + 13, 39 - 12, 0], image[29 - 12, 39 + 13, 0]) < 0.1


def test_what_is_beside_the_table_is_the_sky(table_scene, rng):
    radiance = rng.uniform(0.5, 1.5, (16, 32, 3)).astype(np.float32)
    sky = Environment(radiance, azimuth=0.8)
    far = replace(table_scene, panels=(), environment=sky)
    seen = Skylight(split_sun(sky)[1]).seen(sky.directions.reshape(-1, 3).astype(np.float32))
    assert np.allclose(seen.reshape(radiance.shape)[1:-1], radiance[1:-1], atol=1e-3)
    assert PreviewEngine({})(far, 0).max() <= radiance.max() + 1e-5


def test_irradiance_of_a_sky_that_is_bright_above(rng):
    """Half a sphere of radiance 1 gives pi, pi / 2 and 0 to what faces up, aside and down."""
    radiance = np.zeros((64, 128, 3), np.float32)
    radiance[:32] = 1
    light = Skylight(Environment(radiance)).irradiance(
        np.float32([[0, 0, 1], [1, 0, 0], [0, 0, -1]])
    )
    assert np.allclose(light, np.array([[np.pi], [np.pi / 2], [0]]), atol=0.03 * np.pi)


def test_the_sun_takes_its_light_along():
    radiance = np.full((32, 64, 3), 0.2, np.float32)
    radiance[8, 32] = 500  # 45 degrees above +x
    sky = Environment(radiance, azimuth=np.pi / 2)
    sun, rest = split_sun(sky)
    place = sun.world_from_light[:3, 3]
    towards = place / np.linalg.norm(place)
    assert towards == pytest.approx(sky.directions[8, 32], abs=1e-6)
    assert np.allclose(sun.world_from_light[:3, 2], -towards)
    lost = (radiance - rest.radiance)[8, 32] * np.sin(8.5 / 32 * np.pi) * (np.pi / 32) ** 2
    area = sun.width * sun.height / np.linalg.norm(place) ** 2
    assert sun.radiance * area == pytest.approx(lost)
    assert split_sun(Environment(np.ones((8, 16, 3), np.float32)))[0] is None


def test_several_bright_places_together_light_a_table_as_they_did(rng):
    radiance = np.full((64, 128, 3), 0.1, np.float32)
    radiance[[10, 20, 25], [5, 40, 110]] = 300
    sky = Environment(radiance, azimuth=0.3)
    sun, rest = split_sun(sky)
    up = np.float32([[0, 0, 1]])
    place = sun.world_from_light[:3, 3]
    area = sun.width * sun.height / np.linalg.norm(place) ** 2
    from_sun = sun.radiance * area * place[2] / np.linalg.norm(place)
    whole = Skylight(sky).irradiance(up)[0]
    assert from_sun.min() > 0.2 * whole.max()
    assert Skylight(rest).irradiance(up)[0] + from_sun == pytest.approx(whole, rel=0.06)


def test_metal_shows_the_sky_and_its_own_colour(table_scene):
    mirror = Material(roughness=0.05, metallic=1.0, tint=(1.0, 0.5, 0.2))
    panel = replace(table_scene.panels[0], material=mirror)
    image = PreviewEngine({})(replace(table_scene, panels=(panel,)), 0)
    assert image[30, 40] == pytest.approx([1.0, 0.5, 0.2], rel=0.1)


def test_saturation_moves_colours_away_from_grey_and_keeps_their_mean():
    colours = np.float32([[0.5, 0.4, 0.3], [0.2, 0.2, 0.2]])
    plain = np.ones((2, 3), np.float32)

    def painted(saturation):
        return albedo_of(colours, plain, np.float32([saturation]))

    assert (painted(1.0) == colours).all()
    np.testing.assert_allclose(painted(2.0), [[0.6, 0.4, 0.2], [0.2, 0.2, 0.2]], atol=1e-6)
    np.testing.assert_allclose(painted(0.0), [[0.4] * 3, [0.2] * 3], atol=1e-6)
    assert painted(9.0).min() >= 0 and painted(9.0).max() <= 1


def test_light_is_additive_and_scales(table_scene, cube_mesh):
    engine = PreviewEngine({1: cube_mesh})
    scene = dark(table_scene, instances=(on_table(),))
    left, right = lamp(x=-300.0), lamp(x=400.0)
    both = engine(replace(scene, lights=(left, right)), 0)
    apart = engine(replace(scene, lights=(left,)), 0) + engine(replace(scene, lights=(right,)), 0)
    assert np.allclose(both, apart, atol=1e-4)
    twice = replace(left, radiance=2 * left.radiance)
    one, two = (engine(replace(scene, lights=(each,)), 0) for each in (left, twice))
    assert np.allclose(2 * one, two, rtol=1e-5)


def test_lens_distortion_bends_tables_as_it_bends_objects(distorted_camera, table_scene):
    camera = replace(distorted_camera.warped(0.2, np.zeros(2), 128, 96))
    scene = replace(table_scene, camera=camera)
    rendering = Renderer({}).render([], [], camera)
    seen = see(scene, 0, rendering)
    camera_from_world = np.linalg.inv(scene.world_from_cameras[0])
    points = seen.points[seen.index == 0] @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    rows, cols = np.nonzero(seen.index == 0)
    assert np.allclose(camera.project(points.astype(float)), np.c_[cols, rows], atol=0.01)


def test_coarse_triangles_stay_near_the_mesh(brick_mesh):
    triangles = coarse_triangles(brick_mesh)
    assert np.allclose(np.unique(triangles.reshape(-1, 3), axis=0).min(axis=0), brick_mesh.lower)
    assert len(triangles) == 12


def test_frames_are_at_right_angles(rng):
    normals = rng.normal(size=(200, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    axes = np.stack([*frames(normals), normals], axis=1)
    assert np.allclose(axes @ axes.swapaxes(1, 2), np.eye(3), atol=1e-5)


def test_nothing_stands_in_the_way_of_nothing(table_scene):
    empty = replace(table_scene, panels=())
    ways = np.float32([[0, 0, 1], [0, 0, -1]])
    assert not Occluders(empty, {}).between(np.zeros((2, 3), np.float32), ways).any()


def test_srgb_is_undone():
    assert linear(np.float32([0, 0.04045, 0.5, 1])) == pytest.approx(
        [0, 0.04045 / 12.92, 0.21404, 1], abs=1e-4
    )
