"""The signals that end a program, held back while something must not be broken off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING_SIGNALS = [one for one in signal.Signals if one.name in ("SIGINT", "SIGTERM", "SIGHUP")]
"""Ctrl-C, a request to end, and a closed terminal, where the system has them."""


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Run a block before the handlers of the signals that arrive in it.

    Python runs handlers in its main thread, so in others there is nothing to hold back. A signal
    that no function of Python's handles is not held back either.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {
        number: handler
        for number in ENDING_SIGNALS
        if callable(handler := signal.getsignal(number))
    }
    came: list[int] = []
    for number in handlers:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for one in dict.fromkeys(came):
            signal.raise_signal(one)
