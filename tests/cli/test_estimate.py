import json

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

from heatpose.cli import app
from heatpose.data.bop_files import read_detections
from heatpose.data.cameras import read_camera, write_camera
from heatpose.data.images import read_image, write_image
from heatpose.data.results import read_results
from heatpose.pipeline import PoseEstimator
from heatpose.render.raycast import Renderer
from heatpose.runtime.bundle import read_bundle


def estimate(toys, *arguments, boxes="boxes.json"):
    fixed = ["--bundle", toys.bundle, "--out", toys.folder / "out"]
    if boxes:
        fixed += ["--boxes", toys.folder / boxes]
    return CliRunner().invoke(app, ["estimate", *map(str, [*arguments, *fixed])])


def on_images(toys, *arguments, camera="camera.json", boxes="boxes.json"):
    camera = toys.folder / camera
    return estimate(toys, toys.images, "--camera", camera, *arguments, boxes=boxes)


def on_dataset(toys, *arguments, boxes="dataset/boxes.json"):
    # The toy network draws the heatmaps of the first look, whatever it sees.
    return estimate(toys, "--dataset", toys.dataset, "--looks", 1, *arguments, boxes=boxes)


def left_behind(toys):
    """Return all that is in the folder for results, or None where there is no folder."""
    out = toys.folder / "out"
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*")) if out.exists() else None


def test_the_poses_in_images_are_found_written_and_drawn(toys):
    result = on_images(toys)
    assert result.exit_code == 0, result.output
    out = toys.folder / "out"
    assert result.stdout == (
        f"2 poses of 2 boxes in 2 images: {out}/ (overlays/, poses.json, results.csv)\n"
    )
    assert left_behind(toys) == [
        "overlays",
        "overlays/000000_000000.jpg",
        "overlays/000000_000001.jpg",
        "poses.json",
        "results.csv",
    ]
    results = read_results(out / "results.csv")
    assert [(r.scene_id, r.image_id, r.object_id) for r in results] == [(0, 0, 7), (0, 1, 7)]
    content = json.loads((out / "poses.json").read_text())
    assert content["bundle"].startswith("toys ")
    for image, found in zip(content["images"], results, strict=True):
        np.testing.assert_allclose(image["poses"][0]["camera_from_object"], toys.pose, atol=0.3)
        np.testing.assert_allclose(found.camera_from_object, toys.pose, atol=0.3)
        assert image["seconds"] == found.time > 0
    picture = read_image(out / "overlays" / "000000_000000.jpg")
    assert picture.shape == (240, 320, 3) and picture.std() > 10  # the image itself is plain grey


def test_a_data_set_is_looked_at_three_times_and_images_once(toys, monkeypatch):
    looks = []
    load = PoseEstimator.from_bundle

    def from_bundle(bundle, **options):
        looks.append(options["looks"])
        return load(bundle, **{**options, "looks": 1})

    monkeypatch.setattr(PoseEstimator, "from_bundle", from_bundle)
    boxes = toys.folder / "dataset" / "boxes.json"
    assert estimate(toys, "--dataset", toys.dataset, boxes=boxes).exit_code == 0
    assert on_images(toys).exit_code == 0
    assert on_images(toys, "--looks", 2).exit_code == 0
    assert looks == [3, 1, 2]


def test_in_a_sequence_each_frame_follows_the_one_before(toys, monkeypatch):
    calls = []

    def keep(estimates, before, objects):
        calls.append((list(estimates), list(before), sorted(objects)))
        return list(estimates)

    monkeypatch.setattr("heatpose.solve.steady.steady", keep)
    assert on_images(toys).exit_code == 0
    assert not calls
    assert on_images(toys, "--sequence").exit_code == 0
    (first, nothing, known), (_, before, _) = calls
    assert nothing == [] and known == [7] and before == first


def test_each_target_of_a_dataset_takes_its_best_box(toys):
    result = on_dataset(toys, "--no-overlays")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("1 poses of 1 boxes in 2 images: ")
    assert left_behind(toys) == ["poses.json", "results.csv"]
    [found] = read_results(toys.folder / "out" / "results.csv")
    assert (found.scene_id, found.image_id, found.object_id) == (2, 4, 7)
    assert found.score == pytest.approx(0.9, rel=0.1)
    np.testing.assert_allclose(found.camera_from_object, toys.pose, atol=0.3)


def test_overlays_are_named_as_the_images_of_the_dataset(toys):
    assert on_dataset(toys).exit_code == 0
    assert "overlays/000002_000004.jpg" in left_behind(toys)


def break_image(toys):
    path = toys.images / "table.jpg"
    path.write_bytes(path.read_bytes()[:-20])


def break_boxes(toys, **change):
    box = {"object_id": 7, "box": [1, 2, 30, 40]} | change
    (toys.folder / "boxes.json").write_text(json.dumps({"desk.png": [box]}))


def break_camera(toys):
    (toys.folder / "camera.json").write_text('{"fx": 300, "fy": 300, "cy": 60}')


def break_bundle(toys):
    content = bytearray(toys.bundle.read_bytes())
    content[len(content) // 2] ^= 1
    toys.bundle.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (break_image, "table.jpg is truncated or damaged"),
        (
            lambda toys: break_boxes(toys, box=[1, 2, float("nan"), 4]),
            "desk.png, entry 0: box must",
        ),
        (
            lambda toys: break_boxes(toys, object_id=99),
            "asks for object 99, but the bundle knows [7]",
        ),
        (break_camera, "camera.json lacks cx"),
        (break_bundle, "toys.heatpose"),
        (lambda toys: (toys.folder / "boxes.json").unlink(), "no file at"),
        (lambda toys: (toys.folder / "out").write_text("in the way"), "cannot write"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(toys, spoil, message):
    spoil(toys)
    before = left_behind(toys)
    result = on_images(toys)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr
    assert left_behind(toys) == before


def test_previous_results_survive_a_failure(toys):
    assert on_images(toys).exit_code == 0
    out = toys.folder / "out"
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    break_image(toys)
    assert on_images(toys).exit_code == 1
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    # and are replaced when the next run goes well
    write_image(toys.images / "table.jpg", np.zeros((120, 160, 3), np.uint8))
    assert on_images(toys).exit_code == 0
    assert (out / "overlays" / "000000_000001.jpg").read_bytes() not in before.values()


def test_a_full_disk_is_one_line_and_leaves_nothing(toys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("heatpose.data.poses.write_json", full)
    result = on_images(toys)
    assert result.exit_code == 1
    assert result.stderr == f"error: cannot write {toys.folder / 'out'}: No space left on device\n"
    assert left_behind(toys) is None


def test_boxes_of_unknown_objects_can_be_passed_over(toys):
    boxes = {"desk.png": [{"object_id": 99, "box": toys.box}, {"object_id": 7, "box": toys.box}]}
    (toys.folder / "boxes.json").write_text(json.dumps(boxes))
    result = on_images(toys, "--known-only")
    assert result.exit_code == 0
    assert result.stdout.startswith("1 poses of 1 boxes in 2 images")


@pytest.mark.parametrize(
    "arguments",
    [[], ["--dataset", "a", "--camera", "b"], ["image.png"], ["image.png", "--dataset", "a"]],
)
def test_images_need_a_camera_and_a_dataset_has_its_own(toys, arguments):
    result = estimate(toys, *arguments)
    assert result.exit_code == 2
    assert "IMAGES and --camera, or --dataset" in " ".join(result.stderr.split())


def test_a_missing_image_is_named(toys):
    result = estimate(toys, toys.images / "chair.png", "--camera", toys.folder / "camera.json")
    assert result.exit_code == 1 and "chair.png" in result.stderr


def test_without_boxes_the_detector_of_the_bundle_finds_them(toys):
    """Two instances, a sure one and one that is not; an object that the network does not know."""
    toys.add_detector((1, toys.box, 0.9), (1, (30, 20, 90, 70), 0.5), (0, toys.box, 0.8))
    write_image(toys.images / "night.png", np.zeros((120, 160, 3), np.uint8))
    result = on_images(toys, "--no-overlays", boxes=None)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("4 poses of 4 boxes in 3 images")
    assert left_behind(toys) == ["detections.json", "poses.json", "results.csv"]
    out = toys.folder / "out"
    poses = {
        i["image_id"]: i["poses"] for i in json.loads((out / "poses.json").read_text())["images"]
    }
    assert [len(poses[i]) for i in range(3)] == [2, 0, 2]  # desk, night, table
    np.testing.assert_allclose(poses[0][0]["box"], toys.box, atol=1e-3)
    np.testing.assert_allclose(poses[0][0]["camera_from_object"], toys.pose, atol=0.3)
    found = read_detections(out / "detections.json")
    assert [d.object_id for d in found[0, 2]] == [7, 7] and (0, 1) not in found
    seconds = {
        image["image_id"]: image["seconds"]
        for image in json.loads((out / "poses.json").read_text())["images"]
    }
    detect = json.loads((out / "detections.json").read_text())[0]["time"]
    assert 0 < detect < max(seconds.values())


def test_the_threshold_is_the_bundles_unless_told_otherwise(toys):
    toys.add_detector((1, toys.box, 0.6), (1, (9, 9, 70, 60), 0.4), threshold=0.5)
    assert on_images(toys, boxes=None).stdout.startswith("2 poses of 2 boxes in 2 images")
    result = on_images(toys, "--threshold", "0.3", boxes=None)
    assert result.stdout.startswith("4 poses of 4 boxes in 2 images")


def test_targets_take_the_best_detections_however_unsure(toys):
    """One instance of object 7 is asked for: both detections are posed, the better pose stays."""
    toys.add_detector((1, (0, 0, 9, 9), 0.02), (1, toys.box, 0.03), (0, toys.box, 0.9))
    result = on_dataset(toys, boxes=None)
    assert result.stdout.startswith("2 poses of 4 boxes in 2 images"), result.output
    for found in read_results(toys.folder / "out" / "results.csv"):
        assert found.score == pytest.approx(0.03, rel=0.1)
        np.testing.assert_allclose(found.camera_from_object, toys.pose, atol=0.3)
    found = read_detections(toys.folder / "out" / "detections.json")
    assert {key: [d.score for d in each] for key, each in found.items()} == {
        (2, 4): pytest.approx([0.03, 0.02]),
        (2, 9): pytest.approx([0.03, 0.02]),
    }


def test_several_candidates_of_a_file_are_looked_into_when_asked(toys):
    result = on_dataset(toys, "--no-overlays", "--candidates", "3")
    assert result.stdout.startswith("1 poses of 2 boxes in 2 images: ")


def test_any_onnx_detector_can_be_plugged_in(toys):
    """It has a will of its own: pictures are enlarged to 640 px, and the cube is its class 2."""
    toys.add_detector((1, (0, 0, 9, 9), 0.9))
    (toys.folder / "other.onnx").write_bytes(toys.onnx_detector((2, toys.box, 0.8), scale=4))
    result = on_images(
        toys, "--detector", toys.folder / "other.onnx", "--detector-objects", "3,1,7", boxes=None
    )
    assert result.stdout.startswith("2 poses of 2 boxes"), result.output
    [first, _] = read_results(toys.folder / "out" / "results.csv")
    np.testing.assert_allclose(first.camera_from_object, toys.pose, atol=0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the bundle toys holds no detector: say where objects are with --boxes"),
        (["--detector", "a.onnx"], "--detector and --detector-objects go together"),
        (["--detector", "a.onnx", "--detector-objects", "7"], "cannot read a.onnx"),
        (["--detector", "a.onnx", "--detector-objects", "7,x"], "ids as in 1,5,6, got '7,x'"),
        (["--detector", "a.onnx", "--detector-objects", "7,7"], "ids as in 1,5,6, got '7,7'"),
    ],
)
def test_where_boxes_come_from_must_be_said_once(toys, arguments, message):
    result = on_images(toys, *arguments, boxes=None)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert message in result.stderr
    assert left_behind(toys) is None


def test_boxes_and_a_threshold_of_a_detector_contradict_each_other(toys):
    result = on_images(toys, "--threshold", "0.5")
    assert result.exit_code == 1 and "say nothing where boxes" in result.stderr


def test_true_boxes_show_what_is_lost_after_detection(toys):
    left, top, right, bottom = toys.box
    seen = {"bbox_visib": [left, top, right - left, bottom - top]}
    seen |= {"bbox_obj": seen["bbox_visib"], "px_count_all": 9, "px_count_valid": 9}
    seen |= {"px_count_visib": 8, "visib_fract": 0.8}
    info = toys.dataset / "test" / "000002" / "scene_gt_info.json"
    info.write_text(json.dumps({"4": [seen], "9": [seen]}))
    result = on_dataset(toys, "--true-boxes", "--no-overlays", boxes=None)
    assert result.stdout.startswith("2 poses of 2 boxes in 2 images"), result.output
    assert left_behind(toys) == ["poses.json", "results.csv"]
    for found in read_results(toys.folder / "out" / "results.csv"):
        np.testing.assert_allclose(found.camera_from_object, toys.pose, atol=10)  # BOP: whole px


def test_true_boxes_are_of_data_sets_alone(toys):
    for result in (on_images(toys, "--true-boxes", boxes=None), on_dataset(toys, "--true-boxes")):
        assert result.exit_code == 1 and "--true-boxes goes with --dataset" in result.stderr


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
    assert on_images(toys, *options).exit_code == 0
    for pose in found_poses(toys):
        np.testing.assert_allclose(pose["camera_from_object"], farther(toys), atol=0.6)
        assert pose["depth_agreement"] > 0.9
    assert on_images(toys, "--no-overlays").exit_code == 0
    for pose in found_poses(toys):
        np.testing.assert_allclose(pose["camera_from_object"], toys.pose, atol=0.3)
        assert pose["depth_agreement"] is None


def test_the_depth_scale_is_that_of_the_camera_file_unless_given(toys):
    camera = read_camera(toys.folder / "camera.json")
    write_camera(toys.folder / "camera.json", camera, depth_scale=0.1)
    depth_images(toys, toys.folder / "depth", ["desk", "table"], units_per_mm=10)
    assert on_images(toys, "--no-overlays", "--depth", toys.folder / "depth").exit_code == 0
    assert all(pose["depth_agreement"] > 0.9 for pose in found_poses(toys))


def test_depth_of_a_camera_beside_is_registered(toys):
    """Where both cameras are the same one, nothing moves."""
    depth_images(toys, toys.folder / "depth", ["desk", "table"])
    record = json.loads((toys.folder / "camera.json").read_text())
    record |= {"colour_from_depth": np.eye(4).tolist()}
    (toys.folder / "depth.json").write_text(json.dumps(record))
    options = ["--depth", toys.folder / "depth", "--depth-camera", toys.folder / "depth.json"]
    assert on_images(toys, "--no-overlays", *options).exit_code == 0
    assert all(pose["depth_agreement"] > 0.9 for pose in found_poses(toys))


def test_a_data_set_brings_its_own_depth(toys):
    depth_images(toys, toys.dataset / "test" / "000002" / "depth", ["000004", "000009"])
    assert on_dataset(toys, "--no-overlays").exit_code == 0
    [pose] = found_poses(toys)
    np.testing.assert_allclose(pose["camera_from_object"], farther(toys), atol=1.2)  # whole mm
    assert on_dataset(toys, "--no-overlays", "--no-depth").exit_code == 0
    [pose] = found_poses(toys)
    np.testing.assert_allclose(pose["camera_from_object"], toys.pose, atol=0.3)


def test_depth_in_another_unit_is_not_used_and_warned_of(toys):
    """Tenths of a millimetre without their scale. The poses from colour stay."""
    depth_images(toys, toys.folder / "depth", ["desk", "table"], by=10)
    result = on_images(toys, "--no-overlays", "--depth", toys.folder / "depth")
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
    result = on_images(toys, *options)
    assert result.exit_code == 1 and message in result.stderr
    result = on_dataset(toys, "--depth", "depth")
    assert result.exit_code == 1 and "a data set brings its own" in result.stderr
