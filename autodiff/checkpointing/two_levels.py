"""Checkpointing with two levels of storage: few states in memory, more of them below it.

Source: G. Aupy, J. Herrmann, P. Hovland and Y. Robert, "Optimal multistage algorithm for adjoint
computation", SIAM J. Sci. Comput. 38(3), 2016 (Disk-Revolve: any number of states below); J.
Herrmann and G. Pallez, "H-Revolve", ACM TOMS 46(2), 2020 (a limited number). Their c₀ is
`snapshots`, c₁ `stored`, w₁ `write`, r₁ `read`; costs are in units of one step forward.

n steps from a state that is at hand cost H(n, m), with m states that may still be written below,
and G(n, m) where their first state lies below already; t(n, s) are the advances in memory:

    H(n, m) = min{ t(n, s), write + G(n, m) }
    G(n, m) = min{ t(n, s), min over j of j + H(n − j, m − 1) + read + G(j, m) }

Bound: optimal for equal steps, O(n²) sums for each m. It weighs no bytes, and the first state
counts as written, although a program's input need not be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from autodiff.checkpointing.binomial import (
    Action,
    advances,
    binomial_actions,
    on_cells,
    whole_number,
)
from autodiff.checkpointing.cells import find_cells
from autodiff.checkpointing.store import schedule_from_plan
from autodiff.checkpointing.units import check_number
from autodiff.errors import PlannerError
from autodiff.levels import moves_of
from autodiff.program import Program
from autodiff.schedule import Schedule

Order = Iterator[tuple[Action, int, int]]


@dataclass(frozen=True)
class HRevolve:
    """The best plan with `snapshots` states in memory and `stored` states on the level below.

    `stored` None: any number (Disk-Revolve). `write` and `read` are what a state's way down and
    back cost, in units of one cell forward. The program is `movable`.
    """

    snapshots: int
    stored: int | None = None
    write: float = 2.0
    read: float = 2.0
    name: ClassVar[str] = "hrevolve"

    def __post_init__(self) -> None:
        """Raise PlannerError where a number is not in its range."""
        whole_number("snapshots", self.snapshots, 1)
        if self.stored is not None:
            whole_number("stored", self.stored, 0)
        for name, value in (("write", self.write), ("read", self.read)):
            expected = "a number of at least 0, in units of one cell forward"
            check_number(name, value, 0, expected, "2.0")

    def __str__(self) -> str:
        """Return the canonical string."""
        stored = "" if self.stored is None else f", stored={self.stored}"
        return (
            f"{self.name}(snapshots={self.snapshots}{stored}, write={self.write!r}, "
            f"read={self.read!r})"
        )

    def __call__(self, program: Program) -> Schedule:
        """Return the schedule; raise PlannerError for no chain, or a program without moves."""
        if not moves_of(program):
            raise PlannerError(
                f"{self} on a program without moves; expected one with STORE and LOAD; plan "
                "movable(program)"
            )
        cells = find_cells(program)
        steps = len(cells) - cells.lowest
        levels = TwoLevels(steps, self.snapshots, self.stored, self.write, self.read)
        plan = on_cells(levels.order(), steps, cells.lowest, len(cells))
        return schedule_from_plan(cells, plan, str(self))


class TwoLevels:
    """The optimal orders of up to n steps; `stored` None: any number of states below."""

    def __init__(
        self, n: int, snapshots: int, stored: int | None, write: float, read: float
    ) -> None:
        self._n, self._snapshots = n, snapshots
        self._stored, self._write, self._read = stored, write, read
        self._memory = np.array([0.0, *(advances(k, snapshots) for k in range(1, n + 1))])

    @property
    def cost(self) -> float:
        """Return the advances, writes and reads of the best order, in steps forward."""
        return float(self._tables[-1][0][self._n])

    @cached_property
    def _tables(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return H, G and the first advance of G (0: in memory), for each m."""
        nothing = np.full(self._n + 1, np.inf)
        tables = [(self._memory, nothing, np.zeros(self._n + 1, dtype=np.int64))]
        for _ in range(1 if self._stored is None else self._stored):
            above = None if self._stored is None else tables[-1][0]
            tables.append(self._table(above))
        return tables

    def _table(self, above: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the table of m from H of m − 1; None: m − 1 is as good as m."""
        fresh, below = self._memory.copy(), self._memory.copy()
        first = np.zeros(self._n + 1, dtype=np.int64)
        for n in range(1, self._n + 1):
            if n > 1:
                rest = (fresh if above is None else above)[n - 1 : 0 : -1]
                costs = np.arange(1, n) + rest + self._read + below[1:n]
                j = int(costs.argmin())
                if costs[j] < below[n]:
                    below[n], first[n] = costs[j], j + 1
            fresh[n] = min(fresh[n], self._write + below[n])
        return fresh, below, first

    def order(self) -> Order:
        """Return an optimal order, as (action, start, stop)."""
        ahead = [(0, self._n, len(self._tables) - 1, False)]
        while ahead:
            start, n, m, is_below = ahead.pop()
            fresh, _, first = self._tables[m]
            if is_below:
                yield Action.LOAD, start, start
            elif fresh[n] < self._memory[n]:
                yield Action.STORE, start, start
                is_below = True
            j = int(first[n]) if is_below else 0
            if j == 0:
                for action, one, other in binomial_actions(n, self._snapshots):
                    yield action, one + start, other + start
                continue
            yield Action.ADVANCE, start, start + j
            ahead.append((start, j, m, True))
            ahead.append((start + j, n - j, m if self._stored is None else m - 1, False))
