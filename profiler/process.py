"""Functions run in a child process of their own, and the peak of resident memory that such a child tells.

What `VmHWM` (the most that was resident at once) says about one step depends on what went before it. Five things make it mean
that step: the child is forked from a small server that has loaded PyTorch and little else, so that the caller's memory is not in
it; `mallopt(M_MMAP_THRESHOLD)` makes the allocator return large blocks when they are freed; the step runs once to warm up, so that
workspaces of the BLAS and lazy imports are there already; `malloc_trim` returns what the heap still hoards; and writing 5 to
`/proc/self/clear_refs` sets the high-water mark back to what is resident now [proc(5), Linux >= 4.0].

Bound: peak minus baseline is the step's live bytes within 5 % and 1 MiB, from 2 MiB up; below `LEAST_MEASURABLE_BYTES`
pages and the interpreter's own objects are as large as the answer. Elsewhere than on Linux children are spawned, run as well, and tell
no memory. Memory is of the whole process: GPU memory, swapped pages and memory of the child's own children are not in it.

A child starts in the working directory of its parent, with the server's environment variables and PyTorch's default seed. The
main script is not run again in it, unless something that is handed over is defined there (then it needs the usual
`if __name__ == "__main__"`).
"""

from __future__ import annotations

import ctypes
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
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from autodiff.errors import TapemeasureError

LEAST_MEASURABLE_BYTES = 2 * 2**20

_METHOD = "forkserver" if sys.platform == "linux" else "spawn"
_CLEAR_REFS = Path("/proc/self/clear_refs")
_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK_BYTES = 65536
_LONGEST_VALUE = 4096
_LONGEST_REASON = 300
# How often a child that can no longer hear of its parent's end looks whether it is there.
_LOOK_EVERY_S = 0.2
# A child that has handed over its value only has to exit; one that takes longer than this is killed.
_EXIT_PATIENCE_S = 5.0

_context: Any = multiprocessing.get_context(_METHOD)
_starting = threading.Lock()


@dataclass(frozen=True)
class ChildOutcome:
    """What became of a child: `status` is ok, failed or timeout; `reason` is one line, empty where nothing is to be said."""

    status: str
    reason: str = ""
    value: Any = None
    peak_rss_bytes: int | None = None
    baseline_rss_bytes: int | None = None


def preload_in_children(*modules: str) -> None:
    """Names modules that the children find loaded, beside torch and this one; it has effect before the first child only."""
    if _METHOD == "forkserver":
        _context.set_forkserver_preload(list(dict.fromkeys(["torch", __name__, *modules])))


preload_in_children()


def run_in_child(
    function: Callable[..., Any],
    *args: Any,
    timeout_s: float | None = None,
    threads: int = 1,
    **kwargs: Any,
) -> ChildOutcome:
    """Calls an importable function in a fresh child process and returns its value, or why there is none.

    The clock of `timeout_s` (seconds, None is no limit) starts when the child does; `threads` is PyTorch's number of threads there.
    When this returns or is interrupted, the child and all that it started are gone. Raises TapemeasureError only for what cannot be
    asked: no positive number, or a function or argument that cannot be pickled.
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
            f"{function!r} and its arguments cannot be sent to a child ({_one_line(error)}): "
            "expected a function defined at the top of a module, and plain values"
        ) from error

    reader, writer = _context.Pipe(duplex=False)
    with reader:
        process = _context.Process(
            target=_child_main, args=(writer, payload, threads), daemon=False
        )
        try:
            with writer, _starting, _main_left_alone(payload):
                process.start()
        except (OSError, EOFError, AssertionError) as error:
            return ChildOutcome("failed", f"no child could be started: {_one_line(error)}")
        try:
            return _hear(reader, process, timeout_s)
        finally:
            _end(process)


def measure_process_memory(
    prepare: Callable[..., Callable[[], Any]],
    *args: Any,
    timeout_s: float | None = None,
    threads: int = 1,
) -> ChildOutcome:
    """Peak resident memory of one call of the step that `prepare(*args)` returns, measured in a child.

    Bytes: the step's own are `peak_rss_bytes - baseline_rss_bytes`. The step is called twice, the first time to warm up, and its
    second result is held until the peak is read. `value` is that result if it is a number, a short text, or a few of these, else
    None. Where the system tells no such memory, the step runs once, both numbers are None, and `reason` says why.
    """
    outcome = run_in_child(_measure_step, prepare, args, timeout_s=timeout_s, threads=threads)
    if outcome.status != "ok":
        return outcome
    value, peak, baseline, reason = outcome.value
    return replace(
        outcome, value=value, peak_rss_bytes=peak, baseline_rss_bytes=baseline, reason=reason
    )


def process_memory_reason(predicted_peak_bytes: int) -> str | None:
    """Why process memory is not measured for a step of this predicted peak, in one line; None where it is."""
    if predicted_peak_bytes < LEAST_MEASURABLE_BYTES:
        return f"predicted peak of {predicted_peak_bytes} bytes is below {LEAST_MEASURABLE_BYTES}, the least that resident memory can tell"
    return _system_reason()


def _hear(reader: Connection, process: BaseProcess, timeout_s: float | None) -> ChildOutcome:
    """Waits for the child's message, its end, or the end of patience, whichever is first."""
    if not wait([reader, process.sentinel], timeout_s):
        return ChildOutcome(
            "timeout", f"not finished after timeout_s={timeout_s:g} seconds, and killed"
        )
    # The message is looked for first: a child that is gone may have spoken. Its own children may hold the pipe open, so
    # the end of the process, not of the pipe, is what says that no message will come.
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
                    "failed", f"the child's value cannot be read back: {_one_line(error)}"
                )
    process.join(_EXIT_PATIENCE_S)
    return ChildOutcome("failed", _death(process.exitcode))


def _death(exitcode: int | None) -> str:
    """How a child ended that gave no value, in one line."""
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
    """Kills a child and everything that it started, waits for its end, and closes its pipes."""
    assert process.pid, "a child that was started has a number"
    _kill_session(process.pid)
    process.kill()
    process.join()
    process.close()


def _kill_session(pid: int) -> None:
    """Kills every process of the group that the child `pid` leads, also where the child itself is gone."""
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    else:
        with suppress(psutil.Error):
            for descendant in psutil.Process(pid).children(recursive=True):
                descendant.kill()


@contextmanager
def _main_left_alone(payload: bytes) -> Iterator[None]:
    """Hides the main module while a child starts, so that multiprocessing does not run it again there.

    A main module may load a whole command line, or lack a guard. It is shown only if the payload names something in it.
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


def _child_main(writer: Connection, payload: bytes, threads: int) -> None:
    """What a child does: the function, then one message (status, reason, value)."""
    if sys.platform != "win32":
        os.setsid()  # its own group can be killed as a whole, and Ctrl-C reaches the parent alone
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        import torch

        torch.set_num_threads(threads)
        gc.freeze()  # what is loaded already stays: collections need not walk through PyTorch's modules (85 ms each)
        function, args, kwargs = pickle.loads(payload)
        message = pickle.dumps(("ok", "", function(*args, **kwargs)))
    except BaseException as error:  # whatever it is, it ends this child and is the parent's to know
        message = pickle.dumps(("failed", _one_line(error), None))
    with suppress(OSError):  # nobody listens any more, or the function closed the pipe
        writer.send_bytes(message)


def _die_with_parent() -> None:
    """Ends this child, and all that it started, when its parent is gone: a killed sweep leaves nobody behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        with suppress(OSError, ValueError):
            wait([parent.sentinel])
        # A function that closed every file closed the sentinel too: that is no word about the parent.
        while _is_running(parent.pid):
            time.sleep(_LOOK_EVERY_S)
        _kill_session(os.getpid())
        os._exit(1)


def _is_running(pid: int | None) -> bool:
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _measure_step(
    prepare: Callable[..., Callable[[], Any]], args: tuple[Any, ...], reset: bool = True
) -> tuple[Any, int | None, int | None, str]:
    """The measurement, inside the child: (plain value, peak bytes, baseline bytes, reason why the bytes are None)."""
    missing = _system_reason()
    if missing is not None:
        return _plain_or_none(prepare(*args)()), None, None, missing
    libc = ctypes.CDLL(None)
    with suppress(AttributeError):  # only glibc has these two
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
    this = psutil.Process()
    step = prepare(*args)
    step()
    gc.collect()
    with suppress(AttributeError):
        libc.malloc_trim(0)
    if reset:
        _CLEAR_REFS.write_text("5")
    baseline = int(this.memory_info().rss)
    result = step()
    peak = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )
    return _plain_or_none(result), peak, baseline, ""


def _system_reason() -> str | None:
    """Why this system tells no peak of a single step, in one line; None where it does."""
    if _METHOD != "forkserver":
        return (
            f"peak resident memory of one step is measured on Linux, this system is {sys.platform}"
        )
    if not os.access(_CLEAR_REFS, os.W_OK):
        return (
            f"{_CLEAR_REFS} cannot be written on this system, so the peak of one step is not known"
        )
    return None


def _plain_or_none(value: Any) -> Any:
    """The value if it is a number, a short text, or a short tuple or list of these, else None: tensors are not sent back."""
    items = value if isinstance(value, tuple | list) else [value]
    plain = all(type(item) in (bool, int, float, complex, str, type(None)) for item in items)
    return value if plain and len(repr(value)) <= _LONGEST_VALUE else None


def _one_line(error: BaseException) -> str:
    """An exception's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
