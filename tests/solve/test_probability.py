from dataclasses import replace

import numpy as np
import pytest

from heatpose.geometry.transforms import make_transform
from heatpose.objects.catalogue import ObjectModel
from heatpose.solve.outline import OutlineFit
from heatpose.solve.probability import (
    LEVELS,
    Calibration,
    conformal_radius,
    fit_calibration,
    nearest_calibration,
    weigh,
    with_probability,
)
from heatpose.types import DepthEvidence, Effort, Evidence, PoseEstimate

CLEAR = Evidence(0.8, 1.0, 0.9, 0.3, 1.0, 0.01)
VAGUE = Evidence(0.1, 0.3, 0.1, 5.0, 0.4, 0.5)


@pytest.fixture
def model(cube, cube_mesh):
    return ObjectModel(1, "cube", cube_mesh, cube, np.eye(4)[None], 100.0)


def drawn(rng, count):
    """Evidence, and poses that are right as often as a known function of it says."""
    rows = rng.uniform([0.05, 0.2, 0, 0.1, 0.3, 0.005], [0.9, 1, 1, 6, 1, 0.4], (count, 6))
    truth = 1 / (1 + np.exp(-(4 * rows[:, 2] - 1.5 * np.log(rows[:, 5]) - 7)))
    return [Evidence(*row) for row in rows.tolist()], truth, rng.random(count) < truth


def test_probabilities_are_those_that_poses_were_drawn_with(rng):
    evidence, _, right = drawn(rng, 3000)
    calibration = fit_calibration(evidence, right, np.ones(9), np.ones(9))
    fresh, truth, _ = drawn(rng, 500)
    found = np.array([calibration.probability(one) for one in fresh])
    assert np.abs(found - truth).mean() < 0.04
    assert calibration.probability(CLEAR) > 0.9
    assert calibration.probability(VAGUE) < 0.1


def test_what_depth_says_counts_where_it_has_its_say(rng):
    """Colours tell nothing here; half of the poses are contradicted, and most of these wrong."""
    colours, _, _ = drawn(rng, 2000)
    contradicted = rng.choice([0.0, 0.5], 2000)
    right = rng.random(2000) < np.where(contradicted > 0, 0.1, 0.9)
    near = (0.9 - contradicted).tolist()
    said = [DepthEvidence(a, b, 0.1, 0.8, 0.5) for a, b in zip(near, contradicted, strict=True)]
    evidence = [replace(one, depth=depth) for one, depth in zip(colours, said, strict=True)]
    learned = fit_calibration(evidence, right, np.ones(9), np.ones(9))
    assert learned.depth and len(learned.weights) == 11
    good, bad = DepthEvidence(0.9, 0.0, 0.1, 0.8, 0.5), DepthEvidence(0.4, 0.5, 0.1, 0.8, 0.5)
    for said, share in ((good, 0.9), (bad, 0.1)):
        found = [learned.probability(replace(one, depth=said)) for one in colours]
        assert np.mean(found) == pytest.approx(share, abs=0.03)
    plain = fit_calibration(colours, right, np.ones(9), np.ones(9))
    assert not plain.depth and len(plain.weights) == 6
    assert 0.3 < plain.probability(CLEAR) < 0.7


def test_how_an_object_stands_counts_where_that_was_looked_at(rng):
    plain, _, _ = drawn(rng, 2000)
    standing = rng.choice([0.0, 1.0], 2000)
    right = rng.random(2000) < np.where(standing > 0, 0.8, 0.3)
    evidence = [replace(e, standing=s) for e, s in zip(plain, standing.tolist(), strict=True)]
    learned = fit_calibration(evidence, right, np.ones(9), np.ones(9))
    assert learned.table and not learned.depth and len(learned.weights) == 7
    for stands, share in ((1.0, 0.8), (0.0, 0.3)):
        found = [learned.probability(replace(one, standing=stands)) for one in plain]
        assert np.mean(found) == pytest.approx(share, abs=0.03)
    some = [*evidence[:-1], plain[-1]]
    assert not fit_calibration(some, right, np.ones(9), np.ones(9)).table


def test_only_poses_that_were_looked_at_for_a_table_get_its_probability(model):
    learned = Calibration((0.0,) * 6 + (4.0,), -2.0, (1.0, 2.0, 3.0), table=True)
    one = PoseEstimate(
        1, np.eye(4), 0.5, np.eye(6), np.zeros((8, 2)), np.ones(8, bool), (0.0, 0, 9, 9),
        evidence=CLEAR, probability=0.25,
    )  # fmt: skip
    assert with_probability(one, learned) is one
    for standing, expected in ((0.0, -2), (1.0, 2)):
        stood = replace(one, evidence=replace(CLEAR, standing=standing))
        found = with_probability(stood, learned).probability
        assert found == pytest.approx(1 / (1 + np.exp(-expected)))


def test_only_poses_of_which_depth_says_something_get_its_probability(model):
    learned = Calibration((0.0,) * 6 + (4.0, 0, 0, 0, 0), -2.0, (1.0, 2.0, 3.0), depth=True)
    colour = PoseEstimate(
        object_id=1,
        camera_from_object=np.eye(4),
        score=0.5,
        covariance=np.eye(6),
        keypoints=np.zeros((8, 2)),
        inliers=np.ones(8, bool),
        box=(0.0, 0, 9, 9),
        evidence=CLEAR,
        probability=0.25,
    )
    assert with_probability(colour, learned) is colour
    said = replace(CLEAR, depth=DepthEvidence(1.0, 0.0, 0.0, 0.9, 0.9))
    assert with_probability(replace(colour, evidence=None), learned).probability == 0.25
    measured = replace(colour, evidence=said)
    assert with_probability(measured, None) is measured
    assert with_probability(measured, learned).probability == pytest.approx(1 / (1 + np.exp(-2)))


def test_evidence_without_bounds_is_no_pose_to_trust(rng):
    """A covariance that nothing fixes, no confidence at all."""
    evidence, _, right = drawn(rng, 500)
    calibration = fit_calibration(evidence, right, np.ones(9), np.ones(9))
    lost = Evidence(0.0, 0.2, 0.0, 10.0, 0.0, np.inf)
    assert 0 <= calibration.probability(lost) < 0.01


def test_nothing_is_learned_where_all_poses_are_alike(rng):
    evidence, _, right = drawn(rng, 20)
    with pytest.raises(ValueError, match="20 of 20 poses are right"):
        fit_calibration(evidence, right | True, np.ones(9), np.ones(9))


def test_the_radius_by_hand():
    """Of the ratios 1 ... 9 the ceil(10 * 0.8) = 8th; of spread 2, half as many."""
    errors = np.arange(1.0, 10)
    assert conformal_radius(errors, np.ones(9), 0.8) == 8
    assert conformal_radius(errors, np.full(9, 2.0), 0.8) == 4
    assert conformal_radius(np.append(errors, np.nan), np.ones(10), 0.8) == 8
    with pytest.raises(ValueError, match="no keypoint"):
        conformal_radius(np.full(3, np.nan), np.ones(3), 0.8)


@pytest.mark.parametrize("level", LEVELS)
def test_regions_cover_what_they_promise(rng, level):
    """Whatever the distribution: here one with wide tails, and spreads that say little."""
    spreads = rng.uniform(1, 3, 20000)
    errors = np.abs(rng.standard_t(2, 20000)) * rng.uniform(0.5, 4, 20000)
    radius = conformal_radius(errors[:10000], spreads[:10000], level)
    covered = (errors[10000:] <= radius * spreads[10000:]).mean()
    assert covered == pytest.approx(level, abs=0.015)


def test_evidence_by_hand(model):
    """A shift of 3 mm in each axis: sqrt(27) mm of 100; two of eight keypoints disagree."""
    covariance = np.zeros((6, 6))
    covariance[3:, 3:] = 9 * np.eye(3)
    pose = make_transform(np.eye(3), np.array([0.0, 0, 500]))
    inliers = np.arange(8) >= 2
    fit = OutlineFit(pose, covariance, contrast=0.7, offset=0.5, open_share=0.9)
    found = weigh(0.3, inliers, fit, pose, covariance, model)
    assert found.support == pytest.approx(0.3)
    assert found.inliers == 0.75
    assert (found.contrast, found.offset, found.open_share) == (0.7, 0.5, 0.9)
    assert found.spread == pytest.approx(np.sqrt(27) / 100)


def test_turns_about_the_camera_move_far_objects(model):
    """0.01 rad about the camera's y axis at 500 mm: about 5 mm, of 100."""
    covariance = np.zeros((6, 6))
    covariance[1, 1] = 0.01**2
    pose = make_transform(np.eye(3), np.array([0.0, 0, 500]))
    found = weigh(1.0, np.full(8, True), None, pose, covariance, model)
    assert found.spread == pytest.approx(0.05, rel=0.02)
    assert (found.contrast, found.open_share) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("looks", "passes", "crops"), [(1, 1, 1), (1, 2, 1), (3, 1, 1), (2, 2, 9), (3, 2, 9), (3, 5, 9)]
)
def test_the_calibration_of_poses_that_were_found_most_alike_counts(looks, passes, crops):
    """1 and 9 crops of each object; 3 are as far from either, and the first one counts."""
    once = Calibration((0.0,) * 6, 0.0, (1.0, 2.0, 3.0))
    often = replace(once, looks=3, passes=3)
    bare = replace(once, looks=looks, passes=passes, outline=False)
    effort = Effort(looks, passes)
    found = nearest_calibration([bare, once, often], effort)
    assert found.looks * found.passes == crops
    assert nearest_calibration([bare, often], effort) is often
    assert nearest_calibration([bare], effort) is None
    assert nearest_calibration([once, bare], Effort(3, 3, outline=False)) is bare
    deep = replace(once, weights=(0.0,) * 11, depth=True)
    assert nearest_calibration([deep, once, often], effort) is found
    assert nearest_calibration([once, often], effort, depth=True) is None
    assert nearest_calibration([once, often, deep], effort, depth=True) is deep
    stood = replace(once, weights=(0.0,) * 7, table=True)
    assert nearest_calibration([stood, once, often], effort) is found
    assert nearest_calibration([once, often, deep], effort, table=True) is None
    assert nearest_calibration([once, deep, stood], effort, table=True) is stood


def test_what_a_calibration_holds_is_checked():
    with pytest.raises(ValueError, match="without depth has 6 weights and 3 radii, got 2 and 3"):
        Calibration((1.0, 2.0), 0.0, (1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="with depth has 11 weights and 3 radii, got 6 and 3"):
        Calibration((1.0,) * 6, 0.0, (1.0, 2.0, 3.0), depth=True)
    with pytest.raises(ValueError, match="of poses on tables, has 7 weights and 3 radii, got 6"):
        Calibration((1.0,) * 6, 0.0, (1.0, 2.0, 3.0), table=True)
    with pytest.raises(ValueError, match="not both"):
        Calibration((1.0,) * 12, 0.0, (1.0, 2.0, 3.0), depth=True, table=True)
