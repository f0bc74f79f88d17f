"""What a command is doing, in one line that moves while it does, on a terminal only.

The line goes when the work ends, so that files and pipes get what a command says and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.status import Status

_shown: ContextVar[Status | None] = ContextVar("shown", default=None)


@contextmanager
def working(on: str) -> Iterator[None]:
    """Say within the block what is worked on; a block within another one has its own words."""
    outer = _shown.get()
    if outer is not None:
        before = outer.status
        outer.update(on)
        try:
            yield
        finally:
            outer.update(before)
    elif sys.stderr is None or not sys.stderr.isatty():
        yield
    else:
        with Console(stderr=True).status(on) as status:
            token = _shown.set(status)
            try:
                yield
            finally:
                _shown.reset(token)
