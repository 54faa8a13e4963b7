import numpy as np
import pytest

from heatpose.data.bop import GroundTruth, Result
from heatpose.evaluate.errors import vsd
from heatpose.evaluate.quick_scores import KEYS, QuickReference, quick_scores
from heatpose.evaluate.scores import TENTHS, Reference, pose_scores
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform
from heatpose.render.raycast import Renderer

HALF_TURN = make_transform(np.diag([-1.0, -1, 1]), np.zeros(3))


def moved(pose, rng, size):
    change = make_transform(
        matrix_from_vector(rng.normal(0, size / 100, 3)), rng.normal(0, size, 3)
    )
    return change @ pose


@pytest.mark.parametrize("symmetric", [False, True])
def test_quick_scores_are_those_that_take_longer(
    cube_mesh, brick_mesh, camera, random_pose, rng, symmetric
):
    symmetries = np.stack([np.eye(4), HALF_TURN]) if symmetric else np.eye(4)[None]
    reference = Reference(brick_mesh, symmetries, 160.0)
    quick = QuickReference.of(2, reference)
    renderer = Renderer({2: brick_mesh, 1: cube_mesh})
    for size in (1, 4, 10, 60):
        truth = random_pose()
        estimate = moved(truth, rng, size)
        measured = renderer.render([2, 1], [truth, moved(truth, rng, 60)], camera).depth
        found = dict(
            zip(KEYS, quick_scores(estimate, truth, quick, measured, camera, renderer), strict=True)
        )
        slow = pose_scores(
            [Result(0, 0, 2, 1.0, estimate, -1.0)], [GroundTruth(2, truth)], reference, camera
        )
        for key in KEYS[:-1]:
            assert found[key] == pytest.approx(slow[key][0]), key
        shown, true = (renderer.depth(2, pose, camera) for pose in (estimate, truth))
        errors = vsd(shown, true, measured, camera, TENTHS * 160.0)
        assert found["ar_vsd"] == pytest.approx((errors[:, None] < TENTHS).mean())


def test_no_estimate_scores_nothing_and_the_truth_all(brick_mesh, camera, random_pose):
    quick = QuickReference.of(2, Reference(brick_mesh, np.eye(4)[None], 160.0))
    renderer, truth = Renderer({2: brick_mesh}), random_pose()
    measured = renderer.depth(2, truth, camera)
    rest = (truth, quick, measured, camera, renderer)
    assert not quick_scores(None, *rest).any()
    np.testing.assert_array_equal(quick_scores(truth, *rest), np.ones(len(KEYS)))
