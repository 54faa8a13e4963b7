"""Data sets in which all is right, and those in which one thing went wrong."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from heatpose.check.report import check
from heatpose.check.sheet import check_sheet
from heatpose.data.recognise import read_source
from heatpose.errors import DataError
from heatpose.objects.mesh import read_mesh, write_mesh

pytestmark = pytest.mark.slow


@pytest.fixture
def bop(toy_lab, tmp_path):
    toy_lab.write_bop(tmp_path / "lm")
    return tmp_path / "lm"


def checked(root):
    return check(read_source(root), n_frames=4, progress=iter)


def change_poses(root, change):
    for path in root.glob("test/*/scene_gt.json"):
        images = json.loads(path.read_text())
        for objects in images.values():
            for one in objects:
                change(one)
        path.write_text(json.dumps(images))


def change_cameras(root, change):
    for path in root.glob("test/*/scene_camera.json"):
        cameras = json.loads(path.read_text())
        for camera in cameras.values():
            change(camera)
        path.write_text(json.dumps(cameras))


def change_models(root, rotation=None, move=(0, 0, 0), scale=1.0):
    turn = np.eye(3) if rotation is None else np.array(rotation, float)
    for path in root.glob("models/*.ply"):
        mesh = read_mesh(path, "mm")
        vertices = (mesh.vertices @ turn.T + move) * scale
        write_mesh(path, replace(mesh, vertices=vertices, normals=mesh.normals @ turn.T))


def translations_times(factor):
    def plant(root):
        def change(one):
            one["cam_t_m2c"] = [factor * value for value in one["cam_t_m2c"]]

        change_poses(root, change)

    return plant


def models_in_metres(root):
    change_models(root, scale=0.001)


def everything_in_metres(root):
    change_models(root, scale=0.001)
    translations_times(0.001)(root)


def transposed_rotations(root):
    def change(one):
        one["cam_R_m2c"] = np.reshape(one["cam_R_m2c"], (3, 3)).T.ravel().tolist()

    change_poses(root, change)


def bgr_pictures(root):
    for path in root.glob("test/*/rgb/*"):
        Image.fromarray(np.array(Image.open(path))[..., ::-1]).save(path)


def depth_scale_times_ten(root):
    change_cameras(root, lambda camera: camera.update(depth_scale=10.0))


def camera_of_half_the_resolution(root):
    def change(camera):
        camera["cam_K"] = [286.2, 0, 162.38, 0, 286.79, 120.77, 0, 0, 1]

    change_cameras(root, change)


def models_turned_about_y(root):
    change_models(root, np.diag([-1, 1, -1]))


def models_with_other_axes_and_origins(root):
    change_models(root, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], move=(5, -10, 40))


PLANTED = [
    (translations_times(0.001), "translations are in metres"),
    (translations_times(0.1), "translations are in centimetres"),
    (translations_times(10), "translations are 10 times as large as they should be"),
    (models_in_metres, "models are in metres"),
    (everything_in_metres, "models and translations are in metres"),
    (transposed_rotations, "rotations are transposed"),
    (bgr_pictures, "red and blue are exchanged"),
    (depth_scale_times_ten, "the depth scale is off by 10"),
    (camera_of_half_the_resolution, "the camera matrix is that of pictures 0.5 times as large"),
    (models_turned_about_y, "their axes are turned by 180 degrees about y"),
    (
        models_with_other_axes_and_origins,
        "their axes are turned by 90 degrees about -x, and their origins are not the centres",
    ),
]


def named(value):
    return getattr(value, "__name__", "")


def test_what_is_right_is_called_healthy_with_figures(bop):
    report = checked(bop)
    assert report.faults == [] and report.notes == []
    assert len(report.views) == 6
    mean = np.mean([fit.agreement for fit in report.outcome.fits])
    assert mean - report.outcome.chance > 1
    for fit in report.outcome.fits:
        assert fit.outline > 1.2 and fit.colour > 0.7 and fit.depth > 0.98
        assert abs(fit.offset) < 0.5 and abs(fit.ratio - 1) < 1e-3


@pytest.mark.parametrize(("plant", "words"), PLANTED, ids=named)
def test_what_went_wrong_is_named_and_putting_it_right_explains_the_data(bop, plant, words):
    plant(bop)
    report = checked(bop)
    (found,) = report.outcome.findings
    assert words in found.explanation.fault
    assert found.gain > 0.2
    for fit in found.after:  # as good as if nothing had ever been wrong
        assert fit.outline > 1.2 and fit.colour > 0.7 and fit.depth > 0.97


def test_two_faults_are_both_named(bop):
    translations_times(0.1)(bop)
    depth_scale_times_ten(bop)
    words = " ".join(checked(bop).faults)
    assert "in centimetres" in words and "depth scale is off by 10" in words


def test_a_truth_that_has_nothing_to_do_with_the_pictures_is_a_fault(bop):
    rng = np.random.default_rng(3)

    def change(one):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        one["cam_R_m2c"] = (turn * np.sign(np.linalg.det(turn))).ravel().tolist()
        one["cam_t_m2c"] = rng.uniform([-150, -100, 500], [150, 100, 900]).tolist()

    change_poses(bop, change)
    assert "no better than by chance" in checked(bop).faults[-1]


def test_models_that_are_not_as_large_as_is_said_are_named_without_a_picture(bop):
    path = bop / "models" / "models_info.json"
    infos = json.loads(path.read_text())
    infos["5"]["diameter"] *= 2
    path.write_text(json.dumps(infos))
    (fault,) = checked(bop).faults
    assert "1 of 2 models are not as large as is said of them: object 5 measures" in fault


def test_the_archive_of_2012_is_checked_as_it_is(toy_lab, tmp_path):
    toy_lab.write_original(tmp_path)
    assert checked(tmp_path).faults == []


def test_translations_of_the_archive_in_another_unit_are_named(toy_lab, tmp_path):
    toy_lab.write_original(tmp_path)
    for path in tmp_path.glob("*/data/tra*.tra"):  # mm, where the archive has cm
        first, *rest = path.read_text().split("\n")
        path.write_text("\n".join([first, *(str(float(r) * 10) for r in rest if r)]) + "\n")
    (fault,) = checked(tmp_path).faults
    assert "translations are 10 times as large as they should be" in fault


def test_linemod_preprocessed_has_masks_to_compare_with(toy_lab, tmp_path):
    toy_lab.write_preprocessed(tmp_path)
    report = checked(tmp_path)
    assert report.faults == []
    overlaps = [fit.overlap for fit in report.outcome.fits if fit.overlap is not None]
    assert len(overlaps) >= 4 and min(overlaps) > 0.93


def test_depth_beside_the_truth_is_told(bop):
    def shift(millimetres):
        for path in bop.glob("test/*/depth/*.png"):
            depth = np.array(Image.open(path)) + np.uint16(millimetres)
            Image.fromarray(depth).save(path, compress_level=1)

    shift(6)
    report = checked(bop)
    assert report.faults == []
    assert report.notes == ["measured depth lies 6.0 mm behind the truth, in the median"]


def test_objects_without_models_are_a_fault_and_the_others_are_looked_at(bop):
    (bop / "models" / "obj_000001.ply").unlink()
    report = checked(bop)
    assert report.faults == ["objects [1] are in pictures, but have no models"]
    assert {view.object_id for view in report.views} == {5}


def test_frames_without_a_known_object_are_an_error(bop):
    (bop / "models" / "obj_000001.ply").unlink()
    (bop / "models" / "obj_000005.ply").rename(bop / "models" / "obj_000077.ply")
    with pytest.raises(DataError, match="4 frames show no object that has a model"):
        checked(bop)


def test_the_sheet_shows_pictures_and_objects(bop):
    report = checked(bop)
    sheet = check_sheet(report)
    height = 360 + 2 * 240  # three pictures above, six objects in two rows below
    assert sheet.shape == (height, 1440, 3) and sheet.dtype == np.uint8
    green = (np.abs(sheet[360:].astype(int) - [60, 255, 60]) < 40).all(axis=2)
    assert green.sum() > 500  # outlines


@pytest.mark.real
@pytest.mark.parametrize("name", ["lm", "lmo", "lm_rgbd", "ycbv"])
def test_real_data_sets_are_healthy(real_data, name):
    report = check(read_source(real_data / name), n_frames=8, progress=iter)
    assert report.faults == []
    assert report.variant is not None and "BOP's version" in report.variant
    if name == "lm_rgbd":
        assert "a known property of LINEMOD" in report.notes[0]


@pytest.mark.real
@pytest.mark.parametrize(("plant", "words"), PLANTED, ids=named)
def test_what_went_wrong_with_real_frames_is_named(real_data, tmp_path, plant, words):
    root = tmp_path / "lm_rgbd"
    shutil.copytree(real_data / "lm_rgbd", root)
    plant(root)
    report = checked(root)
    (found,) = report.outcome.findings
    assert words in found.explanation.fault
    for fit in found.after:
        assert fit.outline > 1.2 and fit.colour > 0.5 and fit.depth > 0.9
