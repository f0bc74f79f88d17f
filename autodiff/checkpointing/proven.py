"""The fastest plan of a small graph within a budget, with a proof or a bound.

A constraint solver (`retention`) searches among the orders in which first runs are as created, no
instruction runs more than twice, and what runs again between two first runs does so in order of
creation. It starts from the best plan of the other planners. What it gives is the better of the
two; `Schedule.bound` is the least that any such order could cost, and `proved` says that it costs
no more. An order that runs again in another sequence may have a lower peak, or cost less.
Of the orders that cost the least it takes one of the lowest peak that it finds.

Bound: proofs come for some 60 instructions of the forward part, within seconds to minutes, on one
thread. A plan with a proof is the same each time; without one it is the best found in that time,
which may differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import nextafter
from typing import ClassVar

import numpy as np

from autodiff.checkpointing.costs import in_whole_numbers, operations_of
from autodiff.checkpointing.limits import needs_sizes
from autodiff.checkpointing.living import claims_of
from autodiff.checkpointing.optimal import Optimal
from autodiff.checkpointing.retention import RUNS, Retention, solver_library
from autodiff.checkpointing.retention_search import Solution, solve
from autodiff.checkpointing.revolve import Revolve
from autodiff.checkpointing.selective import Selective
from autodiff.checkpointing.sizes import peak
from autodiff.checkpointing.store_all import StoreAll, accumulated_in_place
from autodiff.checkpointing.uniform import Uniform
from autodiff.checkpointing.units import byte_count, bytes_text, check_number
from autodiff.errors import PlannerError
from autodiff.program import Program
from autodiff.schedule import Schedule

MOST_TASKS = 600
"""More instructions are refused: the model would not be made in the time that it has."""

_AMONG = "orders that run nothing more than twice, and again only as created"


@dataclass(frozen=True)
class Proven:
    """The fastest plan within a budget of live bytes that a search of so many seconds finds.

    `max_bytes` is a number of bytes or a size such as "8GiB".
    """

    max_bytes: int | str
    seconds: float = 60
    name: ClassVar[str] = "proven"

    def __post_init__(self) -> None:
        """Raise PlannerError unless both are in their range."""
        object.__setattr__(self, "max_bytes", byte_count("max_bytes", self.max_bytes))
        least = nextafter(0.0, 1.0)
        check_number("seconds", self.seconds, least, "a time above 0", "60")

    def __str__(self) -> str:
        """Return the canonical string."""
        size = bytes_text(int(self.max_bytes))
        more = "" if self.seconds == 60 else f", seconds={self.seconds!r}"
        return f"{self.name}(max_bytes={size}{more})"

    def __call__(self, program: Program) -> Schedule:
        """Return the best plan that was found.

        Raises PlannerError where there is none, where the graph is too large, and where the extra
        `cpsat` is not installed.
        """
        solver_library()
        needs_sizes(self, program)
        if len(program.instructions) > MOST_TASKS:
            raise PlannerError(
                f"{self} on a program of {len(program.instructions)} instructions; expected at "
                f"most {MOST_TASKS}; give selective or another planner"
            )
        return proven_schedule(program, int(self.max_bytes), str(self), self.seconds)


def proven_schedule(program: Program, budget: int, planner: str, seconds: float) -> Schedule:
    """Return the best plan that a search of so many seconds finds."""
    cost = in_whole_numbers(operations_of(program))
    plain = int(cost.sum())
    known = _best_of_others(program, budget, cost)
    most = None if known is None else int(cost[known.order].sum()) - plain
    model = Retention(program, budget, cost, most)
    if known is not None:
        model.begin_with(known.order.tolist())
    found = solve(model, seconds)
    if found.order is None and known is None:
        raise _refusal(planner, found, seconds)
    if found.order is None:
        assert known is not None  # outside of the model, or the search began too late
        return replace(known, planner=planner)
    order = np.array(found.order, dtype=np.int64)
    schedule = Schedule(
        order,
        claims_of(program, found.order, found.held),
        planner,
        accumulated_in_place(program, order),
    )
    return replace(
        schedule,
        cost=plain + found.cost,
        bound=plain + found.bound,
        proved=found.exhausted,
        among=_AMONG,
    )


def _best_of_others(program: Program, budget: int, cost: np.ndarray) -> Schedule | None:
    """Return the fastest plan of the other planners within a budget; None where none fits."""
    planners: list[Callable[[Program], Schedule]] = [
        StoreAll(),
        Selective(max_bytes=budget),
        Optimal(max_bytes=budget),
        Revolve(max_bytes=budget),
        Uniform(),
    ]
    fitting = []
    for planner in planners:
        try:
            schedule = planner(program)
        except PlannerError:
            continue
        if peak(program, schedule) <= budget:
            fitting.append(schedule)
    return min(
        fitting,
        key=lambda one: (int(cost[one.order].sum()), peak(program, one)),
        default=None,
    )


def _refusal(planner: str, found: Solution, seconds: float) -> PlannerError:
    if found.exhausted:
        return PlannerError(
            f"{planner}: it is proved that no order keeps within that budget if nothing runs more "
            f"than {RUNS} times and runs again are in order of creation; expected more bytes; give "
            "a larger max_bytes, or another planner"
        )
    return PlannerError(
        f"{planner}: no plan was found in {seconds:g} seconds, nor by another planner; expected "
        "more bytes or more time; give a larger max_bytes or seconds"
    )
