"""Lifetimes by liveness: from the step that computes a buffer to its last read.

All steps are looked at together, as arrays. A **definition** is one write of one step; a read means
the latest definition of its value before it, which is found by bisection among the definitions
sorted by value and order. A view's definition lives in the buffer of what it was made from, which
is followed back to a definition that has a buffer of its own.

Bound: O(N log N) for N reads and writes. Bytes play no part here, and nothing is planned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autodiff.draws import faults_of_draws
from autodiff.errors import ScheduleError
from autodiff.flat import repeated
from autodiff.instructions import FORWARD, PHASES, RECOMPUTE
from autodiff.program import Program
from autodiff.schedule import Schedule


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """Every buffer that a schedule allocates, in order of birth, as arrays.

    `owner` is the value that was written there, `born` the step that allocates it, `dies` the last
    step that needs it (the number of steps where it outlives them). `cleared[step]` are the values
    to be dropped after a step. `inherits` marks buffers taken over from a dying input: their birth
    allocates nothing. `phase` is that of each step, as its place among `PHASES`.
    """

    owner: np.ndarray
    born: np.ndarray
    dies: np.ndarray
    inherits: np.ndarray
    cleared: Mapping[int, Sequence[int]]
    phase: np.ndarray

    @cached_property
    def phases(self) -> tuple[str, ...]:
        """The phase of each step."""
        return tuple(np.array(PHASES, dtype=object)[self.phase].tolist())

    @cached_property
    def alive_at_end(self) -> np.ndarray:
        """The buffers that outlive the schedule."""
        return np.flatnonzero(self.dies == len(self.phase))

    def live(self, amounts: np.ndarray) -> np.ndarray:
        """Return the total of `amounts` (one for each buffer) alive at each step.

        Buffers count right after the step's results are allocated. `amounts` may have further axes,
        which are kept.
        """
        steps = len(self.phase)
        change = np.zeros((steps + 2, *amounts.shape[1:]), dtype=amounts.dtype)
        np.add.at(change, self.born, amounts)
        # A buffer that another takes over is gone at that very step, any other only after it.
        np.subtract.at(change, self.dies + 1, amounts)
        return np.cumsum(change, axis=0)[:steps]


_GIVEN, _NOT_COMPUTED = -1, -2


def lifetimes(program: Program, schedule: Schedule) -> Lifetimes:
    """Return the lifetimes that follow from a schedule by liveness.

    Raises ScheduleError for a step that names no instruction; at the first step that computes again
    what may not be computed again, reads what is not computed, or takes over a buffer that it may
    not; and for a target that is never computed.
    """
    return _Steps(program, schedule).lifetimes()


class _Steps:
    """The steps of a schedule as definitions and reads."""

    def __init__(self, program: Program, schedule: Schedule) -> None:
        self.program = program
        self.order = order = np.asarray(schedule.order, dtype=np.int64)
        self.overwrites = sorted(
            (at, read) for at, read in schedule.overwrites.items() if at < len(order)
        )
        unknown = np.flatnonzero((order < 0) | (order >= len(program.instructions)))
        if len(unknown):
            at = int(unknown[0])
            raise ScheduleError(
                f"step {at} runs instruction {int(order[at])}; expected one of 0 to "
                f"{len(program.instructions) - 1}"
            )
        self.reads, self.writes = program.flat.reads_of(order), program.flat.writes.take(order)
        self.value = self.writes.flat  # of each definition
        self.step = self.writes.owners()
        self.step_of_read = self.reads.owners()
        # Definitions sorted by value, then in order; before them one of no value.
        self.count = len(self.value) + 1
        self.sorted = np.concatenate(
            [[-1], np.sort(self.value * self.count + np.arange(len(self.value)))]
        )
        self.repeated = repeated(order)

    def lifetimes(self) -> Lifetimes:
        steps = len(self.order)
        owning = self.program.flat.roots[self.value] == self.value
        owners = np.flatnonzero(owning)
        owner, born = self.value[owners], self.step[owners]
        read = self._latest(self.reads.flat, self.writes.starts[self.step_of_read])
        buffers = _chosen(np.cumsum(owning) - 1, self._homes(owning, read))
        of_read = _chosen(buffers, read)
        self._check(of_read)

        dies = born.copy()
        alive = of_read >= 0
        np.maximum.at(dies, of_read[alive], self.step_of_read[alive])
        targets = np.array(self.program.targets, dtype=np.int64)
        last = _chosen(buffers, self._latest(targets, np.full(len(targets), len(self.value))))
        for target in targets[last == _NOT_COMPUTED].tolist():
            raise ScheduleError(
                f"the target {self.program.label(target)} is never computed; expected a step that "
                "computes it"
            )
        dies[last[last >= 0]] = steps
        cleared = _Cleared(self.value, _chosen(dies, buffers), self._replaced(), steps)
        inherits = np.zeros(len(owners), dtype=bool)
        for at, place in self.overwrites:
            buffer = of_read[self.reads.starts[at] + place]
            if dies[buffer] != at:
                label = self.program.label(int(owner[buffer]))
                raise ScheduleError(
                    f"step {at} writes over {label}, which is needed after it; expected a buffer "
                    "that dies there"
                )
            dies[buffer] = at - 1  # from this step on its bytes are the result's
            inherits[np.searchsorted(born, at) : np.searchsorted(born, at + 1)] = True
        phase = self.program.flat.phases[self.order]
        phase[self.repeated & (phase == PHASES.index(FORWARD))] = PHASES.index(RECOMPUTE)
        return Lifetimes(owner, born, dies, inherits, cleared, phase)

    def _latest(self, values: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Return the latest definition of each value among those numbered below `before`."""
        found = self.sorted[np.searchsorted(self.sorted, values * self.count + before) - 1]
        value, definition = np.divmod(found, self.count)
        return np.where(
            value == values,
            definition,
            np.where(self.program.flat.given[values], _GIVEN, _NOT_COMPUTED),
        )

    def _homes(self, owning: np.ndarray, read: np.ndarray) -> np.ndarray:
        """Return, for each definition, the one whose buffer it lives in.

        `read` is the definition of each read.
        """
        roots = self.program.flat.roots
        home = np.arange(len(self.value))
        views = np.flatnonzero(~owning)
        # A view is made from the first read of its step that lives where it does; where there is
        # none, from the buffer itself.
        home[views] = self._latest(roots[self.value[views]], views)
        missing = np.ones(len(views), dtype=bool)
        starts, stops = self.reads.starts[self.step[views]], self.reads.starts[self.step[views] + 1]
        for place in range(int((stops - starts).max(initial=0))):
            at = np.flatnonzero(missing & (starts + place < stops))
            at = at[roots[self.reads.flat[starts[at] + place]] == roots[self.value[views[at]]]]
            home[views[at]] = read[starts[at] + place]
            missing[at] = False
        while True:  # views of views: each round follows twice as many
            further = _chosen(home, home)
            if np.array_equal(further, home):
                return home
            home = further

    def _replaced(self) -> np.ndarray:
        """Return the step that defines each definition's value again, or the number of steps."""
        replaced = np.full(len(self.value), len(self.order))
        value, definition = np.divmod(self.sorted[1:], self.count)
        again = np.flatnonzero(value[1:] == value[:-1])
        replaced[definition[again]] = self.step[definition[again + 1]]
        return replaced

    def _check(self, of_read: np.ndarray) -> None:
        """Raise ScheduleError at the first illegal step, for the first reason that it has."""
        faults = [
            *faults_of_draws(self.program, self.order, self.repeated),
            *self._not_computed(of_read),
            *self._no_takeover(of_read),
        ]
        if faults:
            raise ScheduleError(min(faults, key=lambda fault: fault[0])[1])

    def _written(self, at: int) -> str:
        return self.program.label(self.program.instructions[int(self.order[at])].writes[0])

    def _not_computed(self, of_read: np.ndarray) -> Iterator[tuple[int, str]]:
        for read in np.flatnonzero(of_read == _NOT_COMPUTED)[:1].tolist():
            at, label = int(self.step_of_read[read]), self.program.label(int(self.reads.flat[read]))
            yield (
                at,
                f"step {at} computes {self._written(at)} from {label}, which is not computed yet; "
                "compute that before it",
            )

    def _no_takeover(self, of_read: np.ndarray) -> Iterator[tuple[int, str]]:
        for at, place in self.overwrites:
            i = int(self.order[at])
            reads = self.program.instructions[i].reads
            if not 0 <= place < len(reads):
                yield (
                    at,
                    f"step {at} writes {self._written(at)} over read {place}; expected one of its "
                    f"{len(reads)} reads",
                )
            elif of_read[self.reads.starts[at] + place] < 0 or not fits(self.program, i, place):
                yield (
                    at,
                    f"step {at} writes {self._written(at)} over "
                    f"{self.program.label(reads[place])}; expected an elementwise op on a buffer "
                    "of the same dtype and layout that is not caller-owned and that it reads in "
                    "one order only",
                )


def _chosen(array: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the entries that an index names.

    Where the index is negative, which encodes why there is none, return the index itself.
    """
    return np.where(index >= 0, array[np.maximum(index, 0)], index) if len(array) else index


def fits(program: Program, instruction: int, read: int) -> bool:
    """Return whether a result could be written over a read, as far as specs tell.

    That takes an elementwise op on the whole buffer, with the same dtype and layout. An op that
    reads the buffer through another view as well would find it changed.
    """
    op, reads, writes, _ = program.instructions[instruction]
    source, result = program.values[reads[read]], program.values[writes[0]]
    return (
        op.into is not None
        and program.values[source.buffer].spec.numel == source.spec.numel == result.spec.numel
        and (source.spec.dtype, source.spec.layout) == (result.spec.dtype, result.spec.layout)
        and all(
            other == reads[read] or program.values[other].buffer != source.buffer for other in reads
        )
    )


class _Cleared(Mapping[int, Sequence[int]]):
    """The values to be dropped after each step, collected when first asked for.

    A prediction never asks. `value`, `dies` and `replaced` have an entry for each definition;
    `dies` is negative where it lives in a caller-owned buffer.
    """

    def __init__(
        self, value: np.ndarray, dies: np.ndarray, replaced: np.ndarray, steps: int
    ) -> None:
        self._arrays = value, dies, replaced, steps

    @cached_property
    def _by_step(self) -> dict[int, list[int]]:
        value, dies, replaced, steps = self._arrays
        dropped = np.flatnonzero((dies >= 0) & (dies < steps) & (replaced > dies))
        by_step: dict[int, list[int]] = {}
        for at, held in zip(dies[dropped].tolist(), value[dropped].tolist(), strict=True):
            by_step.setdefault(at, []).append(held)
        return by_step

    def __getitem__(self, step: int) -> Sequence[int]:
        return self._by_step[step]

    def __iter__(self) -> Iterator[int]:
        return iter(self._by_step)

    def __len__(self) -> int:
        return len(self._by_step)
