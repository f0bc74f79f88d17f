"""A ledger as a trace for viewers: spans of steps and counters of live bytes by role.

The file is in the Trace Event Format.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

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
    for step, phase in enumerate(ledger.phases):
        start, end = clocks[step] / 1000, clocks[step + 1] / 1000
        events.append(
            {
                "ph": "X",
                "pid": 1,
                "tid": 1,
                "ts": start,
                "dur": end - start,
                "name": ledger.names.step(step),
                "cat": phase,
            }
        )
        live = dict(zip(ledger.roles, map(int, ledger.live_by_role[step]), strict=True))
        events.append({"ph": "C", "pid": 1, "ts": end, "name": "live bytes", "args": live})
    partial = path.with_name(path.name + ".partial")
    partial.write_text(
        json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}), encoding="utf-8"
    )
    os.replace(partial, path)
    return path
