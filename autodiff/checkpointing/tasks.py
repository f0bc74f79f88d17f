"""A program as tasks that allocate buffers: its views folded into whatever reads them.

Making a view takes no operations and no bytes, so a planner that chooses among orders need not
choose when: `TaskGraph.expanded` makes each view again, before a task that reads it, wherever the
buffer that it lives in has been computed anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from autodiff.instructions import FORWARD, Instruction
from autodiff.program import Program


@dataclass(frozen=True)
class Task:
    """An instruction, the computed buffers that it reads, and the buffers that it allocates.

    `first_reads` are what its first run reads: no state of a random generator. `repeats` says that
    it may run more than once, `for_replays` that it only keeps such a state.
    """

    instruction: int
    reads: tuple[int, ...]
    first_reads: tuple[int, ...]
    writes: tuple[int, ...]
    repeats: bool
    for_replays: bool


@dataclass(frozen=True, eq=False)
class TaskGraph:
    """The tasks of a program, in order of creation."""

    program: Program

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """All instructions but those that only make views."""
        steps = self.program.instructions
        fixed = self._with_views_that_stay | {self._roots[one] for one in self.program.targets}
        return tuple(
            Task(
                i,
                self._buffers(steps[i].reads),
                self._buffers(steps[i].first_reads),
                tuple(write for write in steps[i].writes if self._roots[write] == write),
                steps[i].phase == FORWARD
                and bool(steps[i].op.repeatable)
                and fixed.isdisjoint(map(self._roots.__getitem__, steps[i].writes)),
                bool(self.program.flat.keeps_state[i]),
            )
            for i in range(len(steps))
            if not self._makes_views[i]
        )  # fmt: skip

    def expanded(self, order: Iterable[int]) -> list[int]:
        """Return an order of instructions from one of tasks, with the views that they read."""
        found: list[int] = []
        times: dict[int, int] = {}
        made: dict[int, int] = {}

        def make(values: Iterable[int]) -> None:
            for value in values:
                i, root = self._writer.get(value), self._roots[value]
                if i is None or not self._makes_views[i] or made.get(value) == times.get(root, 0):
                    continue
                make(self.program.instructions[i].reads)
                found.append(i)
                made.update(
                    (write, times.get(root, 0)) for write in self.program.instructions[i].writes
                )

        for at in order:
            task = self.tasks[at]
            make(self.program.instructions[task.instruction].reads)
            found.append(task.instruction)
            for write in task.writes:
                times[write] = times.get(write, 0) + 1
        make(self.program.targets)
        return found

    def _buffers(self, values: Iterable[int]) -> tuple[int, ...]:
        """Return the computed buffers in which some values live, each once."""
        roots = dict.fromkeys(self._roots[value] for value in values)
        return tuple(root for root in roots if root not in self._given)

    @cached_property
    def _roots(self) -> list[int]:
        roots: list[int] = self.program.flat.roots.tolist()
        return roots

    @cached_property
    def _given(self) -> frozenset[int]:
        return frozenset(self.program.given)

    @cached_property
    def _writer(self) -> dict[int, int]:
        return {
            write: i for i, step in enumerate(self.program.instructions) for write in step.writes
        }

    @cached_property
    def _makes_views(self) -> list[bool]:
        return list(map(self._only_makes_views, self.program.instructions))

    def _only_makes_views(self, step: Instruction) -> bool:
        """Return whether an instruction makes only views of one buffer, which all it reads is."""
        roots = {self._roots[write] for write in step.writes}
        return (
            bool(step.op.repeatable)
            and len(roots) == 1
            and roots.isdisjoint(step.writes)
            and all(self._roots[read] in roots | self._given for read in step.reads)
        )

    @cached_property
    def _with_views_that_stay(self) -> set[int]:
        """The buffers with views that a task makes, which are not made again with the buffer."""
        return {
            self._roots[write]
            for step, folded in zip(self.program.instructions, self._makes_views, strict=True)
            if not folded
            for write in step.writes
            if self._roots[write] != write
        }
