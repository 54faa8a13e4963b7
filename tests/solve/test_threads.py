import threading

import pytest

from heatpose.solve.threads import in_threads


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_results_come_in_the_order_of_the_items(count, threads):
    assert in_threads(lambda n: n * n, range(count), threads) == [n * n for n in range(count)]


def test_several_items_are_worked_on_at_once():
    """Each waits for the other: one after the other they would wait in vain."""
    meeting = threading.Barrier(2, timeout=10)
    assert sorted(in_threads(lambda _: meeting.wait(), range(2), threads=2)) == [0, 1]


@pytest.mark.parametrize(("count", "threads"), [(1, 4), (3, 1)])
def test_what_gains_nothing_by_threads_starts_none(count, threads):
    here = threading.get_ident()
    assert in_threads(lambda _: threading.get_ident(), range(count), threads) == [here] * count


def test_an_error_comes_out():
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda n: 1 / n, range(3), threads=2)
