import json
from pathlib import Path

import pytest

from heatpose.data.boxes import read_boxes, scene_and_number
from heatpose.errors import DataError
from heatpose.types import Detection


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "boxes.json"
        path.write_text(json.dumps(content))
        return path

    return write


def coco(scene_id, image_id, object_id=5, x=10.0):
    return {
        "scene_id": scene_id,
        "image_id": image_id,
        "category_id": object_id,
        "bbox": [x, 20.0, 30.0, 40.0],
        "score": 0.5,
    }


def test_boxes_by_file_name(write):
    path = write(
        {
            "a.png": [
                {"object_id": 5, "box": [1, 2.5, 30, 40], "score": 0.25},
                {"object_id": 1, "box": [-3, 2, 30, 40]},
            ],
            "sub/b.png": [{"object_id": 7, "box": [1, 2, 3, 4], "score": 1}],
            "other.png": [],
        }
    )
    images = [Path("/somewhere/a.png"), Path("sub/b.png"), Path("c.png")]
    assert read_boxes(path, images) == {
        images[0]: [Detection(5, (1, 2.5, 30, 40), 0.25), Detection(1, (-3, 2, 30, 40), 1.0)],
        images[1]: [Detection(7, (1, 2, 3, 4), 1.0)],
        images[2]: [],
    }


def test_the_list_of_a_challenge_finds_the_images_of_its_scenes(write):
    path = write([coco(2, 563), coco(2, 563, object_id=1), coco(3, 563, x=11.0), coco(2, 7)])
    image = Path("lmo/test/000002/rgb/000563.png")
    found = read_boxes(path, [image])
    # COCO's corner 10 is the left edge of pixel 10, which lies at 9.5
    assert found[image][0] == Detection(5, (9.5, 19.5, 39.5, 59.5), 0.5)
    assert [one.object_id for one in found[image]] == [5, 1]


def test_with_one_scene_the_number_is_enough(write):
    path = write([coco(2, 563)])
    images = [Path("photos/563.jpg"), Path("photos/table.jpg")]
    found = read_boxes(path, images)
    assert len(found[images[0]]) == 1 and found[images[1]] == []


def test_with_several_scenes_the_path_must_say_which(write):
    path = write([coco(2, 563), coco(3, 563)])
    with pytest.raises(DataError, match=r"boxes of 2 scenes, and photos/563\.jpg does not say"):
        read_boxes(path, [Path("photos/563.jpg")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box": [1, 2, float("nan"), 4]}, r"a\.png, entry 1: box must be 4 finite numbers, got"),
        ({"box": [1, 2, 3]}, "box must be 4 finite numbers"),
        ({"box": [5, 2, 3, 4]}, r"right > left, bottom > top, got \[5, 2, 3, 4\]"),
        ({"box": [3, 2, 3, 4]}, "right > left, bottom > top"),
        ({"box": [1, 4, 3, 4]}, "right > left, bottom > top"),
        ({"score": 1.5}, r"score must be in \[0, 1\], got 1.5"),
        ({"score": float("nan")}, "score must be a finite number, got nan"),
        ({"object_id": "cat"}, "object_id must be a whole number, got 'cat'"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(write, change, message):
    good = {"object_id": 5, "box": [1, 2, 3, 4], "score": 0.5}
    path = write({"a.png": [good, good | change]})
    with pytest.raises(DataError, match=message):
        read_boxes(path, [Path("a.png")])


def test_a_missing_key_is_named(write):
    path = write({"a.png": [{"object_id": 5}]})
    with pytest.raises(DataError, match=r"a\.png, entry 0 lacks box"):
        read_boxes(path, [Path("a.png")])


@pytest.mark.parametrize("content", [3, "boxes", {"a.png": {"object_id": 5}}])
def test_other_forms_are_refused(write, content):
    with pytest.raises(DataError, match="must be a JSON"):
        read_boxes(write(content), [Path("a.png")])


def test_boxes_of_other_images_only_are_a_mistake(write):
    path = write({"b.png": [{"object_id": 5, "box": [1, 2, 3, 4]}]})
    with pytest.raises(DataError, match=r"no boxes for any of the 1 images \(a\.png, \.\.\.\)"):
        read_boxes(path, [Path("a.png")])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("lmo/test/000002/rgb/000563.png", (2, 563)),
        ("lmo/test/000002/gray/000563.tif", (2, 563)),
        ("/home/me/12/pictures/7.jpg", (None, 7)),
        ("rooms/rgb/table.jpg", (None, None)),
    ],
)
def test_bop_paths_say_scene_and_image(path, said):
    assert scene_and_number(Path(path)) == said
