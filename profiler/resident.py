"""The peak of resident memory of one step, measured in a child process of its own.

What `VmHWM` (the most that was resident at once) says about one step depends on what went before
it. Five things make it mean that step: the child is forked from a small server that has loaded
PyTorch and little else, so that the memory of the parent is not in it;
`mallopt(M_MMAP_THRESHOLD)` makes the allocator return large blocks when they are freed; the step
runs once to warm up, so that workspaces of the BLAS and lazy imports are there already;
`malloc_trim` returns what the heap still hoards; and writing 5 to `/proc/self/clear_refs` sets the
high-water mark back to what is resident now [proc(5), Linux >= 4.0].

Bound: peak minus baseline is the step's live bytes within 5% and 1 MiB, from 2 MiB up; below
`LEAST_MEASURABLE_BYTES` pages and the interpreter's own objects are as large as the answer. On
systems other than Linux the step runs as well, and no memory is reported. Memory is of the whole
process: GPU memory, swapped pages and memory of the child's own children are not in it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from profiler.process import METHOD, ChildOutcome, run_in_child

LEAST_MEASURABLE_BYTES = 2 * 2**20

_CLEAR_REFS = Path("/proc/self/clear_refs")
_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK_BYTES = 65536
_LONGEST_VALUE = 4096


def measure_process_memory(
    prepare: Callable[..., Callable[[], Any]],
    *args: Any,
    timeout_s: float | None = None,
    threads: int = 1,
) -> ChildOutcome:
    """Measure the peak resident memory of one call of the step that `prepare(*args)` returns.

    Bytes: the step's own are `peak_rss_bytes - baseline_rss_bytes`. The step is called twice, the
    first time to warm up, and its second result is held until the peak is read. `value` is that
    result if it is a number, a short text, or a few of these, else None. Where the system does not
    report such memory, the step runs once, both numbers are None, and `reason` says why.
    """
    outcome = run_in_child(_measure_step, prepare, args, timeout_s=timeout_s, threads=threads)
    if outcome.status != "ok":
        return outcome
    value, peak, baseline, reason = outcome.value
    return replace(
        outcome, value=value, peak_rss_bytes=peak, baseline_rss_bytes=baseline, reason=reason
    )


def process_memory_reason(predicted_peak_bytes: int) -> str | None:
    """Say why process memory is not measured at this predicted peak; None where it is."""
    if predicted_peak_bytes < LEAST_MEASURABLE_BYTES:
        return (
            f"predicted peak of {predicted_peak_bytes} bytes is below {LEAST_MEASURABLE_BYTES}, "
            "the least that resident memory can resolve"
        )
    return _system_reason()


def _measure_step(
    prepare: Callable[..., Callable[[], Any]], args: tuple[Any, ...], reset: bool = True
) -> tuple[Any, int | None, int | None, str]:
    """Measure, inside the child: (plain value, peak bytes, baseline bytes, why bytes are None)."""
    missing = _system_reason()
    if missing is not None:
        return _plain_or_none(prepare(*args)()), None, None, missing
    libc = ctypes.CDLL(None)
    with suppress(AttributeError):  # only glibc has it
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
    """Say why this system does not report the peak of a single step; None where it does."""
    if METHOD != "forkserver":
        return (
            f"peak resident memory of one step is measured on Linux, this system is {sys.platform}"
        )
    if not os.access(_CLEAR_REFS, os.W_OK):
        return (
            f"{_CLEAR_REFS} cannot be written on this system, so the peak of one step is not known"
        )
    return None


def _plain_or_none(value: Any) -> Any:
    """Return the value if it can be sent back: a number, a short text, or a short list of these.

    Tensors are not sent back.
    """
    items = value if isinstance(value, tuple | list) else [value]
    plain = all(type(item) in (bool, int, float, complex, str, type(None)) for item in items)
    return value if plain and len(repr(value)) <= _LONGEST_VALUE else None
