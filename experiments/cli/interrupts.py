"""End a command at Ctrl-C, SIGTERM or SIGHUP: quietly while it loads, later with its rows saved.

Loading PyTorch takes seconds, and an exception in the middle of it leaves modules half made. So
until a command calls `listen`, a signal ends it at once, as nothing has begun yet. After that a
signal raises `Interrupted`. A signal that the command was started to ignore stays ignored.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALLED = 128
"""The exit code of a command that a signal ended is this plus the number of the signal."""
_HANGUP: int | None = getattr(signal, "SIGHUP", None)
_SIGNALS = [number for number in (signal.SIGINT, signal.SIGTERM, _HANGUP) if number is not None]


class Interrupted(KeyboardInterrupt):
    """A signal ended the command; code that raises KeyboardInterrupt by itself raises no such."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code_of(error: KeyboardInterrupt) -> int:
    """Return the exit code of a command that an interrupt ended: 128 plus the signal's number."""
    return SIGNALLED + (error.number if isinstance(error, Interrupted) else signal.SIGINT)


def end_quietly() -> None:
    """End this process on each of the signals from now on, unless it was started to ignore it."""
    for number in _SIGNALS if _is_main() else ():
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, _leave)


def listen() -> None:
    """Raise Interrupted on the signals that `end_quietly` took."""
    for number in _SIGNALS if _is_main() else ():
        if signal.getsignal(number) is _leave:
            signal.signal(number, _interrupt)


@contextmanager
def ending_quietly() -> Iterator[None]:
    """Within the block, end this process on the signals that would raise an exception."""
    raising = {
        number: handler
        for number in _SIGNALS
        if (handler := signal.getsignal(number)) in (signal.default_int_handler, _interrupt)
    }
    for number in raising if _is_main() else ():
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number, handler in raising.items() if _is_main() else ():
            signal.signal(number, handler)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _leave(number: int, frame: FrameType | None) -> None:
    # A line that moves may have hidden the cursor.
    os.write(2, b"\x1b[?25h\r\x1b[K" if os.isatty(2) else b"")
    os.write(2, b"interrupted; nothing was measured\n")
    os._exit(SIGNALLED + number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if number == _HANGUP:
        _drop_lost_terminal()
    raise Interrupted(number)


def _drop_lost_terminal() -> None:
    """Send output to nowhere if it went to a terminal that is gone, so that printing is no error.

    Such a terminal is a device that cannot be written.
    """
    for descriptor in (1, 2):
        with suppress(OSError):
            if not stat.S_ISCHR(os.fstat(descriptor).st_mode):
                continue
            try:
                os.write(descriptor, b"\n")
            except OSError:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
