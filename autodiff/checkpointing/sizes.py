"""The live amounts of every move on a chain of cells; the peak of a plan follows from them.

Amounts are bytes where every dimension is an integer; else (symbols, arrays of shapes) each
activation counts one, and nothing else counts. The total at a moment is what the move there takes,
plus the snapshots below it.

It is exact where every snapshot is read again, as on a chain with all gradients asked for. It
chooses nothing: `splits` does, by these amounts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autodiff.checkpointing.binomial import Action
from autodiff.checkpointing.cells import Cells
from autodiff.checkpointing.runs import Run, Runs
from autodiff.checkpointing.store import schedule_from_plan
from autodiff.instructions import FORWARD
from autodiff.liveness import lifetimes
from autodiff.program import Program
from autodiff.schedule import Schedule


def amounts(program: Program) -> tuple[np.ndarray, np.ndarray]:
    """Return the amount of each value's buffer, and of each instruction's workspace."""
    nbytes = [value.spec.nbytes for value in program.values]
    if has_sizes(program):
        workspace = [
            step.op.workspace(*(program.values[read].spec for read in step.reads))
            for step in program.instructions
        ]
        return np.array(nbytes, dtype=np.int64), np.array(workspace, dtype=np.int64)
    forward = {
        write for step in program.instructions if step.phase == FORWARD for write in step.writes
    }
    return np.array([int(value in forward) for value in range(len(nbytes))]), np.zeros(
        len(program.instructions), dtype=np.int64
    )


def has_sizes(program: Program) -> bool:
    """Return whether every dimension is an integer, so that bytes can be compared."""
    return all(isinstance(value.spec.nbytes, int) for value in program.values)


def peak(
    program: Program, schedule: Schedule, weighed: tuple[np.ndarray, np.ndarray] | None = None
) -> int:
    """Return the greatest live amount under a schedule; in bytes, the ledger's `peak_bytes`.

    `weighed` are the program's `amounts`, where they are known already.
    """
    lives = lifetimes(program, schedule)
    amount, workspace = amounts(program) if weighed is None else weighed
    return int((lives.live(amount[lives.owner]) + workspace[schedule.order]).max(initial=0))


@dataclass(frozen=True, eq=False)
class Sizes:
    """Live amounts, one for each cell k.

    `state`: what cell k starts from; it is counted in what follows. `first` and `again`: the most
    while cell k runs for the first time, or later with nothing reversed yet; `passing` where its
    state is let go at its last read, `held` where it is held on. `left`: what is left behind when
    cell k is reversed, gradients above all (one more entry: before anything is). `reversing`: the
    most while cell k is reversed; `last_two` the same for the last two cells at once.
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
    """Weigh a chain: forward run by run, backward by the plan that keeps everything."""
    scale = _Scale(cells)
    n = len(cells)
    first = [scale.runs.whole(k) for k in range(n)]
    again = [scale.runs.once_more(k) for k in range(n - 1)]
    return Sizes(
        state=np.array([scale.state(k) for k in range(n)]),
        first_held=np.array(
            [scale.pinned_before[k] + scale.most(run, k, held=True) for k, run in enumerate(first)]
        ),
        first_passing=np.array(
            [scale.pinned_before[k] + scale.most(run, k, held=False) for k, run in enumerate(first)]
        ),
        again_held=np.array([*(scale.most(run, k, held=True) for k, run in enumerate(again)), 0]),
        again_passing=np.array(
            [*(scale.most(run, k, held=False) for k, run in enumerate(again)), 0]
        ),
        left=np.array([*(scale.left(k) for k in range(n)), 0]),
        reversing=np.array([scale.reversing(k, k + 1) for k in range(n)]),
        last_two=scale.reversing(n - 2, n) if n > 1 else 0,
    )


class _Scale:
    """Weighs single moves, with only their start and the pinned values held."""

    def __init__(self, cells: Cells) -> None:
        program = cells.program
        self.cells = cells
        self.runs = runs = Runs(cells)
        self.amount, self.workspace = amounts(program)
        self.pinned_before = [0]
        for cell in cells.forward:
            pinned = sum(
                int(self.amount[write])
                for i in cell
                for write in runs.writes[i]
                if write in runs.pinned
            )
            self.pinned_before.append(self.pinned_before[-1] + pinned)
        schedule = schedule_from_plan(cells, [(Action.REVERSE, 0, len(cells))], "plain")
        self.lives = lives = lifetimes(program, schedule)
        self.live_workspace = self.workspace[schedule.order]
        # From the reversal of which cell downwards a buffer is there, however the cells are
        # reversed; -1: only when its own cell is run.
        home = {runs.buffer[value]: k for k, needs in enumerate(cells.needs) for value in needs}
        n = len(cells)
        self.home = np.array(
            [
                n if v not in runs.writer or v in runs.pinned else home.get(v, -1)
                for v in lives.owner.tolist()
            ]
        )
        at = {i: step for step, i in enumerate(schedule.order.tolist())}
        self.steps = [[at[i] for i in stage if i in at] for stage in cells.stages]
        self.end_of = list(
            np.maximum.accumulate([max(steps, default=0) for steps in reversed(self.steps)])[::-1]
        )

    def state(self, k: int) -> int:
        start = self.cells.starts[k]
        return (
            0
            if start is None or self.runs.buffer[start] in self.runs.pinned
            else int(self.amount[self.runs.buffer[start]])
        )

    def most(self, run: Run, k: int, *, held: bool) -> int:
        return self.runs.most(run, k, self.amount, self.workspace, held=held)

    def left(self, k: int) -> int:
        """Return what stays alive after stage k: gradients, pinned values, cells from k on."""
        end = self.end_of[k]
        alive = (self.lives.born <= end) & (self.lives.dies > end) & (self.home >= k)
        return int(self.amount[self.lives.owner][alive].sum())

    def reversing(self, start: int, stop: int) -> int:
        """Return the most while the cells start … stop − 1 are run as needed and then reversed.

        Only the last cells are reversed more than one at a time.
        """
        cells = self.cells
        if stop == len(cells):
            base = self.pinned_before[start]
            run = [step for k in range(start, stop) for step in self.runs.whole(k)]
        else:
            base = self.left(stop)
            run = list(self.runs.towards(start, cells.needs[start]))
        needed = {self.runs.buffer[value] for k in range(start, stop) for value in cells.needs[k]}
        run = [(i, tuple(buffer for buffer in dying if buffer not in needed)) for i, dying in run]
        live = (
            self.lives.live(self.amount[self.lives.owner] * (self.home >= start))
            + self.live_workspace
        )
        return max(
            [
                base + self.most(run, start, held=False),
                *(int(live[step]) for k in range(start, stop) for step in self.steps[k]),
            ]
        )
