import xml.etree.ElementTree as ET

import pytest

from heatpose.study.plots import LABELS, WIDTH, Dots, _axis, dots, lines


@pytest.mark.parametrize(
    ("most", "end", "step"),
    [(0.62, 0.8, 0.2), (0.031, 0.04, 0.01), (1.0, 1.0, 0.25), (23.4, 30, 10), (0.0, 0.01, 0.0025)],
)
def test_axes_end_beyond_the_largest_value_in_round_steps(most, end, step):
    assert _axis(most) == pytest.approx((end, step))


def test_dots_lie_where_their_scores_are():
    rows = [Dots("a < b", 0.2, (0.15, 0.25)), Dots("c", 0.5, (0.5,), low=0.4, high=0.55)]
    svg = ET.fromstring(dots("scores", rows))
    means = [float(one.get("cx")) for one in svg if one.get("class") == "mean"]
    span = WIDTH - 14 - LABELS  # of 0 to 60 %
    assert means == pytest.approx([LABELS + span * 0.2 / 0.6, LABELS + span * 0.5 / 0.6], abs=0.1)
    assert sum(one.get("class") == "seed" for one in svg) == 3
    assert sum(one.get("class") == "range" for one in svg) == 1
    assert "a < b" in "".join(svg.itertext())


def test_curves_over_numbers_that_double_are_evenly_spread():
    drawn = lines(
        "t", {"fps": [(8, 0.1), (16, 0.2), (32, 0.2)]}, across="n", percent=True, log=True
    )
    svg = ET.fromstring(drawn[: drawn.index("</svg>") + 6])
    x = [float(one.get("cx")) for one in svg if one.tag == "circle"]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1])
    assert "fps" in drawn[drawn.index("</svg>") :]
