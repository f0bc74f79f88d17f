"""What each instruction of a joint graph costs in seconds, as measured op by op.

Each op runs by itself on example values of the shapes that it has in the graph, once for all
instructions that do the same work. So a step that does not fit in memory can be timed too: no more
exists at once than one op reads and writes.

Bound: example values are one half, zero and true; an op whose time depends on its values is timed
on those. On a busy machine times scatter; a plan needs only their proportions.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch
from torch import fx

from autodiff.errors import GraphError
from profiler.applying.joint import Joint

RUNS = 5
_LONG_NS = 10**8
"""A run this long is timed once: it says enough."""


def seconds_of_each(joint: Joint, runs: int = RUNS) -> np.ndarray:
    """Return the seconds of each instruction; 0 for the loss outside, and for what runs no op.

    Raises GraphError for an op that does not run on example values.
    """
    flat = joint.program.flat
    seconds = np.zeros(len(flat.works))
    timed: set[int] = set()
    for work, kind in zip(joint.works, flat.work_of.tolist(), strict=True):
        if kind not in timed and work.node is not None and work.part not in ("state", "statistics"):
            timed.add(kind)
            seconds[kind] = _seconds(joint, work.node, runs)
    each: np.ndarray = seconds[flat.work_of]
    return each


def _seconds(joint: Joint, node: fx.Node, runs: int) -> float:
    def example(one: fx.Node) -> Any:
        value = one.meta.get("val")
        if value is None and one.op == "get_attr":
            value = getattr(joint.graph, str(one.target))
        return _example(value) if isinstance(value, torch.Tensor) else value

    target = node.target
    assert callable(target)
    try:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), example)
        with torch.no_grad():
            _timed(target, args, kwargs)
            walls = [_timed(target, args, kwargs)]
            while len(walls) < runs and walls[0] < _LONG_NS:
                walls.append(_timed(target, args, kwargs))
    except Exception as error:  # an op raises what it likes about values
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise GraphError(
            f"{target} cannot be timed on example values ({why}); expected an op that runs on any; "
            "give cost='ops'"
        ) from error
    return median(walls) / 1e9


def _timed(target: Any, args: Any, kwargs: Any) -> int:
    start = perf_counter_ns()
    result = target(*args, **kwargs)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # PyTorch's own
        torch.cuda.synchronize()
    took = perf_counter_ns() - start
    del result
    return took


def _example(fake: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the layout of a fake one, of one half, zero or true."""
    is_real = fake.is_floating_point() or fake.is_complex()
    value: Any = 0.5 if is_real else fake.dtype is torch.bool
    last = sum((n - 1) * step for n, step in zip(fake.shape, fake.stride(), strict=True))
    extent = last + 1 if fake.numel() else 0
    flat = torch.full((extent,), value, dtype=fake.dtype, device=fake.device)
    return flat.as_strided(fake.shape, fake.stride())
