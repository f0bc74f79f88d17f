"""Run a command whose process a user's code may end: something is always said, and never exit 0.

A module may call `os._exit`, crash in a C extension, close every file or start threads that never
end, in the process that was to report it. So on Linux the command runs in a forked child, and the
first process waits: if the child ends before the command did, one line says how. Signals from a
terminal reach both processes; those sent to the first alone are passed on. A killed first process
takes the child with it.

HYDRA_FULL_ERROR=1 runs the command in the first process, for debuggers.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from experiments.cli.exit import FINE, SOME_FAILED
from experiments.cli.interrupts import SIGNALLED
from profiler.available import available_bytes
from profiler.process import death, limit_memory
from profiler.signals import ENDING_SIGNALS

_SET_PARENT_DEATH_SIGNAL = 1  # prctl(2)


def supervised(main: Callable[[], Any]) -> Any:
    """Run the `main` of a command; exit with its code, or with 1 after a line on how it ended."""
    if sys.platform != "linux" or os.environ.get("HYDRA_FULL_ERROR") == "1":
        return main()
    reader, writer = os.pipe()
    this = os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*ENDING_SIGNALS, signal.SIGCHLD))
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _run(main, writer, this)
    os.close(writer)
    status, heard = _status_of(child)
    exit_code = os.waitstatus_to_exitcode(status)
    if exit_code - SIGNALLED in heard:
        sys.exit(exit_code)  # the command ended as it does at a signal, and said so
    os.set_blocking(reader, False)  # what the child forked may hold the other end
    with suppress(BlockingIOError):
        if os.read(reader, 1):
            sys.exit(exit_code)
    ending = death(exit_code).removesuffix(" before it gave a value")
    ending = ending.replace("killed", "was killed", 1) if exit_code < 0 else ending
    print(
        f"error: the command's process {ending}; expected it to end by returning; the module or "
        "its step ended it, or PyTorch crashed; nothing more was reported",
        file=sys.stderr,
    )
    sys.exit(SOME_FAILED)


def _run(main: Callable[[], object], writer: int, parent: int) -> NoReturn:
    """Run a command in the child, note that it came to its end, and exit."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(SOME_FAILED)
    with open(os.devnull) as empty:
        os.dup2(empty.fileno(), 0)  # nothing asks the user anything
    limit_memory(available_bytes())
    try:
        code = _code_of(main())
    except SystemExit as left:
        code = _code_of(left.code)
    except BrokenPipeError:  # nobody reads any more, as after `| head`
        code = SOME_FAILED
    except BaseException:
        traceback.print_exc()
        code = SOME_FAILED
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    with suppress(OSError):
        os.write(writer, b".")
    os._exit(code)  # threads that a module started may never end


def _code_of(left: object) -> int:
    """Return the exit code that `sys.exit` of a value has."""
    if left is None:
        return FINE
    if isinstance(left, int):
        return left
    print(left, file=sys.stderr)
    return SOME_FAILED


def _status_of(child: int) -> tuple[int, set[int]]:
    """Wait for a child's end and return its status and the signals that came meanwhile.

    What is sent to this process alone is passed on.
    """
    heard: set[int] = set()
    while True:
        found = signal.sigwaitinfo((*ENDING_SIGNALS, signal.SIGCHLD))
        if found.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return status, heard
            continue
        heard.add(found.si_signo)
        if found.si_code <= 0:  # sent by a process; what a terminal sends, the child has too
            os.kill(child, found.si_signo)
