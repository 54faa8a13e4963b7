from dataclasses import replace

import numpy as np
import pytest

from heatpose.data.bop import BopDataset
from heatpose.data.depth import DepthFile
from heatpose.data.frames import frames_of_targets, with_true_boxes
from heatpose.errors import DataError
from heatpose.evaluate.reliability import (
    KnownPoses,
    check,
    described,
    known_poses,
    learn,
    learn_and_check,
    risk_curve,
)
from heatpose.geometry.transforms import transform_points
from heatpose.objects.catalogue import read_models
from heatpose.solve.probability import Calibration
from heatpose.types import DepthEvidence, Effort, Evidence, PoseEstimate


def poses_of(contrasts, right, groups=None, errors=None):
    """Poses that differ in contrast only."""
    evidence = tuple(Evidence(0.5, 0.8, c, 1.0, 1.0, 0.1) for c in contrasts)
    count = len(evidence)
    return KnownPoses(
        groups=np.arange(count) if groups is None else groups,
        evidence=evidence,
        scores=np.linspace(0, 1, count),
        right=np.asarray(right, bool),
        errors=np.ones((count, 2)) if errors is None else errors,
        spreads=np.ones((count, 2)),
    )


# exp(0) / (1 + exp(0)) is a half at contrast 0.5; three fourths at log(3) above it.
BY_CONTRAST = Calibration((0, 0, 1.0, 0, 0, 0), -0.5, (0.5, 1.0, 2.0))


def test_bins_and_their_error_by_hand():
    """Two poses of 1/2, both right; two of 3/4, one of them right: (2/2 + 2/4) / 4."""
    poses = poses_of([0.5, 0.5, 0.5 + np.log(3), 0.5 + np.log(3)], [1, 1, 1, 0])
    found = check(BY_CONTRAST, poses)
    assert [(b.count, b.right) for b in found.bins] == [(2, 1.0), (2, 0.5)]
    np.testing.assert_allclose([b.probability for b in found.bins], [0.5, 0.75])
    assert found.calibration_error == pytest.approx((2 * 0.5 + 2 * 0.25) / 4)
    assert (found.n_poses, found.n_right) == (4, 3)
    assert found.coverage == (0.0, 1.0, 1.0)  # errors of one spread, radii of 1/2, 1 and 2
    assert "3 of 4 poses right; expected calibration error 0.375" in described(found)


def test_keypoints_without_truth_do_not_count():
    errors = np.array([[1.5, np.nan], [0.4, np.nan]])
    found = check(BY_CONTRAST, poses_of([0.5, 0.5], [1, 0], errors=errors))
    assert found.coverage == (0.5, 0.5, 1.0)


def test_risk_by_hand():
    """Right, wrong, right: shares of wrong ones 0, 1/2, 1/3."""
    assert risk_curve(np.array([0.2, 0.9, 0.5]), np.array([1.0, 1, 0])).mean() == pytest.approx(
        (0 + 1 / 2 + 1 / 3) / 3
    )


def test_what_is_learned_is_checked_on_other_groups(rng):
    """Two scenes follow opposite rules: each is told by what the other taught."""
    contrasts = rng.uniform(0, 1, 400)
    groups = np.repeat([3, 8], 200)
    right = rng.random(400) < np.where(groups == 8, 1 - contrasts, contrasts)
    _, found = learn_and_check(poses_of(contrasts, right, groups))
    assert found.n_poses == 400
    assert found.calibration_error > 0.2
    fair = rng.random(400) < contrasts
    calibration, found = learn_and_check(poses_of(contrasts, fair, np.repeat(np.arange(20), 20)))
    assert found.calibration_error < 0.15
    assert calibration.weights[2] > 1


def test_too_little_to_learn_from_is_said():
    with pytest.raises(DataError, match="cannot calibrate: 3 of 3 poses are right"):
        learn(poses_of([0.1, 0.2, 0.3], [1, 1, 1]))
    with pytest.raises(DataError, match="all poses are of one image"):
        learn_and_check(poses_of([0.1, 0.2], [1, 0], np.array([4, 4])))


class Stub:
    """Estimates a shift of the truth, a different one for each object."""

    def __init__(self, dataset, objects, shifts, turned=False):
        self.dataset, self.objects, self.shifts, self.turned = dataset, objects, shifts, turned
        self.frames = []
        self.effort = Effort(table=False)

    def __call__(self, observation, detections, wanted):
        frame = self.frames.pop(0)
        return [self.estimate(frame, observation.camera, found) for found in detections]

    def estimate(self, frame, camera, found):
        [truth] = [
            t.camera_from_object
            for t in self.dataset.ground_truth(*frame.ids)
            if t.object_id == found.object_id
        ]
        if self.turned:
            truth = truth @ np.diag([-1.0, -1, 1, 1])
        pose = truth.copy()
        pose[:3, 3] += self.shifts[found.object_id]
        seen = camera.project(transform_points(truth, self.objects[found.object_id].keypoints))
        count = len(seen)
        return PoseEstimate(
            object_id=found.object_id,
            camera_from_object=pose,
            score=0.5,
            covariance=np.eye(6),
            keypoints=seen + [3.0, 4.0],
            inliers=np.full(count, True),
            box=found.box,
            keypoint_spreads=np.full(count, 2.0),
            evidence=Evidence(0.5, 0.8, 0.3, 1.0, 1.0, 0.1),
        )


@pytest.fixture
def dataset(small_bop):
    return BopDataset(small_bop())


def found_by(dataset, shifts, turned=False):
    objects = read_models(dataset.root / "models_eval", 6)
    stub = Stub(dataset, objects, shifts, turned)
    frames = with_true_boxes(frames_of_targets(dataset, None, [1, 2]), dataset)
    stub.frames = list(frames)
    return known_poses(stub, frames, dataset)


def test_poses_are_right_up_to_a_tenth_of_the_diameter(dataset):
    diameters = {i: m.diameter for i, m in read_models(dataset.root / "models_eval").items()}
    shifts = {1: [0, 0, 0.09 * diameters[1]], 2: [0, 0, 0.11 * diameters[2]]}
    poses = found_by(dataset, shifts)
    assert sorted(poses.right) == [False, False, True, True]
    np.testing.assert_allclose(poses.errors, 5.0, atol=1e-6)  # 3 and 4 px aside
    np.testing.assert_array_equal(poses.groups, [3, 3, 12, 12])  # one scene: by image


def test_keypoints_may_be_those_of_a_symmetric_view(dataset):
    """After half a turn the cube looks the same, and the brick does not."""
    poses = found_by(dataset, {1: [0, 0, 0], 2: [0, 0, 0]}, turned=True)
    assert sorted(poses.right) == [False, False, True, True]
    symmetric = poses.errors[poses.right]
    np.testing.assert_allclose(symmetric, 5.0, atol=1e-6)
    assert poses.errors[~poses.right].max() > 8


def test_an_object_that_is_elsewhere_has_no_keypoints_here(dataset):
    """A false alarm says nothing of how sure keypoints are."""
    objects = read_models(dataset.root / "models_eval", 6)
    stub = Stub(dataset, objects, {1: [0, 0, 0], 2: [0, 0, 0]})
    frames = with_true_boxes(frames_of_targets(dataset, None, [1, 2]), dataset)
    estimate = stub.estimate

    def elsewhere(frame, camera, found):
        return replace(estimate(frame, camera, found), box=(0.0, 0.0, 2.0, 2.0))

    stub.estimate, stub.frames = elsewhere, list(frames)
    assert np.isnan(known_poses(stub, frames, dataset).errors).all()


def test_poses_with_depth_count_where_depth_was_looked_at(dataset):
    """And the others where it was not."""
    objects = read_models(dataset.root / "models_eval", 6)
    stub = Stub(dataset, objects, {1: [0, 0, 0], 2: [0, 0, 0]})
    frames = with_true_boxes(frames_of_targets(dataset, None, [1, 2]), dataset)
    estimate = stub.estimate

    def measured(frame, camera, found):
        one = estimate(frame, camera, found)
        said = DepthEvidence(1.0, 0.0, 0.0, 1.0, 1.0) if found.object_id == 1 else None
        return replace(one, evidence=replace(one.evidence, depth=said))

    stub.estimate, stub.frames = measured, list(frames)
    assert [one.depth for one in known_poses(stub, frames, dataset).evidence] == [None, None]
    measured_frames = [
        replace(frame, depth=DepthFile(dataset.depth_path(*frame.ids), 1.0)) for frame in frames
    ]
    stub.frames = list(measured_frames)
    found = known_poses(stub, measured_frames, dataset).evidence
    assert [one.depth.near for one in found] == [1.0, 1.0]


def test_depth_that_had_no_say_is_named(dataset):
    objects = read_models(dataset.root / "models_eval", 6)
    stub = Stub(dataset, objects, {1: [0, 0, 0], 2: [0, 0, 0]})
    frames = with_true_boxes(frames_of_targets(dataset, None, [1, 2]), dataset)
    unused = [
        replace(frame, depth=DepthFile(dataset.depth_path(*frame.ids), 1.0)) for frame in frames
    ]
    stub.frames = list(unused)
    with pytest.raises(DataError, match=r"no say in any of the 4 poses found in 2 images .* unit"):
        known_poses(stub, unused, dataset)


def test_no_pose_at_all_is_said(dataset):
    frames = with_true_boxes(frames_of_targets(dataset, None, [1, 2]), dataset)
    nothing = Stub(dataset, read_models(dataset.root / "models_eval", 6), {})
    empty = [replace(frame, detections=()) for frame in frames]
    nothing.frames = list(empty)
    with pytest.raises(DataError, match="no pose was found in 2 images"):
        known_poses(nothing, empty, dataset)
