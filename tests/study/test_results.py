import pytest

from heatpose.evaluate.intervals import Interval
from heatpose.study.results import judge


@pytest.mark.parametrize(
    ("interval", "reached", "verdict", "reason"),
    [
        ((0.01, 0.05), 0.5, "holds", "there is a gain"),
        ((0.01, 0.02), 0.5, "holds", "there is a gain, smaller than claimed"),
        ((0.04, 0.06), 0.5, "holds", "there is a gain, larger than claimed"),
        ((-0.02, 0.02), 0.5, "does not hold", "a gain as large as claimed would have been seen"),
        ((-0.05, -0.01), 0.5, "does not hold", "it is a loss"),
        ((-0.02, 0.05), 0.5, "cannot be told", "no gain and the claimed one are both possible"),
        ((0.01, 0.02), 0.04, "cannot be told", "neither row gets beyond 5 %"),
    ],
)
def test_a_claim_of_three_points_is_decided_by_the_interval(interval, reached, verdict, reason):
    found = judge(Interval(sum(interval) / 2, *interval), 0.03, reached)
    assert found[0] == verdict and found[1].startswith(reason)
