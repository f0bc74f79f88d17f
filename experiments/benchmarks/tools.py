"""What measuring a PyTorch step costs, by ours and by PyTorch's tools, over the plain step."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

from experiments.benchmarks.chain import LARGE, PRODUCTS, SMALL, Chain, Rows, Step, named, rows_of
from experiments.measuring.timing import alternate
from profiler.pytorch.steps import profile_step

SHAPES = (SMALL, LARGE)


def measuring() -> Rows:
    """Compare a plain step with the same step measured by each tool."""
    rows: Rows = []
    for shape in SHAPES:
        chain = Chain.make(shape)
        steps: dict[str, Step] = {
            "plain": chain.eager,
            "profile_step": partial(profile_step, chain.eager),
        }
        steps |= _stock_tools(chain) | {PRODUCTS: chain.products}
        rounds = 5 if shape == LARGE else 40
        rows += rows_of("measuring", named(shape), alternate(steps, rounds, warm_up=2), "plain")
    return rows


def _stock_tools(chain: Chain) -> dict[str, Step]:
    from torch.distributed._tools.mem_tracker import MemTracker
    from torch.utils.flop_counter import FlopCounterMode

    def flops() -> None:
        with FlopCounterMode(display=False):
            chain.eager()

    def memory() -> None:
        with MemTracker():
            chain.eager()

    def both() -> None:
        with MemTracker(), FlopCounterMode(display=False):
            chain.eager()

    def profiled() -> None:
        # The library writes a line to the standard error at every start and stop.
        with (
            _quiet(),
            torch.profiler.profile(
                profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]
            ),
        ):
            chain.eager()

    return {
        "FlopCounterMode": flops,
        "MemTracker": memory,
        "both": both,
        "torch.profiler": profiled,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the standard error of the process silent, also from below Python."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
