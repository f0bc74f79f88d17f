"""Ctrl-C while a command is still being loaded: it ends at once and without a traceback, as nothing was begun that could be lost.

To load PyTorch takes seconds, and an interruption in the midst of it leaves modules half made, which nothing can go on with.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def end_quietly() -> None:
    """From now on Ctrl-C ends this process as the system does by itself; one that was told to ignore it still does."""
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def listen() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt again."""
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def ending_quietly() -> Iterator[None]:
    """Within, Ctrl-C ends this process at once: for what is loaded late."""
    end_quietly()
    try:
        yield
    finally:
        listen()
