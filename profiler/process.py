"""Functions run in a child process of their own, which may end in any way.

A child is forked from a small server that has loaded PyTorch and little else (spawned elsewhere
than on Linux). It starts in the working directory of its parent, with its environment variables, an
empty standard input and PyTorch's default seed. The main script is not run again in it, unless
something that is handed over is defined there (then it needs `if __name__ == "__main__"`).
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

import psutil

from autodiff.errors import TapemeasureError, one_line
from profiler.signals import signals_held_back

METHOD = "forkserver" if sys.platform == "linux" else "spawn"
# How often a child that gets no notice of its parent's end looks whether the parent is there.
_LOOK_EVERY_S = 0.2
# A child that has sent its value only has to exit; one that takes longer than this is killed.
_EXIT_PATIENCE_S = 5.0

_context: Any = multiprocessing.get_context(METHOD)
_starting = threading.Lock()


@dataclass(frozen=True)
class ChildOutcome:
    """What became of a child.

    `status` is ok, failed or timeout; `reason` is one line, empty where there is nothing to say.
    The bytes are None where memory was not measured.
    """

    status: str
    reason: str = ""
    value: Any = None
    peak_rss_bytes: int | None = None
    baseline_rss_bytes: int | None = None


def preload_in_children(*modules: str) -> None:
    """Name modules that the children find loaded, in addition to those that were named before.

    It only takes effect before the first child.
    """
    _preloaded.update(dict.fromkeys(modules))
    if METHOD == "forkserver":
        _context.set_forkserver_preload(list(_preloaded))


_preloaded: dict[str, None] = {}
preload_in_children("torch", __name__)


def run_in_child(
    function: Callable[..., Any],
    *args: Any,
    timeout_s: float | None = None,
    threads: int = 1,
    memory_bytes: int | None = None,
    **kwargs: Any,
) -> ChildOutcome:
    """Call an importable function in a fresh child process; return its value, or why there is none.

    The clock of `timeout_s` (seconds, None is no limit) starts when the child does; `threads` is
    PyTorch's number of threads there. A child that allocates more than `memory_bytes` (None is no
    limit) gets a MemoryError, on Linux. When this returns or is interrupted, the child and all that
    it started are gone. Raises TapemeasureError only for a request that makes no sense: a number
    that is not positive, or a function or argument that cannot be pickled.
    """
    if timeout_s is not None and not timeout_s > 0:
        raise TapemeasureError(
            f"timeout_s={timeout_s!r}: expected seconds above 0; leave it None for no limit"
        )
    if threads < 1:
        raise TapemeasureError(
            f"threads={threads!r}: expected a whole number from 1; give 1 for one thread"
        )
    try:
        payload = pickle.dumps((function, args, kwargs))
    except Exception as error:
        raise TapemeasureError(
            f"{function!r} and its arguments cannot be sent to a child ({one_line(error)}): "
            "expected a function defined at the top of a module, and plain values"
        ) from error

    reader, writer = _context.Pipe(duplex=False)
    with reader:
        process = _context.Process(
            target=_child_main,
            args=(writer, payload, dict(os.environ), threads, memory_bytes),
            daemon=False,
        )
        try:
            try:
                # The server would print a traceback for a request that a signal breaks off.
                with writer, _starting, _main_hidden(payload), signals_held_back():
                    process.start()
            except (OSError, EOFError, AssertionError) as error:
                return ChildOutcome("failed", f"no child could be started: {one_line(error)}")
            return _hear(reader, process, timeout_s)
        finally:
            if process.pid is not None:
                _end(process)


def _hear(reader: Connection, process: BaseProcess, timeout_s: float | None) -> ChildOutcome:
    """Wait for the child's message, its end, or the timeout, whichever is first."""
    if not wait([reader, process.sentinel], timeout_s):
        return ChildOutcome(
            "timeout", f"not finished after timeout_s={timeout_s:g} seconds, and killed"
        )
    # Look for the message first: a child that is gone may have sent one. Its own children may hold
    # the pipe open, so only the end of the process shows that no message will come.
    if reader.poll():
        with suppress(EOFError, OSError):
            message = reader.recv_bytes()
            process.join(_EXIT_PATIENCE_S)
            try:
                return ChildOutcome(*pickle.loads(message))
            except (
                Exception
            ) as error:  # unpickling runs code of the value's class, which may raise anything
                return ChildOutcome(
                    "failed", f"the child's value cannot be read back: {one_line(error)}"
                )
    process.join(_EXIT_PATIENCE_S)
    return ChildOutcome("failed", death(process.exitcode))


def death(exitcode: int | None) -> str:
    """Say how a child ended that gave no value, in one line."""
    if exitcode is None:
        return "closed its pipe before it gave a value"
    if exitcode >= 0:
        return f"exited with code {exitcode} before it gave a value"
    name = {int(number): number.name for number in signal.Signals}.get(
        -exitcode, f"signal {-exitcode}"
    )
    return f"killed by {name}" + (
        ": the system was probably out of memory" if name == "SIGKILL" else ""
    )


def _end(process: BaseProcess) -> None:
    """Kill a child and everything that it started, wait for its end, and close its pipes."""
    assert process.pid, "a child that was started has a number"
    _kill_session(process.pid)
    process.kill()
    process.join()
    process.close()


def _kill_session(pid: int) -> None:
    """Kill every process of the group that the child `pid` leads, also where it is gone itself."""
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    else:
        with suppress(psutil.Error):
            for descendant in psutil.Process(pid).children(recursive=True):
                descendant.kill()


@contextmanager
def _main_hidden(payload: bytes) -> Iterator[None]:
    """Hide the main module while a child starts, so that multiprocessing does not run it again.

    A main module may load a whole command line, or lack a guard. It is shown only if the payload
    names something in it.
    """
    if b"__main__" in payload:
        yield
        return
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _child_main(
    writer: Connection,
    payload: bytes,
    environment: dict[str, str],
    threads: int,
    memory_bytes: int | None,
) -> None:
    """Run the function in the child, send one message (status, reason, value), and end."""
    if sys.platform != "win32":
        os.setsid()  # its own group can be killed as a whole, and Ctrl-C reaches only the parent
    threading.Thread(target=_die_with_parent, daemon=True).start()
    this = os.getpid()
    try:
        import torch

        _enter(environment, memory_bytes)
        torch.set_num_threads(threads)
        gc.freeze()  # or each collection walks through PyTorch's modules, which stay (85 ms)
        function, args, kwargs = pickle.loads(payload)
        message = pickle.dumps(("ok", "", function(*args, **kwargs)))
    except (
        BaseException
    ) as error:  # whatever it is, it ends this child, and the parent learns of it
        message = pickle.dumps(("failed", one_line(error), None))
    if os.getpid() == this:  # a process that the function forked has nothing to say
        with suppress(OSError):  # the parent is gone, or the function closed the pipe
            writer.send_bytes(message)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)  # threads that the function started may never end


def _enter(environment: dict[str, str], memory_bytes: int | None) -> None:
    """Take over the parent's environment variables, close the standard input, limit the memory."""
    os.environ.clear()
    os.environ.update(environment)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    if memory_bytes is not None:
        limit_memory(memory_bytes)


def limit_memory(nbytes: int) -> None:
    """Let this process allocate no more than so many bytes above what it holds, on Linux.

    What asks for more gets a MemoryError, where otherwise the system would end a process.
    """
    if sys.platform == "linux":
        import resource

        most = psutil.Process().memory_info().data + nbytes
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _die_with_parent() -> None:
    """End this child, and all that it started, when its parent is gone.

    So a killed sweep leaves no process behind.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        with suppress(OSError, ValueError):
            wait([parent.sentinel])
        # A function that closed every file closed the sentinel too, which says nothing of the
        # parent.
        while _is_running(parent.pid):
            time.sleep(_LOOK_EVERY_S)
        _kill_session(os.getpid())
        os._exit(1)


def _is_running(pid: int | None) -> bool:
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
