"""End a command at Ctrl-C while it loads: one line and exit 130, as nothing has begun yet.

Loading PyTorch takes seconds, and an exception in the middle of it leaves modules half made.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended: 128 plus the number of the signal."""


def end_quietly() -> None:
    """End this process on Ctrl-C from now on, unless it was started to ignore it."""
    if _is_main() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def listen() -> None:
    """Raise KeyboardInterrupt on Ctrl-C again."""
    if _is_main() and signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def ending_quietly() -> Iterator[None]:
    """End this process on Ctrl-C within the block."""
    end_quietly()
    try:
        yield
    finally:
        listen()


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted; nothing was measured\n")
    os._exit(INTERRUPTED)
