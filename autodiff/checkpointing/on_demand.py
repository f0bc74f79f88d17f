"""Schedules that keep a set of values, and run again what else the backward part comes to read.

The forward part runs as created. Before each step of the backward part that reads a value which is
neither kept nor at hand again, the missing instructions run once more, in order of creation, from
what is at hand. What they give is at hand until its last read, or only as long as the backward part
reads it again within a number of its steps: then less is held, and more may run a third time. This
takes any graph: branches that bypass each other, several losses, slices of a batch in sequence.

Bound: an order by rule, and no search: see `retention` for the best orders of small graphs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from autodiff.checkpointing.living import claims_of, without_dead_steps
from autodiff.checkpointing.store_all import accumulated_in_place
from autodiff.instructions import BACKWARD, FORWARD
from autodiff.levels import without_moves
from autodiff.program import Program
from autodiff.schedule import Claims, Schedule


class OnDemand:
    """The schedules of one program, one for each set of kept values.

    `free` are the buffers that are at hand in any case: given ones and targets.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._steps = without_moves(program).instructions
        self._roots = program.flat.roots.tolist()
        self._writer = {
            write: i
            for i, step in enumerate(program.instructions)
            if step.phase == FORWARD
            for write in step.writes
        }
        self._members: dict[int, list[int]] = {}
        for value in self._writer:
            self._members.setdefault(self._roots[value], []).append(value)
        self.free = frozenset(program.given) | {self._roots[target] for target in program.targets}
        self._fixed = {
            self._roots[write]
            for write, i in self._writer.items()
            if not program.instructions[i].op.repeatable
        }

    def order(self, kept: Iterable[int], within: int | None = None) -> list[int]:
        """Return the order of instructions that keeps these values.

        What runs again is dropped unless the backward part reads it within so many instructions.
        """
        held = {*kept, *self.free, *self._fixed}
        at_hand = bytearray(
            root in held or value not in self._writer for value, root in enumerate(self._roots)
        )
        order: list[int] = []
        for i, (_, reads, _, phase) in enumerate(self._steps):
            made: list[int] = []
            if phase == BACKWARD:
                for again in self._missing(reads, at_hand):
                    order.append(again)
                    made += self.program.instructions[again].writes
            for write in made:
                at_hand[write] = 1
            order.append(i)
            if within is None or phase != BACKWARD:
                continue
            for root in {self._roots[value] for value in (*made, *reads)} - held:
                later = self._backward_reads.get(root, ())
                following = bisect_right(later, i)
                if following == len(later) or later[following] > i + within:
                    for member in self._members.get(root, ()):
                        at_hand[member] = 0
        return order

    @cached_property
    def _backward_reads(self) -> dict[int, list[int]]:
        """The instructions of the backward part that read each buffer, in order."""
        found: dict[int, list[int]] = {}
        for i, (_, reads, _, phase) in enumerate(self._steps):
            if phase == BACKWARD:
                for read in reads:
                    found.setdefault(self._roots[read], []).append(i)
        return found

    def _missing(self, reads: Sequence[int], at_hand: bytearray) -> list[int]:
        """Return the instructions that compute what is not at hand, in order of creation."""
        needed: set[int] = set()
        wanted = [read for read in reads if not at_hand[read]]
        while wanted:
            i = self._writer[wanted.pop()]
            if i not in needed:
                needed.add(i)
                wanted += [r for r in self.program.instructions[i].reads if not at_hand[r]]
        return sorted(needed)

    def schedule(self, kept: Iterable[int], planner: str, within: int | None = None) -> Schedule:
        """Return the schedule of an order that keeps these values, with its claims."""
        kept = frozenset(kept)
        schedule = self.unclaimed(kept, planner, within)
        return replace(schedule, claims=self._claims(schedule.order.tolist(), kept))

    def unclaimed(self, kept: Iterable[int], planner: str, within: int | None = None) -> Schedule:
        """Return the schedule of an order that keeps these values, to be weighed only."""
        targets = self.program.targets
        living = without_dead_steps(self.program, self.order(kept, within), targets)
        order = np.array(living, dtype=np.int64)
        return Schedule(order, Claims(0, 0, 0), planner, accumulated_in_place(self.program, order))

    def _claims(self, order: Sequence[int], kept: frozenset[int]) -> Claims:
        """Return the steps by phase, and the most activations that a plan with this set holds.

        What is neither kept nor at hand in any case is dropped after its last read by the forward
        part, so a value that was forgotten to be run again shows as one held for too long.
        """
        instructions, roots = self.program.instructions, self._roots
        first = dict(zip(reversed(order), range(len(order) - 1, -1, -1), strict=True))
        forward = {at: i for i, at in first.items() if instructions[i].phase == FORWARD}
        stays = {*kept, *self.free, *self._fixed}
        born: dict[int, int] = {}
        spans: list[tuple[int, int]] = []
        last: dict[int, int] = {}
        for at, i in enumerate(order):
            _, reads, writes, phase = instructions[i]
            for write in writes:
                if roots[write] == write and phase == FORWARD:
                    if write in born:
                        spans.append((born[write], last[write]))
                    born[write] = last[write] = at
            for read in reads:
                root = roots[read]
                if root in born and (root in stays or at in forward or born[root] not in forward):
                    last[root] = at
        spans += [
            (start, len(order) if root in self.free else last[root]) for root, start in born.items()
        ]
        change = np.zeros(len(order) + 2, dtype=np.int64)
        for start, stop in spans:
            change[start] += 1
            change[stop + 1] -= 1
        return claims_of(self.program, order, int(np.cumsum(change).max(initial=0)))
