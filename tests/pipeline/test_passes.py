"""Several looks at an object, and several passes over an image."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.geometry.transforms import make_transform
from heatpose.types import Detection, Effort

from .conftest import CROP, KnowsTheCropCameras, TrueHeatmaps, black, detection, difference


def test_several_looks_see_the_same_from_nearer_and_farther(objects, camera, random_pose):
    predictor = TrueHeatmaps(objects)
    estimator = KnowsTheCropCameras(predictor, objects, CROP, Effort(looks=3, outline=False))
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
def test_there_are_one_to_three_looks(looks):
    with pytest.raises(ValueError, match=f"looks must be 1 to 3, got {looks}"):
        Effort(looks=looks)


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

    estimator = Notes(predictor, objects, CROP, Effort(passes=2))
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
    estimator = KnowsTheCropCameras(
        predictor, objects, CROP, Effort(passes=3, looks=3, outline=False)
    )
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
    estimator = KnowsTheCropCameras(predictor, objects, CROP, Effort(passes=2))
    [estimate] = estimator(black(camera), [detection(objects[0], pose, camera)])
    assert difference(estimate.camera_from_object, pose)[1] < 0.3


def test_there_is_at_least_one_pass():
    with pytest.raises(ValueError, match="passes must be at least 1, got 0"):
        Effort(passes=0)


@pytest.mark.parametrize(
    ("effort", "matched"),
    [
        (Effort(passes=2), True),
        (Effort(), False),
        (Effort(passes=2, outline=False), False),
    ],
    ids=["two passes", "one pass", "without outlines"],
)
def test_patches_have_their_say_after_several_passes(objects, camera, monkeypatch, effort, matched):
    """Once, on all poses together; depth and markings go on from what they made of them."""
    seen = []

    def further(estimates, image, camera, models, renderer, threads):
        seen.append(len(estimates))
        nudge = make_transform(np.eye(3), [0.0, 0.0, 7.0])
        return [replace(e, camera_from_object=nudge @ e.camera_from_object) for e in estimates]

    monkeypatch.setattr("heatpose.pipeline.refine_with_patches", further)
    predictor = TrueHeatmaps(objects)
    estimator = KnowsTheCropCameras(predictor, objects, CROP, effort)
    poses = {7: make_transform(np.eye(3), [60.0, -30, 700])}
    poses[3] = make_transform(np.eye(3), [-90.0, 20, 760])
    predictor.poses = poses
    found = [detection(one, poses[one.object_id], camera) for one in objects]
    estimates = estimator(black(camera), found)
    assert seen == ([2] if matched else [])
    for one in estimates:
        beyond = one.camera_from_object[2, 3] - poses[one.object_id][2, 3]
        assert beyond == pytest.approx(7 if matched else 0, abs=0.5)
