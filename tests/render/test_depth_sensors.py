import numpy as np
import pytest

from heatpose.errors import OptionError
from heatpose.geometry.camera import Camera
from heatpose.render.depth_sensors import (
    KINDS,
    DepthSensor,
    axial_noise,
    hidden_from,
    measure_depth,
    quantise,
)

CAMERA = Camera(fx=580.0, fy=580.0, cx=79.5, cy=59.5, width=160, height=120)
SHAPE = (120, 160)


def measure(depth, kind, strength=1.0, *, seed=0, albedo=None, cosine=None, shine=None):
    """Measure a scene of bright, rough, textured surfaces that face the camera."""
    if albedo is None:
        albedo = np.random.default_rng(9).uniform(0.3, 0.9, (*SHAPE, 1)) * np.ones(3)
    normals = np.zeros((*SHAPE, 3), np.float32)
    if cosine is not None:
        rays = CAMERA.unproject(np.stack(np.meshgrid(np.arange(160), np.arange(120)), -1), 1.0)
        rays /= np.linalg.norm(rays, axis=2, keepdims=True)
        across = np.cross(rays, [0.0, 1.0, 0.0])
        across /= np.linalg.norm(across, axis=2, keepdims=True)
        normals = (-cosine * rays + np.sqrt(1 - cosine**2) * across).astype(np.float32)
    rng, sensor = np.random.default_rng(seed), DepthSensor(kind, strength)
    albedo = np.asarray(albedo, np.float32)
    return measure_depth(rng, depth, normals, albedo, CAMERA, sensor, shine)


def wall(z=1000.0):
    return np.full(SHAPE, z, np.float32)


def box_before_wall():
    depth = wall(1200.0)
    depth[40:80, 60:100] = 800.0
    return depth


@pytest.mark.parametrize("kind", KINDS)
def test_strength_zero_gives_the_truth(kind):
    depth = box_before_wall()
    depth[:10] = np.nan
    np.testing.assert_array_equal(measure(depth, kind, 0.0), depth)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_measured_where_nothing_is(kind):
    depth = box_before_wall()
    depth[:, :60] = np.nan
    depth[90:] = np.nan
    assert np.isnan(measure(depth, kind, 2.0)[np.isnan(depth)]).all()
    assert np.isnan(measure(np.full(SHAPE, np.nan, np.float32), kind)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_measures_the_same_and_strength_makes_it_worse(kind):
    depth = wall()
    first, again = measure(depth, kind), measure(depth, kind)
    np.testing.assert_array_equal(first, again)
    spread = [np.nanstd(measure(depth, kind, s) - depth) for s in (1.0, 3.0)]
    assert spread[1] > 2 * spread[0] > 0


@pytest.mark.parametrize("kind", ["structured_light", "stereo"])
def test_steps_grow_with_the_square_of_depth(kind):
    def step(z):
        values = np.unique(measure(wall(z), kind))
        return np.diff(values[np.isfinite(values)]).min()

    part, baseline = {"structured_light": (8, 75), "stereo": (32, 50)}[kind]
    assert step(2000.0) / step(1000.0) == pytest.approx(4, rel=0.1)
    assert step(1000.0) == pytest.approx(1000**2 / (part * 580 * baseline), rel=0.05)


def test_rounding_of_disparities_is_at_most_half_a_step():
    depth = np.linspace(500, 3000, 500, dtype=np.float32)[None]
    rounded = 580 * 75 / quantise(depth, 580 * 75, 0.125)
    assert np.abs(rounded - 580 * 75 / depth).max() <= 0.0626
    np.testing.assert_allclose(rounded * 8, np.round(rounded * 8), atol=1e-2)


def test_structured_light_is_as_noisy_as_published():
    # Nguyen et al. 2012 at 2 m, facing the camera: 1.2 + 1.9 * 1.6^2 = 6.06 mm, and its steps.
    z = 2000.0
    assert axial_noise(wall(z), np.zeros(SHAPE, np.float32))[0, 0] == pytest.approx(6.064, rel=1e-3)
    step = z**2 / (8 * 580 * 75)
    expected = np.hypot(6.064, step / np.sqrt(12))
    assert np.nanstd(measure(wall(z), "structured_light")) == pytest.approx(expected, rel=0.05)


def test_stereo_is_as_noisy_as_published():
    errors = measure(wall(), "stereo") - 1000
    expected = np.hypot(1000**2 / (12 * 580 * 50), 1000**2 / (32 * 580 * 50) / np.sqrt(12))
    assert np.nanstd(errors) == pytest.approx(expected, rel=0.1)
    inner = errors[5:-5, 5:-5]
    assert np.corrcoef(inner[:, :-1].ravel(), inner[:, 1:].ravel())[0, 1] > 0.4  # within a block


def test_time_of_flight_grows_noisier_as_less_light_comes_back():
    def noise(z, albedo, cosine=None):
        light = np.full((*SHAPE, 3), albedo)
        inner = measure(wall(z), "time_of_flight", albedo=light, cosine=cosine)[20:-20, 20:-20]
        return np.nanstd(inner - z)

    plain = noise(1000.0, 0.5)
    assert plain == pytest.approx(1.5, rel=0.05)
    assert noise(2000.0, 0.5) == pytest.approx(4 * plain, rel=0.05)
    assert noise(1000.0, 0.25) == pytest.approx(2 * plain, rel=0.05)
    assert noise(1000.0, 0.5, cosine=0.5) == pytest.approx(2 * plain, rel=0.05)


def test_time_of_flight_sees_pixels_fly_and_the_others_do_not():
    depth = box_before_wall()
    between = {
        kind: int(((m := measure(depth, kind)) > 850).sum() - (m > 1100).sum()) for kind in KINDS
    }
    assert between["time_of_flight"] > 20
    assert between["structured_light"] == between["stereo"] == 0


def test_concave_corners_look_farther_to_time_of_flight():
    aside = np.abs(np.arange(160, dtype=np.float32) - 80)
    valley = np.tile(1000 - 3 * aside, (120, 1))
    light = np.full((*SHAPE, 3), 0.9)
    error = measure(valley, "time_of_flight", albedo=light) - valley
    ridge = measure(2000 - valley, "time_of_flight", albedo=light) - (2000 - valley)
    assert error[20:-20, 79:82].mean() > 0.5
    assert ridge[20:-20, 79:82].mean() < 0.4


@pytest.mark.parametrize("baseline", [50.0, 75.0])
def test_a_shadow_is_as_wide_as_the_disparities_differ_and_lies_at_the_left(baseline):
    hidden = hidden_from(box_before_wall(), CAMERA, baseline)
    width = 580 * baseline * (1 / 800 - 1 / 1200)
    assert hidden[60].sum() == pytest.approx(width, abs=1.01)
    assert hidden[60, 59] and not hidden[60, 60:].any()
    assert not hidden[:40].any() and not hidden[80:].any()


def test_a_thin_bar_hides_only_its_own_width():
    depth = wall(1200.0)
    depth[:, 100:103] = 600.0
    hidden = hidden_from(depth, CAMERA, 75.0)
    shift = 580 * 75 * (1 / 600 - 1 / 1200)
    cols = np.flatnonzero(hidden[60])
    assert 3 <= len(cols) <= 5
    assert cols.mean() == pytest.approx(101 - shift, abs=1.0)


def test_a_slanted_plane_that_both_eyes_see_has_no_shadow():
    for slope in (-3.0, 3.0, 6.0):
        plane = np.tile(1000 + slope * (np.arange(160, dtype=np.float32) - 80), (120, 1))
        assert not hidden_from(plane, CAMERA, 75.0).any()


@pytest.mark.parametrize("kind", ["structured_light", "stereo"])
def test_shadows_are_holes(kind):
    depth = box_before_wall()
    holes = np.isnan(measure(depth, kind))
    assert holes[45:75, 50:58].all() and not holes[45:75, 105:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_grazing_surfaces_are_holes(kind):
    cosine = np.cos(np.radians(np.linspace(0, 89, 160)))
    holes = np.isnan(measure(wall(600.0), kind, cosine=np.tile(cosine, (120, 1))[..., None]))
    degrees = np.linspace(0, 89, 160)
    assert holes[:, degrees > 82].all() and not holes[:, degrees < 60].any()


@pytest.mark.parametrize("kind", ["structured_light", "time_of_flight"])
def test_dark_surfaces_are_holes(kind):
    albedo = np.full((*SHAPE, 3), 0.5)
    albedo[:, :80] = 0.004
    holes = np.isnan(measure(wall(), kind, albedo=albedo))
    assert holes[:, :76].all() and not holes[:, 84:].any()


def test_stereo_needs_texture_or_a_pattern_that_comes_back():
    rng = np.random.default_rng(0)
    flat = np.full((*SHAPE, 3), 0.08)
    textured = flat + rng.uniform(-0.05, 0.05, (*SHAPE, 1))
    assert np.isnan(measure(wall(), "stereo", albedo=flat)).mean() > 0.5
    assert not np.isnan(measure(wall(), "stereo", albedo=textured)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_mirrors_are_holes_and_rough_surfaces_are_not(kind):
    shine = np.zeros(SHAPE, np.float32)
    shine[:, :80] = 0.9
    holes = np.isnan(measure(wall(), kind, shine=shine))
    assert holes[:, :76].all() and not holes[:, 84:].any()


def test_only_kinds_and_strengths_that_exist_are_taken():
    with pytest.raises(OptionError, match="structured_light, stereo, time_of_flight, not 'lidar'"):
        DepthSensor("lidar")
    with pytest.raises(OptionError, match=r"from 0 to 4, got 4\.5"):
        DepthSensor(strength=4.5)
