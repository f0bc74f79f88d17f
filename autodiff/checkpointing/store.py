"""A bounded store: carries out a plan on cells, step by step, and so makes a schedule with claims that can be broken.

A plan is a stream of (action, start, stop) over cells, in the words of `binomial`:

- ADVANCE: run the cells start … stop − 1 from the state that cell `start` begins with; only the state of cell `stop` is left.
- SNAPSHOT: hold the state that cell `start` begins with (= stop), until that cell is reversed.
- REVERSE: run what is missing of the cells start … stop − 1, keep what the backward part will read of them, and then run their stages, the
  last cell's first.

The store holds what the plan says, what the backward part still reads of the cells that are being reversed, and what must never be
computed twice (targets, random ops). All else it drops at once. What a step needs and the store lacks is computed again from what it
holds, and nothing more: of a cell that is reversed, no value that nobody reads. The order is the only thing that comes out of it;
execution frees by liveness. But the most buffers that it held at once is claimed, so a recomputation that was forgotten here would
show as a buffer that lives longer than the store knew.

It knows no bytes, and checks no plan: `check_schedule` refuses one that reads what was dropped or never computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from autodiff.checkpointing.binomial import Action
from autodiff.checkpointing.cells import Cells
from autodiff.errors import PlannerError
from autodiff.program import BACKWARD, FORWARD, Program
from autodiff.schedule import Claims, Lifetimes, Schedule

Plan = Iterable[tuple[Action, int, int]]
Run = Sequence[tuple[int, tuple[int, ...]]]
"""Instructions, each with the buffers that are let go after it unless something else holds them."""


def carry_out(cells: Cells, plan: Plan, planner: str) -> Schedule:
    """The schedule of a plan on a chain of cells; `planner` is the name that it goes by."""
    store = _Store(cells)
    for action, start, stop in plan:
        if not 0 <= start <= stop <= len(cells) - (action != Action.REVERSE):
            raise PlannerError(f"{planner} plans {Action(action).name} {start} … {stop} of {len(cells)} cells; the last one is only reversed")
        if action == Action.ADVANCE:
            store.advance(start, stop)
        elif action == Action.SNAPSHOT:
            store.snapshot(start)
        else:
            store.reverse(start, stop)
    order = _without_dead_steps(cells.program, store.order)
    return Schedule(np.array(order, dtype=np.int64), _claims(cells.program, order, store.most_held), planner)


def live_bytes(program: Program, schedule: Schedule, lives: Lifetimes) -> np.ndarray:
    """The bytes alive at each step, as the ledger counts them: without parameters and inputs, with what an op holds beside its results."""
    nbytes = np.array([value.spec.nbytes for value in program.values])
    beside = np.array([step.op.workspace(*(program.values[read].spec for read in step.reads)) for step in program.instructions])
    live: np.ndarray = lives.live(nbytes[lives.owner]) + beside[schedule.order]
    return live


class _Store:
    """What is held while a plan is carried out. Buffers are named by the value that owns them, and held or dropped with all their views."""

    def __init__(self, cells: Cells) -> None:
        self.order: list[int] = []
        self.most_held = 0
        self._cells = cells
        self._program = cells.program
        values, instructions = self._program.values, self._program.instructions
        self._buffer = [value.buffer for value in values]
        self._writes = [step.writes for step in instructions]
        self._reads = [step.reads for step in instructions]
        self._writer = {write: i for i, step in enumerate(instructions) if step.phase == FORWARD for write in step.writes}
        self._members: dict[int, list[int]] = {}
        for value in self._writer:
            self._members.setdefault(self._buffer[value], []).append(value)
        self._available = bytearray(len(values))
        for value in self._program.given:
            self._available[value] = 1
        # Why a buffer is not let go, as a count of reasons: it is pinned, a snapshot, or the backward part will read it.
        self._reasons = [0] * len(values)
        self._pin()
        self._pending = bytearray(len(values))
        self._ends = self._last_reads()
        self._held = 0
        self._snapshots: set[int] = set()
        self._ran = 0  # the cells below it have run
        self._again: dict[int, Run] = {}

    def _pin(self) -> None:
        """What is never dropped: targets of the forward part, results that would be others the next time, views of what the caller holds."""
        given = set(self._program.given)
        pinned = {self._buffer[target] for target in self._program.targets if target in self._writer}
        pinned |= {self._buffer[value] for value in self._writer if self._buffer[value] in given}
        for value, i in self._writer.items():
            if not self._program.instructions[i].op.repeatable:
                pinned.add(self._buffer[value])
        self._pinned = pinned
        for buffer in pinned:
            self._reasons[buffer] += 1

    def _last_reads(self) -> dict[int, list[int]]:
        """The buffers that the backward part reads for the last time at an instruction."""
        last: dict[int, int] = {}
        for stage in reversed(self._cells.stages):
            for i in stage:
                for read in self._reads[i]:
                    last[self._buffer[read]] = i
        ends: dict[int, list[int]] = {}
        for buffer, i in last.items():
            ends.setdefault(i, []).append(buffer)
        return ends

    def advance(self, start: int, stop: int) -> None:
        for k in range(start, stop):
            self._run(self._whole(k) if k >= self._ran else self._once_more(k))
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
            following = [start for start in starts[k + 1 : stop][:1] if start is not None]
            self._run(self._whole(k) if k >= self._ran else self._missing([*needs[k], *following]))
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

    def _expect(self, values: Iterable[int]) -> None:
        for value in values:
            buffer = self._buffer[value]
            if not self._pending[buffer]:
                self._pending[buffer] = 1
                self._reasons[buffer] += 1

    def _release(self, value: int | None) -> None:
        """Take one reason away, and let go."""
        if value is not None:
            self._reasons[self._buffer[value]] -= 1
            self._let_go(value)

    def _let_go(self, value: int | None) -> None:
        """Drop a buffer unless there is a reason to hold it."""
        if value is None:
            return
        buffer = self._buffer[value]
        if not self._reasons[buffer] and buffer in self._members:
            self._held -= self._available[buffer]
            for member in self._members[buffer]:
                self._available[member] = 0

    def _run(self, run: Run) -> None:
        available, buffers = self._available, self._buffer
        for i, dying in run:
            self.order.append(i)
            for write in self._writes[i]:
                if buffers[write] == write and not available[write]:
                    self._held += 1
                available[write] = 1
            if self._held > self.most_held:
                self.most_held = self._held
            for buffer in dying:
                if not self._reasons[buffer]:
                    self._let_go(buffer)

    def _whole(self, k: int) -> Run:
        """All of a cell, the first time."""
        self._ran = k + 1
        following = self._cells.starts[k + 1 : k + 2]
        return self._with_deaths(self._cells.forward[k], [start for start in following if start is not None])

    def _once_more(self, k: int) -> Run:
        """What leads from a cell's state to the next one's, with nothing else at hand but what is pinned."""
        if k not in self._again:
            goal = self._cells.starts[k + 1]
            assert goal is not None
            at_hand = {*self._program.given, *(value for value in self._writer if self._buffer[value] in self._pinned), self._cells.starts[k]}
            self._again[k] = self._with_deaths(self._closure([goal], at_hand.__contains__), [goal])
        return self._again[k]

    def _missing(self, goals: Iterable[int]) -> Run:
        """What computes those goals that the store lacks, from what it holds."""
        missing = [goal for goal in goals if not self._available[goal]]
        return self._with_deaths(self._closure(missing, self._available.__getitem__), missing) if missing else ()

    def _closure(self, goals: Iterable[int], at_hand: Callable[[int], object]) -> list[int]:
        """The instructions that compute the goals from what is at hand, in order of creation."""
        needed: set[int] = set()
        wanted = [goal for goal in goals if not at_hand(goal)]
        while wanted:
            i = self._writer[wanted.pop()]
            if i not in needed:
                needed.add(i)
                wanted.extend(read for read in self._reads[i] if not at_hand(read))
        return sorted(needed)

    def _with_deaths(self, instructions: Sequence[int], kept: Iterable[int]) -> Run:
        """Each instruction with the buffers that nothing in the run reads after it, without those of `kept`."""
        last: dict[int, int] = {}
        for at, i in enumerate(instructions):
            for value in (*self._reads[i], *self._writes[i]):
                last[self._buffer[value]] = at
        for value in kept:
            last.pop(self._buffer[value], None)
        dying: list[list[int]] = [[] for _ in instructions]
        for buffer, at in last.items():
            if buffer in self._members:
                dying[at].append(buffer)
        return [(i, tuple(buffers)) for i, buffers in zip(instructions, dying, strict=True)]


def _without_dead_steps(program: Program, order: Sequence[int]) -> list[int]:
    """The order without the steps whose results nobody reads before they are computed again or the end comes."""
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
    return Claims(forward=forward, recompute=len(order) - forward - backward, backward=backward, held=most_held)
