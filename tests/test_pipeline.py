from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from heatpose.data.bop import BopDataset
from heatpose.data.depth_crops import crop_depth_around, network_depth
from heatpose.data.images import undistort, undistort_box
from heatpose.errors import UnknownObjectError
from heatpose.geometry.boxes import box_of_points
from heatpose.geometry.rotations import nearest_rotation, random_rotation
from heatpose.geometry.transforms import invert, make_transform, rotation_angle, transform_points
from heatpose.model.heatmaps import encode, heatmap_from_crop
from heatpose.objects.catalogue import ObjectModel, read_models
from heatpose.objects.keypoints import select_keypoints
from heatpose.pipeline import STAGES, PoseEstimator
from heatpose.render.raycast import Renderer
from heatpose.solve.markings import Markings
from heatpose.types import Detection, Observation


class KnowsTheCropCameras(PoseEstimator):
    """The pipeline as it is, but its stand-in network is told where the crops were cut."""

    def crop(self, observation, detections):
        crops, cameras = super().crop(observation, detections)
        self.predictor.cameras = cameras
        return crops, cameras


class TrueHeatmaps:
    """A stand-in for the network: draws the right heatmaps of poses that it is told."""

    def __init__(self, objects):
        self.objects = objects
        self.poses = {}  # by object id
        self.cameras = []  # of the crops to come
        self.batches = []

    def __call__(self, crops, object_index):
        self.batches.append(crops.shape)
        size = crops.shape[1] // 4
        maps = []
        for index, camera in zip(object_index, self.cameras, strict=True):
            model = self.objects[index]
            seen = camera.project(transform_points(self.poses[model.object_id], model.keypoints))
            maps.append(encode(heatmap_from_crop(seen), size, size))
        return np.stack(maps).astype(np.float32)


def make_object(object_id, mesh):
    return ObjectModel(
        object_id=object_id,
        name=f"object {object_id}",
        mesh=mesh,
        keypoints=select_keypoints(mesh, "bbox", None),
        symmetries=np.eye(4)[None],
        diameter=160.0,
    )


@pytest.fixture
def objects(cube_mesh, brick_mesh):
    """Without colours, so that nothing but keypoints says which way round they are."""
    meshes = {7: cube_mesh, 3: brick_mesh}
    return [make_object(i, replace(mesh, colours=None)) for i, mesh in meshes.items()]


@pytest.fixture
def estimator(objects):
    return KnowsTheCropCameras(TrueHeatmaps(objects), objects)


def detection(model, pose, camera, score=1.0):
    box = box_of_points(camera.project(transform_points(pose, model.mesh.vertices)))
    return Detection(model.object_id, box, score)


def difference(first, second):
    between = first @ invert(second)
    return np.degrees(rotation_angle(between[:3, :3])), np.linalg.norm(first[:3, 3] - second[:3, 3])


def black(camera):
    return Observation(np.zeros((camera.height, camera.width, 3), np.uint8), camera)


def test_the_right_heatmaps_give_the_true_poses(estimator, objects, camera, random_pose):
    for _ in range(5):
        truth = estimator.predictor.poses = {o.object_id: random_pose() for o in objects}
        found = [detection(o, truth[o.object_id], camera) for o in objects]
        estimates = estimator(black(camera), found)
        assert {e.object_id for e in estimates} == {3, 7}
        for estimate in estimates:
            degrees, mm = difference(estimate.camera_from_object, truth[estimate.object_id])
            assert degrees < 0.05 and mm < 0.3
            assert estimate.inliers.all()
            assert estimate.score > 0.95


def test_also_through_a_lens_with_distortion(estimator, objects, distorted_camera, random_pose):
    """Boxes are given in the image as taken; keypoints come back in the undistorted one."""
    truth = estimator.predictor.poses = {o.object_id: random_pose() for o in objects}
    found = [detection(o, truth[o.object_id], distorted_camera) for o in objects]
    estimates = estimator(black(distorted_camera), found)
    for estimate in estimates:
        pose, model = truth[estimate.object_id], estimator.objects[estimate.object_id]
        degrees, mm = difference(estimate.camera_from_object, pose)
        assert degrees < 0.05 and mm < 0.3
        where = transform_points(pose, model.keypoints)
        np.testing.assert_allclose(
            estimate.keypoints, distorted_camera.ideal.project(where), atol=0.05
        )


def test_boxes_come_back_in_the_undistorted_image(estimator, objects, distorted_camera):
    """Towards a corner, where a straight edge of a box is bent by some pixels."""
    pose = make_transform(np.eye(3), [-300.0, -220, 800])
    estimator.predictor.poses = {7: pose}
    found = detection(objects[0], pose, distorted_camera)
    [estimate] = estimator(black(distorted_camera), [found])
    assert estimate.box == undistort_box(found.box, distorted_camera)
    assert np.abs(np.subtract(estimate.box, found.box)).max() > 5


def test_the_network_sees_the_undistorted_image(objects, distorted_camera, random_pose):
    """A spot in the image as the lens shows it; the crop must show it where its camera says."""
    pose = random_pose()
    point = pose[:3, 3]
    x, y = distorted_camera.project(point)
    rows, cols = np.mgrid[:480, :640]
    grey = 255 * np.exp(-((cols - x) ** 2 + (rows - y) ** 2) / (2 * 4.0**2))
    image = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    seen = []

    class Looks(TrueHeatmaps):
        def __call__(self, crops, object_index):
            seen.append((crops[0, ..., 0].astype(float), self.cameras[0]))
            return super().__call__(crops, object_index)

    estimator = KnowsTheCropCameras(Looks(objects), objects)
    estimator.predictor.poses = {7: pose}
    estimator(Observation(image, distorted_camera), [detection(objects[0], pose, distorted_camera)])
    crop, camera = seen[0]
    centre = [(crop * axis).sum() / crop.sum() for axis in np.mgrid[:256, :256][::-1]]
    np.testing.assert_allclose(centre, camera.project(point), atol=0.2)


def test_all_objects_of_an_image_are_one_batch(estimator, objects, camera, random_pose):
    estimator.predictor.poses = {o.object_id: random_pose() for o in objects}
    found = [detection(o, estimator.predictor.poses[o.object_id], camera) for o in objects]
    estimator(black(camera), found * 3)
    assert estimator.predictor.batches == [(6, 256, 256, 3)]


def test_the_best_comes_first_and_the_detection_counts(estimator, objects, camera, random_pose):
    poses = estimator.predictor.poses = {o.object_id: random_pose() for o in objects}
    scored = zip(objects, (0.5, 0.9), strict=True)
    found = [detection(one, poses[one.object_id], camera, score) for one, score in scored]
    estimates = estimator(black(camera), found)
    np.testing.assert_allclose([e.score for e in estimates], [0.9, 0.5], rtol=0.05)


def test_the_score_counts_how_many_keypoints_agree(objects, camera, random_pose):
    """Two of nine keypoints put elsewhere: the score is that of the other seven."""

    class TwoWrong(TrueHeatmaps):
        def __call__(self, crops, object_index):
            maps = super().__call__(crops, object_index)
            maps[:, :2] = maps[:, :2, ::-1, ::-1]
            return maps

    estimator = KnowsTheCropCameras(TwoWrong(objects), objects)
    pose = estimator.predictor.poses[7] = random_pose()
    [estimate] = estimator(black(camera), [detection(objects[0], pose, camera, 0.5)])
    np.testing.assert_array_equal(estimate.inliers, np.arange(9) >= 2)
    assert estimate.score == pytest.approx(0.5 * 7 / 9, rel=0.03)
    degrees, mm = difference(estimate.camera_from_object, pose)
    assert degrees < 0.1 and mm < 1.0


def test_heatmaps_that_hold_nothing_give_no_pose(objects, camera, random_pose):
    estimator = PoseEstimator(lambda crops, index: np.zeros((1, 9, 64, 64), np.float32), objects)
    assert estimator(black(camera), [detection(objects[0], random_pose(), camera)]) == []


def test_nothing_detected_is_nothing_found(estimator, camera):
    assert estimator(black(camera), []) == []
    assert estimator.predictor.batches == []


def test_an_unknown_object_is_named(estimator, camera):
    with pytest.raises(UnknownObjectError, match=r"object 5 is not one of \[3, 7\]"):
        estimator(black(camera), [Detection(5, (10.0, 10, 50, 50), 1.0)])


def test_a_detector_is_asked_where_no_detections_are_given(objects, camera, random_pose):
    pose = random_pose()
    found = [detection(objects[0], pose, camera)]
    estimator = KnowsTheCropCameras(TrueHeatmaps(objects), objects, detector=lambda _: found)
    estimator.predictor.poses = {7: pose}
    assert [e.object_id for e in estimator(black(camera))] == [7]
    estimator.detector = None
    with pytest.raises(ValueError, match="detections must be given"):
        estimator(black(camera))


def test_a_box_on_a_better_one_of_the_same_object_is_a_double(objects, camera):
    estimator = KnowsTheCropCameras(TrueHeatmaps(objects), objects)
    first, second = (one.object_id for one in objects[:2])
    best = Detection(first, (100.0, 100, 200, 200), 0.9)
    double = Detection(first, (105.0, 100, 205, 200), 0.8)  # IoU 95 / 105
    beside = Detection(first, (150.0, 100, 250, 200), 0.7)  # IoU 1 / 3
    other = Detection(second, (100.0, 100, 200, 200), 0.6)
    estimator.detector = lambda _: [double, other, best, beside]
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    assert estimator.detect(Observation(image, camera)) == [best, beside, other]


def test_detections_of_objects_that_the_network_does_not_know_are_passed_over(
    estimator, objects, camera, random_pose
):
    """A given detection of one is a mistake; a detector may well know more objects."""
    poses = estimator.predictor.poses = {o.object_id: random_pose() for o in objects}
    found = [detection(o, poses[o.object_id], camera) for o in objects]
    stranger = Detection(5, (10.0, 10, 50, 50), 1.0)
    estimator.detector = lambda _: [stranger, *found]
    assert estimator.detect(black(camera)) == found
    assert {e.object_id for e in estimator(black(camera))} == {3, 7}
    estimator.detector = lambda _: [stranger]
    assert estimator(black(camera)) == []


def test_stages_run_in_the_context_that_is_asked_for(
    estimator, objects, cube_mesh, camera, random_pose
):
    log = []

    @contextmanager
    def timed(stage):
        log.append(stage)
        yield

    pose = random_pose()
    estimator.predictor.poses = {7: pose}
    estimator.timed = timed
    found = [detection(objects[0], pose, camera)]
    estimator(black(camera), found)
    assert log == ["crop", "crop", "network", "decode", "solve", "outline"]
    log.clear()
    estimator.detector = lambda _: found
    estimator(black(camera))
    assert log == ["detect", "crop", "crop", "network", "decode", "solve", "outline"]
    log.clear()
    image = black(camera).image
    painted = {7: make_object(7, cube_mesh)}
    estimator.markings = Markings(painted, estimator.renderer)
    estimator(Observation(image, camera, np.full(image.shape[:2], 700, np.float32)))
    assert list(dict.fromkeys(log)) == list(STAGES)
    assert STAGES[-3:] == ("outline", "depth", "markings")


@pytest.mark.parametrize("measured", [False, True], ids=["colours alone", "with depth"])
def test_markings_turn_what_keypoints_have_the_wrong_way_round(brick_mesh, camera, measured):
    brick = make_object(3, brick_mesh)
    half_turn = make_transform(np.diag([-1.0, -1.0, 1.0]), [10.0, -16.0, 0])  # about its middle
    truth = make_transform(random_rotation(np.random.default_rng(4)), [40.0, -30.0, 700.0])
    drawn = Renderer({3: brick.mesh}).render([3], [truth], camera)
    image = np.uint8(drawn.albedo * 200)
    observation = Observation(image, camera, drawn.depth if measured else None)
    network = TrueHeatmaps([brick])
    network.poses[3] = truth @ half_turn
    found = [detection(brick, truth, camera)]
    for markings, expected in ((True, truth), (False, truth @ half_turn)):
        estimator = KnowsTheCropCameras(network, [brick], outline=False, markings=markings)
        [estimate] = estimator(observation, found)
        degrees, mm = difference(estimate.camera_from_object, expected)
        assert degrees < 1 and mm < 3


def test_depth_corrects_what_markings_have_turned(brick_mesh, camera):
    """A tapered brick: after its half turn it has to be tilted a little."""
    vertices = brick_mesh.vertices.copy()
    vertices[vertices[:, 0] > 5, 2] *= 1.06
    tapered = make_object(3, replace(brick_mesh, vertices=vertices))
    truth = make_transform(random_rotation(np.random.default_rng(4)), [40.0, -30.0, 700.0])
    drawn = Renderer({3: tapered.mesh}).render([3], [truth], camera)
    observation = Observation(np.uint8(drawn.albedo * 200), camera, drawn.depth)
    network = TrueHeatmaps([tapered])
    half_turn = make_transform(np.diag([-1.0, -1.0, 1.0]), [10.0, -16.0, 0])
    network.poses[3] = truth @ half_turn
    [estimate] = KnowsTheCropCameras(network, [tapered])(
        observation, [detection(tapered, truth, camera)]
    )
    degrees, mm = difference(estimate.camera_from_object, truth)
    assert degrees < 0.2 and mm < 0.3  # 0.6 and 0.7 where depth comes before the markings alone


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
    estimator = KnowsTheCropCameras(LooksAtDepth(objects), objects, inputs=["crops", "depth"])
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
    estimator = KnowsTheCropCameras(LooksAtDepth(objects), objects, inputs=["crops", "depth"])
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
    estimator = KnowsTheCropCameras(
        LooksAtDepth(objects), objects, inputs=["crops", "depth"], depth=False
    )
    pose = estimator.predictor.poses[7] = random_pose()
    found = [detection(objects[0], pose, camera)]
    estimator(with_depth(camera), found)
    assert not estimator.predictor.depth.any()
    assert not caplog.records
    estimator.depth, estimator.geometry = True, False
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
    assert (corrected.score, corrected.evidence) == (alone.score, alone.evidence)
    np.testing.assert_array_equal(unseen.camera_from_object, alone.camera_from_object)
    assert alone.depth_agreement is unseen.depth_agreement is None
    for option in ("depth", "geometry"):
        setattr(estimator, option, False)
        [ignored] = estimator(Observation(image, camera, depth), found)
        np.testing.assert_array_equal(ignored.camera_from_object, alone.camera_from_object)
        setattr(estimator, option, True)


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


@pytest.mark.slow
@pytest.mark.real
def test_true_keypoints_of_all_development_frames_give_the_true_poses(real_data):
    """Ground truth, through crop, heatmaps, decoding and PnP, comes back: ADD in mm."""
    dataset = BopDataset(real_data / "lmo")
    models = read_models(real_data / "lmo" / "models_eval")
    estimator = KnowsTheCropCameras(TrueHeatmaps(list(models.values())), list(models.values()))
    as_published, rigid = [], []
    for scene_id, image_id in sorted({target[:2] for target in dataset.targets()}):
        camera = dataset.camera(scene_id, image_id)
        visibility = dataset.gt_info(scene_id, image_id)
        truths = dataset.ground_truth(scene_id, image_id)
        for (object_id, pose), seen in zip(truths, visibility, strict=True):
            # Some published matrices scale by half a percent: no rigid pose has those pixels.
            true = make_transform(nearest_rotation(pose[:3, :3]), pose[:3, 3])
            found = Detection(object_id, seen.box, 1.0)
            for truth, errors in [(pose, as_published), (true, rigid)]:
                estimator.predictor.poses = {object_id: truth}
                [estimate] = estimator(black(camera), [found])
                points = models[object_id].mesh.vertices[::10]
                off = transform_points(estimate.camera_from_object, points)
                off -= transform_points(truth, points)
                errors.append(np.linalg.norm(off, axis=1).mean())
    assert len(rigid) == 506
    assert np.median(as_published) < 0.2
    assert max(rigid) < 0.05


def test_several_looks_see_the_same_from_nearer_and_farther(objects, camera, random_pose):
    predictor = TrueHeatmaps(objects)
    estimator = KnowsTheCropCameras(predictor, objects, looks=3, outline=False)
    truth = predictor.poses = {o.object_id: random_pose() for o in objects}
    found = [detection(o, truth[o.object_id], camera) for o in objects]
    estimates = estimator(black(camera), found)
    assert predictor.batches == [(6, 256, 256, 3)]
    fx = [one.fx for one in predictor.cameras]
    assert fx[2] / fx[0] == pytest.approx(1 / 0.9) and fx[4] / fx[0] == pytest.approx(1 / 1.15)
    for estimate in estimates:
        degrees, mm = difference(estimate.camera_from_object, truth[estimate.object_id])
        assert degrees < 0.05 and mm < 0.3
        k = len(estimator.objects[estimate.object_id].keypoints)
        assert len(estimate.keypoints) == len(estimate.inliers) == k and estimate.inliers.all()
        assert estimate.evidence.support > 0.9


@pytest.mark.parametrize("looks", [0, 4])
def test_there_are_one_to_three_looks(objects, looks):
    with pytest.raises(ValueError, match=f"looks must be 1 to 3, got {looks}"):
        PoseEstimator(TrueHeatmaps(objects), objects, looks=looks)


def aside(found, by):
    """Move a detection's box by a share of its width."""
    left, top, right, bottom = found.box
    shift = by * (right - left)
    return Detection(found.object_id, (left + shift, top, right + shift, bottom), found.score)


def test_a_second_pass_looks_where_the_object_turned_out_to_be(objects, camera):
    """The box is a quarter of its width off; that of the result stays the detection's."""
    predictor = TrueHeatmaps(objects)
    centres = []

    class Notes(KnowsTheCropCameras):
        def crop(self, observation, detections):
            centres.append([np.reshape(d.box, (2, 2)).mean(axis=0) for d in detections])
            return super().crop(observation, detections)

    estimator = Notes(predictor, objects, passes=2)
    pose = make_transform(np.eye(3), [20.0, -30, 700])
    predictor.poses = {7: pose}
    exact = detection(objects[0], pose, camera, 0.5)
    rough = aside(exact, 0.25)
    [estimate] = estimator(black(camera), [rough])
    [[first], [second]] = centres
    np.testing.assert_allclose(first, np.reshape(rough.box, (2, 2)).mean(axis=0))
    np.testing.assert_allclose(second, np.reshape(exact.box, (2, 2)).mean(axis=0), atol=0.2)
    assert estimate.box == rough.box and estimate.score == pytest.approx(0.5, rel=0.05)
    degrees, mm = difference(estimate.camera_from_object, pose)
    assert degrees < 0.05 and mm < 0.3


def test_candidates_are_told_apart_by_one_look_and_given_up_by_halves(objects, camera):
    """Five boxes for one cube, two wanted of nothing else; the last pass takes all looks."""
    predictor = TrueHeatmaps(objects)
    estimator = KnowsTheCropCameras(predictor, objects, passes=3, looks=3, outline=False)
    pose = make_transform(np.eye(3), [20.0, -30, 700])
    predictor.poses = {7: pose}
    exact = detection(objects[0], pose, camera)
    found = [aside(exact, by) for by in (0.2, -0.1, 0.0, 0.1, -0.2)]
    assert len(estimator(black(camera), found, {7: 1})) == 1  # they all lead to the same one
    assert [shape[0] for shape in predictor.batches] == [5, 3, 2 * 3]
    predictor.batches.clear()
    assert len(estimator(black(camera), found)) == 1  # nobody says that they are candidates
    assert [shape[0] for shape in predictor.batches] == [15, 15, 15]


def test_a_pass_that_finds_nothing_leaves_what_was_found(objects, camera):
    class TiredNetwork(TrueHeatmaps):
        def __call__(self, crops, object_index):
            maps = super().__call__(crops, object_index)
            return maps if len(self.batches) == 1 else np.zeros_like(maps)

    predictor = TiredNetwork(objects)
    pose = make_transform(np.eye(3), [20.0, -30, 700])
    predictor.poses = {7: pose}
    estimator = KnowsTheCropCameras(predictor, objects, passes=2)
    [estimate] = estimator(black(camera), [detection(objects[0], pose, camera)])
    assert difference(estimate.camera_from_object, pose)[1] < 0.3


def test_there_is_at_least_one_pass(objects):
    with pytest.raises(ValueError, match="passes must be at least 1, got 0"):
        PoseEstimator(TrueHeatmaps(objects), objects, passes=0)
