"""What a chain of cells weighs: the live amounts of every move on it, from which the peak of a plan follows without carrying it out.

Amounts are bytes where every dimension is an integer, else (symbols, arrays of shapes) each activation counts one and a gradient
nothing. Moves overlap in nothing but what is held throughout, so the total at a moment is what this move takes, plus the snapshots below it,
plus what the stages above it left behind.

It is exact for chains on which every snapshot is read again. It knows no splits; `splits` chooses among them by these amounts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from autodiff.checkpointing.binomial import Action
from autodiff.checkpointing.cells import Cells
from autodiff.checkpointing.store import Run, Store, amounts, carry_out
from autodiff.program import BACKWARD
from autodiff.schedule import lifetimes


@dataclass(frozen=True, eq=False)
class Sizes:
    """Live amounts, one each cell k, or each cell and the end.

    `state`: what cell k starts from. `first` and `again`: the most while cell k runs for the first time or later, its own state among
    it, which is `held` on (by a snapshot) or let go at its last read (`passing`). `left`: what stages k and above leave behind.
    `reversing`: the most while cell k is reversed, from its state on. `last_two`: the same for the last two cells at once.
    """

    state: np.ndarray
    first_held: np.ndarray
    first_passing: np.ndarray
    again_held: np.ndarray
    again_passing: np.ndarray
    left: np.ndarray
    reversing: np.ndarray
    last_two: int


def sizes_of(cells: Cells) -> Sizes:
    """Weigh a chain of cells, by carrying out the plan that keeps everything."""
    return _Scale(cells).sizes()


class _Scale:
    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        program = cells.program
        self.amount, self.beside = amounts(program)
        self.buffer = [value.buffer for value in program.values]
        self.store = Store(cells)
        self.pinned = self.store.pinned
        schedule = carry_out(cells, [(Action.REVERSE, 0, len(cells))], "plain")
        self.order = schedule.order.tolist()
        self.lives = lifetimes(program, schedule)
        position = {i: at for at, i in enumerate(self.order)}
        written_backward = {write for step in program.instructions if step.phase == BACKWARD for write in step.writes}
        home = {self.buffer[value]: k for k, needs in enumerate(cells.needs) for value in needs}
        # The lowest cell of whose reversal on a buffer is there: a gradient, or what is pinned, whatever is reversed; else its own.
        self.home = np.array(
            [len(cells) if owner in written_backward or owner in self.pinned else home.get(owner, -1) for owner in self.lives.owner.tolist()]
        )
        self.stage_steps = [[position[i] for i in stage if i in position] for stage in cells.stages]

    def sizes(self) -> Sizes:
        n = len(self.cells)
        state = np.array([self._state(k) for k in range(n)])
        pinned_before = np.array([0, *np.cumsum([self._pinned_in(k) for k in range(n)])])[:-1]
        left = np.array([self._left(k) for k in range(n)] + [0])
        whole = [self.store.whole(k) for k in range(n)]
        again = [self.store.once_more(k) for k in range(n - 1)]
        last_two = self._reversing(n - 2, n, left, int(pinned_before[n - 2])) if n > 1 else 0
        return Sizes(
            state,
            *(np.array([self._most(run, k, held) for k, run in enumerate(whole)]) + pinned_before for held in (True, False)),
            *(np.array([*(self._most(run, k, held) for k, run in enumerate(again)), 0]) for held in (True, False)),
            left,
            np.array([self._reversing(k, k + 1, left, int(pinned_before[k])) for k in range(n)]),
            last_two,
        )

    def _state(self, k: int) -> int:
        start = self.cells.starts[k]
        return 0 if start is None or self.buffer[start] in self.pinned else int(self.amount[self.buffer[start]])
