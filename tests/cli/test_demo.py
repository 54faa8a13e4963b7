from contextlib import nullcontext
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
    """Three pictures: two cubes of which one is 7 mm too high; a brick twice; nothing at all."""
    folder = tmp_path / "demo"
    (folder / "images").mkdir(parents=True)
    (folder / "lmo.heatpose").touch()
    cubes, brick = [random_pose(), random_pose()], random_pose()
    write_camera(folder / "camera.json", camera)
    truth = {
        0: [GroundTruth(4, cubes[0]), GroundTruth(4, cubes[1])],
        1: [GroundTruth(4, cubes[0]), GroundTruth(9, brick)],
        2: [],
    }
    write_scene_gt(folder / "scene_gt.json", truth)
    for i in truth:
        write_image(folder / "images" / f"{i:06d}.png", np.full((480, 640, 3), i, np.uint8))

    objects = (
        ObjectModel(4, "cube", cube_mesh, cube_mesh.vertices[:6], np.eye(4)[None], 140.0),
        ObjectModel(9, "brick", brick_mesh, brick_mesh.vertices[:6], np.eye(4)[None], 160.0),
    )
    contents = SimpleNamespace(objects=objects, detector=object())
    monkeypatch.setattr(bundle, "read_bundle", lambda path: contents)
    lifted = cubes[1] + np.array([[0] * 4, [0, 0, 0, -7.0], [0] * 4, [0] * 4])
    found = {
        0: [as_estimate(4, lifted), as_estimate(4, cubes[0])],
        1: [as_estimate(9, brick), as_estimate(9, brick)],
        2: [],
    }

    class Estimator:
        def __call__(self, observation, detections):
            self.asked.append(detections)
            with self.timed("detect"):
                return found[int(observation.image[0, 0, 0])]

    Estimator.asked, Estimator.timed = [], staticmethod(lambda stage: nullcontext())
    monkeypatch.setattr(PoseEstimator, "from_bundle", lambda contents: Estimator())
    return SimpleNamespace(folder=folder, contents=contents, asked=Estimator.asked)


def as_estimate(object_id, pose):
    return PoseEstimate(
        object_id, pose, 0.875, np.eye(6), np.full((6, 2), 50.0), np.full(6, True), (10, 10, 90, 90)
    )


def run_demo(examples, out, *arguments):
    arguments = ["demo", "--examples", str(examples.folder), "--out", str(out), *arguments]
    return CliRunner().invoke(app, arguments)


def test_the_demo_says_what_it_found_and_where_the_pictures_are(examples, tmp_path):
    out = tmp_path / "out"
    result = run_demo(examples, out)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines() if line.strip()]
    # image, ms, object, x, y, z, off, turned, ADD(-S) in diameters, how sure
    first, second, third, brick, alarm, none = lines[-8:-2]
    assert first[0] == "000000.png" and first[-4:] == ["0.0", "0.0", "0.000", "0.88"]
    assert second[-4:] == ["7.0", "0.0", "0.050", "0.88"]
    assert [third[0], *third[2:]] == ["000001.png", "cube", "not", "found"]
    assert brick[0] == "brick" and brick[-2] == "0.000"
    assert alarm[0] == "brick" and alarm[-3:] == ["false", "alarm", "0.88"]
    assert [none[0], *none[2:]] == ["000002.png", "none"]
    assert " ".join(lines[-2]).startswith("3 of 4 poses within 0.1 diameters of the truth")
    assert " ".join(lines[-2]).endswith("1 false alarm")
    assert lines[-1] == ["page:", f"{out}/index.html,", "overlays:", f"{out}/*.png"]
    assert len(np.unique(read_image(out / "000001.png").reshape(-1, 3), axis=0)) > 10
    page = (out / "index.html").read_text()
    assert page.count("<article>") == page.count("data:image/jpeg") == 3
    assert " ".join(lines[-2]) in page


def test_boxes_are_read_only_where_the_bundle_has_no_detector(examples, tmp_path):
    run_demo(examples, tmp_path / "out")
    assert set(examples.asked) == {None}
    examples.contents.detector = None
    boxes = {(1, i): [Detection(4, (10, 10, 90, 90), 1.0)] for i in range(3)}
    write_detections(examples.folder / "boxes.json", boxes)
    assert run_demo(examples, tmp_path / "out").exit_code == 0
    assert examples.asked[-1] == tuple(boxes[1, 2])


def test_the_page_is_opened_when_that_is_asked_for(examples, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    run_demo(examples, tmp_path / "out")
    assert opened == []
    run_demo(examples, tmp_path / "out", "--open")
    assert opened == [(tmp_path / "out" / "index.html").as_uri()]


def test_without_examples_it_says_where_it_looked(tmp_path):
    result = CliRunner().invoke(app, ["demo", "--examples", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: no lmo.heatpose in {tmp_path}: run this in a clone")


def test_the_working_directory_comes_first(examples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 0 and (tmp_path / "out" / "demo" / "index.html").exists()
