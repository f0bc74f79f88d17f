"""The benchmarks: steps that alternate in one process on one thread, and what they are held against.

Every benchmark is a function without arguments that gives rows: benchmark, shape, what, median_ms, spread_ms, ratio (to `baseline`), and, where
memory is part of the claim, peak_bytes. What is not installed or does not work on a machine is left out with a line that says so.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from autodiff import Executable, StoreAll, gradients, linearize, networks
from autodiff.checkpointing import Planner, Revolve, Uniform, binomial_schedule
from autodiff.errors import TapemeasureError
from experiments.timing import Timing, alternate
from profiler import profile, profile_step
from profiler.units import human_bytes

log = logging.getLogger("tapemeasure")

Rows = list[dict[str, Any]]
Step = Callable[[], Any]

SMALL, LARGE = (16, 64, 32), (64, 256, 256)


def rounds_for(shape: tuple[int, int, int]) -> int:
    """How often a step of a shape is timed: many times where it takes less than a millisecond."""
    return 1500 if shape == SMALL else 15


@dataclass(frozen=True, eq=False)
class Chain:
    """One chain, as a program of ours and as plain PyTorch on the same weights."""

    shape: tuple[int, int, int]
    network: networks.Network
    weights: list[torch.Tensor]

    @classmethod
    def make(cls, shape: tuple[int, int, int]) -> Chain:
        network = networks.chain(*shape)
        return cls(shape, network, [leaf.value.clone().requires_grad_() for leaf in network.weights])

    def instrumented(self, planner: Planner | None = None) -> Executable:
        """Our step: every allocation and release noted."""
        program = linearize([self.network.loss, *gradients(self.network.loss, self.network.weights)])
        return Executable(program, (planner or StoreAll())(program))

    def eager(self) -> Any:
        """PyTorch's step."""
        h = self.network.input.value
        for weight in self.weights:
            h = torch.tanh(weight @ h)
        return torch.autograd.grad(h.sum(), self.weights)

    def checkpointed(self, segments: int) -> Step:
        """PyTorch's step through `checkpoint_sequential`."""
        from experiments.pytorch_chain import Layer, in_segments

        model = torch.nn.Sequential(*(Layer(weight.detach().clone(), "tanh") for weight in self.weights))
        parameters = list(model.parameters())
        x = self.network.input.value

        def step() -> Any:
            loss = in_segments(model, segments, x).sum()
            return torch.autograd.grad(loss, parameters)

        return step

    def products(self) -> None:
        """The matrix products of a step alone, below which nothing can go."""
        x = self.network.input.value
        with torch.inference_mode():
            for weight in self.weights:
                torch.mm(weight, x)
            for _ in self.weights:
                torch.mm(x, x.t())
            for weight in self.weights[1:]:
                torch.mm(weight.t(), x)

    def require_equal(self, mine: list[Any]) -> None:
        """Raise TapemeasureError where gradients of ours are not PyTorch's to the last bit."""
        for one, other in zip(mine, self.eager(), strict=True):
            if not torch.equal(one, other):
                raise TapemeasureError(f"the gradients of the chain {named(self.shape)} differ from PyTorch's; please report this")


def named(shape: tuple[int, int, int]) -> str:
    """A shape in words."""
    return "n={}, d={}, b={}".format(*shape)


def rows_of(benchmark: str, shape: str, timings: Mapping[str, Timing], baseline: str, peaks: Mapping[str, int] | None = None) -> Rows:
    """The rows of one comparison."""
    return [
        {
            "benchmark": benchmark,
            "shape": shape,
            "what": what,
            "median_ms": timing.median_ns / 1e6,
            "spread_ms": timing.spread_ns / 1e6,
            "ratio": timing.median_ns / timings[baseline].median_ns,
            "baseline": baseline,
            "peak_bytes": None if peaks is None else peaks.get(what),
        }
        for what, timing in timings.items()
    ]


def step() -> Rows:
    """The instrumented step against PyTorch's eager step, gradients equal, and `torch.compile` where it works."""
    rows: Rows = []
    for shape in (SMALL, LARGE):
        chain = Chain.make(shape)
        executable = chain.instrumented()
        chain.require_equal(executable.run()[0][1:])
        steps: dict[str, Step] = {"instrumented": executable.run, "eager": chain.eager, "products alone": chain.products}
        compiled = _compiled(chain)
        if compiled is not None:
            steps["torch.compile"] = compiled
        rows += rows_of("step", named(shape), alternate(steps, rounds_for(shape)), "eager")
    return rows


def _compiled(chain: Chain) -> Step | None:
    """PyTorch's step through `torch.compile`; None where the machine cannot compile it."""
    x = chain.network.input.value

    def loss_of(weights: list[torch.Tensor]) -> torch.Tensor:
        h: torch.Tensor = x
        for weight in weights:
            h = torch.tanh(weight @ h)
        return h.sum()

    fast = torch.compile(loss_of)

    def compiled() -> Any:
        return torch.autograd.grad(fast(chain.weights), chain.weights)

    try:
        compiled()
    except Exception as error:  # whatever a compiler that is not there, or not whole, raises
        log.warning("torch.compile does not work here and is left out: %s", str(error).strip().splitlines()[0])
        return None
    return compiled


def measuring() -> Rows:
    """What it costs to measure a PyTorch step: ours, and PyTorch's own tools, as multiples of the plain step."""
    rows: Rows = []
    for shape in (SMALL, LARGE):
        chain = Chain.make(shape)
        steps: dict[str, Step] = {"plain": chain.eager, "profile_step": partial(profile_step, chain.eager)}
        steps |= _stock_tools(chain)
        rounds = 40 if shape == SMALL else 5
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
        with _quiet(), torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]):
            chain.eager()

    return {"FlopCounterMode": flops, "MemTracker": memory, "both": both, "torch.profiler": profiled}


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it, nothing reaches the standard error of the process, not even from below Python."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def checkpointing() -> Rows:
    """A checkpointed step of ours against PyTorch's `checkpoint_sequential`, at equal or less measured peak."""
    chain = Chain.make(LARGE)
    segments = 8
    theirs = chain.checkpointed(segments)
    their_peak = profile_step(theirs).peak_bytes
    # The fastest plan of ours that takes no more than they do, and the same number of segments.
    planners: dict[str, Planner] = {
        f"the fastest within {human_bytes(their_peak)}": Revolve(max_bytes=their_peak),
        str(Uniform(segments)): Uniform(segments),
    }
    executables = {name: chain.instrumented(planner) for name, planner in planners.items()}
    for executable in executables.values():
        chain.require_equal(executable.run()[0][1:])
    checkpoint = f"checkpoint_sequential, {segments} segments"
    peaks = {checkpoint: their_peak, "plain PyTorch": profile_step(chain.eager).peak_bytes}
    peaks |= {name: profile(chain.network.loss, chain.network.weights, planner=planner).peak_bytes for name, planner in planners.items()}
    steps: dict[str, Step] = {name: executable.run for name, executable in executables.items()}
    steps |= {checkpoint: theirs, "plain PyTorch": chain.eager}
    return rows_of("checkpointing", named(LARGE), alternate(steps, 15), checkpoint, peaks)


def prediction() -> Rows:
    """Numbers from shapes alone: ours against PyTorch's tools on meta tensors."""
    n, d, b = 1000, 1024, 1024

    def shapes_alone() -> None:
        network = networks.chain(n, d, b, values=False)
        profile(network.loss, network.weights, execute=False)

    weights = [torch.empty(d, d, device="meta", requires_grad=True) for _ in range(n)]
    x = torch.empty(d, b, device="meta")

    def on_meta() -> Any:
        h = x
        for weight in weights:
            h = torch.tanh(weight @ h)
        return torch.autograd.grad(h.sum(), weights)

    from torch.utils.flop_counter import FlopCounterMode

    def flops() -> None:
        with FlopCounterMode(display=False):
            on_meta()

    steps: dict[str, Step] = {
        "shapes alone": shapes_alone,
        "profile_step on meta": lambda: profile_step(on_meta),
        "FlopCounterMode on meta": flops,
    }
    return rows_of("prediction", named((n, d, b)), alternate(steps, 5, warm_up=1), "FlopCounterMode on meta")


def schedules() -> Rows:
    """The order of a binomial schedule against the tools that make one."""
    n, s = 10_000, 20
    steps: dict[str, Step] = {"tapemeasure": lambda: binomial_schedule(n, s)}
    for module, make in (("checkpoint_schedules", _checkpoint_schedules), ("pyrevolve", _pyrevolve)):
        try:
            importlib.import_module(module)
        except ImportError:
            log.warning("%s is not installed and is left out", module)
            continue
        steps[module] = partial(make, n, s)
    return rows_of("schedules", f"n={n}, s={s}", alternate(steps, 5, warm_up=1), "tapemeasure")


def _checkpoint_schedules(n: int, s: int) -> None:
    from checkpoint_schedules import MultistageCheckpointSchedule

    for _ in MultistageCheckpointSchedule(n, s, 0, trajectory="maximum"):
        pass


def _pyrevolve(n: int, s: int) -> None:
    from pyrevolve.schedulers import Action, CRevolve

    scheduler = CRevolve(s, n)
    while scheduler.next().type != Action.TERMINATE:
        pass


BENCHMARKS: dict[str, Callable[[], Rows]] = {
    "step": step,
    "measuring": measuring,
    "checkpointing": checkpointing,
    "prediction": prediction,
    "schedules": schedules,
}
