import cv2
import numpy as np
import pytest

from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import transform_points

COEFFICIENTS = [
    (),
    (-0.18, 0.09, 0.0011, -0.0007, -0.02),
    (-0.18, 0.09, 0.0011, -0.0007, -0.02, 0.03, 0.02, 0.004),
]
any_lens = pytest.mark.parametrize("distortion", COEFFICIENTS, ids=["0", "5", "8"])


def camera_with(distortion):
    return Camera(
        fx=572.4, fy=573.6, cx=325.3, cy=242.0, width=640, height=480, distortion=distortion
    )


def pixels_everywhere(camera):
    """Positions over the whole image, its outer edges included, (n, 2), px."""
    x = np.linspace(-0.5, camera.width - 0.5, 17)
    y = np.linspace(-0.5, camera.height - 0.5, 13)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def test_a_point_by_hand():
    camera = Camera(fx=500, fy=400, cx=320, cy=240, width=640, height=480)
    # x = 500 * 100 / 1000 + 320 = 370, y = 400 * -50 / 1000 + 240 = 220
    np.testing.assert_allclose(camera.project(np.array([100.0, -50.0, 1000.0])), [370, 220])


@any_lens
def test_projects_as_opencv_does(distortion, random_pose, cube):
    camera = camera_with(distortion)
    for _ in range(10):
        points = transform_points(random_pose(), cube)
        expected, _ = cv2.projectPoints(
            points, np.zeros(3), np.zeros(3), camera.matrix, np.array(distortion)
        )
        np.testing.assert_allclose(camera.project(points), expected[:, 0], atol=1e-8)


@any_lens
def test_unproject_undoes_project_all_over_the_image(distortion, rng):
    camera = camera_with(distortion)
    pixels = pixels_everywhere(camera)
    depth = rng.uniform(300, 2000, len(pixels))
    points = camera.unproject(pixels, depth)
    np.testing.assert_allclose(points[:, 2], depth)
    np.testing.assert_allclose(camera.project(points), pixels, atol=1e-8)


def test_points_not_in_front_are_nan(camera):
    points = np.array([[0, 0, 1000.0], [0, 0, 0], [10, 10, -500]])
    np.testing.assert_array_equal(np.isnan(camera.project(points)).all(axis=1), [False, True, True])


@any_lens
def test_warping_the_camera_moves_every_projection_alike(distortion, random_pose, cube):
    camera = camera_with(distortion)
    points = transform_points(random_pose(), cube)
    scale, shift = 0.37, np.array([-40.5, 12.25])
    warped = camera.warped(scale, shift, 256, 200)
    assert (warped.width, warped.height) == (256, 200)
    np.testing.assert_allclose(warped.project(points), scale * camera.project(points) + shift)


@any_lens
def test_one_point_and_many_give_the_same(distortion):
    camera = camera_with(distortion)
    points = np.array([[[100.0, 50, 800], [-30, 20, 900]], [[0, 0, 700], [5, -80, 600]]])
    pixels = camera.project(points)
    assert pixels.shape == (2, 2, 2)
    np.testing.assert_array_equal(pixels[1, 0], camera.project(points[1, 0]))
    np.testing.assert_allclose(camera.unproject(pixels, points[..., 2]), points, atol=1e-8)


def test_the_ideal_camera_is_the_same_without_distortion(distorted_camera, camera):
    assert distorted_camera.ideal == camera
    assert camera.ideal == camera


def test_a_matrix_comes_back(distorted_camera):
    back = Camera.from_matrix(distorted_camera.matrix, 640, 480, distorted_camera.distortion)
    assert back == distorted_camera


def test_four_coefficients_are_five_with_k3_zero(camera):
    four = Camera.from_matrix(camera.matrix, 640, 480, [0.1, 0.2, 0.01, 0.02])
    assert four.distortion == (0.1, 0.2, 0.01, 0.02, 0.0)


def test_coefficients_that_are_all_zero_are_none(camera):
    assert Camera.from_matrix(camera.matrix, 640, 480, np.zeros(5)) == camera


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fx": 0.0}, "focal lengths must be positive, got fx=0.0"),
        ({"fy": -3.0}, r"fy=-3\.0"),
        ({"cx": float("nan")}, "camera values must be finite, got .*nan"),
        ({"distortion": (float("inf"),) * 5}, "finite"),
        ({"width": 0}, "image size must be positive, got 0 x 480"),
        ({"distortion": (0.1, 0.2)}, "must have 0, 5 or 8 coefficients, got 2"),
    ],
)
def test_impossible_values_are_named(change, message):
    values = {"fx": 500.0, "fy": 500.0, "cx": 320.0, "cy": 240.0, "width": 640, "height": 480}
    with pytest.raises(ValueError, match=message):
        Camera(**values | change)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(4), "K must be 3 x 3 finite numbers"),
        ([[500, 0, np.nan], [0, 500, 240], [0, 0, 1]], "nan"),
        ([[500, 2, 320], [0, 500, 240], [0, 0, 1]], r"K must be \[\[fx, 0, cx\].*500\.0, 2\.0"),
        ([[500, 0, 0], [0, 500, 0], [320, 240, 1]], "K must be"),
    ],
    ids=["wrong size", "nan", "skew", "transposed"],
)
def test_matrices_of_another_form_are_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        Camera.from_matrix(matrix, 640, 480)


def test_a_camera_can_be_stretched(camera, random_pose, cube):
    points = transform_points(random_pose(), cube)
    scale, shift = np.array([0.37, 1.9]), np.array([-40.5, 12.25])
    warped = camera.warped(scale, shift, 256, 200)
    np.testing.assert_allclose(warped.project(points), scale * camera.project(points) + shift)
