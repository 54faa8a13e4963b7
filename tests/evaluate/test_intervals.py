"""Bootstrap over images."""

import numpy as np
import pytest

from heatpose.errors import DataError
from heatpose.evaluate.intervals import crossed_interval, differences, intervals
from heatpose.evaluate.scores import Evaluation


def evaluation(values, images, object_ids=None):
    values = np.asarray(values, float)
    ids = np.ones(len(values), int) if object_ids is None else np.asarray(object_ids)
    scenes = np.stack([np.zeros(len(values), int), np.asarray(images)], axis=1)
    return Evaluation(ids, scenes, {"ar_mssd": values, "ar_vsd": None})


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_the_interval_of_independent_images_is_that_of_the_normal_law(rng):
    values = rng.random(400)
    found = intervals(evaluation(values, np.arange(400)))["ar_mssd"]
    half = 1.96 * values.std() / np.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_copies_within_an_image_make_nothing_surer(rng):
    values = rng.random(50)
    one = intervals(evaluation(values, np.arange(50)))["ar_mssd"]
    copies = intervals(evaluation(np.repeat(values, 4), np.repeat(np.arange(50), 4)))["ar_mssd"]
    assert (copies.low, copies.high) == pytest.approx((one.low, one.high))


def test_what_is_hard_for_both_cancels_in_a_difference(rng):
    hard = rng.random(60)
    ours = evaluation(hard + 0.1, np.arange(60))
    theirs = evaluation(hard, np.arange(60))
    gap = differences(ours, theirs)["ar_mssd"]
    assert (gap.mean, gap.low, gap.high) == pytest.approx((0.1, 0.1, 0.1))
    assert intervals(ours)["ar_mssd"].low < intervals(theirs)["ar_mssd"].high  # these overlap


def test_an_object_has_its_own_interval_and_what_was_not_measured_has_none():
    both = evaluation([1, 1, 0, 0], [0, 1, 0, 1], object_ids=[1, 1, 2, 2])
    assert intervals(both, 1)["ar_mssd"].low == 1.0
    assert intervals(both, 2)["ar_mssd"].high == 0.0
    assert intervals(both)["ar_vsd"] is None and differences(both, both)["ar_vsd"] is None


def test_results_on_other_targets_are_not_compared():
    with pytest.raises(DataError, match="same targets can be compared, got 2 and 3"):
        differences(evaluation([1, 1], [0, 1]), evaluation([1, 1, 1], [0, 1, 2]))


def test_seeds_alone_give_the_interval_of_their_mean(rng):
    """With images that are all alike the spread is that of the mean of seeds, s / sqrt(n)."""
    widths = []
    for _ in range(40):
        seeds = rng.normal(0, 1, 5)
        found = crossed_interval(np.repeat(seeds[:, None], 20, axis=1), pairs(20))
        assert found.mean == pytest.approx(seeds.mean())
        widths.append((found.high - found.low) / (2 * 1.96 * seeds.std(ddof=1) / np.sqrt(5)))
    assert np.mean(widths) == pytest.approx(1.0, abs=0.08)


def test_one_seed_has_the_interval_of_its_images(rng):
    values = rng.random(300)
    crossed = crossed_interval(values[None], pairs(300))
    alone = intervals(evaluation(values, np.arange(300)))["ar_mssd"]
    assert (crossed.mean, crossed.low, crossed.high) == pytest.approx(
        (alone.mean, alone.low, alone.high), abs=0.003
    )


def test_images_and_seeds_add_up(rng):
    hard, lucky = rng.normal(0, 1, 400), rng.normal(0, 0.1, 40)
    both = crossed_interval(hard + lucky[:, None], pairs(400))
    expected = np.sqrt(hard.var() / 400 + lucky.var() / 40)
    assert (both.high - both.low) / 3.92 == pytest.approx(expected, rel=0.1)


def pairs(n):
    return np.stack([np.zeros(n, int), np.arange(n)], axis=1)
