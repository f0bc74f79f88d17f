"""Traces and snapshots hold the ledger's own steps and buffers, in the viewers' formats."""

from __future__ import annotations

import json
import pickle
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.cuda import _memory_viz

from profiler.measurement import Profile
from profiler.pytorch.steps import profile_step
from profiler.trace import _module_spans


@pytest.fixture(scope="module")
def found() -> Profile:
    """A step of a module in a module."""
    model = nn.Sequential(nn.Linear(5, 5), nn.Sequential(nn.Tanh(), nn.Linear(5, 2)))

    def step() -> None:
        empty = [torch.ones(0), torch.ones(0)]
        (model(torch.ones(3, 5)).sum() + torch.cat(empty).sum()).backward()

    return profile_step(step, model=model)


def test_module_spans_hold_their_steps(found: Profile, tmp_path: Path) -> None:
    """Every step of a module lies within a span of its module, and spans are properly nested."""
    events = json.loads(found.to_chrome_trace(tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    modules = [span for span in spans if span["cat"] == "module"]
    assert {span["name"] for span in modules} == {"0", "1", "1.0", "1.1"}
    steps = [span for span in spans if span["cat"] != "module" and "." in span["name"]]
    assert steps
    for step in steps:
        module = step["name"].split("#")[0].rpartition(".")[0]
        assert any(
            span["name"] == module
            and span["ts"] <= step["ts"]
            and step["ts"] + step["dur"] <= span["ts"] + span["dur"] + 1e-6
            for span in modules
        )


def test_spans_end_where_a_module_ends() -> None:
    """Two visits are two spans, outer modules come first, a name without a number is no module."""
    steps = ["a.b.mm#0", "a.c.mm#1", "sum#2", "a.b.mm#3", "x.y"]
    expected = [("a", 0, 1), ("a", 3, 3), ("a.b", 0, 0), ("a.c", 1, 1), ("a.b", 3, 3)]
    assert list(_module_spans(steps)) == expected


def test_a_snapshot_is_read_by_pytorch(found: Profile, tmp_path: Path) -> None:
    """PyTorch's own reader takes it; live bytes added up from its events reach the peak."""
    path = found.to_memory_snapshot(tmp_path / "memory.pickle")
    snapshot = pickle.loads(path.read_bytes())
    (events,) = snapshot["device_traces"]
    taken = sorted((event["addr"], event["size"]) for event in events if event["action"] == "alloc")
    live, highest = 0, 0
    for event in events:
        live += event["size"] * (1 if event["action"] == "alloc" else -1)
        highest = max(highest, live)
    assert highest == found.peak_bytes
    assert live == found.live_after_bytes == snapshot["segments"][0]["allocated_size"]
    assert _memory_viz.trace(snapshot).count("free completed") == len(events) - len(taken)
    assert "<html" in _memory_viz.trace_plot(snapshot).lower()
    assert sum(size == 0 for _, size in taken) >= 2
    assert all(max(one[1], 1) <= other[0] - one[0] for one, other in pairwise(taken))
