from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import heatpose.runtime.bundle as bundle
from heatpose.cli import app
from heatpose.data.bop_files import GroundTruth, write_detections, write_scene_gt
from heatpose.data.cameras import write_camera
from heatpose.data.images import read_image, write_image
from heatpose.objects.catalogue import ObjectModel
from heatpose.pipeline import PoseEstimator
from heatpose.types import Detection, PoseEstimate


@pytest.fixture
def examples(tmp_path, camera, cube_mesh, brick_mesh, random_pose, monkeypatch):
    """Two pictures; in the first the cube is 7 mm too high, in the second it is not found."""
    folder = tmp_path / "demo"
    (folder / "images").mkdir(parents=True)
    (folder / "lmo.heatpose").touch()
    poses = [{4: random_pose(), 9: random_pose()} for _ in range(2)]
    write_camera(folder / "camera.json", camera)
    truth = {i: [GroundTruth(k, v) for k, v in each.items()] for i, each in enumerate(poses)}
    write_scene_gt(folder / "scene_gt.json", truth)
    boxes = {(1, i): [Detection(k, (10, 10, 90, 90), 1.0) for k in (4, 9)] for i in range(2)}
    write_detections(folder / "boxes.json", boxes)
    for i in range(2):
        write_image(folder / "images" / f"{i:06d}.png", np.full((480, 640, 3), i, np.uint8))

    objects = (
        ObjectModel(4, "cube", cube_mesh, cube_mesh.vertices[:6], np.eye(4)[None], 140.0),
        ObjectModel(9, "brick", brick_mesh, brick_mesh.vertices[:6], np.eye(4)[None], 160.0),
    )
    contents = SimpleNamespace(objects=objects)
    monkeypatch.setattr(bundle, "read_bundle", lambda path: contents)

    def estimate(observation, detections):
        which = int(observation.image[0, 0, 0])
        lifted = poses[which][4] + np.array([[0] * 4, [0, 0, 0, -7.0], [0] * 4, [0] * 4])
        cube = [as_estimate(4, lifted)] if which == 0 else []
        return [*cube, as_estimate(9, poses[which][9])]

    monkeypatch.setattr(PoseEstimator, "from_bundle", lambda contents: estimate)
    return folder


def as_estimate(object_id, pose):
    return PoseEstimate(
        object_id, pose, 0.875, np.eye(6), np.full((6, 2), 50.0), np.full(6, True), (10, 10, 90, 90)
    )


def test_the_demo_says_what_it_found_and_where_the_pictures_are(examples, tmp_path):
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["demo", "--examples", str(examples), "--out", str(out)])
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines() if line.strip()]
    # image, ms, object, x, y, z, off, turned, ADD(-S) in diameters, score
    cube = next(line for line in lines if "cube" in line)
    assert cube[0] == "000000.png"
    assert cube[-4:] == ["7.0", "0.0", "0.050", "0.88"]
    assert [*lines[-4][:1], *lines[-4][2:]] == ["000001.png", "cube", "no", "pose"]
    assert lines[-3][0] == "brick" and lines[-3][-2] == "0.000"
    assert " ".join(lines[-2]).startswith("3 of 4 poses within 0.1 diameters of the truth")
    assert lines[-1] == ["overlays:", f"{out}/000000.png,", f"{out}/000001.png"]
    for name in ("000000.png", "000001.png"):
        assert len(np.unique(read_image(out / name).reshape(-1, 3), axis=0)) > 10


def test_without_examples_it_says_where_it_looked(tmp_path):
    result = CliRunner().invoke(app, ["demo", "--examples", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: no lmo.heatpose in {tmp_path}: run this in a clone")


def test_the_working_directory_comes_first(examples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 0 and (tmp_path / "out" / "demo" / "000001.png").exists()
