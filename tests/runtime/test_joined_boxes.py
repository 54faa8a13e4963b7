import numpy as np
import pytest

from heatpose.runtime.joined_boxes import joined


def rows(*each):
    return np.array(each, np.float32).reshape(-1, 6)


def test_what_all_sizes_show_is_one_box_between_theirs_weighted_by_the_scores():
    found = joined([rows([0, 0, 100, 60, 0.9, 2]), rows([8, 4, 100, 60, 0.3, 2])])
    np.testing.assert_allclose(found, rows([2, 1, 100, 60, 0.6, 2]), atol=1e-5)


def test_what_one_size_shows_counts_for_its_share():
    found = joined([rows([0, 0, 10, 10, 0.9, 1]), rows(), rows([50, 0, 60, 10, 0.6, 1])])
    np.testing.assert_allclose(
        found, rows([0, 0, 10, 10, 0.3, 1], [50, 0, 60, 10, 0.2, 1]), atol=1e-6
    )


def test_other_classes_and_other_places_stay_apart():
    apart = rows([0, 0, 10, 10, 0.8, 1], [0, 0, 10, 10, 0.6, 2], [4, 0, 14, 10, 0.4, 1])
    found = joined([apart, rows()])
    apart[:, 4] /= 2
    np.testing.assert_allclose(found, apart, atol=1e-6)


def test_doubles_of_one_size_count_once():
    found = joined([rows([0, 0, 10, 10, 0.8, 1], [0, 0, 10, 10, 0.7, 1]), rows()])
    np.testing.assert_allclose(found, rows([0, 0, 10, 10, 0.4, 1]), atol=1e-6)


@pytest.mark.parametrize("times", [1, 3])
def test_the_same_seen_again_changes_nothing(times, rng):
    corners = rng.uniform(0, 400, (20, 2))
    look = np.column_stack(
        [corners, corners + rng.uniform(5, 20, (20, 2)), rng.uniform(0, 1, 20), np.arange(20)]
    ).astype(np.float32)
    look = look[np.argsort(-look[:, 4])]
    np.testing.assert_allclose(joined([look] * times), look, atol=1e-4)


def test_boxes_without_area_and_no_boxes_are_no_trouble():
    flat = rows([5, 5, 5, 9, 0.0, 1])
    np.testing.assert_allclose(joined([flat, flat]), rows(flat[0], flat[0]))
    assert joined([rows(), rows()]).shape == (0, 6)
