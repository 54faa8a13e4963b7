"""Camera files of every kind."""

import json

import numpy as np
import pytest

from heatpose.data.cameras import read_camera, write_camera
from heatpose.errors import DataError
from heatpose.geometry.camera import Camera

K = [[500.0, 0.0, 320.5], [0.0, 510.0, 240.25], [0.0, 0.0, 1.0]]
CAMERA = Camera(fx=500.0, fy=510.0, cx=320.5, cy=240.25, width=640, height=480)


@pytest.fixture
def file(tmp_path):
    def write(value):
        text = value if isinstance(value, str) else json.dumps(value)
        (tmp_path / "camera.json").write_text(text)
        return tmp_path / "camera.json"

    return write


def test_cameras_come_back(tmp_path, camera, distorted_camera):
    for each in (camera, distorted_camera):
        write_camera(tmp_path / "camera.json", each)
        assert read_camera(tmp_path / "camera.json") == each


@pytest.mark.parametrize("key", ["K", "cam_K", "camera_matrix"])
@pytest.mark.parametrize("matrix", [K, np.ravel(K).tolist()], ids=["nested", "flat"])
def test_a_matrix_has_several_names(file, key, matrix):
    assert read_camera(file({key: matrix, "width": 640, "height": 480})) == CAMERA


@pytest.mark.parametrize(
    "text", ["500 0 320.5\n0 510 240.25\n0 0 1\n", "500,0,320.5,0,510,240.25,0,0,1"]
)
def test_a_text_file_of_nine_numbers_is_a_matrix(file, text):
    assert read_camera(file(text), size=(640, 480)) == CAMERA


def test_the_size_comes_from_the_file_if_it_says_so(file):
    assert read_camera(file({"K": K, "width": 640, "height": 480}), size=(1, 1)) == CAMERA
    assert read_camera(file({"K": K}), size=(640, 480)) == CAMERA


@pytest.mark.parametrize("key", ["distortion", "dist_coeffs"])
@pytest.mark.parametrize("shape", [list, lambda c: [c]], ids=["flat", "as OpenCV has it"])
def test_distortion_is_read(file, key, shape):
    coefficients = [-0.1, 0.02, 0.001, -0.002, 0.003]
    record = {"K": K, "width": 640, "height": 480, key: shape(coefficients)}
    assert read_camera(file(record)).distortion == tuple(coefficients)


@pytest.mark.parametrize("nothing", [None, [], [0, 0, 0, 0, 0]])
def test_no_distortion_has_several_forms(file, nothing):
    assert read_camera(file({"K": K, "width": 640, "height": 480, "distortion": nothing})) == CAMERA


@pytest.mark.parametrize("key", ["fx", "fy", "cx", "cy", "width", "height"])
def test_a_missing_key_is_named_in_one_line(file, key):
    record = {"fx": 500, "fy": 510, "cx": 320.5, "cy": 240.25, "width": 640, "height": 480}
    assert read_camera(file(record)) == CAMERA
    del record[key]
    with pytest.raises(DataError, match=rf"^\S*camera\.json lacks {key}$"):
        read_camera(file(record))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"K": K}, "camera.json lacks width"),
        ({"K": K[:2], "width": 640, "height": 480}, "camera.json: K must be 9 finite numbers"),
        (
            {"K": np.eye(3)[::-1].tolist(), "width": 640, "height": 480},
            r"camera.json: K must be \[\[fx, 0, cx\]",
        ),
        ({"K": K, "width": 0, "height": 480}, "camera.json: image size must be positive, got 0 x"),
        ({"K": K, "width": 640, "height": 4.5}, "height must be a whole number, got 4.5"),
        (
            {"K": K, "width": 640, "height": 480, "distortion": [0.1, 0.2]},
            "distortion must have 0, 4, 5 or 8 coefficients, got",
        ),
        (
            {"K": K, "width": 640, "height": 480, "distortion": [0, 0, 0, float("nan")]},
            "distortion must be 4 finite numbers",
        ),
        ("1 2 3", "camera.json must hold the 9 numbers of K, got 3"),
        ("", "camera.json must hold the 9 numbers of K, got 0"),
        ("fx: 500", "camera.json is not JSON"),
        ([], "camera.json must be a JSON object"),
    ],
)
def test_wrong_cameras_are_named(file, record, message):
    with pytest.raises(DataError, match=message):
        read_camera(file(record))
