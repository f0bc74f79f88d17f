"""Times that can be compared: steps that alternate in one process on one thread, medians."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Timing:
    """The median time of a step in ns, and half the distance between the quartiles."""

    median_ns: float
    spread_ns: float


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch on one thread, and as before afterwards."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def alternate(
    steps: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 3
) -> dict[str, Timing]:
    """Time every step once a round, in turn, so that what disturbs the machine disturbs all alike.

    The collector is off meanwhile. Each round begins with another step, so that none always follows
    the same one.
    """
    names = list(steps)
    for _ in range(warm_up):
        for step in steps.values():
            step()
    noted: dict[str, list[int]] = {name: [] for name in steps}
    enabled = gc.isenabled()
    gc.disable()
    try:
        with one_thread():
            for turn in range(rounds):
                for place in range(len(names)):
                    name = names[(turn + place) % len(names)]
                    step = steps[name]
                    start = perf_counter_ns()
                    result = step()
                    noted[name].append(perf_counter_ns() - start)
                    del result  # its memory goes before the next step begins, outside the time
    finally:
        if enabled:
            gc.enable()
    return {name: _timing(times) for name, times in noted.items()}


def _timing(times: list[int]) -> Timing:
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
    return Timing(float(middle), float(high - low) / 2)
