"""Objects of a picture that stand on one plane, as the whole estimator sees them."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform
from heatpose.solve.probability import Calibration
from heatpose.types import Detection, Effort, Observation

from .conftest import CROP, KnowsTheCropCameras, TrueHeatmaps, black, make_object

# A camera sees the table from above, 40 degrees down: its z is up.
TILT = matrix_from_vector(np.array([np.pi / 2 + 0.7, 0, 0]))
PLACES = {1: [-190, -60, 0], 2: [40, -60, 0], 3: [-30, 170, 0], 4: [200, 50, 0]}
AWAY = 4


class SomeAreTooFar(TrueHeatmaps):
    """Draws keypoints as they would be seen of an object that is farther away than it is."""

    def __call__(self, *given):
        true = self.poses
        far = np.diag([1.0, 1, 1, 1])
        far[:3, 3] = 0.04 * true[AWAY][:3, 3]
        self.poses = {**true, AWAY: far @ true[AWAY]}
        try:
            return super().__call__(*given)
        finally:
            self.poses = true


@pytest.fixture
def scene(brick_mesh):
    """Bricks that stand on a table, each on another side; poses by object id."""
    sides = [[0, 0, 0.2], [np.pi / 2, 0, 0], [0, np.pi / 2, 0], [0, 0, 1.1]]
    models, poses = [], {}
    for (object_id, place), side in zip(PLACES.items(), sides, strict=True):
        model = make_object(object_id, brick_mesh)
        turn = matrix_from_vector(np.array(side))
        lowest = (model.mesh.vertices @ turn.T)[:, 2].min()
        on_table = make_transform(turn, np.array(place) - [0, 0, lowest])
        poses[object_id] = make_transform(TILT, [0, 40.0, 1000]) @ on_table
        models.append(model)
    return models, poses


@pytest.fixture
def asked(monkeypatch):
    """Of how many objects a plane is looked for, each time."""
    counts = []

    def stand_together(estimates, objects):
        counts.append(len(estimates))
        return list(estimates)

    monkeypatch.setattr("heatpose.pipeline.stand_together", stand_together)
    return counts


def found(scene, camera, effort, depth=None, n=4):
    models, poses = scene
    network = SomeAreTooFar(models)
    network.poses = poses
    estimator = KnowsTheCropCameras(network, models, CROP, effort)
    boxes = [detection_of(one, poses[one.object_id], camera) for one in models[-n:]]
    plain = black(camera)
    return estimator, estimator(Observation(plain.image, camera, depth), boxes)


def detection_of(model, pose, camera):
    pixels = camera.project(model.mesh.vertices @ pose[:3, :3].T + pose[:3, 3])
    (left, top), (right, bottom) = pixels.min(axis=0), pixels.max(axis=0)
    return Detection(model.object_id, (left, top, right, bottom), 0.9)


def too_far(scene, estimates):
    """By how much the object is farther away than it is, mm."""
    [one] = [e for e in estimates if e.object_id == AWAY]
    return float(one.camera_from_object[2, 3] - scene[1][AWAY][2, 3])


def test_an_object_comes_back_to_the_table_that_others_stand_on(scene, camera):
    plain = Effort(outline=False)
    _, without = found(scene, camera, Effort(outline=False, table=False))
    _, together = found(scene, camera, plain)
    _, alone = found(scene, camera, plain, n=2)
    assert too_far(scene, without) > 25
    assert too_far(scene, alone) == pytest.approx(too_far(scene, without), abs=0.1)
    assert abs(too_far(scene, together)) < 0.5 * too_far(scene, without)


def test_where_there_is_depth_it_needs_no_table(scene, camera, asked):
    depth = np.full((camera.height, camera.width), 1000, np.float32)
    found(scene, camera, Effort(outline=False), depth)
    assert asked == []
    for effort, seen in (
        (Effort(outline=False), np.full_like(depth, np.nan)),
        (Effort(outline=False, depth=False), depth),
        (Effort(outline=False, geometry=False), depth),
    ):
        found(scene, camera, effort, seen)
    assert asked == [4, 4, 4]


def test_probabilities_of_objects_on_tables_are_learned_of_these(scene, camera):
    for weights, learned in (((0.0,) * 6 + (4.0,), True), (None, False)):
        models, poses = scene
        network = SomeAreTooFar(models)
        network.poses = poses
        calibration = weights and Calibration(weights, -2.0, (1.0, 2.0, 3.0), table=True)
        estimator = KnowsTheCropCameras(
            network, models, CROP, Effort(outline=False), table_calibration=calibration
        )
        boxes = [detection_of(one, poses[one.object_id], camera) for one in models]
        for one in estimator(black(camera), boxes):
            assert 0 < one.evidence.standing <= 1
            expected = 1 / (1 + np.exp(2 - 4 * one.evidence.standing))
            assert one.probability == (pytest.approx(expected) if learned else None)


@pytest.mark.parametrize("passes", [1, 2])
def test_objects_that_nobody_asks_for_are_looked_at_once_and_help(scene, camera, passes):
    models, poses = scene
    network = SomeAreTooFar(models)
    network.poses = poses
    asked = []

    class Counts(KnowsTheCropCameras):
        def crop(self, observation, detections):
            asked.extend(one.object_id for one in detections)
            return super().crop(observation, detections)

    boxes = [detection_of(one, poses[one.object_id], camera) for one in models]
    estimator = Counts(network, models, CROP, Effort(outline=False, passes=passes))
    found = estimator(black(camera), boxes, {AWAY: 1})
    assert [one.object_id for one in found] == [AWAY]
    assert sorted(asked) == sorted([1, 2, 3] + [AWAY] * passes)
    alone = estimator(black(camera), boxes[-1:], {AWAY: 1})
    assert abs(too_far(scene, found)) < 0.5 * too_far(scene, alone)
    asked.clear()
    for effort, seen in (
        (Effort(outline=False, table=False), None),
        (Effort(outline=False), np.full((camera.height, camera.width), 1000, np.float32)),
    ):
        estimator.effort = effort
        estimator(Observation(black(camera).image, camera, seen), boxes, {AWAY: 1})
    assert asked == [AWAY, AWAY]


class OneFloats(TrueHeatmaps):
    """Draws an object higher up than it is, where it is looked at higher up in the picture."""

    above = make_transform(np.eye(3), [0, -150.0, 0])

    def __call__(self, *given):
        maps = []
        cameras, true = self.cameras, self.poses
        for camera, index in zip(cameras, given[1], strict=True):
            place = camera.project(true[self.objects[index].object_id][None, :3, 3])[0]
            floats = place[1] > camera.height
            self.cameras = [camera]
            self.poses = {i: self.above @ pose if floats else pose for i, pose in true.items()}
            maps.append(super().__call__(given[0][:1], [index]))
        self.cameras, self.poses = cameras, true
        return np.concatenate(maps)


def with_two_candidates(scene, camera, table=True, depth=None, learned=True):
    """Where an object is said to be of which two boxes are given, the higher one surer."""
    models, poses = scene
    network = OneFloats(models)
    network.poses = poses
    calibration = None
    if learned:
        calibration = Calibration((0.0,) * 6 + (4.0,), -2.0, (1.0, 2.0, 3.0), table=True)
    effort = Effort(outline=False, passes=2, table=table)
    estimator = KnowsTheCropCameras(network, models, CROP, effort, table_calibration=calibration)
    floating = detection_of(models[-1], network.above @ poses[AWAY], camera)
    boxes = [detection_of(one, poses[one.object_id], camera) for one in models]
    seen = Observation(black(camera).image, camera, depth)
    found = estimator(seen, [*boxes, replace(floating, score=1.0)], dict.fromkeys(poses, 1))
    [place] = [one.camera_from_object[:3, 3] for one in found if one.object_id == AWAY]
    return place


@pytest.mark.parametrize("table", [False, True])
def test_of_two_candidates_the_one_that_stands_with_others_is_looked_at_again(scene, camera, table):
    place = with_two_candidates(scene, camera, table)
    expected = scene[1][AWAY] if table else OneFloats.above @ scene[1][AWAY]
    assert np.linalg.norm(place - expected[:3, 3]) < 15


def test_no_plane_is_looked_for_to_tell_candidates_apart_where_it_would_say_nothing(
    scene, camera, asked
):
    """With depth there is none at all; without a calibration of planes, only that of the end."""
    depth = np.full((camera.height, camera.width), 1000, np.float32)
    with_two_candidates(scene, camera, depth=depth)
    assert asked == []
    with_two_candidates(scene, camera, depth=np.full_like(depth, np.nan))
    assert asked == [5, 4]
    asked.clear()
    with_two_candidates(scene, camera, learned=False)
    assert asked == [4]
