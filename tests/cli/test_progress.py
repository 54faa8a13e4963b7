"""How far a command is."""

import pytest
from rich.console import Console

from heatpose.cli.progress import progress


@pytest.mark.parametrize("terminal", [True, False])
def test_everything_goes_through_and_only_a_terminal_shows_how_far_it_is(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Console, "is_terminal", terminal)
    assert list(progress("counting")(range(3))) == [0, 1, 2]
    shown = capsys.readouterr()
    assert ("counting" in shown.err) if terminal else (shown.err == "")
    assert shown.out == ""
