"""The values to keep of any graph, and what to run again for the others, within a budget.

Nothing is asked of the graph: U-nets, dense blocks, encoders with decoders and several losses have
no chain of cells, and are planned all the same. `mincut` gives the sets of values that are worth
keeping, each the best for some price of a byte or on the line between two that are; `on_demand`
makes the schedule of each, which liveness weighs; the fastest that fits is taken. So a peak is
never above its budget, and never rises as the budget falls.

Bound: a set is held from the forward part to the backward part, and what runs again is dropped by a
rule; on chains `Optimal` searches. The sets are those that are the best for the sum of bytes, which
at the peak is nearly what counts, but not quite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from autodiff.checkpointing.costs import cost_of_each, in_whole_numbers, operations_of
from autodiff.checkpointing.limits import Limits, below_the_least, needs_sizes
from autodiff.checkpointing.mincut import Keep, Stretch, kept_sets
from autodiff.checkpointing.on_demand import OnDemand
from autodiff.checkpointing.sizes import amounts, peak
from autodiff.checkpointing.store_all import as_created
from autodiff.instructions import BACKWARD, FORWARD
from autodiff.program import Program
from autodiff.schedule import Schedule

MOST_SETS = 100
"""The most sets that are carried out and weighed: all corners, and evenly many between them."""

WITHIN = (4, 8, 16, 32)
"""For how many instructions of the backward part what runs again is held, for each corner."""


@dataclass(frozen=True)
class Selective(Limits):
    """The cheapest plan that keeps one set of values, for a budget of live bytes or operations."""

    name: ClassVar[str] = "selective"

    def __call__(self, program: Program) -> Schedule:
        """Return the best plan within the limit.

        Raises BudgetError, with the least, if no plan is within the bytes.
        """
        needs_sizes(self, program)
        if isinstance(self.max_bytes, int):
            plain = as_created(program, str(self))
            if peak(program, plain) <= self.max_bytes:
                return plain
        plans = selective_plans(program, in_whole_numbers(cost_of_each(self.cost, program)))
        if self.max_ops_ratio is not None:
            limit = self.max_ops_ratio * plans[0].operations
            within = [plan for plan in plans if plan.operations <= limit]
            return min(within, key=lambda plan: (plan.peak, plan.operations)).schedule(str(self))
        assert isinstance(self.max_bytes, int)
        fitting = [plan for plan in plans if plan.peak <= self.max_bytes]
        if fitting:
            return min(fitting, key=lambda plan: (plan.operations, plan.peak)).schedule(str(self))
        least = min(plans, key=lambda plan: (plan.peak, plan.operations))
        raise below_the_least(
            self.name,
            self.max_bytes,
            "any plan that keeps one set of values",
            least.schedule(self.name),
            least.peak,
            least.operations / max(plans[0].operations, 1),
        )


@dataclass(frozen=True, eq=False)
class SelectivePlan:
    """A set of values to keep (None: all that backward reads), its peak and its operations.

    `within`: what runs again is dropped unless it is read within so many instructions (None: held).
    """

    plans: OnDemand
    kept: frozenset[int] | None
    peak: int
    operations: int
    within: int | None = None

    def schedule(self, planner: str) -> Schedule:
        """Return the plan carried out, under a name."""
        program = self.plans.program
        if self.kept is None:
            return as_created(program, planner)
        return self.plans.schedule(self.kept, planner, self.within)


def selective_plans(program: Program, cost: np.ndarray | None = None) -> list[SelectivePlan]:
    """Return the plans of a program, weighed: the plain one first, then by what they run again.

    `cost` has what each instruction costs, in whole numbers: by default its scalar operations.
    """
    cost = in_whole_numbers(operations_of(program)) if cost is None else cost
    weighed = amounts(program)
    plans = OnDemand(program)
    plain = as_created(program)
    total = int(cost.sum())
    found = [SelectivePlan(plans, None, peak(program, plain, weighed), total)]
    for keep in _some(kept_sets(_forward_part(plans, weighed[0], cost))):
        for within in (None, *WITHIN) if keep.is_corner else (None,):
            schedule = plans.unclaimed(keep.values, Selective.name, within)
            took = int(np.bincount(schedule.order, minlength=len(cost)) @ cost)
            most = peak(program, schedule, weighed)
            found.append(SelectivePlan(plans, keep.values, most, took, within))
    return found


def _forward_part(plans: OnDemand, amount: np.ndarray, cost: np.ndarray) -> Stretch:
    """Return the whole forward part as a stretch, with what the backward part reads of it."""
    instructions = plans.program.instructions
    forward = [i for i, step in enumerate(instructions) if step.phase == FORWARD]
    made = {write for i in forward for write in instructions[i].writes}
    read = {read for step in instructions if step.phase == BACKWARD for read in step.reads}
    return Stretch(plans.program, forward, made & read, amount, cost, plans.free)


def _some(sets: Sequence[Keep]) -> list[Keep]:
    """Return all corners, and evenly spaced ones of the sets between them."""
    corners = {place for place, keep in enumerate(sets) if keep.is_corner}
    spread = np.linspace(0, len(sets) - 1, min(MOST_SETS, len(sets))).round().astype(int).tolist()
    return [sets[place] for place in sorted(corners.union(spread))]
