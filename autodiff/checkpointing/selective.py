"""The values to keep of any graph, and what to run again for the others, within a budget.

Nothing is asked of the graph: U-nets, dense blocks, encoders with decoders and several losses have
no chain of cells, and are planned all the same. `mincut` gives the sets of values that are worth
keeping, each the best for some price of a byte or on the line between two that are; `on_demand`
makes the schedule of each, which liveness weighs; the fastest that fits is taken. So a peak is
never above its budget, and never rises as the budget falls.

Bound: a set is held from the forward part to the backward part, and each instruction runs at most
twice. Below the least peak of these plans a chain has others (`Revolve`). The sets are those that
are the best for the sum of bytes, which at the peak is nearly what counts, but not quite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np

from autodiff.checkpointing.binomial import whole_number
from autodiff.checkpointing.mincut import Keep, Stretch, kept_sets
from autodiff.checkpointing.on_demand import OnDemand
from autodiff.checkpointing.sizes import amounts, has_sizes, peak
from autodiff.checkpointing.store_all import as_created
from autodiff.checkpointing.units import bytes_of, bytes_text
from autodiff.errors import PlannerError
from autodiff.instructions import BACKWARD, FORWARD
from autodiff.program import Program
from autodiff.schedule import Schedule

MOST_SETS = 100
"""The most sets that are carried out and weighed: all corners, and evenly many between them."""


@dataclass(frozen=True)
class Selective:
    """The fastest plan that keeps one set of values, for a budget of live bytes or operations.

    `max_bytes` is a number of bytes or a size such as "8GiB"; `max_ops_ratio` a multiple of the
    operations of plain backpropagation, within which the peak is to be the lowest.
    """

    max_bytes: int | str | None = None
    max_ops_ratio: float | None = None
    name: ClassVar[str] = "selective"

    def __post_init__(self) -> None:
        """Raise PlannerError unless exactly one limit is given and it is in its range."""
        if (self.max_bytes is None) == (self.max_ops_ratio is None):
            raise PlannerError(
                f"{self!r}; expected exactly one of max_bytes and max_ops_ratio; give one"
            )
        if isinstance(self.max_bytes, str):
            nbytes = bytes_of(self.max_bytes)
            if nbytes is None:
                raise PlannerError(
                    f"max_bytes = {self.max_bytes!r}; expected a size such as '1.5GiB' or a number "
                    "of bytes; give one"
                )
            object.__setattr__(self, "max_bytes", nbytes)
        if self.max_bytes is not None:
            whole_number("max_bytes", self.max_bytes, 1)
        ratio = self.max_ops_ratio
        if ratio is not None and (
            isinstance(ratio, bool)
            or not isinstance(ratio, int | float)
            or not isfinite(ratio)
            or ratio < 1
        ):
            raise PlannerError(
                f"max_ops_ratio = {ratio!r}; expected a number of at least 1, which plain "
                "backpropagation takes; give one such as 1.3"
            )

    def __str__(self) -> str:
        """Return the canonical string."""
        if self.max_bytes is not None:
            return f"selective(max_bytes={bytes_text(int(self.max_bytes))})"
        return f"selective(max_ops_ratio={self.max_ops_ratio!r})"

    def __call__(self, program: Program) -> Schedule:
        """Return the best plan within the limit; raise PlannerError if there is none."""
        if not has_sizes(program):
            raise PlannerError(
                f"{self} on a program whose shapes are no integers; expected sizes to compare; "
                "give a program of fixed shapes"
            )
        plans = selective_plans(program)
        if self.max_ops_ratio is not None:
            limit = self.max_ops_ratio * plans[0].operations
            within = [plan for plan in plans if plan.operations <= limit]
            return min(within, key=lambda plan: (plan.peak, plan.operations)).schedule(str(self))
        assert isinstance(self.max_bytes, int)
        fitting = [plan for plan in plans if plan.peak <= self.max_bytes]
        if fitting:
            return min(fitting, key=lambda plan: (plan.operations, plan.peak)).schedule(str(self))
        least = min(plans, key=lambda plan: (plan.peak, plan.operations))
        times = least.operations / max(plans[0].operations, 1)
        raise PlannerError(
            f"max_bytes = {bytes_text(self.max_bytes)} is below what any plan that keeps one set "
            f"of values takes; the least is {least.peak} bytes, by a plan that takes {times:.3g} "
            f"times the operations: give selective(max_bytes={bytes_text(least.peak)}) or more"
        )


@dataclass(frozen=True, eq=False)
class SelectivePlan:
    """A set of values to keep (None: all that backward reads), its peak and its operations."""

    plans: OnDemand
    kept: frozenset[int] | None
    peak: int
    operations: int

    def schedule(self, planner: str) -> Schedule:
        """Return the plan carried out, under a name."""
        program = self.plans.program
        if self.kept is None:
            return as_created(program, planner)
        return self.plans.schedule(self.kept, planner)


def selective_plans(program: Program, cost: np.ndarray | None = None) -> list[SelectivePlan]:
    """Return the plans of a program, weighed: the plain one first, then by what they run again.

    `cost` has what each instruction costs, in whole numbers: by default its scalar operations.
    """
    cost = operations(program) if cost is None else cost
    weighed = amounts(program)
    plans = OnDemand(program)
    plain = as_created(program)
    total = int(cost.sum())
    found = [SelectivePlan(plans, None, peak(program, plain, weighed), total)]
    for keep in _some(kept_sets(_forward_part(plans, weighed[0], cost))):
        schedule = plans.schedule(keep.values, Selective.name)
        run = np.bincount(schedule.order, minlength=len(cost))
        found.append(
            SelectivePlan(plans, keep.values, peak(program, schedule, weighed), int(run @ cost))
        )
    return found


def operations(program: Program) -> np.ndarray:
    """Return the scalar operations of each instruction."""
    works = [int(work.op.cost(*work.specs).total) for work in program.flat.works]
    of_each: np.ndarray = np.array(works, dtype=np.int64)[program.flat.work_of]
    return of_each


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
