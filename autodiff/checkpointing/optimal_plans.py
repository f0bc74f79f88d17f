"""From the table of least costs to plans, weighed in bytes, and to the one that fits a limit.

The table is made for slots of memory (`optimal_slots`). Each number of slots for the whole chain
gives a plan; its true peak follows from the moves in bytes. So a plan is found by its cost in the
table and chosen by its true peak: `within_bytes` takes the fastest that truly fits. The slots do
not depend on the limit, so neither do the plans: a larger limit never gives a slower one.

Sources: see `optimal_table`. Rounding up, as Rotor does, is safe but loses more than its optimum
gains; rounded to the nearest and weighed, 500 slots do what thousands of them do rounded up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd

import numpy as np

from autodiff.checkpointing.binomial import Action
from autodiff.checkpointing.moves import NEVER, Moves
from autodiff.checkpointing.optimal_slots import Slots, in_slots, sub_chains
from autodiff.checkpointing.optimal_table import (
    INFEASIBLE,
    holds_at,
    least_costs,
    tapes_at,
    work_of,
)
from autodiff.checkpointing.store import Tape

Row = tuple[Action, int, int] | tuple[Action, int, int, Tape]

FEWEST_SLOTS, MOST_SLOTS = 500, 16_384
WORK = 2 * 10**9
"""The most slots that are compared, unless the fewest slots take more."""

LARGE_SHARE = 1 / 1000
"""Sizes above this share of the plain peak are large; a divisor that they share makes the slots."""

WINDOW = 12
"""How many plans beyond the last one found to fit are weighed: rounding makes peaks uneven."""


@dataclass(frozen=True, eq=False)
class Weighed:
    """A plan with its peak in bytes and its cost, all runs and stages."""

    plan: tuple[Row, ...]
    peak: int
    cost: float


class OptimalPlans:
    """The persistent plans of a chain of cells, by their peak and cost."""

    def __init__(self, moves: Moves, unit: int | None = None) -> None:
        """Choose the bytes of a slot, unless `unit` gives them."""
        self._moves = moves
        self._subs = sub_chains(moves)
        self._exact = in_slots(moves, self._subs, 1)
        self.over_counted = moves.over_counted
        self.plain_peak = _plain_peak(moves)
        slots = min(max(WORK // max(work_of(self._exact), 1), FEWEST_SLOTS), MOST_SLOTS)
        self._is_fixed = unit is not None
        if unit is None:
            unit = _common_divisor(moves, self.plain_peak)
            self._is_fixed = unit * slots >= self.plain_peak
        self._unit = unit if self._is_fixed else max(1, -(-self.plain_peak // slots))
        self._grids: dict[int, _Grid] = {}

    def within_bytes(self, limit: int) -> Weighed | None:
        """Return the fastest plan with a peak of at most `limit`; None if there is none."""
        grid = self._grid(limit)
        steps = grid.steps(_slots_for(limit, grid.unit))
        fitting = bisect_left(steps, True, key=lambda q: grid.at(q).peak > limit)
        for at in reversed(range(fitting, min(fitting + WINDOW, len(steps)))):
            if grid.at(steps[at]).peak <= limit:
                return grid.at(steps[at])
        return grid.at(steps[fitting - 1]) if fitting else None

    def within_cost(self, limit: float) -> Weighed | None:
        """Return the plan of the lowest peak that costs at most `limit`; None if there is none."""
        grid = self._grid(self.plain_peak)
        steps = grid.steps(_slots_for(self.plain_peak, grid.unit))
        cheap = bisect_left(steps, True, key=lambda q: grid.at(q).cost <= limit)
        near = [grid.at(q) for q in steps[cheap : cheap + WINDOW]]
        return min(near, key=lambda one: (one.peak, one.cost), default=None)

    @cached_property
    def least(self) -> Weighed:
        """The plan of the lowest peak."""
        limit, found = self.plain_peak, list[Weighed]()
        while True:
            grid = self._grid(limit)
            found += map(grid.at, grid.steps(_slots_for(limit, grid.unit))[:WINDOW])
            least = min(found, key=lambda one: (one.peak, one.cost))
            if self._grid(least.peak) is grid:
                return least
            limit = least.peak

    def bound(self, limit: int) -> float:
        """Return a cost that no persistent plan with a true peak of at most `limit` goes below."""
        limit += self.over_counted
        unit = self._grid(limit).unit
        work = work_of(self._exact) * max(limit // unit, 1)
        unit *= max(1, work // WORK)
        slots = in_slots(self._moves, self._subs, unit, down=True)
        table = least_costs(slots, limit // unit)
        least = float(table[slots.ident[self._moves.lowest, -1], -1])
        # Sums of many single-precision costs are off by some of their last digits.
        slack = 1e-5 if table.dtype == np.float32 else 0.0
        return (least + self._moves.constant) * (1 - slack)

    def _grid(self, limit: int) -> _Grid:
        """Return the plans in slots that are fine enough for a limit: halved until they are."""
        unit = self._unit
        while not self._is_fixed and unit > 1 and 2 * limit < unit * FEWEST_SLOTS:
            unit = max(unit // 2, 1)
        if unit not in self._grids:
            self._grids[unit] = _Grid(
                self._moves, self._exact, in_slots(self._moves, self._subs, unit)
            )
        return self._grids[unit]


class _Grid:
    """The plans for one size of slots."""

    def __init__(self, moves: Moves, exact: Slots, slots: Slots) -> None:
        self._moves, self._exact, self._slots = moves, exact, slots
        self.unit = slots.unit
        self._weighed: dict[int, Weighed] = {}
        self._table: np.ndarray | None = None

    def steps(self, most: int) -> Sequence[int]:
        """Return the slots, up to `most`, with which the chain gets cheaper than with fewer."""
        if self._table is None or self._table.shape[1] <= most:
            self._table = least_costs(self._slots, most)
        row = self._table[self._slots.ident[self._moves.lowest, -1], : most + 1]
        cheaper = row < np.concatenate([[INFEASIBLE], row[:-1]]).astype(row.dtype)
        steps: list[int] = np.flatnonzero(cheaper).tolist()
        return steps

    def at(self, q: int) -> Weighed:
        """Return the plan for so many slots, weighed in bytes."""
        if q not in self._weighed:
            self._weighed[q] = self._walk(q)
        return self._weighed[q]

    def _walk(self, q: int) -> Weighed:
        """Return the plan of the table for q slots."""
        moves, exact, lowest = self._moves, self._exact, self._moves.lowest
        plan: list[Row] = [(Action.ADVANCE, 0, lowest)] if lowest else []
        peak, cost = 0, moves.constant
        # Sub-chains, with their slots and the bytes held for others; slots of −1: only REVERSE.
        stack = [(lowest, len(moves) - 1, q, 0)]
        while stack:
            a, b, q, held = stack.pop()
            if q < 0:
                plan.append((Action.REVERSE, a, a + 1))
                continue
            below = held + int(exact.left[b + 1])
            at, is_tape = self._choice(a, b, q)
            if is_tape:
                tape = moves.tapes[a][at]
                needed, kept, added = tapes_at(exact, a, b)[at]
                if a == b:
                    plan.append((Action.REVERSE, a, a + 1, tape))
                else:
                    plan.append((Action.TAPE, a, a + 1, tape))
                    stack.append((a, a, -1, 0))
                    q -= int(self._slots.kept[a, at])
                    stack.append((a + 1, b, q, held + kept))
            else:
                j = a + 1 + at
                holds, bytes_ = holds_at(self._slots, a, b), holds_at(exact, a, b)
                needed, added = int(bytes_.needed[at]), float(bytes_.cost[at])
                plan += [(Action.SNAPSHOT, a, a), (Action.ADVANCE, a, j)]
                stack.append((a, j - 1, q - int(holds.shift[at]), held))
                stack.append((j, b, q - int(holds.held[at]), held + int(bytes_.held[at])))
            peak, cost = max(peak, below + needed), cost + added
        return Weighed(tuple(plan), peak, cost)

    def _choice(self, a: int, b: int, q: int) -> tuple[int, bool]:
        """Return the best tape of cell a, or way to hold its state, and whether it is a tape."""
        slots, table = self._slots, self._table
        assert table is not None
        most = table.shape[1] - 1
        best, found = np.inf, (-1, True)
        for at, (needed, kept, cost) in enumerate(tapes_at(slots, a, b)):
            if q >= max(needed, 0 if a == b else kept):
                value = cost + (
                    0.0 if a == b else float(table[slots.ident[a + 1, b], min(q - kept, most)])
                )
                if value < best:
                    best, found = value, (at, True)
        if a < b:
            holds = holds_at(slots, a, b)
            fits = np.flatnonzero(np.maximum.reduce([holds.needed, holds.held, holds.shift]) <= q)
            if len(fits):
                upper, lower = slots.ident[a + 1 : b + 1, b][fits], slots.ident[a, a:b][fits]
                values = (
                    table[upper, np.minimum(q - holds.held[fits], most)].astype(float)
                    + table[lower, np.minimum(q - holds.shift[fits], most)]
                    + holds.cost[fits]
                )
                at = int(values.argmin())
                if values[at] < best:
                    best, found = float(values[at]), (int(fits[at]), False)
        assert best < INFEASIBLE
        return found


def _slots_for(limit: int, unit: int) -> int:
    """Return slots enough for all plans that may truly fit: rounding may make them look larger."""
    return limit // unit + limit // (unit * 32) + 16


def _plain_peak(moves: Moves) -> int:
    """Return the peak of the plan that keeps everything."""
    kept = np.concatenate([[0], np.cumsum(moves.kept[:, 0])])[:-1]
    return int((kept + np.maximum(moves.first_tape[:, 0], moves.stage[:, 0])).max())


def _common_divisor(moves: Moves, top: int) -> int:
    """Return the bytes that divide all large sizes."""
    sizes = np.concatenate(
        [moves.state, moves.kept[moves.kept < NEVER], abs(np.diff(moves.left)), moves.again]
    )
    return gcd(*sizes[sizes > LARGE_SHARE * top].tolist())
