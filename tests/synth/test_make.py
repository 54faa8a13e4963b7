import json

import numpy as np
import pytest

from heatpose.data.bop import BopDataset
from heatpose.data.bop_files import read_scene_camera, read_scene_gt, read_scene_gt_info
from heatpose.data.images import read_depth, read_image
from heatpose.errors import DataError
from heatpose.geometry.boxes import box_of_mask
from heatpose.render.depth_sensors import KINDS, DepthSensor
from heatpose.synth.make import SceneMaker
from heatpose.synth.scene_files import depth_units


@pytest.fixture
def maker(cube_mesh, brick_mesh, two_on_a_table):
    """A function that returns a maker whose engine draws distances, and noise of its own."""

    def make(**options):
        meshes = {1: cube_mesh, 2: brick_mesh, -1: brick_mesh}

        def engine(scene, view, rng, seen):
            return rng.uniform(0, 1, (scene.camera.height, scene.camera.width, 3)).astype(
                np.float32
            )

        return SceneMaker(meshes, lambda rng: two_on_a_table, engine, **options)

    return make


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_scene_folder_holds_what_bop_says(maker, tmp_path):
    seconds = maker()(7, tmp_path / "train")
    scene = tmp_path / "train" / "000007"
    views, gts = ("000000", "000001"), ("000000", "000001")
    masks = {f"{kind}/{v}_{g}.png" for kind in ("mask", "mask_visib") for v in views for g in gts}
    images = {f"rgb/{v}.jpg" for v in views} | {f"depth/{v}.png" for v in views}
    words = {"camera", "gt", "gt_info", "gt_coco"}
    assert files_of(scene).keys() == masks | images | {f"scene_{word}.json" for word in words}
    assert set(seconds) == {"scene", "picture", "labels", "sensors", "files"}
    assert [p.name for p in (tmp_path / "train").iterdir()] == ["000007"]


def test_what_is_written_reads_back_as_it_was_seen(maker, tmp_path, two_on_a_table):
    make = maker(png=True)
    make(0, tmp_path / "train")
    scene = tmp_path / "train" / "000000"
    data = BopDataset(tmp_path, "train")
    truth = read_scene_gt(scene / "scene_gt.json")
    infos = read_scene_gt_info(scene / "scene_gt_info.json")
    for view in (0, 1):
        seen = make.label(two_on_a_table, view)
        depth = read_depth(data.depth_path(0, view), data.frame_camera(0, view).depth_scale)
        np.testing.assert_allclose(depth, seen.depth, atol=0.051)
        assert read_image(data.image_path(0, view)).shape == (120, 160, 3)
        assert data.camera(0, view) == two_on_a_table.camera
        for index, label in enumerate(seen.labels):
            name = f"{view:06d}_{index:06d}.png"
            mask = read_image(scene / "mask" / name)
            visible = read_image(scene / "mask_visib" / name)
            np.testing.assert_array_equal(mask, np.repeat(255 * label.mask[..., None], 3, axis=2))
            np.testing.assert_array_equal(visible[..., 0], 255 * label.visible)
            np.testing.assert_allclose(
                truth[view][index].camera_from_object, label.truth.camera_from_object
            )
            assert infos[view][index] == label.visibility(seen.depth)


def test_red_light_makes_a_red_picture(maker, tmp_path):
    make = maker()
    make.engine = lambda scene, view, rng, seen: np.full(
        (120, 160, 3), [0.5, 0.05, 0.1], np.float32
    )
    make(0, tmp_path)
    red, green, blue = read_image(tmp_path / "000000" / "rgb" / "000000.jpg").mean(axis=(0, 1))
    assert red > 1.5 * green and red > 1.5 * blue


def test_the_cameras_pose_takes_the_world_to_the_camera(maker, tmp_path):
    maker()(0, tmp_path)
    frames = read_scene_camera(tmp_path / "000000" / "scene_camera.json")
    truth = read_scene_gt(tmp_path / "000000" / "scene_gt.json")
    for view in (0, 1):  # the cube stands at (-60, 0, 40) of the world
        place = frames[view].camera_from_world @ [-60, 0, 40, 1]
        np.testing.assert_allclose(truth[view][0].camera_from_object[:, 3], place, atol=1e-9)


def test_the_same_number_and_seed_give_the_same_files(maker, tmp_path):
    sensor = DepthSensor("structured_light")
    maker(seed=3, depth=sensor)(5, tmp_path / "a")
    other = maker(seed=3, depth=sensor)
    other(4, tmp_path / "b")  # what came before makes no difference
    other(5, tmp_path / "b")
    maker(seed=4, depth=sensor)(5, tmp_path / "c")
    first = files_of(tmp_path / "a" / "000005")
    assert first == files_of(tmp_path / "b" / "000005")
    for different in (tmp_path / "b" / "000004", tmp_path / "c" / "000005"):
        assert first["rgb/000000.jpg"] != files_of(different)["rgb/000000.jpg"]
        assert first["depth/000000.png"] != files_of(different)["depth/000000.png"]
    assert first["rgb/000000.jpg"] != first["rgb/000001.jpg"]


def test_the_true_depth_is_kept_beside_the_measured_one(maker, tmp_path, two_on_a_table):
    make = maker(depth=DepthSensor("structured_light", 4.0))
    make(0, tmp_path)
    scene = tmp_path / "000000"
    clean = read_depth(scene / "depth_clean" / "000000.png", 0.1)
    np.testing.assert_allclose(clean, make.label(two_on_a_table, 0).depth, atol=0.051)
    measured = read_depth(scene / "depth" / "000000.png", 0.1)
    assert np.isnan(measured).sum() > np.isnan(clean).sum()
    info = read_scene_gt_info(scene / "scene_gt_info.json")[0][0]
    mask = read_image(scene / "mask" / "000000_000000.png")[..., 0] > 0
    assert info.valid_pixels == np.isfinite(measured[mask]).sum() < info.pixels


def test_coco_boxes_frame_what_is_seen(maker, tmp_path):
    maker()(0, tmp_path)
    scene = tmp_path / "000000"
    coco = json.loads((scene / "scene_gt_coco.json").read_text())
    assert [one["file_name"] for one in coco["images"]] == ["rgb/000000.jpg", "rgb/000001.jpg"]
    assert [one["id"] for one in coco["categories"]] == [1, 2]
    assert [one["id"] for one in coco["annotations"]] == [1, 2, 3, 4]
    for one in coco["annotations"]:
        gt = one["category_id"] - 1
        visible = (
            read_image(scene / "mask_visib" / f"{one['image_id']:06d}_{gt:06d}.png")[..., 0] > 0
        )
        left, top, right, bottom = box_of_mask(visible)
        assert one["bbox"] == [left + 0.5, top + 0.5, right - left, bottom - top]
        assert one["area"] == visible.sum() and not one["ignore"]


def test_an_error_on_the_way_leaves_nothing(maker, tmp_path, two_on_a_table):
    make = maker()
    calls = []

    def breaks(scene, view, rng, seen):
        calls.append(view)
        if view == 1:
            raise RuntimeError("the lamp broke")
        return np.ones((120, 160, 3), np.float32)

    make.engine = breaks
    with pytest.raises(RuntimeError, match="the lamp broke"):
        make(0, tmp_path)
    assert calls == [0, 1]
    assert list(tmp_path.iterdir()) == []


def test_a_scene_that_is_there_is_not_overwritten(maker, tmp_path):
    maker()(0, tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(DataError, match=r"cannot write .*000000"):
        maker(seed=1)(0, tmp_path)
    assert files_of(tmp_path) == before


def test_any_depth_camera_is_another_for_each_picture(maker, tmp_path, monkeypatch):
    """Pictures stay what they are."""
    maker(seed=3)(5, tmp_path / "exact")
    maker(seed=3, depth="any")(5, tmp_path / "any")
    exact, measured = files_of(tmp_path / "exact" / "000005"), files_of(tmp_path / "any" / "000005")
    assert measured["rgb/000000.jpg"] == exact["rgb/000000.jpg"]
    assert measured["depth_clean/000000.png"] == exact["depth/000000.png"]
    assert measured["depth/000000.png"] != exact["depth/000000.png"]
    drawn = []
    monkeypatch.setattr(
        "heatpose.synth.make.measure_depth", lambda rng, depth, *rest: drawn.append(rest) or depth
    )
    for number in range(20):
        maker(seed=3, depth="any")(number, tmp_path / "many")
    sensors = [rest[-2] for rest in drawn]
    assert {one.kind for one in sensors} == set(KINDS) and len(set(sensors)) == 40
    assert max(one.strength for one in sensors) <= 2


def test_depth_is_stored_in_tenths_of_mm_and_zero_where_there_is_none():
    depth = np.float32([[np.nan, 0.04, 0.06, 1234.56], [6553.4, 6553.5, 6553.6, 1e9]])
    units = depth_units(depth)
    assert units.tolist() == [[0, 0, 1, 12346], [65534, 65535, 0, 0]]
