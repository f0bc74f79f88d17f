"""Our checkpointed step against PyTorch's `checkpoint_sequential`, at no higher measured peak."""

from __future__ import annotations

from autodiff.checkpointing.parse import Planner
from autodiff.checkpointing.revolve import Revolve
from autodiff.checkpointing.uniform import Uniform
from experiments.benchmarks.chain import LARGE, PRODUCTS, Chain, Rows, Step, named, rows_of
from experiments.measuring.timing import alternate
from profiler.graphs import profile
from profiler.pytorch.steps import profile_step
from profiler.units import human_bytes

SHAPE, SEGMENTS, ROUNDS = LARGE, 8, 15


def checkpointing() -> Rows:
    """Compare with our fastest plan within their peak, and one of as many segments."""
    chain = Chain.make(SHAPE)
    theirs = chain.checkpointed(SEGMENTS)
    their_peak = profile_step(theirs).peak_bytes
    planners: dict[str, Planner] = {
        f"the fastest within {human_bytes(their_peak)}": Revolve(max_bytes=their_peak),
        str(Uniform(SEGMENTS)): Uniform(SEGMENTS),
    }
    executables = {name: chain.instrumented(planner) for name, planner in planners.items()}
    for executable in executables.values():
        chain.require_equal(executable.run()[0][1:])
    checkpoint = f"checkpoint_sequential, {SEGMENTS} segments"
    peaks = {checkpoint: their_peak, "plain PyTorch": profile_step(chain.eager).peak_bytes}
    peaks |= {
        name: profile(chain.network.loss, chain.network.weights, planner=planner).peak_bytes
        for name, planner in planners.items()
    }
    steps: dict[str, Step] = {name: executable.run for name, executable in executables.items()}
    steps |= {checkpoint: theirs, "plain PyTorch": chain.eager, PRODUCTS: chain.products}
    return rows_of("checkpointing", named(SHAPE), alternate(steps, ROUNDS), checkpoint, peaks)
