"""Liveness within a window of steps, and which buffers outlive which part of a chain of cells.

A window is what one move of a plan runs. A buffer that is born or read in it dies at its last read
there, unless it survives: later steps of the plan read it. That is `liveness` for a few steps,
without the rest of the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from autodiff.checkpointing.cells import Cells
from autodiff.checkpointing.runs import Runs
from autodiff.checkpointing.sizes import amounts


class Windows:
    """The weights of a program's buffers and instructions, for windows of its steps."""

    def __init__(self, runs: Runs) -> None:
        """Look up the amounts once."""
        amount, workspace = amounts(runs.cells.program)
        self.amount: list[int] = amount.tolist()
        self._workspace: list[int] = workspace.tolist()
        self._runs = runs

    def total(self, buffers: Iterable[int]) -> int:
        """Return the amount of all these buffers."""
        return sum(self.amount[buffer] for buffer in buffers)

    def touched(self, i: int) -> set[int]:
        """Return the buffers that an instruction reads or writes, except given ones."""
        runs = self._runs
        buffers = {runs.buffer[value] for value in (*runs.reads[i], *runs.writes[i])}
        return buffers - runs.given

    def enters(self, steps: Sequence[int]) -> set[int]:
        """Return the buffers that a window reads before it makes them."""
        later: set[int] = set()
        for i in reversed(steps):
            later |= self.touched(i)
            later -= self._born(i)
        return later

    def most(self, steps: Sequence[int], live: int, survives: Callable[[int], bool]) -> int:
        """Return the greatest live amount in a window that begins with `live`.

        Every buffer that dies in it is either born there or counted in `live`.
        """
        dying: list[int] = []
        later: set[int] = set()
        for i in reversed(steps):
            touched = self.touched(i)
            dying.append(self.total(b for b in touched if b not in later and not survives(b)))
            later |= touched
            later -= self._born(i)
        most = live
        for i, dead in zip(steps, reversed(dying), strict=True):
            live += self.total(self._born(i))
            most = max(most, live + self._workspace[i])
            live -= dead
        return most

    def _born(self, i: int) -> set[int]:
        return {write for write in self._runs.writes[i] if self._runs.buffer[write] == write}


class Stays:
    """Which buffers stay until when, if the stages run from the last cell down.

    `until[b]`: the lowest stage that reads buffer b, or for a pinned buffer the lowest cell whose
    further runs read it, if that is lower; −1 for targets. `again[k]`: pinned buffers of cell k
    that only its own further runs read. `pinned[k]`: its other pinned buffers that anything reads.
    `left[k]`: what is alive after stage k and serves lower cells (n entries). `over_counted`: the
    amount of the pinned buffers that stay longer than the stages need them, for further runs which
    a plan may not have; a plan takes at most that much less than it is said to.
    """

    def __init__(self, cells: Cells, runs: Runs, windows: Windows) -> None:
        """Find them from one walk over the stages and the runs of cells."""
        program, buffer, n = cells.program, runs.buffer, len(cells)
        self.until: dict[int, int] = {}
        born: dict[int, int] = {}
        for k in reversed(range(n)):
            for i in cells.stages[k]:
                self.until.update((buffer[read], k) for read in runs.reads[i])
                born.update((write, k) for write in runs.writes[i] if buffer[write] == write)
        self.until.update((buffer[target], -1) for target in program.targets)
        readers = _readers(cells, runs)
        self.again: list[set[int]] = [set() for _ in range(n)]
        self.pinned: list[set[int]] = [set() for _ in range(n)]
        self.over_counted = 0
        for k, cell in enumerate(cells.forward):
            for b in (w for i in cell for w in runs.writes[i] if buffer[w] == w):
                if b in runs.pinned:
                    if self._place(b, k, readers.get(b, set())):
                        self.over_counted += windows.amount[b]
                    if b in self.until:
                        born[b] = n - 1
        for k, needs in enumerate(cells.needs):
            born.update((buffer[v], k) for v in needs if buffer[v] not in runs.pinned | runs.given)
        change = np.zeros(n + 2, dtype=np.int64)
        for b, stage in born.items():
            last = self.until.get(b, stage)
            if last < stage:
                change[last + 1] += windows.amount[b]
                change[stage + 1] -= windows.amount[b]
        self.left = np.cumsum(change)[:n]

    def _place(self, b: int, k: int, readers: set[int]) -> bool:
        """Say how long a pinned buffer of cell k stays; return whether only readers may need it."""
        if b not in self.until and readers == {k}:
            self.again[k].add(b)
            return False
        for_stages = self.until.get(b)
        lowest = min([*readers, *([] if for_stages is None else [for_stages])], default=None)
        if lowest is None:
            return False
        self.pinned[k].add(b)
        # Without a stage that reads it, it would stay while its cell is reversed at the longest.
        self.until[b] = min(lowest, k) if for_stages is None else lowest
        return for_stages is None or lowest < for_stages


def _readers(cells: Cells, runs: Runs) -> dict[int, set[int]]:
    """Return the cells whose further runs read each pinned buffer."""
    readers: dict[int, set[int]] = {}
    for k in range(len(cells)):
        following = (start for start in cells.starts[k + 1 : k + 2] if start is not None)
        goals = [*cells.needs[k], *following]
        for i, _ in runs.towards(k, goals):
            for read in runs.reads[i]:
                if runs.buffer[read] in runs.pinned:
                    readers.setdefault(runs.buffer[read], set()).add(k)
    return readers
