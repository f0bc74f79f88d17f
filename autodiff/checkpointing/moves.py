"""What every move on a chain of cells takes and costs, exactly: the numbers that `optimal` weighs.

A **move** runs one cell: past its state only, with a tape, or to its reversal. Each is carried out
by the store, without the rest of the plan, and weighed by liveness; so the numbers of a plan are
sums and maxima of these. Bytes are total where they say so, and otherwise include only what the
move itself holds, the state that it starts from among it.

- The first run of a cell also makes what is pinned (results of random ops, masks that cells share);
  a further run finds it. So there are two tables, `first` and `further`.
- `again[k]` are pinned bytes of cell k that only further runs of its forward part read: they stay
  from its first run to its last.
- `left[k]` are the bytes that stay when the stages from k on are done and serve lower cells.

Bound: exact where every snapshot is read again. A pinned buffer that forward runs of several cells
read counts as held until the lowest of these cells is reversed, even if a plan runs none of them
again. A plan's peak is therefore at most `over_counted` bytes below the one that follows from its
moves, and the schedule of a plan is weighed in any case (`optimal`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from autodiff.checkpointing.cells import Cells
from autodiff.checkpointing.living import without_dead_steps
from autodiff.checkpointing.runs import Runs
from autodiff.checkpointing.store import Store, Tape
from autodiff.checkpointing.windows import Stays, Windows
from autodiff.instructions import FORWARD

NEVER = 2**60
"""Bytes that no budget has: the place of a tape that a cell does not offer."""


@dataclass(frozen=True, eq=False)
class Passes:
    """Running each cell only to get further: `held` and `passing` bytes, and `cost`.

    `held` is the peak where the state that it starts from is kept, `passing` where it is let go.
    """

    held: np.ndarray
    passing: np.ndarray
    cost: np.ndarray


@dataclass(frozen=True, eq=False)
class Moves:
    """The moves of n cells; arrays with a second axis have an entry for each tape of a cell.

    `state[k]`: bytes of the state of cell k. `left` (n + 1 entries, total) and `again`: see above.
    `first` and `further`: runs without a tape; first.held and first.passing are total.
    `kept[k, o]`: bytes held on tape o between run and reversal. `stage`: total peak of the
    reversal. `first_tape` (total) and `further_tape`: peaks of running with the tape and on to the
    next state; `last_tape`: of a further run that is reversed at once. `first_cost`,
    `further_cost` and `last_cost`: cost of that run and of what the reversal runs again.
    `constant`: cost of the stages and of the cells below `lowest`, the same under every plan.
    `over_counted`: bytes by which a plan's true peak may be lower than the one of its moves.
    """

    lowest: int
    tapes: tuple[tuple[Tape, ...], ...]
    state: np.ndarray
    left: np.ndarray
    again: np.ndarray
    first: Passes
    further: Passes
    constant: float
    kept: np.ndarray
    stage: np.ndarray
    first_tape: np.ndarray
    further_tape: np.ndarray
    last_tape: np.ndarray
    first_cost: np.ndarray
    further_cost: np.ndarray
    last_cost: np.ndarray
    over_counted: int = field(default=0, kw_only=True)

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.state)


def weighed_moves(
    cells: Cells, runs: Runs, cost: np.ndarray, tapes: Sequence[Sequence[Tape]] | None = None
) -> Moves:
    """Weigh all moves of a chain; `cost` is that of each instruction.

    `tapes[k]` are the tapes that cell k offers; by default the one with all that its stage reads.
    """
    if tapes is None:
        tapes = [[Tape(frozenset(needs))] for needs in cells.needs]
    scale = _Scale(cells, runs, cost)
    n = len(cells)
    rows = [[scale.tape(k, tape) for tape in tapes[k]] for k in range(n)]
    width = max(map(len, rows))
    filler = _Taped(NEVER, NEVER, NEVER, NEVER, NEVER, 0.0, 0.0, 0.0)
    columns = [
        np.array([[one[at] for one in (*row, *[filler] * (width - len(row)))] for row in rows])
        for at in range(len(filler))
    ]
    forward = [scale.forward(k, is_first=True) for k in range(n)]
    return Moves(
        cells.lowest,
        tuple(map(tuple, tapes)),
        np.array([scale.state(k) for k in range(n)]),
        np.append(scale.stays.left, 0),
        np.array([scale.windows.total(again) for again in scale.stays.again]),
        _passes(forward),
        _passes([*(scale.forward(k, is_first=False) for k in range(n - 1)), (0, 0, 0.0)]),
        scale.constant + sum(cost for _, _, cost in forward[: cells.lowest]),
        *columns,
        over_counted=scale.stays.over_counted,
    )


def _passes(rows: Sequence[tuple[int, int, float]]) -> Passes:
    held, passing, cost = zip(*rows, strict=True)
    return Passes(np.array(held), np.array(passing), np.array(cost))


class _Taped(NamedTuple):
    """The numbers of one cell with one tape, named as in `Moves`."""

    kept: int
    stage: int
    first_tape: int
    further_tape: int
    last_tape: int
    first_cost: float
    further_cost: float
    last_cost: float


class _Scale:
    """Carries out single moves and weighs them."""

    def __init__(self, cells: Cells, runs: Runs, cost: np.ndarray) -> None:
        self.cells, self.runs = cells, runs
        self.windows = Windows(runs)
        self.stays = Stays(cells, runs, self.windows)
        self._store = Store(cells, runs)
        self._cost = cost.tolist()
        pinned = [self.windows.total(pinned) for pinned in self.stays.pinned]
        self._pinned_before = [0, *np.cumsum(pinned).tolist()]
        program = cells.program
        self._read = {read for step in program.instructions for read in step.reads}
        self._read.update(program.targets)
        self.constant = sum(self._cost[i] for stage in cells.stages for i in stage)

    def state(self, k: int) -> int:
        buffers = self._buffers_of_state(k) - self.runs.pinned - self.runs.given
        return self.windows.total(buffers)

    def forward(self, k: int, *, is_first: bool) -> tuple[int, int, float]:
        """Return the peak of passing a cell with its state held, and let go, and the cost."""
        store = self._store.later(k, has_run=not is_first)
        if k + 1 < len(self.cells):
            store.advance(k, k + 1)
        else:
            store.tape(k, Tape(frozenset()))
        again = self.stays.again[k]
        steps = self._living(store.order, k, (), again) if is_first else store.order
        own = self._buffers_of_state(k)
        held, passing = (self._most(steps, k, is_first, kept) for kept in (own | again, again))
        return held, passing, self._sum(steps)

    def tape(self, k: int, tape: Tape) -> _Taped:
        """Return the numbers of one cell with one tape."""
        runs, stays, n = self.runs, self.stays, len(self.cells)
        last = self._store.later(k, has_run=True)
        last.tape(k, tape, onward=False)
        last_run, last.order = last.order, []
        last.stage(k)
        stage = last.order
        kept = {runs.buffer[value] for value in tape.kept} - runs.pinned - runs.given
        # What only recomputation reads of the pinned results of this cell stays with the tape.
        also = stays.again[k] & self.windows.enters(stage)
        held = self.windows.total(kept | also)
        base = int(stays.left[k + 1]) if k + 1 < n else self._pinned_before[n]
        again = self._sum(i for i in stage if self.cells.program.instructions[i].phase == FORWARD)
        further = self._store.later(k, has_run=True)
        further.tape(k, tape)
        first = self._store.later(k, has_run=False)
        first.tape(k, tape)
        first_run = self._living(first.order, k, tape.kept, also)
        return _Taped(
            held,
            self.windows.most(stage, base + held, lambda buffer: stays.until.get(buffer, k) < k),
            self._most(first_run, k, True, kept | also),
            self._most(further.order, k, False, kept),
            self._most(last_run, k, False, kept),
            self._sum(first_run) + again,
            self._sum(further.order) + again,
            self._sum(last_run) + again,
        )

    def _sum(self, steps: Iterable[int]) -> float:
        return float(sum(self._cost[i] for i in steps))

    def _most(self, steps: Sequence[int], k: int, is_first: bool, kept: Set[int]) -> int:
        """Return the peak of a run of cell k that ends with `kept` and the next state."""
        runs, following = self.runs, self._buffers_of_state(k + 1)
        pinned = self.stays.pinned[k] | (self.stays.again[k] & kept if is_first else runs.pinned)
        return self.windows.most(
            steps,
            self.state(k) + (self._pinned_before[k] if is_first else 0),
            lambda buffer: buffer in kept or buffer in following or buffer in pinned,
        )

    def _buffers_of_state(self, k: int) -> frozenset[int]:
        state = self.cells.starts[k] if k < len(self.cells) else None
        return frozenset() if state is None else frozenset([self.runs.buffer[state]])

    def _living(self, order: list[int], k: int, kept: Iterable[int], pinned: Set[int]) -> list[int]:
        """Return the steps of a first run without those that serve nothing that stays."""
        goals = [
            *kept,
            *(start for start in self.cells.starts[k + 1 : k + 2] if start is not None),
            *(
                value
                for buffer in self.stays.pinned[k] | pinned
                for value in self.runs.members[buffer]
                if value in self._read
            ),
        ]
        return without_dead_steps(self.cells.program, order, goals)
