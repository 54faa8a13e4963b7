"""How far a command is, on stderr, and how long it will still take."""

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def progress(title: str) -> Callable[[Iterable[T]], Iterable[T]]:
    """Return what goes through a sequence and shows how far it is, on a terminal and nowhere else.

    Args:
        title: what is being done, as in "estimating".
    """
    from rich.console import Console
    from rich.progress import track

    screen = Console(stderr=True)
    return lambda todo: track(
        todo, title, console=screen, transient=True, disable=not screen.is_terminal
    )
