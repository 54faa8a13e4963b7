import numpy as np
import pytest

from heatpose.data.bop import BopDataset
from heatpose.data.crops import crop_around
from heatpose.data.depth_crops import crop_depth_around, network_depth
from heatpose.data.images import read_depth
from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import make_transform
from heatpose.objects.mesh import read_mesh
from heatpose.render.raycast import Renderer

CAMERA = Camera(fx=600, fy=610, cx=100.0, cy=80.0, width=200, height=160)
BOX = (50.3, 40.2, 120.6, 100.1)


def plane(camera, normal, point):
    """The depth of a plane, (h, w), mm."""
    x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    rays = camera.unproject(np.stack([x, y], axis=-1), np.ones(x.shape))
    return ((normal @ point) / (rays @ normal)).astype(np.float32)


@pytest.mark.parametrize("size", [16, 33, 64, 256])
def test_what_the_crop_measures_is_where_its_camera_says(size):
    """A slanted plane, cut out and resized, is the plane that the crop's camera sees."""
    normal, point = np.array([0.5, 0.3, -1.0]), np.array([0.0, 0, 800])
    crop, camera = crop_depth_around(plane(CAMERA, normal, point), CAMERA, BOX, size)
    np.testing.assert_allclose(crop, plane(camera, normal, point), atol=0.01)


def test_the_camera_is_that_of_the_colours():
    image = np.zeros((160, 200, 3), np.uint8)
    depth = np.ones((160, 200), np.float32)
    for margin in (1.0, 1.4):
        _, camera = crop_around(image, CAMERA, BOX, 96, margin)
        assert crop_depth_around(depth, CAMERA, BOX, 96, margin)[1] == camera


@pytest.mark.parametrize("size", [32, 200])
def test_no_depth_is_invented_at_an_edge(size):
    """Two walls at 500 and 900 mm that meet at x = 85.5: each pixel belongs to one of them."""
    depth = np.full((160, 200), 500, np.float32)
    depth[:, 86:] = 900
    crop, camera = crop_depth_around(depth, CAMERA, BOX, size)
    assert set(np.unique(crop)) == {500, 900}
    seen_at = camera.unproject(np.stack([np.arange(size), np.zeros(size)], axis=1), np.ones(size))
    columns = CAMERA.project(seen_at)[:, 0]
    sure = np.abs(columns - 85.5) > 0.1
    np.testing.assert_array_equal((crop[size // 2] == 900)[sure], (columns > 85.5)[sure])


def test_holes_neither_grow_nor_shrink():
    depth = np.full((160, 200), 700, np.float32)
    depth[60:70, 80:90] = np.nan
    crop, camera = crop_depth_around(depth, CAMERA, BOX, 200)
    scale = camera.fx / CAMERA.fx
    assert np.isnan(crop).sum() == pytest.approx(100 * scale**2, rel=0.02)


@pytest.mark.parametrize("box", [(150.0, 120, 260, 230), (-900.0, -900, -800, -800)])
def test_outside_of_the_image_nothing_is_measured(box):
    crop, camera = crop_depth_around(np.full((160, 200), 700, np.float32), CAMERA, box, 64)
    pixels = np.stack(np.meshgrid(np.arange(64), np.arange(64)), axis=-1)
    x, y = np.moveaxis(CAMERA.project(camera.unproject(pixels, np.ones((64, 64)))), -1, 0)
    outside = (x < -0.55) | (x > 199.55) | (y < -0.55) | (y > 159.55)
    assert np.isnan(crop[outside]).all() and not np.isnan(crop[~outside]).sum() > 64


def seen(mesh, distance, focal):
    """What a network is shown of a mesh at a distance, in a crop that just holds it."""
    camera = Camera(fx=focal, fy=focal, cx=47.5, cy=47.5, width=96, height=96)
    depth = Renderer({1: mesh}).depth(1, make_transform(np.eye(3), [0, 0, distance]), camera)
    return network_depth(depth, camera)


def test_networks_see_shape_and_not_distance(cube_mesh):
    """Twice as far away through twice the focal length is the same crop, but for perspective."""
    near, far = seen(cube_mesh, 4000.0, 2000.0), seen(cube_mesh, 8000.0, 4000.0)
    np.testing.assert_array_equal(near[1], far[1])
    np.testing.assert_allclose(near[0], far[0], atol=0.02)
    assert near[1].mean() > 0.15


def test_a_crop_reaches_from_minus_one_to_one_in_the_unit_of_its_depth():
    """By hand: at 600 mm, f 300 px, a crop of 100 px shows 200 mm; 50 mm nearer is -0.5."""
    camera = Camera(fx=300, fy=300, cx=50, cy=50, width=100, height=100)
    crop = np.full((100, 100), 600, np.float32)
    crop[:20] = 550
    crop[-20:] = 2000
    crop[:, :10] = np.nan
    relative, measured = network_depth(crop, camera)
    np.testing.assert_array_equal(measured[:, 9:11], [[0, 1]] * 100)
    assert not relative[:, :10].any()
    np.testing.assert_allclose(relative[:20, 10:], -0.5, atol=1e-6)
    np.testing.assert_allclose(relative[30:60, 10:], 0, atol=1e-6)
    assert (relative[-20:, 10:] == 2).all()  # clipped


def test_where_the_middle_was_not_measured_the_rest_says_what_is_near():
    camera = Camera(fx=300, fy=300, cx=50, cy=50, width=100, height=100)
    crop = np.full((100, 100), 600, np.float32)
    crop[20:80, 20:80] = np.nan
    relative, measured = network_depth(crop, camera)
    assert measured.sum() == 6400 and not relative.any()


def test_nothing_measured_is_zero_in_both_channels():
    camera = Camera(fx=300, fy=300, cx=50, cy=50, width=32, height=32)
    shown = network_depth(np.full((32, 32), np.nan, np.float32), camera)
    assert shown.shape == (2, 32, 32) and shown.dtype == np.float32 and not shown.any()


@pytest.mark.real
def test_depth_of_real_crops_is_that_of_the_objects_in_their_true_poses(real_data):
    dataset = BopDataset(real_data / "ycbv")
    off = []
    for scene_id in dataset.scene_ids():
        image_id = dataset.image_ids(scene_id)[0]
        camera = dataset.camera(scene_id, image_id)
        scale = dataset.frame_camera(scene_id, image_id).depth_scale
        depth = read_depth(dataset.depth_path(scene_id, image_id), scale)
        for truth, seen in dataset.objects_seen(scene_id, image_id):
            if seen.visible_fraction < 0.9:
                continue
            crop, crop_camera = crop_depth_around(depth, camera, seen.visible_box, 128, 1.4)
            renderer = Renderer({1: read_mesh(dataset.model_path(truth.object_id), "mm")})
            surface = renderer.depth(1, truth.camera_from_object, crop_camera)
            off.append(float(np.nanmedian(crop - surface)))
            relative, measured = network_depth(crop, crop_camera)
            # The object lies in the middle third of what networks are shown.
            on_object = np.isfinite(surface) & (measured > 0)
            assert abs(np.median(relative[on_object])) < 0.67
    assert len(off) >= 8
    assert np.median(np.abs(off)) < 5 and np.max(np.abs(off)) < 15  # mm
