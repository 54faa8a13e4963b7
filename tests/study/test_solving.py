import numpy as np
import pytest

from heatpose.geometry.camera import Camera
from heatpose.geometry.transforms import rotation_angle, transform_points
from heatpose.model.heatmaps import encode
from heatpose.solve.pnp import Correspondences
from heatpose.study.solving import RememberingPredictor, highest_pixels, solve_plainly


def test_the_highest_pixel_is_read_as_a_whole_one():
    found = highest_pixels(encode(np.array([[3.4, 8.0], [10.6, 1.2]]), 16, 20))
    # Heatmap pixels (3, 8) and (11, 1); x moves to (x + 0.5) * 4 - 0.5 in the crop.
    np.testing.assert_array_equal(found.pixels, [[13.5, 33.5], [45.5, 5.5]])
    np.testing.assert_allclose(found.covariances, np.tile(np.eye(2) * 16 / 12, (2, 1, 1)))


@pytest.mark.parametrize("stretch", [(0.2, 0.2), (0.15, 0.4)])
def test_a_pose_is_found_in_a_crop_however_it_was_stretched(camera, random_pose, cube, stretch):
    for _ in range(10):
        truth = random_pose()
        crop = camera.warped(np.array(stretch), np.array([-30.0, 12.0]), 64, 64)
        pixels = crop.project(transform_points(truth, cube))
        pixels[0] += 9  # of the crop: 22 px of the image at least
        solution = solve_plainly(Correspondences(cube, pixels, crop), camera.fx)
        turned = rotation_angle(solution.camera_from_object[:3, :3] @ truth[:3, :3].T)
        moved = np.linalg.norm(solution.camera_from_object[:3, 3] - truth[:3, 3])
        assert np.degrees(turned) < 0.1 and moved < 1
        np.testing.assert_array_equal(solution.inliers, np.arange(8) > 0)


def test_three_points_and_points_on_a_heap_give_no_pose(cube):
    camera = Camera(fx=100, fy=100, cx=31.5, cy=31.5, width=64, height=64)
    few = np.full((8, 2), np.nan)
    few[:3] = [[1, 2], [30, 40], [50, 9]]
    assert solve_plainly(Correspondences(cube, few, camera), 500.0) is None


def test_the_same_crops_are_looked_at_once():
    asked = []

    def predict(crops, index, depth=None):
        asked.append((crops[0, 0, 0, 0], depth is not None))
        return np.full((1, 2, 4, 4), len(asked), np.float32)

    predictor = RememberingPredictor(predict)
    one, two = (np.full((1, 16, 16, 3), value, np.uint8) for value in (1, 2))
    index, depth = np.zeros(1, int), np.zeros((1, 2, 16, 16), np.float32)
    assert predictor(one, index).max() == predictor(one.copy(), index).max() == 1
    assert predictor(two, index).max() == 2
    assert predictor(two, index, depth).max() == predictor(two, index, depth).max() == 3
    assert predictor(one, index).max() == 4  # the last alone is remembered
    assert asked == [(1, False), (2, False), (2, True), (1, False)]
