"""The plans that a table of savings looks at, unless planners are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from autodiff.checkpointing.cells import Cells
from autodiff.checkpointing.costs import operations_of
from autodiff.checkpointing.optimal import MOST_CELLS, ChainPlans, Optimal
from autodiff.checkpointing.recompute_all import RecomputeAll
from autodiff.checkpointing.revolve import Revolve
from autodiff.checkpointing.selective import Selective, selective_plans
from autodiff.checkpointing.sizes import peak
from autodiff.checkpointing.store_all import StoreAll
from autodiff.checkpointing.uniform import Uniform
from autodiff.errors import BudgetError, PlannerError
from autodiff.program import Program
from autodiff.schedule import Schedule

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""The shares of the plain peak that the best plans are made for, as far as there are any."""

MOST_OF_A_KIND = 16
"""The most numbers of snapshots, or of segments, that are tried; evenly spaced by logarithm."""


def default_planners(n: int) -> Iterator[Callable[[Program], Schedule]]:
    """Return planners of every family, with the numbers of segments and snapshots for n cells."""
    yield RecomputeAll()
    if n < 2:
        yield from (Uniform(), Revolve(snapshots=1))
        return
    yield from map(Uniform, _spread(2, n))
    yield from map(Revolve, _spread(1, n - 1))


def best_schedules(program: Program, cells: Cells | None) -> list[Schedule]:
    """Return the best plans for shares of the plain peak, down to the least.

    They are those of `Optimal` on a chain, else those of `Selective`.
    """
    top = peak(program, StoreAll()(program))
    plan = selective_schedules if cells is None or len(cells) > MOST_CELLS else _optimal
    try:
        schedules = plan(program, [int(share * top) for share in SHARES])
    except PlannerError:
        return []
    made: dict[int, Schedule] = {}
    for schedule in schedules:
        made.setdefault(peak(program, schedule), schedule)
    return [schedule for nbytes, schedule in made.items() if nbytes < top]


def _optimal(program: Program, limits: list[int]) -> list[Schedule]:
    plans = ChainPlans(program, Optimal.name, operations_of(program))
    schedules: list[Schedule] = []
    for limit in limits:
        try:
            found = plans.within_bytes(limit)
        except BudgetError as error:
            return [*schedules, error.schedule]
        schedules.append(replace(found, planner=str(Optimal(max_bytes=limit))))
    return schedules


def selective_schedules(program: Program, limits: list[int]) -> list[Schedule]:
    """Return the plans of `Selective` within limits, and the one of the lowest peak.

    Raises PlannerError if it refuses the program.
    """
    plans = selective_plans(program)
    schedules: list[Schedule] = []
    for limit in [*limits, min(plan.peak for plan in plans)]:
        fitting = [plan for plan in plans if plan.peak <= limit]
        if fitting:
            best = min(fitting, key=lambda plan: (plan.operations, plan.peak))
            schedules.append(best.schedule(str(Selective(max_bytes=limit))))
    return schedules


def _spread(first: int, last: int) -> list[int]:
    """Return whole numbers from first to last: all, or `MOST_OF_A_KIND`, dense at the start."""
    if last - first < MOST_OF_A_KIND:
        return list(range(first, last + 1))
    return sorted({round(number) for number in np.geomspace(first, last, MOST_OF_A_KIND)})
