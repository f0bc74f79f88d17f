"""A ledger in the formats of other viewers.

The Trace Event Format, which Perfetto opens, has spans of steps, nested in those of their modules,
and counters of live bytes by role. The memory snapshot is what PyTorch's memory_viz page opens.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from profiler.ledger import Ledger


def write_chrome_trace(ledger: Ledger, path: Path) -> Path:
    """Write the trace of a ledger to `path`, whole or not at all, and return the path.

    Times are in µs from the start; where nothing was run, every step takes one µs.
    """
    clocks = (
        np.arange(len(ledger.phases) + 1) * 1000
        if ledger.clocks is None
        else ledger.clocks - ledger.clocks[0]
    )
    events: list[dict[str, object]] = [
        {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": "tapemeasure"}},
        {"ph": "M", "pid": 1, "tid": 1, "name": "thread_name", "args": {"name": "steps"}},
    ]
    names = [ledger.names.step(step) for step in range(len(ledger.phases))]
    for name, first, last in _module_spans(names):
        start, end = clocks[first] / 1000, clocks[last + 1] / 1000
        span = {"ph": "X", "pid": 1, "tid": 1, "ts": start, "dur": end - start}
        events.append({**span, "name": name, "cat": "module"})
    for step, phase in enumerate(ledger.phases):
        start, end = clocks[step] / 1000, clocks[step + 1] / 1000
        events.append(
            {
                "ph": "X",
                "pid": 1,
                "tid": 1,
                "ts": start,
                "dur": end - start,
                "name": names[step],
                "cat": phase,
            }
        )
        live = dict(zip(ledger.roles, map(int, ledger.live_by_role[step]), strict=True))
        events.append({"ph": "C", "pid": 1, "ts": end, "name": "live bytes", "args": live})
    return _written(path, json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}).encode())


def write_memory_snapshot(ledger: Ledger, path: Path) -> Path:
    """Write the buffers of a ledger as a snapshot for PyTorch's memory_viz page; return the path.

    Each buffer has an address of its own, so no two are ever taken for one. Buffers that outlive
    the step are the blocks of its one segment.
    """
    steps = len(ledger.phases)
    taken = np.maximum(ledger.nbytes, 1)  # an empty buffer has an address of its own too
    addresses = np.concatenate([[0], np.cumsum(taken)]) + 4096
    by_step: list[list[tuple[int, str]]] = [[] for _ in range(steps + 1)]
    for buffer in range(len(ledger.nbytes)):
        by_step[int(ledger.born[buffer])].append((buffer, "alloc"))
    for buffer in np.flatnonzero(ledger.dies < steps).tolist():
        by_step[int(ledger.dies[buffer])].append((buffer, "free_completed"))
    trace, blocks = [], []
    for buffer, action in (event for events in by_step for event in events):
        frames = [{"name": ledger.names.buffer(buffer), "filename": "", "line": 0}]
        block: dict[str, Any] = {"size": int(ledger.nbytes[buffer]), "frames": frames}
        block |= {"addr": int(addresses[buffer]), "stream": 0}
        trace.append({**block, "action": action, "category": ledger.roles[ledger.role[buffer]]})
        if action == "alloc" and ledger.dies[buffer] >= steps:
            state = {"address": block["addr"], "state": "active_allocated"}
            blocks.append({**block, **state, "requested_size": block["size"]})
    alive = sum(block["size"] for block in blocks)
    segment = {
        "device": 0, "address": 4096, "total_size": int(taken.sum()), "stream": 0,
        "segment_type": "large", "allocated_size": alive, "active_size": alive, "blocks": blocks,
    }  # fmt: skip
    return _written(path, pickle.dumps({"segments": [segment], "device_traces": [trace]}))


def _module_spans(steps: list[str]) -> Iterator[tuple[str, int, int]]:
    """Return (module, first step, last step) of each visit to a module, outer modules first.

    A step of a module is called `module.op#number`; what has no dot is in no module.
    """
    paths = [name.split("#")[0].split(".")[:-1] if "#" in name else [] for name in steps]
    for depth in range(max(map(len, paths), default=0)):
        first = 0
        for step in range(1, len(paths) + 1):
            here = paths[first][: depth + 1]
            if step < len(paths) and paths[step][: depth + 1] == here:
                continue
            if len(here) == depth + 1:
                yield ".".join(here), first, step - 1
            first = step


def _written(path: Path, content: bytes) -> Path:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)
    return path
