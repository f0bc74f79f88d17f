"""The largest batch that a plan trains within a memory.

A batch is measured by the least peak of any plan of its step, traced as one program, above the
bytes that exist before the step. Bound: `MOST_BATCHES` batches are planned, since each takes
seconds; where those do not settle the answer, the greatest one that fits is named as found so far.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from autodiff.checkpointing.budget import Budget, KnownPlans
from autodiff.checkpointing.costs import operations_of
from autodiff.checkpointing.sizes import peak
from autodiff.errors import BudgetError, TapemeasureError
from autodiff.program import Program
from experiments.modules.config import ModuleConfig
from experiments.modules.plans import Plans, program_of
from experiments.modules.prediction import FakeModule, Search, largest_batch, telling
from experiments.modules.step import Steps

MOST_BATCHES = 6


@dataclass(frozen=True)
class PlannedBatch:
    """The largest batch that a plan trains, its bytes, its operations and those without the plan.

    `is_largest` says that one more was planned and does not fit.
    """

    size: int
    needed_bytes: int
    operations: float
    plain_operations: float
    is_largest: bool


@dataclass(frozen=True)
class Advice:
    """The plan of a batch within the memory: what it needs, its operations and the plain ones.

    `needed_bytes` is that of the least plan where no plan fits.
    """

    fits: bool
    needed_bytes: int
    operations: float
    plain_operations: float


class _EnoughError(TapemeasureError):
    """As many batches were planned as a search may plan."""


def resident_bytes(steps: Steps, batch: int, size: int) -> int:
    """Return what exists before a step on `size` examples, from the profile of one on `batch`."""
    given = steps.later.given_bytes
    inputs = given.get("input", 0)
    return sum(given.values()) - inputs + inputs * size // batch


def advice_of(config: ModuleConfig, predicted: Steps, plans: Plans | None) -> Advice | None:
    """Return the plan of single operations within the memory; None where the batch fits without.

    The bytes that exist before the step are those of the profile, the peak above them is the
    plan's. None too where those bytes take the memory by themselves.
    """
    memory, program = config.memory_bytes, None if plans is None else plans.program
    if program is None or memory is None or predicted.needed_bytes <= memory:
        return None
    resident = resident_bytes(predicted, config.batch, config.batch)
    if memory <= resident:
        return None
    plain = float(operations_of(program).sum())
    try:
        schedule = Budget(max_bytes=memory - resident)(program)
    except BudgetError as error:
        return Advice(False, error.peak_bytes + resident, plain, plain)
    return Advice(True, peak(program, schedule) + resident, schedule.cost or plain, plain)


def largest_planned(
    fake: FakeModule, config: ModuleConfig, predicted: Steps, plans: Plans | None
) -> PlannedBatch | None:
    """Return the largest batch that a plan trains within the memory.

    None where nothing is planned, the batch fits as it is, or no plan was found to fit.
    """
    memory, program = config.memory_bytes, None if plans is None else plans.program
    if program is None or memory is None or predicted.needed_bytes <= memory:
        return None
    if memory <= resident_bytes(predicted, config.batch, 1):
        return None
    programs: dict[int, Program] = {config.batch: program}
    known: dict[int, KnownPlans] = {}
    needed: dict[int, int] = {}

    def least(size: int) -> int:
        if len(needed) == MOST_BATCHES:
            raise _EnoughError(f"{MOST_BATCHES} batches were planned")
        print(f"tapemeasure: planning a batch of {size}", file=sys.stderr, flush=True)
        if size not in programs:
            with telling(config, size):
                programs[size] = program_of(fake, config, size)
        known[size] = KnownPlans(programs[size], operations_of(programs[size]))
        resident = resident_bytes(predicted, config.batch, size)
        needed[size] = _least_peak(programs[size], known[size]) + resident
        return needed[size]

    try:
        search: Search | None = largest_batch(least, memory, config.batch)
    except TapemeasureError:  # enough were planned, or a batch is refused by the module
        search = None
    fitting = [size for size, nbytes in needed.items() if nbytes <= memory]
    if not fitting:
        return None
    size = max(fitting)
    resident = resident_bytes(predicted, config.batch, size)
    schedule = known[size].within_bytes(memory - resident)
    costs = operations_of(programs[size])
    return PlannedBatch(
        size,
        peak(programs[size], schedule) + resident,
        float(costs[schedule.order].sum()),
        float(costs.sum()),
        search is not None and not search.is_bound,
    )


def _least_peak(program: Program, known: KnownPlans) -> int:
    """Return the least peak of any known plan: what a bound that nothing keeps is refused with."""
    try:
        return peak(program, known.within_bytes(1))
    except BudgetError as error:
        return error.peak_bytes
