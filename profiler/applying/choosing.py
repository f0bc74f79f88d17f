"""The fastest plan within a budget of live bytes, among the planners that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from autodiff.checkpointing.cells import find_cells
from autodiff.checkpointing.optimal import Optimal
from autodiff.checkpointing.recompute_all import RecomputeAll
from autodiff.checkpointing.revolve import Revolve
from autodiff.checkpointing.selective import Selective
from autodiff.checkpointing.sizes import amounts, peak
from autodiff.checkpointing.store_all import StoreAll
from autodiff.checkpointing.uniform import Uniform
from autodiff.errors import BudgetError, PlannerError
from autodiff.program import Program
from autodiff.schedule import Schedule

Planner = Callable[[Program], Schedule]

_ANY = 1e9
"""A multiple of the operations that no plan comes near: the lowest peak at any price."""


def operations_of(program: Program, schedule: Schedule) -> int:
    """Return the scalar operations of all steps of a schedule."""
    flat = program.flat
    costs = np.array([int(op.cost(*specs).total) for op, specs in flat.works], dtype=np.int64)
    return int(costs[flat.work_of[schedule.order]].sum())


def fastest(program: Program, max_bytes: int) -> Schedule:
    """Return the plan of the fewest operations whose live bytes stay within `max_bytes`.

    Raises BudgetError with the least peak where no plan does.
    """
    weighed = amounts(program)
    plain = StoreAll()(program)
    if peak(program, plain, weighed) <= max_bytes:
        return plain
    found = [
        schedule
        for schedule in _schedules(program, _within(program, max_bytes))
        if peak(program, schedule, weighed) <= max_bytes
    ]
    if found:
        return min(found, key=lambda schedule: operations_of(program, schedule))
    low = [plain, *_schedules(program, _lowest(program))]
    least = min(low, key=lambda schedule: peak(program, schedule, weighed))
    lowest = peak(program, least, weighed)
    raise BudgetError(
        f"max_bytes = {max_bytes}; the least that a plan takes is {lowest} bytes "
        f"({least.planner}); give that much, or a smaller batch",
        least,
        lowest,
    )


def _schedules(program: Program, planners: Iterable[Planner]) -> Iterator[Schedule]:
    for planner in planners:
        try:
            yield planner(program)
        except PlannerError:
            continue


def _within(program: Program, max_bytes: int) -> Iterator[Planner]:
    yield Optimal(max_bytes=max_bytes)
    yield Selective(max_bytes=max_bytes)
    yield Revolve(max_bytes=max_bytes)
    yield from (Uniform(segments) for segments in range(1, _cells(program) + 1))


def _lowest(program: Program) -> Iterator[Planner]:
    yield Optimal(max_ops_ratio=_ANY)
    yield Selective(max_ops_ratio=_ANY)
    yield RecomputeAll()
    yield from (Uniform(segments) for segments in range(1, _cells(program) + 1))
    yield from (Revolve(snapshots) for snapshots in range(1, _cells(program)))


def _cells(program: Program) -> int:
    """Return the number of cells of a chain; 0 where the program is none."""
    try:
        return len(find_cells(program))
    except PlannerError:
        return 0
