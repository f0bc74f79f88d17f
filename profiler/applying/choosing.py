"""The fastest plan within a budget of live bytes, among the planners that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from autodiff.checkpointing.cells import find_cells
from autodiff.checkpointing.recompute_all import RecomputeAll
from autodiff.checkpointing.revolve import Revolve
from autodiff.checkpointing.sizes import amounts, peak
from autodiff.checkpointing.store_all import StoreAll
from autodiff.checkpointing.uniform import Uniform
from autodiff.errors import PlannerError
from autodiff.program import Program
from autodiff.schedule import Schedule

Planner = Callable[[Program], Schedule]


def operations_of(program: Program, schedule: Schedule) -> int:
    """Return the scalar operations of all steps of a schedule."""
    flat = program.flat
    costs = np.array([int(op.cost(*specs).total) for op, specs in flat.works], dtype=np.int64)
    return int(costs[flat.work_of[schedule.order]].sum())


def fastest(program: Program, max_bytes: int) -> Schedule:
    """Return the plan of the fewest operations whose live bytes stay within `max_bytes`.

    Raises PlannerError with the least peak where no plan does.
    """
    weighed = amounts(program)
    best: tuple[int, Schedule] | None = None
    least: tuple[int, Schedule] | None = None
    for planner in _planners(program):
        try:
            schedule = planner(program)
        except PlannerError:
            continue
        size = peak(program, schedule, weighed)
        if least is None or size < least[0]:
            least = size, schedule
        if size <= max_bytes:
            operations = operations_of(program, schedule)
            if best is None or operations < best[0]:
                best = operations, schedule
    assert least is not None
    if best is None:
        raise NothingFits(max_bytes, *least)
    return best[1]


class NothingFits(PlannerError):
    """No plan stays within a budget; has the plan of the least peak."""

    def __init__(self, max_bytes: int, least_bytes: int, least: Schedule) -> None:
        super().__init__(
            f"max_bytes = {max_bytes}; the least that a plan takes is {least_bytes} bytes "
            f"({least.planner}); give that much, or a smaller batch"
        )
        self.least_bytes, self.least = least_bytes, least


def _planners(program: Program) -> Iterator[Planner]:
    yield StoreAll()
    try:
        n = len(find_cells(program))
    except PlannerError:
        return
    yield RecomputeAll()
    yield from (Uniform(k) for k in range(1, n + 1))
    yield from (Revolve(snapshots=s) for s in range(1, n))
