"""What each planner takes of operations within a budget, over networks and budgets.

A budget is a share of the peak of plain backpropagation. Every plan is weighed by its schedule,
which `check_schedule` has passed; PyTorch's own choice is measured. The time is that of planning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch

from autodiff.check import check_schedule
from autodiff.checkpointing.cells import find_cells
from autodiff.checkpointing.costs import in_whole_numbers, operations_of
from autodiff.checkpointing.optimal import Optimal
from autodiff.checkpointing.parse import Planner
from autodiff.checkpointing.proven import Proven
from autodiff.checkpointing.recompute_all import RecomputeAll
from autodiff.checkpointing.revolve import Revolve
from autodiff.checkpointing.selective import Selective
from autodiff.checkpointing.sizes import peak
from autodiff.checkpointing.store_all import StoreAll
from autodiff.checkpointing.uniform import Uniform
from autodiff.errors import PlannerError
from autodiff.program import Program
from autodiff.schedule import Schedule
from experiments.benchmarks.chain import Rows
from experiments.benchmarks.remat import Measured, measured_choices
from experiments.measuring import architectures
from experiments.measuring.architectures import Training

PLAIN, COUNTED, THEIRS = "store_all", "counted cells", "activation_memory_budget"
BUDGETS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
THEIR_BUDGETS = (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, 0.0)
PROOF_SECONDS = 20.0
MOST_PROVEN = 150
"""The most instructions of a program that a proof is tried for."""

NETWORKS: Mapping[str, Callable[..., Training]] = {
    "gpt2": architectures.gpt2,
    "gpt2 with dropout": partial(architectures.gpt2, dropout=0.1),
    "bert": architectures.bert,
    "resnet": architectures.resnet,
    "autoencoder": architectures.autoencoder,
    "unet": architectures.unet,
    "densenet": architectures.densenet,
    "encoder-decoder": architectures.encoder_decoder,
}
WITH_LAYERS = ("gpt2", "gpt2 with dropout", "bert")


def planning(layers: int = 12) -> Rows:
    """Compare planners on each network; transformers have so many layers."""
    rows: Rows = []
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        rows += list(_rows(name, make(layers=layers) if name in WITH_LAYERS else make()))
    return rows


@dataclass(frozen=True)
class _Weighed:
    """A plan's peak and operations, and the time that it took to make in ns."""

    peak_bytes: int
    operations: int
    took_ns: float = 0
    optimality: str = ""


class _Scale:
    """Weighs schedules of one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._cost = in_whole_numbers(operations_of(program))

    def plan(self, planner: Planner) -> _Weighed:
        """Return what a planner's schedule takes; raise PlannerError where it has none."""
        start = perf_counter_ns()
        schedule = planner(self.program)
        took = perf_counter_ns() - start
        check_schedule(self.program, schedule)
        return self._weighed(schedule, took)

    def _weighed(self, schedule: Schedule, took: float) -> _Weighed:
        times = np.bincount(schedule.order, minlength=len(self._cost))
        return _Weighed(
            peak(self.program, schedule), int(times @ self._cost), took, schedule.optimality
        )


def _rows(name: str, training: Training) -> Iterator[dict[str, Any]]:
    program = training.program()
    scale = _Scale(program)
    plain = scale.plan(StoreAll())
    yield _row(name, PLAIN, 1.0, plain, plain)
    counted = list(_counted(scale))
    theirs = [_Weighed(*one) for one in _choices(training)]
    for share in BUDGETS:
        limit = int(share * plain.peak_bytes)
        for what, known in ((COUNTED, counted), (THEIRS, theirs)):
            fitting = [one for one in known if one.peak_bytes <= limit]
            if fitting:
                yield _row(name, what, share, min(fitting, key=_operations), plain)
        for planner in _within(limit, len(program.instructions)):
            try:
                yield _row(name, planner.name, share, scale.plan(planner), plain)
            except PlannerError:
                continue


def _operations(one: _Weighed) -> int:
    return one.operations


def _choices(training: Training) -> list[Measured]:
    return measured_choices(training, THEIR_BUDGETS)


def _within(limit: int, instructions: int) -> Iterator[Optimal | Selective | Proven]:
    """Return the planners that take a budget of bytes."""
    yield Optimal(max_bytes=limit)
    yield Selective(max_bytes=limit)
    if instructions <= MOST_PROVEN:
        yield Proven(max_bytes=limit, seconds=PROOF_SECONDS)


def _counted(scale: _Scale) -> Iterator[_Weighed]:
    """Return all plans that count cells and do not weigh them; none where there is no chain."""
    try:
        n = len(find_cells(scale.program))
    except PlannerError:
        return
    yield scale.plan(RecomputeAll())
    for count in range(1, n + 1):
        yield scale.plan(Uniform(count))
        yield scale.plan(Revolve(count))


def _row(name: str, what: str, share: float, one: _Weighed, plain: _Weighed) -> dict[str, Any]:
    return {
        "benchmark": "plans",
        "shape": name,
        "what": what,
        "median_ms": max(one.took_ns, 1) / 1e6,
        "spread_ms": 0.0,
        "ratio": one.operations / plain.operations,
        "baseline": PLAIN,
        "peak_bytes": one.peak_bytes,
        "budget": share,
        "optimality": one.optimality,
    }
