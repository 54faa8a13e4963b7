"""heatpose calibrate, as a user calls it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from heatpose.cli import app
from heatpose.data.bop import FrameCamera, GroundTruth, Target, write_detections
from heatpose.data.bop_files import (
    write_models_info,
    write_scene_camera,
    write_scene_gt,
    write_targets,
)
from heatpose.data.images import read_image, write_image
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import make_transform
from heatpose.objects.mesh import write_mesh
from heatpose.pipeline import PoseEstimator
from heatpose.render.raycast import Renderer
from heatpose.runtime.bundle import read_bundle, write_bundle
from heatpose.types import Detection

CAMERA = np.array([[300.0, 0, 79.5], [0, 300, 59.5], [0, 0, 1]])


@pytest.fixture
def known(toys, cube_mesh):
    """Eight images; the toy network finds the pose that is true in images 0, 1, 4 and 5."""
    root = toys.folder / "known"
    scene = root / "test" / "000001"
    (scene / "rgb").mkdir(parents=True)
    (root / "models").mkdir()
    elsewhere = make_transform(np.eye(3), [0.0, 0, 30]) @ toys.pose
    for i in range(8):
        write_image(scene / "rgb" / f"{i:06d}.png", np.full((120, 160, 3), 90, np.uint8))
    write_scene_camera(scene / "scene_camera.json", {i: FrameCamera(CAMERA) for i in range(8)})
    truth = {i: [GroundTruth(7, elsewhere if i & 2 else toys.pose)] for i in range(8)}
    write_scene_gt(scene / "scene_gt.json", truth)
    write_targets(root / "test_targets_bop19.json", [Target(1, i, 7) for i in range(8)])
    write_models_info(root / "models" / "models_info.json", {7: {"diameter": 138.6}})
    write_mesh(root / "models" / "obj_000007.ply", cube_mesh)
    found = {(1, i): [Detection(7, toys.box, 0.9)] for i in range(8)}
    write_detections(root / "boxes.json", found)
    return root


def calibrate(toys, known, *arguments):
    fixed = ["--dataset", known, "--boxes", known / "boxes.json"]
    return CliRunner().invoke(app, ["calibrate", *map(str, [toys.bundle, *fixed, *arguments])])


def test_a_bundle_learns_probabilities_and_keeps_all_else(toys, known):
    out = toys.folder / "sure.heatpose"
    result = calibrate(toys, known, "--out", out)
    assert result.exit_code == 0, result.output
    assert "4 of 8 poses right; expected calibration error" in result.stdout
    assert result.stdout.endswith(f"calibrated on 8 poses: {out}\n")
    before, after = read_bundle(toys.bundle), read_bundle(out)
    (learned,) = after.calibrations
    assert before.calibrations == () and len(learned.weights) == 6
    assert (learned.looks, learned.passes) == (1, 1)
    assert (after.network, after.name) == (before.network, before.name)
    assert after.card.startswith(before.card)
    assert "learned on 8 poses of known/test" in after.card and "4 of 8 poses right" in after.card

    arguments = ["estimate", toys.images, "--camera", toys.folder / "camera.json"]
    arguments += ["--bundle", out, "--boxes", toys.folder / "boxes.json"]
    arguments += ["--out", toys.folder / "out"]
    assert CliRunner().invoke(app, list(map(str, arguments))).exit_code == 0
    assert '"probability": 0.' in (toys.folder / "out" / "poses.json").read_text()


def test_poses_are_found_in_the_way_that_is_asked_for(toys, known, asked):
    out = toys.folder / "sure.heatpose"
    assert calibrate(toys, known, "--out", out).exit_code == 0
    assert calibrate(toys, known, "--looks", 3, "--passes", 2).exit_code == 1  # nothing to check
    more = ["--looks", 3, "--passes", 2, "--out", toys.folder / "both.heatpose"]
    write_bundle(toys.bundle, read_bundle(out))
    assert calibrate(toys, known, *more).exit_code == 0
    assert asked == [(1, 1), (3, 2)]
    both = read_bundle(toys.folder / "both.heatpose")
    assert [(one.looks, one.passes) for one in both.calibrations] == [(1, 1), (3, 2)]
    assert "* 1 x 1: learned" in both.card and "* 3 x 2: learned" in both.card


def test_poses_without_outlines_have_a_calibration_of_their_own(toys, known):
    with_outlines, both = toys.folder / "sure.heatpose", toys.folder / "both.heatpose"
    assert calibrate(toys, known, "--out", with_outlines).exit_code == 0
    write_bundle(toys.bundle, read_bundle(with_outlines))
    result = calibrate(toys, known, "--no-outline")
    assert result.exit_code == 1
    assert "no calibration of poses without outlines to check" in result.stderr
    assert calibrate(toys, known, "--no-outline", "--out", both).exit_code == 0
    assert [one.outline for one in read_bundle(both).calibrations] == [True, False]


def test_poses_that_depth_corrects_have_a_calibration_of_their_own(toys, known, cube_mesh):
    """The surface is there in images 0, 1, 4, 5, behind it in 2 and 3; 6 and 7 have no depth."""
    flat, both = toys.folder / "sure.heatpose", toys.folder / "both.heatpose"
    result = calibrate(toys, known, "--depth", "--out", both)
    assert result.exit_code == 1 and "known has no depth images" in result.stderr
    assert calibrate(toys, known, "--out", flat).exit_code == 0
    write_bundle(toys.bundle, read_bundle(flat))
    (known / "test" / "000001" / "depth").mkdir()
    camera = Camera.from_matrix(CAMERA, 160, 120)
    there = Renderer({7: cube_mesh}).depth(7, toys.pose, camera)
    for i in range(6):
        depth = np.nan_to_num(there + (200 if i & 2 else 0)).astype(np.uint16)
        cv2.imwrite(str(known / "test" / "000001" / "depth" / f"{i:06d}.png"), depth)
    result = calibrate(toys, known, "--depth")
    assert result.exit_code == 1 and "no calibration of poses with depth to check" in result.stderr
    result = calibrate(toys, known, "--depth", "--out", both)
    assert result.exit_code == 0, result.output
    assert "calibrated on 6 poses" in result.stdout
    plain, deep = read_bundle(both).calibrations
    assert (plain.depth, deep.depth) == (False, True) and len(deep.weights) == 11
    assert "* 1 x 1: learned" in read_bundle(both).card
    assert "* 1 x 1, with depth: learned" in read_bundle(both).card
    estimator = PoseEstimator.load(both)
    assert (estimator.calibration, estimator.depth_calibration) == (plain, deep)
    write_bundle(toys.bundle, read_bundle(both))
    assert calibrate(toys, known, "--depth").exit_code == 0


def test_poses_on_tables_have_a_calibration_of_their_own(toys, known, monkeypatch):
    flat, both = toys.folder / "sure.heatpose", toys.folder / "both.heatpose"
    assert calibrate(toys, known, "--out", flat).exit_code == 0
    write_bundle(toys.bundle, read_bundle(flat))
    result = calibrate(toys, known, "--table")
    assert result.exit_code == 1 and "no calibration of poses on tables to check" in result.stderr
    result = calibrate(toys, known, "--table", "--depth", "--out", both)
    assert result.exit_code == 1 and "--depth and --table exclude each other" in result.stderr
    result = calibrate(toys, known, "--table", "--out", both)  # one object in each image
    assert result.exit_code == 1 and not both.exists()
    assert "none of 8 images of" in result.stderr and "shows enough objects" in result.stderr

    def stand_together(estimates, objects):
        return [replace(e, evidence=replace(e.evidence, standing=0.75)) for e in estimates]

    monkeypatch.setattr("heatpose.pipeline.FEWEST", 1)
    monkeypatch.setattr("heatpose.pipeline.stand_together", stand_together)
    assert calibrate(toys, known, "--table", "--out", both).exit_code == 0
    plain, stood = read_bundle(both).calibrations
    assert (plain.table, stood.table, len(stood.weights)) == (False, True, 7)
    assert "* 1 x 1, on tables: learned" in read_bundle(both).card
    estimator = PoseEstimator.load(both)
    assert (estimator.calibration, estimator.table_calibration) == (plain, stood)
    write_bundle(toys.bundle, read_bundle(both))
    assert calibrate(toys, known, "--table").exit_code == 0
    assert calibrate(toys, known).exit_code == 0


def test_what_was_promised_and_came_true_is_drawn(toys, known):
    pytest.importorskip("matplotlib")
    out, plot = toys.folder / "sure.heatpose", toys.folder / "sure.png"
    result = calibrate(toys, known, "--out", out, "--plot", plot)
    assert result.exit_code == 0, result.output
    assert f"drawn: {plot}" in result.stdout
    picture = read_image(plot)
    assert picture.shape[0] > 400 and picture.std() > 5
    # The dots, the risk by probability and its entry in the legend are blue.
    assert ((picture[..., 2].astype(int) - picture[..., 0]) > 100).sum() > 300


def test_what_a_bundle_says_is_checked_and_nothing_is_written(toys, known):
    out = toys.folder / "sure.heatpose"
    calibrate(toys, known, "--out", out)
    there = sorted(toys.folder.iterdir())
    fixed = ["--dataset", known, "--boxes", known / "boxes.json"]
    result = CliRunner().invoke(app, ["calibrate", *map(str, [out, *fixed])])
    assert result.exit_code == 0, result.output
    assert "4 of 8 poses right" in result.stdout and "calibrated on" not in result.stdout
    assert sorted(toys.folder.iterdir()) == there


def test_a_bundle_may_know_more_objects_than_the_data_set(toys, known):
    bundle = read_bundle(toys.bundle)
    other = replace(bundle.objects[0], object_id=9)
    write_bundle(toys.bundle, replace(bundle, objects=(*bundle.objects, other)))
    result = calibrate(toys, known, "--out", toys.folder / "sure.heatpose")
    assert result.exit_code == 0, result.output
    assert "4 of 8 poses right" in result.stdout


def test_mistakes_are_one_line(toys, known):
    result = calibrate(toys, known)
    assert result.exit_code == 1
    assert "has no calibration to check: learn one with --out" in result.stderr
    result = calibrate(toys, known, "--true-boxes")
    assert "--boxes and --true-boxes exclude each other" in result.stderr
    right = {i: [GroundTruth(7, toys.pose)] for i in range(8)}
    write_scene_gt(known / "test" / "000001" / "scene_gt.json", right)
    result = calibrate(toys, known, "--out", toys.folder / "sure.heatpose")
    assert result.exit_code == 1
    assert "cannot calibrate: 6 of 6 poses are right" in result.stderr
    assert not (toys.folder / "sure.heatpose").exists()
