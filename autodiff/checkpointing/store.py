"""A bounded store that turns a plan on cells into a schedule with claims that can be checked.

A plan is a stream of (action, start, stop) over cells, in the words of `binomial`:

- ADVANCE: run the cells start … stop − 1 from the state that cell `start` begins with; only the
state of cell `stop` is left.
- SNAPSHOT: hold the state that cell `start` begins with (= stop), until that cell is reversed.
- REVERSE: run what is missing of the cells start … stop − 1, keep what the backward part will read
  of them, and then run their stages, the last cell's first.

The store holds what the plan says, what the backward part still reads of the cells that are being
reversed, and what must never be computed twice (`runs` says what). All else it drops at once. What
a step needs and the store lacks is computed again from what it holds, and nothing more: of a cell
that is reversed, no value that nobody reads. The order is the only thing that comes out of it;
execution frees by liveness. But the most buffers that it held at once is claimed, so a
recomputation that was forgotten here would show as a buffer that lives longer than the store knew.

It knows no bytes, and checks no plan: `check_schedule` refuses one that reads what was never
computed or leaves a gradient out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from autodiff.checkpointing.binomial import Action
from autodiff.checkpointing.cells import Cells
from autodiff.checkpointing.runs import Run, Runs
from autodiff.errors import PlannerError
from autodiff.instructions import BACKWARD, FORWARD
from autodiff.program import Program
from autodiff.schedule import Claims, Schedule

Plan = Iterable[tuple[Action, int, int]]


def schedule_from_plan(
    cells: Cells, plan: Plan, planner: str, runs: Runs | None = None
) -> Schedule:
    """Return the schedule of a plan on a chain of cells.

    `planner` is the name of the schedule; `runs` saves building the runs of the cells again.

    Raises PlannerError where the plan names cells that are not there, or advances over the last
    one, which is only reversed.
    """
    store = _Store(cells, Runs(cells) if runs is None else runs)
    for action, start, stop in plan:
        if not 0 <= start <= stop <= len(cells) - (action != Action.REVERSE):
            raise PlannerError(
                f"{planner} plans {Action(action).name} {start} … {stop}; expected cells from 0 "
                f"up to {len(cells)}, the last of them only reversed"
            )
        if action == Action.ADVANCE:
            store.advance(start, stop)
        elif action == Action.SNAPSHOT:
            store.snapshot(start)
        else:
            store.reverse(start, stop)
    order = _without_dead_steps(cells.program, store.order)
    return Schedule(
        np.array(order, dtype=np.int64), _claims(cells.program, order, store.most_held), planner
    )


class _Store:
    """The values held while a plan runs; buffers are held or dropped with all their views."""

    def __init__(self, cells: Cells, runs: Runs) -> None:
        self.order: list[int] = []
        self.most_held = 0
        self._cells = cells
        self._runs = runs
        self._buffer = runs.buffer
        self._members = runs.members
        self._available = bytearray(value in runs.given for value in range(len(self._buffer)))
        # How many reasons there are to hold a buffer: it is pinned, a snapshot, or the backward
        # part will read it.
        self._reasons = [int(value in runs.pinned) for value in range(len(self._buffer))]
        self._pending = bytearray(len(self._buffer))
        self._ends = runs.ends
        self._held = 0
        self._snapshots: set[int] = set()
        self._ran = 0  # the cells below it have run

    def advance(self, start: int, stop: int) -> None:
        for k in range(start, stop):
            self._run(self._whole(k) if k >= self._ran else self._runs.once_more(k))
            self._let_go(self._cells.starts[k])

    def snapshot(self, cell: int) -> None:
        state = self._cells.starts[cell]
        if state is not None and cell not in self._snapshots:
            self._snapshots.add(cell)
            self._reasons[self._buffer[state]] += 1

    def reverse(self, start: int, stop: int) -> None:
        starts, needs = self._cells.starts, self._cells.needs
        for k in range(start, stop):
            self._expect(needs[k])
            following = [state for state in starts[k + 1 : stop][:1] if state is not None]
            self._run(
                self._whole(k)
                if k >= self._ran
                else self._runs.missing([*needs[k], *following], self._available.__getitem__)
            )
            self._let_go(starts[k])
        for k in range(stop - 1, start - 1, -1):
            if k in self._snapshots:
                self._snapshots.remove(k)
                self._release(starts[k])
            for i in self._cells.stages[k]:
                self.order.append(i)
                for buffer in self._ends.get(i, ()):
                    if self._pending[buffer]:
                        self._pending[buffer] = 0
                        self._release(buffer)

    def _whole(self, k: int) -> Run:
        self._ran = k + 1
        return self._runs.whole(k)

    def _expect(self, values: Iterable[int]) -> None:
        """Hold what is computed of these from now on, until the backward part has read it."""
        for value in values:
            buffer = self._buffer[value]
            if not self._pending[buffer]:
                self._pending[buffer] = 1
                self._reasons[buffer] += 1

    def _release(self, value: int | None) -> None:
        """Take one reason to hold a buffer away."""
        if value is not None:
            self._reasons[self._buffer[value]] -= 1
            self._let_go(value)

    def _let_go(self, value: int | None) -> None:
        """Drop a buffer unless there is a reason to hold it."""
        if value is None:
            return
        buffer = self._buffer[value]
        if not self._reasons[buffer]:
            self._held -= self._available[buffer]
            for member in self._members.get(buffer, ()):
                self._available[member] = 0

    def _run(self, run: Run) -> None:
        available, buffers, writes = self._available, self._buffer, self._runs.writes
        for i, dying in run:
            self.order.append(i)
            for write in writes[i]:
                if buffers[write] == write and not available[write]:
                    self._held += 1
                available[write] = 1
            if self._held > self.most_held:
                self.most_held = self._held
            for buffer in dying:
                if not self._reasons[buffer]:
                    self._let_go(buffer)


def _without_dead_steps(program: Program, order: Sequence[int]) -> list[int]:
    """Return the order without the steps whose results are not read before they are recomputed."""
    wanted = bytearray(len(program.values))
    for target in program.targets:
        wanted[target] = 1
    living: list[int] = []
    for i in reversed(order):
        _, reads, writes, _ = program.instructions[i]
        if any(wanted[write] for write in writes):
            living.append(i)
            for write in writes:
                wanted[write] = 0
            for read in reads:
                wanted[read] = 1
    living.reverse()
    return living


def _claims(program: Program, order: Sequence[int], most_held: int) -> Claims:
    phases = [step.phase for step in program.instructions]
    backward = sum(phases[i] == BACKWARD for i in order)
    forward = sum(phases[i] == FORWARD for i in set(order))
    return Claims(
        forward=forward,
        recompute=len(order) - forward - backward,
        backward=backward,
        held=most_held,
    )
