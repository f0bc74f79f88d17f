"""Griewank's binomial checkpointing on a program, for a number of snapshots or a budget.

Source: A. Griewank 1992; A. Griewank and A. Walther 2000 (Algorithm 799); `binomial` has the closed
forms and the convention: s counts the initial state, which is the given input, and t counts
advances only.

There are two forms. With tanh or relu no cell is run again just to be reversed, since the state
that it ends in is still there from the cell above. So

- form 1 reverses n steps, one a cell: t(n, s) + 1 forward layers, at most (s + 2)A besides
gradients;
- form 2 makes one step of the last two cells, which are kept together while there is no upstream
  gradient yet: t(n − 1, s) + 2 forward layers, at most (s + 3)A besides gradients.

`Revolve(snapshots=s)` takes the one with fewer forward steps, then the lower peak; s of n or more
keeps everything. The splits are those of the lowest peak among the equally good ones (`splits`).
`Revolve(max_bytes=…)` takes the fastest plan of either form and any s whose live bytes stay within,
`Revolve(max_ops_ratio=…)` the one of the lowest peak whose operations are at most so many times
those of plain backpropagation. Where gradients of weights weigh little against activations, budgets
end in form 1: with s + 1 snapshots it is never slower than form 2 with s, and takes as much.

Cells below the lowest that is reversed (where not all gradients are asked for) are run once; the
state that follows them is then the initial state of s.

Where the cells differ in size the advances are still the fewest, but no longer sure to be the best
use of the bytes: this planner counts cells, it does not weigh them. For more than
`splits.EXHAUSTIVE` cells a budget is searched by bisection in s, which takes for granted that more
snapshots take more memory and fewer operations.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
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
from autodiff.checkpointing.cells import Cells, find_cells
from autodiff.checkpointing.costs import operations_of
from autodiff.checkpointing.limits import below_the_least, check_ratio
from autodiff.checkpointing.runs import Runs
from autodiff.checkpointing.searching import least_number
from autodiff.checkpointing.sizes import Sizes, amounts, has_sizes, peak, sizes_of
from autodiff.checkpointing.splits import EXHAUSTIVE, RULES, LowestPeak
from autodiff.checkpointing.store import Plan, schedule_from_plan
from autodiff.checkpointing.units import byte_count, bytes_text
from autodiff.errors import PlannerError
from autodiff.program import Program
from autodiff.schedule import Schedule


@dataclass(frozen=True)
class Revolve:
    """Griewank's optimum for one of: snapshots, a budget of live bytes, a budget of operations."""

    snapshots: int | None = None
    max_bytes: int | str | None = None
    max_ops_ratio: float | None = None
    name: ClassVar[str] = "revolve"

    def __post_init__(self) -> None:
        """Raise PlannerError unless exactly one limit is given and it is in its range."""
        if (
            sum(given is not None for given in (self.snapshots, self.max_bytes, self.max_ops_ratio))
            != 1
        ):
            raise PlannerError(
                f"{self!r}; expected exactly one of snapshots, max_bytes and max_ops_ratio; give "
                "one"
            )
        if self.snapshots is not None:
            whole_number("snapshots", self.snapshots, 1)
        if self.max_bytes is not None:
            object.__setattr__(self, "max_bytes", byte_count("max_bytes", self.max_bytes))
        if self.max_ops_ratio is not None:
            check_ratio(self.max_ops_ratio)

    def __str__(self) -> str:
        """Return the canonical string."""
        if self.snapshots is not None:
            return f"revolve(snapshots={self.snapshots})"
        if isinstance(self.max_bytes, int):
            return f"revolve(max_bytes={bytes_text(self.max_bytes)})"
        return f"revolve(max_ops_ratio={self.max_ops_ratio!r})"

    def __call__(self, program: Program) -> Schedule:
        """Return the best plan within the limit; raise PlannerError if there is none."""
        plans = _Plans(find_cells(program), str(self))
        if self.snapshots is not None:
            return plans.with_snapshots(self.snapshots).schedule
        if not has_sizes(program):
            raise PlannerError(
                f"{self} on a program whose shapes are no integers; expected sizes to compare; "
                "give snapshots instead"
            )
        if isinstance(self.max_bytes, int):
            return plans.within_bytes(self.max_bytes).schedule
        assert self.max_ops_ratio is not None
        return plans.within_operations(self.max_ops_ratio).schedule


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A schedule made from a plan, and the snapshots that it was made for."""

    program: Program
    schedule: Schedule
    snapshots: int
    weighed: tuple[np.ndarray, np.ndarray]
    costs: Callable[[], np.ndarray]

    @property
    def forward_steps(self) -> int:
        """Return the forward steps, first runs and recomputation."""
        return self.schedule.claims.forward + self.schedule.claims.recompute

    @cached_property
    def operations(self) -> int:
        """Return the scalar operations of all steps."""
        times = np.bincount(self.schedule.order, minlength=len(self.program.instructions))
        return int(times @ self.costs())

    @cached_property
    def peak(self) -> int:
        """Return the live bytes at the peak; without sizes, the live activations."""
        return peak(self.program, self.schedule, self.weighed)


class _Plans:
    """The plans of both forms for any number of snapshots."""

    def __init__(self, cells: Cells, name: str) -> None:
        self._cells = cells
        self._name = name
        self._runs = Runs(cells)
        self._n = (
            len(cells) - cells.lowest
        )  # the cells that are reversed; those before the lowest are run once
        self._lowest_peaks: dict[bool, LowestPeak] = {}
        self._known: dict[tuple[int, bool, int], _Candidate] = {}

    def with_snapshots(self, s: int) -> _Candidate:
        """Return the plan with the fewest forward steps, then the lowest peak."""
        if s >= self._n:
            return self._plain
        layers = {double: self._layers(s, double) for double in (False, True)}
        candidates = [
            one
            for double in layers
            if layers[double] == min(layers.values())
            for one in self._of_form(s, double)
        ]
        fewest = min(candidate.forward_steps for candidate in candidates)
        candidates = [candidate for candidate in candidates if candidate.forward_steps == fewest]
        return (
            candidates[0]
            if len(candidates) == 1
            else min(candidates, key=lambda candidate: candidate.peak)
        )

    def within_bytes(self, limit: int) -> _Candidate:
        """Return the fastest plan whose peak is within the limit.

        Raises BudgetError with the least peak where there is none.
        """
        if self._n <= EXHAUSTIVE:
            candidates = [candidate for s in range(1, self._n + 1) for candidate in self._all(s)]
        else:
            # The least s that does not fit, less one; s = 0 stands for none.
            s = bisect_left(
                range(1, self._n + 1),
                True,
                key=lambda s: all(one.peak > limit for one in self._all(s)),
            )
            candidates = [
                candidate
                for near in range(max(s - 1, 1), min(s + 1, self._n) + 1)
                for candidate in self._all(near)
            ]
        fitting = [candidate for candidate in candidates if candidate.peak <= limit]
        if fitting:
            return min(fitting, key=lambda candidate: (candidate.operations, candidate.peak))
        least = min(candidates, key=lambda candidate: (candidate.peak, candidate.operations))
        raise below_the_least(
            Revolve.name,
            limit,
            "any plan of this program",
            least.schedule,
            least.peak,
            least.operations / max(self._plain.operations, 1),
            by=f"a plan with snapshots = {least.snapshots}",
        )

    def within_operations(self, ratio: float) -> _Candidate:
        """Return the plan with the lowest peak within `ratio` times the plain operations."""
        limit = ratio * self._plain.operations
        if self._n <= EXHAUSTIVE:
            candidates = [candidate for s in range(1, self._n + 1) for candidate in self._all(s)]
        else:
            least = self._first_within(limit)
            candidates = [
                candidate
                for near in range(least, min(least + 1, self._n) + 1)
                for candidate in self._all(near)
            ]
        fitting = [candidate for candidate in candidates if candidate.operations <= limit]
        return min(fitting, key=lambda candidate: (candidate.peak, candidate.operations))

    def _first_within(self, limit: float) -> int:
        """Return the least s with a plan within a limit of operations.

        Plans are carried out only near the s that their numbers of advances point to.
        """
        run = self._runs.whole
        forward = sum(int(self._costs[i]) for k in range(len(self._cells)) for i, _ in run(k))
        extra = (limit - self._plain.operations) * len(self._cells) / max(forward, 1)

        guess = bisect_left(
            range(1, self._n), True, key=lambda s: advances(self._n, s) - self._n < extra
        )
        return least_number(
            lambda s: any(one.operations <= limit for one in self._all(s)), guess + 1, self._n
        )

    @cached_property
    def _plain(self) -> _Candidate:
        """Return the plan that runs every cell once and keeps all that the backward part reads."""
        n = len(self._cells)
        return self._carried_out([(Action.REVERSE, 0, n)], self._n)

    def _all(self, s: int) -> Iterator[_Candidate]:
        """Return the plans of both forms with s snapshots."""
        if s >= self._n:
            yield self._plain
        else:
            for double in (False, True):
                yield from self._of_form(s, double)

    def _layers(self, s: int, double: bool) -> int:
        """Return how many cells a form runs forward, without partial runs for a reversal."""
        return advances(self._n - 1, s) + 2 if double else advances(self._n, s) + 1

    def _of_form(self, s: int, double: bool) -> Iterator[_Candidate]:
        """Return the plans of one form that are to be compared; `double` is form 2."""
        steps = self._n - double
        if self._n <= EXHAUSTIVE:
            if double not in self._lowest_peaks:
                self._lowest_peaks[double] = LowestPeak(
                    self._sizes, self._cells.lowest, double=double
                )
            orders = [self._lowest_peaks[double].order(s)]
        else:
            orders = [binomial_actions(steps, s, rule) for rule in RULES]
        for place, order in enumerate(orders):
            key = s, double, place
            if key not in self._known:
                self._known[key] = self._carried_out(
                    on_cells(order, steps, self._cells.lowest, self._n + self._cells.lowest), s
                )
            yield self._known[key]

    def _carried_out(self, plan: Plan, s: int) -> _Candidate:
        return _Candidate(
            self._cells.program,
            schedule_from_plan(self._cells, plan, self._name, self._runs),
            s,
            self._weighed,
            lambda: self._costs,
        )

    @cached_property
    def _costs(self) -> np.ndarray:
        return operations_of(self._cells.program)

    @cached_property
    def _weighed(self) -> tuple[np.ndarray, np.ndarray]:
        return amounts(self._cells.program)

    @cached_property
    def _sizes(self) -> Sizes:
        return sizes_of(self._cells)
