from dataclasses import replace

import numpy as np
import pytest

from heatpose.errors import MissingExtraError, OptionError, UnknownObjectError
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import random_rotation
from heatpose.geometry.transforms import invert, make_transform, transform_points
from heatpose.objects.mesh import Mesh
from heatpose.render import variants
from heatpose.render.pathtrace import PathTracer, choose_variant
from heatpose.render.raycast import Renderer
from heatpose.render.scene import AreaLight, Environment, Instance, Material, Panel, Scene

UPRIGHT = np.array([[1, 0, 0], [0, -1, 0], [0, 0, -1.0]])  # camera looks down, image up is +y
ABOVE = make_transform(UPRIGHT, np.array([0, 0, 1000.0]))
SMALL = Camera(fx=60.0, fy=60.0, cx=23.5, cy=17.5, width=48, height=36)
MATT = Material(roughness=0.5, specular=0.0)
NOTHING = Environment(np.zeros((4, 8, 3), np.float32))


def uniform(radiance):
    return Environment(np.full((4, 8, 3), radiance, np.float32))


def sheet(colour, size=400.0):
    """A matt panel that faces upwards at z = 0."""
    return Panel(np.eye(4), size, size, np.full((2, 2, 3), colour, np.uint8), MATT)


def scene_of(
    instances=(), panels=(), lights=(), environment=NOTHING, camera=SMALL, world_from_camera=ABOVE
):
    return Scene(
        tuple(instances), tuple(panels), tuple(lights), environment, camera, (world_from_camera,)
    )


@pytest.fixture(scope="module")
def trace():
    """Draw without a denoiser, in the variant that has nothing to compile."""

    def draw(scene, samples=16, seed=0, meshes=None):
        tracer = PathTracer(meshes or {}, "scalar_rgb", samples, denoise=False)
        return tracer(scene, 0, seed)

    return draw


def test_a_matt_panel_in_even_light_shines_with_its_albedo(trace):
    # sRGB 188 reflects 0.5029 of the light. Disney's diffuse is within a tenth of Lambert's.
    image = trace(scene_of(panels=[sheet(188)], environment=uniform(1.0)))
    assert image[12:24, 16:32].mean() == pytest.approx(0.5029, rel=0.1)
    np.testing.assert_allclose(image[0, 0], 1.0, rtol=1e-4)  # beside the panel


def test_twice_the_light_gives_twice_the_radiance(trace):
    once, twice = (
        trace(scene_of(panels=[sheet(100)], environment=uniform(value)), samples=2)
        for value in (0.7, 1.4)
    )
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-4)


def test_a_small_light_gives_what_its_area_and_distance_say(trace):
    # E = L A / d^2 = 50 * 60 * 40 / 1000^2 = 0.12 right below; the panel sends albedo / pi of it.
    place = make_transform(UPRIGHT, np.array([0, 0, 1000.0]))
    light = AreaLight(place, 60.0, 40.0, np.array([50.0, 25.0, 0.0]))
    below = make_transform(UPRIGHT, np.array([0, 0, 500.0]))
    scene = scene_of(panels=[sheet(188)], lights=[light], world_from_camera=below)
    middle = trace(scene, samples=16)[12:24, 18:30].mean(axis=(0, 1))
    truth = 0.12 * 0.5029 / np.pi * np.array([1, 0.5, 0])
    np.testing.assert_allclose(middle, truth, rtol=0.06, atol=1e-5)


@pytest.mark.parametrize("azimuth", [0.0, 0.7])
def test_the_sky_lies_where_its_directions_say(trace, rng, azimuth):
    ways = Environment(np.zeros((128, 256, 3), np.float32), azimuth).directions
    sky = Environment(np.float32(1 + ways / 2), azimuth)
    world_from_camera = make_transform(random_rotation(rng), np.zeros(3))
    image = trace(scene_of(environment=sky, world_from_camera=world_from_camera), samples=4)
    x, y = np.meshgrid(np.arange(48), np.arange(36))
    rays = SMALL.unproject(np.stack([x, y], axis=-1), np.ones((36, 48)))
    rays = rays @ world_from_camera[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    # mitsuba has the outermost rows at the poles: half a row, 0.012 rad, off there.
    np.testing.assert_allclose(image, 1 + rays / 2, atol=0.012)


def quarters(top_left=(250, 20, 20), top_right=(20, 250, 20), low=(20, 20, 250)):
    """A texture that is red, green / blue, blue."""
    rows = [[top_left, top_right], [low, low]]
    return np.repeat(np.repeat(np.array(rows, np.uint8), 8, axis=0), 8, axis=1)


def test_a_panel_shows_its_texture_upright(trace):
    panel = Panel(np.eye(4), 600.0, 400.0, quarters(), MATT)
    image = trace(scene_of(panels=[panel], environment=uniform(1.0)))
    corners = image[[10, 10, 26, 26], [14, 34, 14, 34]]
    np.testing.assert_array_equal(corners.argmax(axis=1), [0, 1, 2, 2])
    assert image[17, 4].min() > 0.9  # 600 mm from 1000 mm away are 36 of 48 px, the rest is sky


def test_colours_and_textures_of_objects_are_those_that_masks_and_labels_come_from(
    trace, cube_mesh
):
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1.0]])
    papered = Mesh(
        np.c_[150 * square, np.zeros(4)],
        np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        np.tile([0, 0, 1.0], (4, 1)),
        uv=square * 0.4 + 0.5,
        texture=quarters(),
    )
    painted = replace(cube_mesh, colours=np.tile(np.uint8([200, 120, 40]), (8, 1)))
    meshes = {1: painted, 2: papered}
    pose = make_transform(np.eye(3), np.array([0, 0, 20.0]))
    for object_id, size in ((1, 40.0), (2, 150.0)):
        one = Instance(object_id, pose, MATT)
        camera_from_object = invert(ABOVE) @ pose
        seen = Renderer(meshes).render([object_id], [camera_from_object], SMALL)
        image = trace(scene_of([one], environment=uniform(1.0)), meshes=meshes)
        inner = transform_points(
            camera_from_object,
            np.c_[square * size * 0.6, np.full(4, size if object_id == 1 else 0)],
        )
        cols, rows = np.round(SMALL.project(inner)).astype(int).T
        albedo = ((seen.albedo[rows, cols] + 0.055) / 1.055) ** 2.4
        np.testing.assert_allclose(image[rows, cols], albedo, rtol=0.25, atol=0.03)


@pytest.mark.parametrize(
    "camera",
    [
        Camera(fx=150.0, fy=150.0, cx=79.5, cy=59.5, width=160, height=120),
        Camera(fx=150.0, fy=151.0, cx=61.3, cy=70.8, width=160, height=120),
        Camera(fx=190.0, fy=140.0, cx=83.2, cy=49.1, width=160, height=120),
    ],
    ids=["centred", "off centre", "flat pixels"],
)
def test_objects_are_drawn_where_their_masks_are(trace, brick_mesh, rng, camera):
    meshes = {1: replace(brick_mesh, colours=np.full_like(brick_mesh.colours, 20))}
    camera_from_object = make_transform(random_rotation(rng), np.array([30, -20, 300.0]))
    world_from_camera = make_transform(random_rotation(rng), rng.normal(0, 100, 3))
    one = Instance(1, world_from_camera @ camera_from_object, MATT)
    scene = scene_of([one], (), (), uniform(1.0), camera, world_from_camera)
    covered = np.clip(1 - trace(scene, samples=16, meshes=meshes)[..., 1], 0, 1)
    mask = Renderer(meshes).render([1], [camera_from_object], camera).mask(0)
    assert mask.sum() > 2000
    drawn = covered > 0.5
    assert (drawn & mask).sum() / (drawn | mask).sum() > 0.985
    np.testing.assert_allclose(centre(covered > 0.5), centre(mask), atol=0.1)


def centre(mask):
    """The mean position of a mask, (x, y), px."""
    return np.argwhere(mask).mean(axis=0)[::-1]


def test_the_same_seed_gives_the_same_picture(trace):
    scene = scene_of(panels=[sheet(188)], environment=uniform(1.0))
    once, again, other = (trace(scene, samples=2, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()


def test_denoising_takes_noise_out_and_leaves_the_light():
    panel = sheet(188, size=3000.0)
    scene = scene_of(panels=[panel], environment=uniform(1.0))
    noisy, clean = (
        PathTracer({}, "scalar_rgb", 4, denoise, threads=1)(scene, 0) for denoise in (False, True)
    )
    assert clean.std() < noisy.std() / 4
    assert clean.mean() == pytest.approx(noisy.mean(), rel=0.03)


def test_the_fast_variant_draws_what_the_scalar_one_does(trace, brick_mesh):
    if "llvm_ad_rgb" not in variants.usable_variants():
        pytest.skip("no LLVM of at least 15 here")
    pose = make_transform(np.eye(3), np.array([0, 0, 100.0]))
    scene = scene_of([Instance(1, pose, MATT)], [sheet(188)], (), uniform(1.0))
    tracer = PathTracer({1: brick_mesh}, "llvm_ad_rgb", 64, denoise=False, threads=1)
    difference = tracer(scene, 0) - trace(scene, samples=64, meshes={1: brick_mesh})
    assert abs(difference.mean()) < 0.003
    assert np.abs(difference).mean() < 0.05


def test_what_a_tracer_cannot_draw_is_named(trace, distorted_camera):
    with pytest.raises(UnknownObjectError, match=r"object 5 is not one of \[\]"):
        trace(scene_of([Instance(5, np.eye(4))]))
    with pytest.raises(ValueError, match="without distortion"):
        trace(scene_of(camera=distorted_camera))


def test_without_a_variant_it_says_what_to_install(monkeypatch):
    def only_scalar(among=variants.VARIANTS):
        return [variant for variant in among if variant == "scalar_rgb"]

    monkeypatch.setattr("heatpose.render.pathtrace.usable_variants", only_scalar)
    assert choose_variant() == choose_variant("scalar_rgb") == "scalar_rgb"
    with pytest.raises(OptionError, match=r"cuda_ad_rgb does not work here, .*scalar_rgb"):
        PathTracer({}, "cuda_ad_rgb")
    monkeypatch.setattr("heatpose.render.pathtrace.usable_variants", lambda *_: [])
    with pytest.raises(MissingExtraError, match=r"pip install 'heatpose\[synth\]'.*libllvm"):
        PathTracer({})
