import json

import numpy as np
import pytest
from PIL import Image as Pillow

from heatpose.data.cameras import read_camera, write_camera
from heatpose.pipeline import PoseEstimator
from heatpose.render.raycast import Renderer
from heatpose.runtime.bundle import read_bundle


def farther(toys, share=0.02):
    """The pose of the cube as depth has it: so much farther along its ray."""
    pose = toys.pose.copy()
    pose[:3, 3] *= 1 + share
    return pose


def depth_images(toys, folder, names, units_per_mm=1, by=1.0):
    """Write 16-bit PNGs of a cube that is farther away than the keypoints say."""
    [cube] = read_bundle(toys.bundle).objects
    camera = read_camera(toys.folder / "camera.json")
    depth = by * Renderer({7: cube.mesh}).depth(7, farther(toys), camera)
    folder.mkdir(parents=True)
    for name in names:
        stored = np.nan_to_num(depth * units_per_mm).astype(np.uint16)
        Pillow.fromarray(stored).save(folder / f"{name}.png")


def found_poses(toys):
    content = json.loads((toys.folder / "out" / "poses.json").read_text())
    return [pose for image in content["images"] for pose in image["poses"]]


def test_depth_beside_images_says_how_far_away_things_are(toys):
    depth_images(toys, toys.folder / "depth", ["desk", "table"], units_per_mm=10)
    options = ["--no-overlays", "--depth", toys.folder / "depth", "--depth-scale", "0.1"]
    assert toys.on_images(*options).exit_code == 0
    for pose in found_poses(toys):
        np.testing.assert_allclose(pose["camera_from_object"], farther(toys), atol=0.6)
        assert pose["depth_agreement"] > 0.9
    assert toys.on_images("--no-overlays").exit_code == 0
    for pose in found_poses(toys):
        np.testing.assert_allclose(pose["camera_from_object"], toys.pose, atol=0.3)
        assert pose["depth_agreement"] is None


def test_the_depth_scale_is_that_of_the_camera_file_unless_given(toys):
    camera = read_camera(toys.folder / "camera.json")
    write_camera(toys.folder / "camera.json", camera, depth_scale=0.1)
    depth_images(toys, toys.folder / "depth", ["desk", "table"], units_per_mm=10)
    assert toys.on_images("--no-overlays", "--depth", toys.folder / "depth").exit_code == 0
    assert all(pose["depth_agreement"] > 0.9 for pose in found_poses(toys))


def test_depth_of_a_camera_beside_is_registered(toys):
    """Where both cameras are the same one, nothing moves."""
    depth_images(toys, toys.folder / "depth", ["desk", "table"])
    record = json.loads((toys.folder / "camera.json").read_text())
    record |= {"colour_from_depth": np.eye(4).tolist()}
    (toys.folder / "depth.json").write_text(json.dumps(record))
    options = ["--depth", toys.folder / "depth", "--depth-camera", toys.folder / "depth.json"]
    assert toys.on_images("--no-overlays", *options).exit_code == 0
    assert all(pose["depth_agreement"] > 0.9 for pose in found_poses(toys))


def test_a_data_set_brings_its_own_depth(toys):
    depth_images(toys, toys.dataset / "test" / "000002" / "depth", ["000004", "000009"])
    assert toys.on_dataset("--no-overlays").exit_code == 0
    [pose] = found_poses(toys)
    np.testing.assert_allclose(pose["camera_from_object"], farther(toys), atol=1.2)  # whole mm
    assert toys.on_dataset("--no-overlays", "--no-depth").exit_code == 0
    [pose] = found_poses(toys)
    np.testing.assert_allclose(pose["camera_from_object"], toys.pose, atol=0.3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], (True, True, True, True, True)),
        (["--no-depth"], (False, False, True, True, True)),
        (["--no-geometry"], (True, True, False, True, True)),
        (["--no-table"], (True, True, True, False, True)),
        (["--no-markings"], (True, True, True, True, False)),
    ],
)
def test_the_estimator_is_told_what_corrects_poses(toys, monkeypatch, given, expected):
    """Whether frames bring depth, whether it is looked at, and what else corrects poses."""
    depth_images(toys, toys.dataset / "test" / "000002" / "depth", ["000004", "000009"])
    seen = []

    def without_pose(estimator, observation, detections, wanted):
        effort = estimator.effort
        given = (effort.depth, effort.geometry, effort.table, effort.markings)
        seen.append((observation.depth is not None, *given))
        return []

    monkeypatch.setattr(PoseEstimator, "__call__", without_pose)
    assert toys.on_dataset("--no-overlays", *given).exit_code == 0
    assert set(seen) == {expected}


def test_depth_in_another_unit_is_not_used_and_warned_of(toys):
    """Tenths of a millimetre without their scale. The poses from colour stay."""
    depth_images(toys, toys.folder / "depth", ["desk", "table"], by=10)
    result = toys.on_images("--no-overlays", "--depth", toys.folder / "depth")
    assert result.exit_code == 0
    assert result.stderr.count("warning: depth is 10") == 2
    for pose in found_poses(toys):
        np.testing.assert_allclose(pose["camera_from_object"], toys.pose, atol=0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--depth-scale", "1"], "--depth-scale and --depth-camera go with --depth"),
        (["--depth", "none"], "none is one depth image (or missing), for 2 images"),
        (["--depth", ".", "--no-depth"], "--depth and --no-depth contradict each other"),
        (["--depth", ".", "--depth-scale", "0"], "--depth-scale must be positive, got 0.0"),
    ],
)
def test_options_of_depth_that_make_no_sense(toys, options, message):
    result = toys.on_images(*options)
    assert result.exit_code == 1 and message in result.stderr
    result = toys.on_dataset("--depth", "depth")
    assert result.exit_code == 1 and "a data set brings its own" in result.stderr
