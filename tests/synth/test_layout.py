"""Scenes are drawn by chance, but never senseless."""

from collections import Counter
from dataclasses import astuple

import numpy as np
import pytest

from heatpose.data.backgrounds import Backgrounds
from heatpose.errors import DataError
from heatpose.geometry.transforms import transform_points
from heatpose.render.scene import Environment
from heatpose.synth.distractors import distractor_set
from heatpose.synth.layout import SceneConfig, _choose, look_at, random_scene
from heatpose.synth.scenery import Scenery, _normalised, generated_environment, read_scenery
from heatpose.synth.solids import Solid


@pytest.fixture(scope="module")
def scenery():
    return Scenery(Backgrounds())


@pytest.fixture
def stock(scenery, cube_mesh, brick_mesh):
    """Meshes and solids of two objects and ten distractors."""
    meshes, solids = distractor_set(scenery, 100.0, count=10)
    own = {1: cube_mesh, 2: brick_mesh}
    return {**meshes, **own}, {**solids, **{i: Solid((m.vertices,)) for i, m in own.items()}}


@pytest.fixture
def scene_of(stock, scenery):
    def draw(seed, **changes):
        config = SceneConfig(**changes)
        return random_scene(np.random.default_rng(seed), *stock, config, scenery)

    return draw


def test_the_same_seed_gives_the_same_scene(scene_of):
    one, two = scene_of(4), scene_of(4)
    for a, b in zip(one.instances, two.instances, strict=True):
        assert a.object_id == b.object_id
        assert astuple(a.material) == astuple(b.material)
        assert np.array_equal(a.world_from_object, b.world_from_object)
    assert np.array_equal(one.world_from_cameras, two.world_from_cameras)
    assert np.array_equal(one.environment.radiance, two.environment.radiance)
    for a, b in zip(one.panels, two.panels, strict=True):
        assert np.array_equal(a.texture, b.texture)
    for a, b in zip(one.lights, two.lights, strict=True):
        assert np.array_equal(a.radiance, b.radiance)


def test_objects_are_as_vivid_as_was_asked_for(scene_of):
    plain = [one.material.saturation for one in scene_of(4).instances]
    vivid = [
        one.material.saturation
        for seed in range(8)
        for one in scene_of(seed, saturations=(0.5, 2.0)).instances
    ]
    assert set(plain) == {1.0}
    assert 0.5 <= min(vivid) < 0.8 and 1.4 < max(vivid) <= 2.0
    assert np.mean(np.log(vivid)) == pytest.approx(0, abs=0.25)  # as often paler as more vivid


def test_counts_are_what_was_asked_for(scene_of):
    for seed in range(5):
        scene = scene_of(seed, objects=(3, 3), distractors=(2, 2), views=(4, 4), bins=0.0)
        ids = [one.object_id for one in scene.instances]
        assert sum(i >= 0 for i in ids) <= 3
        assert sum(i < 0 for i in ids) <= 2
        assert len(ids) >= 4
        assert len(scene.world_from_cameras) == 4


def test_each_object_comes_equally_often(rng):
    counts = Counter(i for _ in range(3000) for i in _choose(rng, [1, 2, 5, 9], (1, 6), 0.3))
    values = np.array(list(counts.values()))
    assert len(values) == 4
    assert np.ptp(values) < 0.08 * values.mean()


def test_without_repeats_no_object_comes_again_before_all_are_there(rng):
    for _ in range(50):
        chosen = _choose(rng, [1, 2, 3, 4], (4, 4), 0.0)
        assert sorted(chosen) == [1, 2, 3, 4]


def test_standing_objects_stand_and_thrown_ones_mostly_do_not(scene_of):
    def upright(scene):
        return [one.world_from_object[2, 2] > 1 - 1e-9 for one in scene.instances]

    assert all(all(upright(scene_of(s, bins=0, standing=1, distractors=(0, 0)))) for s in range(4))
    thrown = [u for s in range(6) for u in upright(scene_of(s, bins=0, standing=0))]
    assert np.mean(thrown) < 0.5


@pytest.mark.parametrize("bins", [0.0, 1.0], ids=["table", "bin"])
def test_a_surface_lies_under_all_objects(scene_of, stock, bins):
    for seed in range(4):
        scene = scene_of(seed, bins=bins)
        flat = [p for p in scene.panels if abs(p.world_from_panel[2, 3]) < 1e-9]
        table = max(flat, key=lambda panel: panel.width)
        for one in scene.instances:
            points = transform_points(one.world_from_object, stock[0][one.object_id].vertices)
            assert points[:, 2].min() > -1.5
            middle = np.abs(points[:, :2].mean(axis=0))
            assert (middle <= [table.width / 2, table.height / 2]).all()


def test_cameras_see_objects_from_outside_at_the_wanted_sizes(scene_of, stock):
    sizes, seen = [], []
    for seed in range(12):
        scene = scene_of(seed, sizes=(60.0, 120.0), bins=0.3)
        for view, pose in enumerate(scene.world_from_cameras):
            assert pose[2, 3] > 50
            for one, camera_from_object in zip(
                scene.instances, scene.camera_from_objects(view), strict=True
            ):
                mesh = stock[0][one.object_id]
                local = np.linalg.inv(camera_from_object)[:3, 3]
                assert not ((local > mesh.lower) & (local < mesh.upper)).all()
                if one.object_id >= 0:
                    centre = transform_points(camera_from_object, mesh.centre[None])[0]
                    pixel = scene.camera.project(centre)
                    seen.append(((pixel > 0) & (pixel < [640, 480])).all())
                    sizes.append(572.4 * np.linalg.norm(mesh.extents) / centre[2])
    assert np.percentile(sizes, 10) > 50
    assert np.percentile(sizes, 90) < 140
    assert 0.6 < np.mean(seen) < 1


def test_a_camera_looks_at_its_target_with_the_world_upright():
    pose = look_at(np.array([10.0, 20, 30]), 500.0, azimuth=0.7, elevation=0.4, roll=0.0)
    assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3))
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    target = np.linalg.inv(pose) @ [10, 20, 30, 1]
    assert np.allclose(target, [0, 0, 500, 1])
    up = np.linalg.inv(pose)[:3, :3] @ [0, 0, 1]
    assert up[0] == pytest.approx(0)
    assert up[1] < 0  # y is down in the image
    assert np.arcsin((pose[2, 3] - 30) / 500) == pytest.approx(0.4)


def test_lights_shine_at_the_scene_from_beyond_the_cameras(scene_of):
    for seed in range(6):
        scene = scene_of(seed)
        reach = max(np.linalg.norm(pose[:3, 3]) for pose in scene.world_from_cameras)
        irradiance = np.pi * scene.environment.strength
        for light in scene.lights:
            place, axis = light.world_from_light[:3, 3], light.world_from_light[:3, 2]
            distance = np.linalg.norm(place)
            assert distance > reach
            assert axis @ place == pytest.approx(-distance)
            sine = max(place[2] / distance, 0.3)
            area = light.width * light.height
            irradiance += light.radiance.mean() * area * sine / (distance**2 + area / np.pi)
        assert 0.3 < irradiance / np.pi < 3


def test_distractors_are_closed_and_as_large_as_asked(scenery):
    meshes, solids = distractor_set(scenery, 100.0, count=20)
    assert sorted(meshes) == sorted(solids) == list(range(-20, 0))
    for object_id, mesh in meshes.items():
        assert 29 < mesh.extents.max() < 151
        assert np.allclose(solids[object_id].corners.min(axis=0), mesh.lower)
        corners = mesh.triangles
        volume = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum()
        assert volume > 0  # faces look outwards
        assert np.allclose(
            np.cross(np.diff(corners, axis=1)[:, 0], np.diff(corners, axis=1)[:, 1]).sum(axis=0),
            0,
            atol=1e-6 * mesh.extents.max() ** 2,
        )  # closed


def test_environments_have_a_mean_radiance_of_one(rng):
    for _ in range(3):
        radiance = generated_environment(rng)
        rows = np.sin((np.arange(len(radiance)) + 0.5) / len(radiance) * np.pi)
        assert np.average(radiance.mean(axis=(1, 2)), weights=rows) == pytest.approx(1, rel=1e-3)
        assert radiance.min() >= 0


def test_a_map_turns_with_its_azimuth():
    radiance = np.zeros((8, 16, 3), np.float32)
    still = Environment(radiance).directions
    turned = Environment(radiance, azimuth=np.pi / 2).directions
    assert still[4, 8] @ [1, 0, 0] > 0.9  # the middle lies towards +x
    assert still[4, 12] @ [0, -1, 0] > 0.9  # right of it is the right hand
    assert turned[4, 8] @ [0, 1, 0] > 0.9
    assert still[0, 0, 2] > 0.9


def test_exr_maps_come_back(tmp_path, rng):
    OpenEXR = pytest.importorskip("OpenEXR")
    radiance = rng.uniform(0, 50, (16, 32, 3)).astype(np.float32)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"RGB": radiance}).write(str(tmp_path / "room.exr"))
    (read,) = read_scenery(hdri=tmp_path).environments
    assert np.allclose(read, _normalised(radiance), rtol=1e-5)


@pytest.mark.parametrize("content", [None, b"", b"not a map"])
def test_folders_without_maps_are_refused(tmp_path, content):
    folder = tmp_path / "maps"
    if content is not None:
        folder.mkdir()
        (folder / ("room.exr" if content else "notes.txt")).write_bytes(content)
    with pytest.raises(DataError, match="maps"):
        read_scenery(hdri=folder)


@pytest.mark.parametrize(
    "changes", [{"views": (0, 3)}, {"sizes": (90, 40)}, {"bins": 1.5}, {"elevations": (0, 3)}]
)
def test_senseless_scenes_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        SceneConfig(**changes)
