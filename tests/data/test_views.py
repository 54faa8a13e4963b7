import numpy as np
import pytest

from heatpose.data.views import ViewConfig, pose_beside, random_lighting, random_pose, repaint
from heatpose.geometry.transforms import rotation_angle
from heatpose.render.raycast import Rendering


def test_objects_lie_inside_the_image_at_the_sizes_asked_for(rng):
    config = ViewConfig(smallest=40, largest=160)
    sizes = []
    for _ in range(300):
        pose = random_pose(rng, 100.0, config)
        x, y = config.camera.project(pose[:3, 3])
        sizes.append(config.camera.fx * 100.0 / pose[2, 3])
        half = sizes[-1] / 2
        assert half - 1 <= x <= config.camera.width - half
        assert half - 1 <= y <= config.camera.height - half
    assert min(sizes) >= 40 and max(sizes) <= 160
    # Log-uniform: as many from 40 to 80 as from 80 to 160 (300 draws, 4 standard deviations).
    assert abs(np.mean(np.array(sizes) < 80) - 0.5) < 0.12


def test_rotations_are_uniform_over_the_whole_sphere(rng):
    config = ViewConfig(upright=0.0)
    rotations = np.array([random_pose(rng, 100.0, config)[:3, :3] for _ in range(2000)])
    np.testing.assert_allclose(rotations.mean(axis=0), 0, atol=0.06)  # every axis points anywhere
    # The angle of a uniform rotation has density (1 - cos a) / pi: mean pi / 2 + 2 / pi.
    assert rotation_angle(rotations).mean() == pytest.approx(np.pi / 2 + 2 / np.pi, abs=0.06)


def test_upright_objects_are_seen_from_above_with_z_up(rng):
    config = ViewConfig(upright=1.0)
    rotations = np.array([random_pose(rng, 100.0, config)[:3, :3] for _ in range(500)])
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), [np.eye(3)] * 500, atol=1e-9
    )
    up, towards = rotations[:, 1, 2], rotations[:, 2, 2]  # z axis along y (down) and z (away)
    assert (up < 0.15).all()
    assert (towards < 0.2).all()  # the upper side faces the camera
    # All azimuths: the object's x axis points everywhere in the plane.
    np.testing.assert_allclose(rotations[:, 0, :2].mean(axis=0), 0, atol=0.15)


def test_neighbours_stand_near_but_not_behind_the_camera(rng):
    config = ViewConfig()
    pose = random_pose(rng, 100.0, config)
    for _ in range(200):
        other = pose_beside(rng, pose, 120.0, config)
        aside = np.hypot(*(other[:2, 3] - pose[:2, 3]))
        assert 0.4 * 120 <= aside <= 1.3 * 120
        assert other[2, 3] >= 0.4 * pose[2, 3] > 0


def test_lights_shine_mostly_from_the_camera_side(rng):
    lights = [random_lighting(rng) for _ in range(300)]
    directions = np.concatenate([light.directions for light in lights])
    assert (directions[:, 2] < 0).mean() > 0.7
    assert {len(light.directions) for light in lights} == {1, 2, 3}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"smallest": 0.0}, "0 < smallest < largest, got 0.0, 170.0"),
        ({"smallest": 200.0}, "got 200.0, 170.0"),
        ({"upright": 1.5}, r"share in \[0, 1\], got 1.5"),
    ],
)
def test_senseless_views_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ViewConfig(**wrong)


def test_paint_changes_the_colour_of_whole_objects_and_nothing_else(rng):
    instance = np.repeat(np.array([-1, 0, 1, 2], np.int16), 8).reshape(4, 8)
    brown = np.where(instance[..., None] >= 0, np.float32([0.5, 0.4, 0.3]), np.float32(0))
    plain = np.ones((4, 8), np.float32)
    normals = np.zeros((4, 8, 3), np.float32)
    before = Rendering(plain, instance, normals, normals, brown, ())
    vivid = []
    for _ in range(50):
        after = repaint(rng, before)
        assert after.instance is before.instance and after.depth is before.depth
        assert (after.albedo[0] == 0).all()  # no object, no colour
        assert all((np.ptp(row, axis=0) == 0).all() for row in after.albedo)
        assert after.albedo.min() >= 0 and after.albedo.max() <= 1
        vivid.append(np.ptp(after.albedo[1:, 0], axis=1))
    vivid = np.array(vivid)
    assert (brown[1:] == np.float32([0.5, 0.4, 0.3])).all()  # the rendering given is left as it was
    assert 0.1 < np.isclose(vivid, 0.2).mean() < 0.5  # some objects keep their colour
    assert np.ptp(vivid, axis=1).max() > 0.2  # each object has its own
    assert vivid.max() > 0.4
