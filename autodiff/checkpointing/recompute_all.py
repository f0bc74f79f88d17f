"""Keep only the input: every state is computed from it when the backward part comes to it.

Source: the one extreme of Griewank and Walther's schedules, s = 1 (the given input); the other
one is `StoreAll`.
Bound: n(n − 1)/2 + 1 cells are run forward for n cells, where the plain pass runs n; with tanh at
most three activations are alive, which is the least that any order can do with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autodiff.checkpointing.binomial import binomial_actions
from autodiff.checkpointing.cells import find_cells
from autodiff.checkpointing.store import schedule_from_plan
from autodiff.program import Program
from autodiff.schedule import Schedule


@dataclass(frozen=True)
class RecomputeAll:
    """Hold no activation but those that the cell that is being reversed needs."""

    name: ClassVar[str] = "recompute_all"

    def __str__(self) -> str:
        """Return the canonical string."""
        return self.name

    def __call__(self, program: Program) -> Schedule:
        """Return the schedule with the lowest peak; raise PlannerError if there is no chain."""
        cells = find_cells(program)
        return schedule_from_plan(cells, binomial_actions(len(cells), 1), str(self))
