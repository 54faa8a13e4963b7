"""An object that is said to be symmetric; its network was taught one of its two poses."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.render.raycast import Renderer
from heatpose.render.shading import shade
from heatpose.types import Effort, Observation

from .conftest import CROP, KnowsTheCropCameras, TrueHeatmaps, detection, difference, make_object

HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])
POSE = make_transform(matrix_from_vector(np.array([0.9, -0.4, 0.3])), np.array([20.0, -30, 500]))


@pytest.mark.parametrize("outline", [True, False])
@pytest.mark.parametrize("passes", [1, 2])
def test_the_pose_is_the_one_that_looks_like_the_picture(can_mesh, camera, outline, passes):
    can = replace(make_object(5, can_mesh), symmetries=np.stack([np.eye(4), HALF_TURN]))
    network = TrueHeatmaps([can])
    network.poses = {5: POSE @ HALF_TURN}
    effort = Effort(outline=outline, passes=passes, markings=False)
    estimator = KnowsTheCropCameras(network, [can], CROP, effort)
    drawn = Renderer({5: can_mesh}).render([5], [POSE], camera)
    picture = np.where(drawn.mask(0)[..., None], shade(drawn, camera), 110).astype(np.uint8)

    [found] = estimator(Observation(picture, camera), [detection(can, POSE, camera)])
    expected = POSE if outline else POSE @ HALF_TURN
    degrees, mm = difference(found.camera_from_object, expected)
    assert degrees < 0.5 and mm < 4
    # Either way, each keypoint is where the point is that it is said to be.
    points = transform_points(found.camera_from_object, found.points)
    assert np.abs(camera.project(points) - found.keypoints).max() < 1
    assert found.inliers.all()
