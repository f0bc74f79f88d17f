"""What each instruction of a program costs: operations, or any measure that a function gives.

A planner that minimizes a cost takes `cost="ops"`, or a function from a program to an array with
the cost of each instruction. `profiler.seconds` makes one of measured times.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autodiff.errors import PlannerError
from autodiff.program import Program

CostOf = Callable[[Program], np.ndarray]

_LARGEST = 2**40


def operations_of(program: Program) -> np.ndarray:
    """Return the scalar operations of each instruction, as floats."""
    flat = program.flat
    each = np.array([float(op.cost(*specs).total) for op, specs in flat.works])
    return each[flat.work_of] if len(each) else np.zeros(0)


def in_whole_numbers(cost: np.ndarray) -> np.ndarray:
    """Return costs as whole numbers, in proportion where they are fractions."""
    if not np.array_equal(cost, np.rint(cost)):
        cost = cost * (_LARGEST / cost.sum())
    whole: np.ndarray = np.rint(cost).astype(np.int64)
    return whole


def check_cost(cost: object) -> None:
    """Raise PlannerError unless a cost is `"ops"` or a function."""
    if cost == "seconds":
        raise PlannerError(
            "cost = 'seconds' needs measured times; expected 'ops' or a function of a program; "
            "give cost=profiler.measured_seconds"
        )
    if cost != "ops" and not callable(cost):
        raise PlannerError(
            f"cost = {cost!r}; expected 'ops', or a function from a program to the cost of each "
            "instruction"
        )


def cost_of_each(cost: str | CostOf, program: Program) -> np.ndarray:
    """Return the cost of each instruction; what makes views only is free.

    A plan makes views again wherever they are read, and leaves out those that nothing reads, so
    with a price on them a bound on the cost would not hold.

    Raises PlannerError if a function gives anything but a finite cost of at least 0 for each.
    """
    if not callable(cost):
        return operations_of(program)
    costs = np.asarray(cost(program), dtype=float)
    shape = (len(program.instructions),)
    if costs.shape != shape or not np.all(np.isfinite(costs)) or np.any(costs < 0):
        raise PlannerError(
            f"the costs have shape {costs.shape} and lie in {costs.min(initial=0):g} … "
            f"{costs.max(initial=0):g}; expected {shape[0]} finite numbers of at least 0, one for "
            "each instruction"
        )
    return np.where(_writes_a_buffer(program), costs, 0.0)


def _writes_a_buffer(program: Program) -> list[bool]:
    """Return for each instruction whether it makes more than views."""
    values = program.values
    return [any(values[w].buffer == w for w in one.writes) for one in program.instructions]


def cost_name(cost: str | CostOf) -> str:
    """Return a cost as it is written in a planner's string."""
    return cost if isinstance(cost, str) else getattr(cost, "__name__", type(cost).__name__)
