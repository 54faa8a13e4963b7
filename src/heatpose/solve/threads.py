"""The objects of a picture, shared by threads: what numpy, OpenCV and embree do holds no lock."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], threads: int
) -> list[Result]:
    """Return what a function gives for each of some items, in their order.

    One item needs no threads, which take longer to start than many a step.
    """
    if threads == 1 or len(items) < 2:
        return [function(one) for one in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
