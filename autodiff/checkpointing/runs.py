"""The runs of a planner: a whole cell, or what leads from its state to some values.

A run is instructions in order of creation, each with the buffers that nothing later in the run
reads. Buffers are named by the value that owns them. What is **pinned** is never dropped and so
never run again: targets of the forward part, results that would be others the next time (random
ops), views of given tensors, and side values that cells share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from autodiff.checkpointing.cells import Cells
from autodiff.instructions import FORWARD

Run = Sequence[tuple[int, tuple[int, ...]]]


class Runs:
    """The runs of a chain of cells.

    `writer` is the instruction of each value of the forward part, `members` the values that share a
    buffer, `ends` the buffers that the backward part, run stage by stage, reads for the last time
    at an instruction.
    """

    def __init__(self, cells: Cells) -> None:
        """Look up writers, buffers and last reads once."""
        program = cells.program
        self.cells = cells
        self.buffer = [value.buffer for value in program.values]
        self.reads = [step.reads for step in program.instructions]
        self.writes = [step.writes for step in program.instructions]
        self.writer = {
            write: i
            for i, step in enumerate(program.instructions)
            if step.phase == FORWARD
            for write in step.writes
        }
        self.given = frozenset(program.given)
        self.pinned = {
            self.buffer[target] for target in program.targets if target in self.writer
        } | cells.shared
        for value, i in self.writer.items():
            if self.buffer[value] in self.given or not program.instructions[i].op.repeatable:
                self.pinned.add(self.buffer[value])
        self.members: dict[int, list[int]] = {}
        for value in self.writer:
            self.members.setdefault(self.buffer[value], []).append(value)
        self.ends = self._last_reads()
        self._whole: dict[int, Run] = {}
        self._once_more: dict[int, Run] = {}

    def _last_reads(self) -> dict[int, list[int]]:
        last: dict[int, int] = {}
        for stage in reversed(self.cells.stages):
            for i in stage:
                for read in self.reads[i]:
                    last[self.buffer[read]] = i
        ends: dict[int, list[int]] = {}
        for buffer, i in last.items():
            ends.setdefault(i, []).append(buffer)
        return ends

    def whole(self, k: int) -> Run:
        """Return all of cell k; the next cell's state is kept."""
        if k not in self._whole:
            following = self.cells.starts[k + 1 : k + 2]
            self._whole[k] = self._with_deaths(
                self.cells.forward[k], [start for start in following if start is not None]
            )
        return self._whole[k]

    def once_more(self, k: int) -> Run:
        """Return what leads from the state of cell k to the next state, given pinned values."""
        if k not in self._once_more:
            goal = self.cells.starts[k + 1]
            assert goal is not None
            self._once_more[k] = self.towards(k, [goal])
        return self._once_more[k]

    def towards(self, k: int, goals: Iterable[int]) -> Run:
        """Return what leads from the state of cell k to the goals, given only pinned values."""
        state = self.cells.starts[k]
        return self.missing(
            goals,
            lambda value: (
                value == state or value in self.given or self.buffer[value] in self.pinned
            ),
        )

    def missing(self, goals: Iterable[int], at_hand: Callable[[int], object]) -> Run:
        """Return what computes the goals from what is available; the goals are kept."""
        goals = [goal for goal in goals if not at_hand(goal)]
        needed: set[int] = set()
        wanted = list(goals)
        while wanted:
            i = self.writer[wanted.pop()]
            if i not in needed:
                needed.add(i)
                wanted.extend(read for read in self.reads[i] if not at_hand(read))
        return self._with_deaths(sorted(needed), goals)

    def most(
        self, run: Run, k: int, amount: np.ndarray, workspace: np.ndarray, *, held: bool
    ) -> int:
        """Return the greatest live amount during a run from the state of cell k.

        The state is kept if `held`, else dropped after its last read.
        """
        state = self.cells.starts[k]
        of_state = None if state is None else self.buffer[state]
        live = most = 0 if of_state is None or of_state in self.pinned else int(amount[of_state])
        for i, dying in run:
            live += sum(
                int(amount[write]) for write in self.writes[i] if self.buffer[write] == write
            )
            most = max(most, live + int(workspace[i]))
            live -= sum(
                int(amount[b])
                for b in dying
                if b not in self.pinned and b not in self.given and not (held and b == of_state)
            )
        return most

    def _with_deaths(self, instructions: Sequence[int], kept: Iterable[int]) -> Run:
        last: dict[int, int] = {}
        for at, i in enumerate(instructions):
            for value in (*self.reads[i], *self.writes[i]):
                last[self.buffer[value]] = at
        for value in kept:
            last.pop(self.buffer[value], None)
        dying: list[list[int]] = [[] for _ in instructions]
        for buffer, at in last.items():
            if buffer in self.writer:
                dying[at].append(buffer)
        return [(i, tuple(buffers)) for i, buffers in zip(instructions, dying, strict=True)]
