"""What the pipeline does with depth."""

from dataclasses import replace

import numpy as np

from heatpose.data.depth_crops import crop_depth_around, network_depth
from heatpose.data.images import undistort, undistort_box
from heatpose.solve.probability import Calibration
from heatpose.types import Effort, Observation

from .conftest import CROP, KnowsTheCropCameras, TrueHeatmaps, black, detection, difference

DEPTH_CROP = CROP.model_copy(update={"inputs": ["crops", "depth"]})


class LooksAtDepth(TrueHeatmaps):
    """A stand-in that keeps the depth that it is given."""

    def __call__(self, crops, object_index, depth):
        self.depth = depth
        return super().__call__(crops, object_index)


def with_depth(camera):
    """A wall that comes nearer to the right, with a hole."""
    depth = np.linspace(1200, 700, camera.width, dtype=np.float32)
    depth = np.repeat(depth[None], camera.height, axis=0)
    depth[200:260, 300:340] = np.nan
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    return Observation(image, camera, depth)


def check_depth_of_crops(objects, camera, poses):
    estimator = KnowsTheCropCameras(LooksAtDepth(objects), objects, DEPTH_CROP)
    estimator.predictor.poses = poses
    observation = with_depth(camera)
    found = [detection(one, poses[one.object_id], camera) for one in objects]
    assert len(estimator(observation, found)) == 2
    flat = undistort(observation)
    for shown, one, seen_by in zip(
        estimator.predictor.depth, found, estimator.predictor.cameras, strict=True
    ):
        box = undistort_box(one.box, camera)
        crop, crop_camera = crop_depth_around(flat.depth, flat.camera, box, 256, 1.2)
        assert crop_camera == seen_by
        np.testing.assert_array_equal(shown, network_depth(crop, crop_camera))
    assert estimator.predictor.depth[:, 1].mean() > 0.5


def test_a_network_that_looks_at_depth_gets_that_of_its_crops(objects, camera, random_pose):
    check_depth_of_crops(objects, camera, {one.object_id: random_pose() for one in objects})


def test_and_through_a_lens_with_distortion(objects, distorted_camera, random_pose):
    poses = {one.object_id: random_pose() for one in objects}
    check_depth_of_crops(objects, distorted_camera, poses)


def test_without_depth_it_is_told_so_and_the_log_once(objects, camera, random_pose, caplog):
    estimator = KnowsTheCropCameras(LooksAtDepth(objects), objects, DEPTH_CROP)
    pose = estimator.predictor.poses[7] = random_pose()
    found = [detection(objects[0], pose, camera)]
    for _ in range(3):
        [estimate] = estimator(black(camera), found)
        degrees, mm = difference(estimate.camera_from_object, pose)
        assert degrees < 0.05 and mm < 0.3
        assert estimator.predictor.depth.shape == (1, 2, 256, 256)
        assert not estimator.predictor.depth.any()
    assert [record.getMessage() for record in caplog.records] == [
        "the network looks at depth, but an image has none"
    ]


def test_without_the_option_depth_the_network_sees_none_and_nothing_is_said(
    objects, camera, random_pose, caplog
):
    estimator = KnowsTheCropCameras(LooksAtDepth(objects), objects, DEPTH_CROP, Effort(depth=False))
    pose = estimator.predictor.poses[7] = random_pose()
    found = [detection(objects[0], pose, camera)]
    estimator(with_depth(camera), found)
    assert not estimator.predictor.depth.any()
    assert not caplog.records
    estimator.effort = Effort(geometry=False)
    estimator(with_depth(camera), found)
    assert estimator.predictor.depth.any()


def test_a_network_of_colours_gets_no_depth(estimator, objects, camera, random_pose):
    pose = estimator.predictor.poses[7] = random_pose()  # its stand-in takes two arguments
    assert len(estimator(with_depth(camera), [detection(objects[0], pose, camera)])) == 1


def test_depth_corrects_poses_and_leaves_what_the_picture_said_of_them(
    estimator, objects, camera, random_pose
):
    """The brick is 2 % farther away than its keypoints say; a place without depth changes none."""
    brick = objects[1]
    pose = random_pose()
    estimator.predictor.poses = {3: pose}
    farther = pose.copy()
    farther[:3, 3] *= 1.02
    found = [detection(brick, pose, camera)]
    image = black(camera).image
    depth = estimator.renderer.depth(3, farther, camera)
    [alone] = estimator(black(camera), found)
    [corrected] = estimator(Observation(image, camera, depth), found)
    [unseen] = estimator(Observation(image, camera, np.full_like(depth, np.nan)), found)
    degrees, mm = difference(corrected.camera_from_object, farther)
    assert degrees < 0.2 and mm < 1
    assert corrected.depth_agreement > 0.9
    assert corrected.score == alone.score and unseen.evidence == alone.evidence
    assert replace(corrected.evidence, depth=None) == alone.evidence
    assert corrected.evidence.depth.near > 0.9 and corrected.evidence.depth.contradicted < 0.1
    np.testing.assert_array_equal(unseen.camera_from_object, alone.camera_from_object)
    assert alone.depth_agreement is unseen.depth_agreement is None
    assert alone.probability is corrected.probability is None
    estimator.calibration = Calibration((0.0,) * 6, 0.0, (1.0, 2.0, 3.0))
    [corrected] = estimator(Observation(image, camera, depth), found)
    assert corrected.probability == 0.5  # of the pose before, where nothing else was learned
    near = (0.0,) * 6 + (4.0, 0, 0, 0, 0)
    estimator.depth_calibration = Calibration(near, 0.0, (1.0, 2.0, 3.0), depth=True)
    [corrected] = estimator(Observation(image, camera, depth), found)
    assert corrected.probability > 0.95
    for given in (None, np.full_like(depth, np.nan), 1e4 * depth):  # nothing, and another unit
        [other] = estimator(Observation(image, camera, given), found)
        assert other.probability == 0.5
    for effort in (Effort(depth=False), Effort(geometry=False)):
        estimator.effort = effort
        [ignored] = estimator(Observation(image, camera, depth), found)
        np.testing.assert_array_equal(ignored.camera_from_object, alone.camera_from_object)


def test_depth_that_cannot_help_a_pose_says_how_much_of_it_agrees(
    estimator, objects, camera, random_pose, caplog
):
    """A wall 200 mm behind the brick; and one so far away that its unit must be another."""
    pose = random_pose()
    estimator.predictor.poses = {3: pose}
    found = [detection(objects[1], pose, camera)]
    image = black(camera).image
    [alone] = estimator(black(camera), found)
    for farther, expected in ((pose[2, 3] + 200, 0.0), (10 * pose[2, 3], None)):
        wall = np.full(image.shape[:2], farther, np.float32)
        [seen] = estimator(Observation(image, camera, wall), found)
        assert seen.depth_agreement == expected
        np.testing.assert_array_equal(seen.camera_from_object, alone.camera_from_object)
    [warning] = caplog.records
    assert warning.getMessage().startswith("depth is 1")
