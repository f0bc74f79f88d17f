"""The line that says what a command is doing: there on a terminal, nowhere else."""

from __future__ import annotations

import io
import sys

import pytest
from rich.status import Status

from experiments.progress import working


class Terminal(io.StringIO):
    """What a terminal shows."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_a_terminal_shows_what_is_worked_on(
    kind: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words of the inner block come and go; a file gets not one character."""
    said: list[str] = []
    update = Status.update
    monkeypatch.setattr(Status, "update", lambda self, on: (said.append(on), update(self, on)))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", seen := kind())
    with working("reading"), working("drawing peaks"):
        pass
    if kind is Terminal:
        assert said == ["drawing peaks", "reading"]
        assert "reading" in seen.getvalue()
        assert seen.getvalue().count("\x1b[?25h") == 1  # the cursor is there again
    else:
        assert (said, seen.getvalue()) == ([], "")


def test_an_error_ends_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error, which goes through, the next block starts a line of its own."""
    monkeypatch.setattr(sys, "stderr", seen := Terminal())
    with pytest.raises(KeyboardInterrupt), working("first"):
        raise KeyboardInterrupt
    length = len(seen.getvalue())
    with working("second"):
        pass
    assert "second" in seen.getvalue()[length:]
