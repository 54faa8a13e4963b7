import json

import numpy as np
import pytest

from heatpose.errors import DataError
from heatpose.geometry.transforms import rotation_angle, transform_points
from heatpose.objects.symmetry import symmetries_from_info

FLIP = [-1, 0, 0, 4, 0, -1, 0, 6, 0, 0, 1, 0, 0, 0, 0, 1]  # half a turn around z through (2, 3)
AXIS = {"axis": [0, 0, 2], "offset": [2, 3, 50]}


def test_without_symmetries_there_is_the_identity():
    np.testing.assert_array_equal(symmetries_from_info({"diameter": 100.0}), np.eye(4)[None])


def test_discrete_symmetries_follow_the_identity():
    found = symmetries_from_info({"symmetries_discrete": [FLIP]})
    np.testing.assert_array_equal(found, [np.eye(4), np.reshape(FLIP, (4, 4))])


@pytest.mark.parametrize(("step", "count"), [(0.01, 315), (0.1, 32), (np.pi / 4, 4)])
def test_turns_fill_the_circle_in_steps_no_longer_than_asked(step, count):
    found = symmetries_from_info({"symmetries_continuous": [AXIS]}, step)
    assert found.shape == (count, 4, 4)
    np.testing.assert_array_equal(found[0], np.eye(4))
    steps = rotation_angle(found[1:, :3, :3] @ np.swapaxes(found[:-1, :3, :3], 1, 2))
    np.testing.assert_allclose(steps, 2 * np.pi / count, rtol=1e-9)
    assert steps[0] / 2 <= step + 1e-12  # a point on the rim, half a diameter out


def test_points_on_the_axis_stay_and_others_keep_their_distance():
    found = symmetries_from_info({"symmetries_continuous": [AXIS]}, 0.2)
    on_axis = transform_points(found, np.array([[2, 3, -7.0], [2, 3, 90]]))
    np.testing.assert_allclose(on_axis, np.broadcast_to([[2, 3, -7], [2, 3, 90]], on_axis.shape))
    beside = transform_points(found, np.array([[12, 3, 8.0]]))[:, 0]
    np.testing.assert_allclose(np.linalg.norm(beside - [2, 3, 8], axis=1), 10)


def test_every_turn_is_combined_with_every_flip():
    upside_down = [1, 0, 0, 0, 0, -1, 0, 6, 0, 0, -1, 0, 0, 0, 0, 1]
    info = {"symmetries_discrete": [upside_down], "symmetries_continuous": [AXIS]}
    found = symmetries_from_info(info, np.pi / 4)
    turns = symmetries_from_info({"symmetries_continuous": [AXIS]}, np.pi / 4)
    flip = np.reshape(upside_down, (4, 4))
    # As the toolkit: first the discrete one, then the turn.
    np.testing.assert_allclose(found, [*turns, *(turn @ flip for turn in turns)], atol=1e-12)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"symmetries_discrete": [[1, 0, 0]]}, "symmetries_discrete must be 16 finite numbers"),
        ({"symmetries_discrete": ["turn"]}, "must be 16 finite numbers, got turn"),
        ({"symmetries_discrete": [[2.0, *FLIP[1:]]]}, "must hold rigid transforms"),
        ({"symmetries_discrete": [[1.0, *FLIP[1:]]]}, "must hold rigid transforms"),
        ({"symmetries_continuous": [[0, 0, 1]]}, "must hold axis and offset"),
        ({"symmetries_continuous": [{"axis": [0, 0, 1]}]}, "must hold axis and offset"),
        ({"symmetries_continuous": [{**AXIS, "axis": [0, 0, 0]}]}, "must not be zero"),
        ({"symmetries_continuous": [{**AXIS, "offset": [0, float("nan"), 0]}]}, "3 finite numbers"),
    ],
)
def test_what_is_not_a_symmetry_is_refused(info, message):
    with pytest.raises(DataError, match=message):
        symmetries_from_info(info)


def test_a_step_must_be_positive():
    with pytest.raises(ValueError, match="max_step must be positive, got 0"):
        symmetries_from_info({"symmetries_continuous": [AXIS]}, 0)


@pytest.mark.real
def test_eggbox_and_glue_have_two(real_data):
    infos = json.loads((real_data / "lmo/models/models_info.json").read_text())
    counts = {i: len(symmetries_from_info(info)) for i, info in infos.items()}
    assert counts == {"1": 1, "5": 1, "6": 1, "8": 1, "9": 1, "10": 2, "11": 2, "12": 1}
