"""The search for the least cost of a model of `retention`, and then for the lowest peak at it.

One thread and a fixed seed: a search that comes to its end gives the same order each time. CP-SAT
with several threads gives any of the orders that cost the same.

Bound: the second search is given up after a fixed amount of work; a time would not be the same
amount each time. Then the order is the one of the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Any

import numpy as np

from autodiff.checkpointing.retention import Retention
from autodiff.instructions import FORWARD

WORK = 1.0
"""The most work of the search for the lowest peak, in the solver's own unit: some seconds."""


@dataclass(frozen=True)
class Solution:
    """An order of instructions (None: none was found), and what is known of the least cost.

    `cost` and `bound` are what is run again; `exhausted` says that the search is at its end: the
    order costs the least, or there is none. `held` is how many activations it holds at most.
    """

    order: list[int] | None
    exhausted: bool
    cost: int = 0
    bound: int = 0
    held: int = 0


def solve(retention: Retention, seconds: float) -> Solution:
    """Search for so many seconds."""
    end = monotonic() + seconds
    solver = _solver(retention, seconds)
    status = solver.solve(retention.model)
    library = retention.solver
    exhausted = status in (library.OPTIMAL, library.INFEASIBLE)
    if status not in (library.OPTIMAL, library.FEASIBLE):
        return Solution(None, exhausted)
    again = round(solver.objective_value)
    bound = max(0, ceil(solver.best_objective_bound - 1e-6))
    taken = _taken(retention, solver)
    if exhausted and (left := end - monotonic()) > 0:
        taken = _of_the_lowest_peak(retention, solver, again, left) or taken
    return Solution(
        retention.graph.expanded(at for at, *_ in taken),
        exhausted,
        again * retention.unit,
        bound * retention.unit,
        _most_held(retention, taken),
    )


def _solver(retention: Retention, seconds: float) -> Any:
    solver = retention.solver.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 1
    return solver


_Taken = list[tuple[int, int, list[int]]]
"""The tasks that run, in order, each with its slot and the ends of its buffers."""


def _taken(retention: Retention, solver: Any) -> _Taken:
    found = [
        (at, solver.value(run.slot), [solver.value(end) for end in run.ends.values()])
        for at, runs in enumerate(retention.runs)
        for run in runs
        if solver.value(run.active)
    ]
    return sorted(found, key=lambda run: run[1])


def _of_the_lowest_peak(
    retention: Retention, solver: Any, again: int, seconds: float
) -> _Taken | None:
    """Return the order of the lowest peak that runs so much again; None if none was found."""
    model, library = retention.model, retention.solver
    known = list(solver.response_proto.solution)
    retention.lower_the_peak(again)
    model.clear_hints()
    for at, value in enumerate(known):
        model.add_hint(model.get_int_var_from_proto_index(at), value)
    second = _solver(retention, seconds)
    second.parameters.max_deterministic_time = WORK
    found = second.solve(model) in (library.OPTIMAL, library.FEASIBLE)
    return _taken(retention, second) if found else None


def _most_held(retention: Retention, taken: _Taken) -> int:
    """Return the most buffers of the forward part that are held in a slot."""
    instructions = retention.graph.program.instructions
    change = np.zeros(retention.slots + 2, dtype=np.int64)
    for at, slot, ends in taken:
        if instructions[retention.tasks[at].instruction].phase == FORWARD:
            for end in ends:
                change[slot] += 1
                change[end + 1] -= 1
    return int(np.cumsum(change).max())
