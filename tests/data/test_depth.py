"""Depth files of every kind, and depth seen by another camera."""

import json

import numpy as np
import pytest
from PIL import Image as Pillow

from heatpose.data.cameras import write_camera
from heatpose.data.depth import (
    DepthCamera,
    DepthFile,
    depth_files,
    read_depth_camera,
    read_depth_scale,
    register_depth,
)
from heatpose.data.images import read_depth
from heatpose.errors import DataError
from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import invert, make_transform
from heatpose.render.raycast import Renderer

COLOUR = Camera(fx=300.0, fy=302, cx=158.2, cy=121.3, width=320, height=240)
BESIDE = Camera(fx=180.0, fy=178, cx=79.1, cy=62.5, width=160, height=120)
COLOUR_FROM_DEPTH = make_transform(
    matrix_from_vector(np.array([0.01, -0.02, 0.005])), np.array([25.0, -3, 2])
)


@pytest.fixture
def measured(rng):
    """Depth with a hole, in whole mm."""
    depth = rng.integers(400, 900, (12, 16)).astype(np.float32)
    depth[3, 5] = np.nan
    return depth


def write_exr(path, **channels):
    OpenEXR = pytest.importorskip("OpenEXR")
    OpenEXR.File({}, {name: np.float32(values) for name, values in channels.items()}).write(
        str(path)
    )


def write(path, depth):
    stored = np.nan_to_num(depth)
    if path.suffix == ".npy":
        np.save(path, stored)
    elif path.suffix == ".exr":
        write_exr(path, Z=stored, A=stored * 0)
    else:
        Pillow.fromarray(stored.astype(np.float32 if "float" in path.stem else np.uint16)).save(
            path
        )


@pytest.mark.parametrize("name", ["depth.png", "depth.tif", "float.tiff", "depth.npy", "depth.exr"])
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_depth_of_every_kind_is_read_back(tmp_path, measured, name, scale):
    write(tmp_path / name, measured)
    depth = read_depth(tmp_path / name, scale)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, np.float32(scale) * measured, rtol=1e-6)


def test_what_is_not_finite_or_not_in_front_was_not_measured(tmp_path):
    np.save(tmp_path / "depth.npy", np.array([[np.nan, np.inf], [-1.0, 0.7]]))
    np.testing.assert_array_equal(
        read_depth(tmp_path / "depth.npy", 1000.0), np.float32([[np.nan, np.nan], [np.nan, 700]])
    )


def test_files_that_hold_no_depth_are_named(tmp_path):
    np.save(tmp_path / "three.npy", np.zeros((2, 3, 4)))
    np.save(tmp_path / "words.npy", np.array([["a", "b"]]))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "three.npy").read_bytes()[:-9])
    (tmp_path / "empty.npy").write_bytes(b"")
    write_exr(tmp_path / "colour.exr", R=np.ones((2, 3)), G=np.ones((2, 3)), B=np.ones((2, 3)))
    (tmp_path / "text.exr").write_text("not an image")
    for name, message in [
        ("three.npy", r"three\.npy has shape \(2, 3, 4\), expected a depth image"),
        ("words.npy", r"words\.npy holds <U1, expected numbers"),
        ("cut.npy", r"cut\.npy is truncated or damaged"),
        ("empty.npy", r"empty\.npy is truncated or damaged"),
        ("none.npy", r"no image at .*none\.npy"),
        ("colour.exr", r"colour\.exr has channels .*, expected one, or one called Z"),
        ("text.exr", r"text\.exr cannot be read as OpenEXR"),
        ("none.exr", r"no image at .*none\.exr"),
    ]:
        with pytest.raises(DataError, match=message):
            read_depth(tmp_path / name)


def test_depth_of_another_size_than_the_image_is_refused(tmp_path, measured):
    write(tmp_path / "depth.png", measured)
    file = DepthFile(tmp_path / "depth.png")
    with pytest.raises(DataError, match=r"depth\.png has 16 x 12 pixels, but the colour image 320"):
        file.read(COLOUR)
    beside = DepthFile(file.path, 1.0, DepthCamera(BESIDE, np.eye(4)))
    with pytest.raises(DataError, match=r"depth\.png has 16 x 12 pixels, but its camera 160 x 120"):
        beside.read(COLOUR)


def test_depth_in_which_nothing_was_measured_is_passed_over_aloud(tmp_path, caplog):
    Pillow.fromarray(np.zeros((240, 320), np.uint16)).save(tmp_path / "depth.png")
    assert DepthFile(tmp_path / "depth.png").read(COLOUR) is None
    assert "depth.png holds no measured depth: it is passed over" in caplog.text


def test_depth_images_are_found_by_the_names_of_images(tmp_path, measured):
    for name in ("a.png", "b.npy"):
        write(tmp_path / name, measured)
    images = [tmp_path / "photos" / "b.jpg", tmp_path / "photos" / "a.jpg"]
    found = depth_files(images, tmp_path, 0.5)
    assert [one.path.name for one in found] == ["b.npy", "a.png"]
    assert [one.scale for one in found] == [0.5, 0.5]
    assert depth_files(images[:1], tmp_path / "a.png")[0].path.name == "a.png"
    with pytest.raises(DataError, match=r"no depth image c \(\.png, .*\) for .*c\.jpg"):
        depth_files([tmp_path / "c.jpg"], tmp_path)
    with pytest.raises(DataError, match=r"a\.png is one depth image \(or missing\), for 2 images"):
        depth_files(images, tmp_path / "a.png")


def test_a_depth_camera_is_read_with_where_it_stands(tmp_path):
    path = tmp_path / "depth_camera.json"
    write_camera(path, BESIDE, depth_scale=0.25)
    with pytest.raises(DataError, match=r"depth_camera\.json lacks colour_from_depth"):
        read_depth_camera(path)
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"colour_from_depth": COLOUR_FROM_DEPTH.tolist()}))
    back = read_depth_camera(path)
    assert back.camera == BESIDE and read_depth_scale(path) == 0.25
    np.testing.assert_array_equal(back.colour_from_depth, COLOUR_FROM_DEPTH)
    for wrong, message in [
        (2 * COLOUR_FROM_DEPTH, r"not a rigid transform: R R\^T differs"),
        (COLOUR_FROM_DEPTH + np.eye(4)[3], r"not a rigid transform: its last row is \[0\.0, 0\.0"),
    ]:
        path.write_text(json.dumps(record | {"colour_from_depth": wrong.tolist()}))
        with pytest.raises(DataError, match=message):
            read_depth_camera(path)


def test_the_depth_scale_is_one_unless_a_camera_says_so(tmp_path):
    (tmp_path / "K.txt").write_text("100 0 20 0 100 15 0 0 1")
    assert read_depth_scale(tmp_path / "K.txt") == 1.0
    (tmp_path / "camera.json").write_text('{"depth_scale": 0}')
    with pytest.raises(DataError, match="depth_scale must be positive, got 0"):
        read_depth_scale(tmp_path / "camera.json")


def test_registered_depth_is_what_the_colour_camera_would_have_measured(brick_mesh, cube_mesh):
    """A brick before a cube, rendered by both cameras. Edges differ, as pixels do."""
    renderer = Renderer({1: brick_mesh, 2: cube_mesh})
    poses = [
        make_transform(matrix_from_vector(np.array([0.9, -0.4, 0.3])), [20.0, 0, 500]),
        make_transform(matrix_from_vector(np.array([0.2, 0.5, 0.1])), [-30.0, 10, 750]),
    ]
    seen = renderer.render([1, 2], [invert(COLOUR_FROM_DEPTH) @ pose for pose in poses], BESIDE)
    truth = renderer.render([1, 2], poses, COLOUR).depth
    moved = register_depth(seen.depth, BESIDE, COLOUR, COLOUR_FROM_DEPTH)
    both = np.isfinite(moved) & np.isfinite(truth)
    assert both.sum() > 0.85 * np.isfinite(truth).sum()
    off = np.abs(moved - truth)[both]
    assert np.median(off) < 0.3
    assert (off < 2).mean() > 0.97


def test_registering_there_and_back_changes_nothing_on_a_plane():
    """Inverse depth of a plane is linear in the pixels, so that samples between are exact."""
    normal = np.array([0.2, -0.1, -1.0])
    pixels = np.stack(np.meshgrid(np.arange(160.0), np.arange(120.0)), axis=-1)
    rays = BESIDE.unproject(pixels, np.ones((120, 160)))
    depth = (normal[2] * 600 / (rays @ normal)).astype(np.float32)
    there = register_depth(depth, BESIDE, COLOUR, COLOUR_FROM_DEPTH)
    back = register_depth(there, COLOUR, BESIDE, invert(COLOUR_FROM_DEPTH))
    inner = np.isfinite(back)
    assert inner.mean() > 0.7
    np.testing.assert_allclose(back[inner], depth[inner], atol=0.5)  # a third of a pixel's slope


def test_a_camera_at_the_same_place_sees_the_same(measured):
    camera = Camera(fx=20.0, fy=20, cx=7.5, cy=5.5, width=16, height=12)
    same = register_depth(measured, camera, camera, np.eye(4))
    np.testing.assert_allclose(same, measured, atol=1e-3)


def test_what_is_hidden_from_the_colour_camera_does_not_shine_through():
    """A near square before a far wall, seen from the left: beside it the wall ends for one eye."""
    wall = np.full((120, 160), 900, np.float32)
    wall[40:80, 60:100] = 450
    aside = make_transform(np.eye(3), [40.0, 0, 0])
    seen = register_depth(wall, BESIDE, COLOUR, aside)
    shift = COLOUR.fx * 40 / 450
    x = (np.array([62, 97]) - BESIDE.cx) / BESIDE.fx * COLOUR.fx + COLOUR.cx + shift
    y = (np.array([42, 77]) - BESIDE.cy) / BESIDE.fy * COLOUR.fy + COLOUR.cy
    square = seen[int(y[0]) : int(y[1]), int(x[0]) : int(x[1])]
    assert np.isfinite(square).all()
    np.testing.assert_allclose(square, 450, rtol=1e-5)
