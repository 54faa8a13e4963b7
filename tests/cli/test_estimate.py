import json

import numpy as np
import pytest

from heatpose.data.images import read_image, write_image
from heatpose.data.results import read_results


def test_the_poses_in_images_are_found_written_and_drawn(toys):
    result = toys.on_images()
    assert result.exit_code == 0, result.output
    out = toys.folder / "out"
    assert result.stdout == (
        f"2 poses of 2 boxes in 2 images: {out}/ (overlays/, poses.json, results.csv)\n"
    )
    assert toys.left_behind() == [
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


def test_data_sets_are_looked_at_for_longer_than_images(toys, asked):
    """In three looks and two passes, three where a detector is asked; images once."""
    boxes = toys.folder / "dataset" / "boxes.json"
    assert toys.estimate("--dataset", toys.dataset, boxes=boxes).exit_code == 0
    assert toys.on_images().exit_code == 0
    assert toys.on_images("--looks", 2, "--passes", 4).exit_code == 0
    toys.add_detector((1, toys.box, 0.9))
    assert toys.estimate("--dataset", toys.dataset, boxes=None).exit_code == 0
    assert asked == [(3, 3), (1, 1), (2, 4), (3, 3)]


def test_in_a_sequence_each_frame_follows_the_one_before(toys, monkeypatch):
    calls = []

    def keep(estimates, before, objects):
        calls.append((list(estimates), list(before), sorted(objects)))
        return list(estimates)

    monkeypatch.setattr("heatpose.solve.steady.steady", keep)
    assert toys.on_images().exit_code == 0
    assert not calls
    assert toys.on_images("--sequence").exit_code == 0
    (first, nothing, known), (_, before, _) = calls
    assert nothing == [] and known == [7] and before == first


def test_each_target_of_a_dataset_takes_its_best_box(toys):
    result = toys.on_dataset("--no-overlays")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("1 poses of 2 boxes in 2 images: ")
    assert toys.left_behind() == ["poses.json", "results.csv"]
    [found] = read_results(toys.folder / "out" / "results.csv")
    assert (found.scene_id, found.image_id, found.object_id) == (2, 4, 7)
    assert found.score == pytest.approx(0.9, rel=0.1)
    np.testing.assert_allclose(found.camera_from_object, toys.pose, atol=0.3)


def test_overlays_are_named_as_the_images_of_the_dataset(toys):
    assert toys.on_dataset().exit_code == 0
    assert "overlays/000002_000004.jpg" in toys.left_behind()


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
    before = toys.left_behind()
    result = toys.on_images()
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr
    assert toys.left_behind() == before


def test_previous_results_survive_a_failure(toys):
    assert toys.on_images().exit_code == 0
    out = toys.folder / "out"
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    break_image(toys)
    assert toys.on_images().exit_code == 1
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    # and are replaced when the next run goes well
    write_image(toys.images / "table.jpg", np.zeros((120, 160, 3), np.uint8))
    assert toys.on_images().exit_code == 0
    assert (out / "overlays" / "000000_000001.jpg").read_bytes() not in before.values()


def test_a_full_disk_is_one_line_and_leaves_nothing(toys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("heatpose.data.poses.write_json", full)
    result = toys.on_images()
    assert result.exit_code == 1
    assert result.stderr == f"error: cannot write {toys.folder / 'out'}: No space left on device\n"
    assert toys.left_behind() is None


def test_boxes_of_unknown_objects_can_be_passed_over(toys):
    boxes = {"desk.png": [{"object_id": 99, "box": toys.box}, {"object_id": 7, "box": toys.box}]}
    (toys.folder / "boxes.json").write_text(json.dumps(boxes))
    result = toys.on_images("--known-only")
    assert result.exit_code == 0
    assert result.stdout.startswith("1 poses of 1 boxes in 2 images")


@pytest.mark.parametrize(
    "arguments",
    [[], ["--dataset", "a", "--camera", "b"], ["image.png"], ["image.png", "--dataset", "a"]],
)
def test_images_need_a_camera_and_a_dataset_has_its_own(toys, arguments):
    result = toys.estimate(*arguments)
    assert result.exit_code == 2
    assert "IMAGES and --camera, or --dataset" in " ".join(result.stderr.split())


def test_a_missing_image_is_named(toys):
    result = toys.estimate(toys.images / "chair.png", "--camera", toys.folder / "camera.json")
    assert result.exit_code == 1 and "chair.png" in result.stderr
