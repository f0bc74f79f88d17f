"""A bounded store that turns a plan on cells into a schedule with claims that can be checked.

A plan is a stream of (action, start, stop) over cells, in the words of `binomial`:

- ADVANCE: run the cells start … stop − 1 from the state that cell `start` begins with; only the
state of cell `stop` is left.
- SNAPSHOT: hold the state that cell `start` begins with (= stop), until that cell is run to be
reversed.
- TAPE: run what is missing of the cells start … stop − 1 and keep what the backward part will read
  of them, until they are reversed; the state of cell `stop` is left as well.
- REVERSE: run what is missing of the cells start … stop − 1, keep what the backward part will read
  of them, and then run their stages, the last cell's first.

- STORE: copy the state of cell `start` to the level of storage below, where the program has moves
  (`autodiff.levels`); LOAD: bring it back. A state that is given stays where it is.

TAPE and REVERSE of a single cell may carry a fourth item, a `Tape`: what to keep of it instead.
What the backward part reads and the tape lacks is then computed again when the cell is reversed.

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

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from autodiff.checkpointing.binomial import Action
from autodiff.checkpointing.cells import Cells
from autodiff.checkpointing.living import claims_of, without_dead_steps
from autodiff.checkpointing.runs import Run, Runs
from autodiff.errors import PlannerError
from autodiff.levels import moves_of
from autodiff.schedule import Schedule


@dataclass(frozen=True)
class Tape:
    """What is kept of a cell between its run and its reversal.

    `kept` are values of the cell. The other values that its stage reads are computed again: all of
    them before the stage or, if `late`, each just before its first reader, which takes fewer bytes
    and may take more operations.
    """

    kept: frozenset[int]
    late: bool = False


Plan = Iterable[tuple[Action, int, int] | tuple[Action, int, int, Tape]]


def schedule_from_plan(
    cells: Cells, plan: Plan, planner: str, runs: Runs | None = None
) -> Schedule:
    """Return the schedule of a plan on a chain of cells.

    `planner` is the name of the schedule; `runs` saves building the runs of the cells again.

    Raises PlannerError where the plan names cells that are not there, advances over the last one,
    which is only reversed, or gives one tape to several cells.
    """
    store = Store(cells, Runs(cells) if runs is None else runs)
    for action, start, stop, *tape in plan:
        _check(cells, planner, action, start, stop, tape)
        if action == Action.ADVANCE:
            store.advance(start, stop)
        elif action == Action.SNAPSHOT:
            store.snapshot(start)
        elif action in (Action.STORE, Action.LOAD):
            store.move(start, back=action == Action.LOAD)
        elif action == Action.TAPE:
            for k in range(start, stop):
                store.tape(k, *tape)
        else:
            store.reverse(start, stop, *tape)
    order = without_dead_steps(cells.program, store.order, cells.program.targets)
    return Schedule(
        np.array(order, dtype=np.int64), claims_of(cells.program, order, store.most_held), planner
    )


def _check(
    cells: Cells, planner: str, action: Action, start: int, stop: int, tape: Sequence[Any]
) -> None:
    reverses = action in (Action.REVERSE, Action.TAPE)
    if not 0 <= start <= stop <= len(cells) - (not reverses):
        raise PlannerError(
            f"{planner} plans {Action(action).name} {start} … {stop}; expected cells from 0 "
            f"up to {len(cells)}, the last of them only reversed"
        )
    if tape and not (reverses and stop == start + 1 and isinstance(tape[0], Tape)):
        raise PlannerError(
            f"{planner} plans {Action(action).name} {start} … {stop} with {tape[0]!r}; expected a "
            "Tape, and only with TAPE or REVERSE of a single cell"
        )


class Store:
    """The values held while a plan runs; buffers are held or dropped with all their views.

    `order` are the instructions that ran so far. The methods are the actions of a plan, cell by
    cell.
    """

    def __init__(self, cells: Cells, runs: Runs) -> None:
        """Hold what is given and, once it is computed, what is pinned."""
        self.order: list[int] = []
        self.most_held = 0
        self._cells = cells
        self._runs = runs
        self._buffer = runs.buffer
        self._members = runs.members
        self._available = bytearray(value in runs.given for value in range(len(self._buffer)))
        # How many reasons there are to hold a buffer: it is pinned, a snapshot, on a tape, or the
        # backward part will read it.
        self._reasons = [int(value in runs.pinned) for value in range(len(self._buffer))]
        self._pending = bytearray(len(self._buffer))
        self._ends = runs.ends
        self._held = 0
        self._snapshots: set[int] = set()
        self._tapes: dict[int, tuple[list[int], bool]] = {}  # the buffers on it; whether it is late
        self._ran = 0  # the cells below it have run

    def later(self, k: int, *, has_run: bool) -> Store:
        """Return a store that holds what is pinned and the state of cell k, with an empty order.

        The cells below k have run, and cell k too if `has_run`.
        """
        store = copy(self)
        store.order, store.most_held, store._held = [], 0, 0
        store._available, store._reasons = bytearray(self._available), list(self._reasons)
        store._pending, store._snapshots, store._tapes = bytearray(self._pending), set(), {}
        store._ran = k + has_run
        state = self._cells.starts[k]
        pinned = self._runs.pinned if has_run else ()
        for buffer in (*pinned, *(() if state is None else (self._buffer[state],))):
            for member in self._members.get(buffer, (buffer,)):
                store._available[member] = 1
        return store

    def advance(self, start: int, stop: int) -> None:
        """Run cells, and keep only the state that follows them."""
        for k in range(start, stop):
            self._run(self._whole(k) if k >= self._ran else self._runs.once_more(k))
            self._let_go(self._cells.starts[k])

    def snapshot(self, cell: int) -> None:
        """Hold the state of a cell."""
        state = self._cells.starts[cell]
        if state is not None and cell not in self._snapshots:
            self._snapshots.add(cell)
            self._reasons[self._buffer[state]] += 1

    @cached_property
    def _moves(self) -> Mapping[int, tuple[int, int]]:
        return moves_of(self._cells.program)

    def move(self, cell: int, *, back: bool) -> None:
        """Copy the state of a cell to the level below, or back where it is not there."""
        state = self._cells.starts[cell]
        if state is None or (back and self._available[state]):
            return
        if state not in self._moves:
            raise PlannerError(
                f"{self._cells.program.label(state)} is to be moved; expected a value of a movable "
                "program with memory of its own; plan movable(program), or without levels"
            )
        self.order.append(self._moves[state][back])
        self._held += back
        self._available[state] = 1
        self.most_held = max(self.most_held, self._held)

    def tape(self, k: int, tape: Tape | None = None, *, onward: bool = True) -> None:
        """Run a cell and keep its tape, by default all that its stage reads.

        The state of the next cell is left as well if `onward`.
        """
        starts = self._cells.starts
        kept = self._cells.needs[k] if tape is None else sorted(tape.kept)
        buffers = list(dict.fromkeys(self._buffer[value] for value in kept))
        for buffer in buffers:
            self._reasons[buffer] += 1
        self._tapes[k] = buffers, tape is not None and tape.late
        following = [state for state in starts[k + 1 : k + 2] if onward and state is not None]
        self._run(
            self._whole(k)
            if k >= self._ran
            else self._runs.missing([*kept, *following], self._available.__getitem__)
        )
        if k in self._snapshots:
            self._snapshots.remove(k)
            self._release(starts[k])
        self._let_go(starts[k])

    def reverse(self, start: int, stop: int, tape: Tape | None = None) -> None:
        """Tape the cells that are not taped yet, and run their stages from the last one down."""
        for k in range(start, stop):
            if k not in self._tapes:
                self.tape(k, tape, onward=k + 1 < stop)
        for k in range(stop - 1, start - 1, -1):
            self.stage(k)

    def stage(self, k: int) -> None:
        """Run the stage of a taped cell, and before it, or late, what the tape lacks of it."""
        buffers, late = self._tapes.pop(k)
        needs, is_available = self._cells.needs[k], self._available.__getitem__
        self._expect(needs)
        if not late:
            self._run(self._runs.missing(needs, is_available))
        own = set(needs)
        for i in self._cells.stages[k]:
            if late:
                self._run(self._runs.missing(own.intersection(self._runs.reads[i]), is_available))
            if buffers and not self._lacks(needs):
                self._release_all(buffers)
                buffers = []
            self.order.append(i)
            for buffer in self._ends.get(i, ()):
                if self._pending[buffer]:
                    self._pending[buffer] = 0
                    self._release(buffer)
        later = [value for value in needs if self._pending[self._buffer[value]]]
        self._run(self._runs.missing(later, is_available))  # what only lower stages read
        self._release_all(buffers)

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

    def _lacks(self, values: Iterable[int]) -> bool:
        """Return whether any of these is not there and will be read."""
        return any(
            self._pending[self._buffer[value]] and not self._available[value] for value in values
        )

    def _release(self, value: int | None) -> None:
        """Take one reason to hold a buffer away."""
        if value is not None:
            self._reasons[self._buffer[value]] -= 1
            self._let_go(value)

    def _release_all(self, buffers: Iterable[int]) -> None:
        for buffer in buffers:
            self._release(buffer)

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
