"""What is computed when: schedules, and the lifetimes that follow from them.

A schedule is a sequence of steps; what is computed twice is recomputed. A planner decides the sequence, never what is freed:
a buffer is born where it is computed and dies after its last read before it is computed again. Because liveness forgives a
forgotten recomputation by keeping the older copy alive, a schedule also carries claims, which `check_schedule` holds against
what follows from the steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

import numpy as np

from autodiff.collector import paused_collector
from autodiff.errors import ScheduleError
from autodiff.program import ACTIVATION, BACKWARD, FORWARD, PHASES, RECOMPUTE, Program


class Kind(Enum):
    """What a step does. Storing and loading between levels of memory would be further kinds."""

    COMPUTE = "compute"


@dataclass(frozen=True)
class Step:
    """One step: its kind, the instruction, and the read whose dying buffer the result takes over (None: a buffer of its own)."""

    kind: Kind
    instruction: int
    overwrites: int | None = None


@dataclass(frozen=True)
class Claims:
    """What a planner says of its schedule: steps by phase, and the most activation buffers that are held at once (None: not claimed)."""

    forward: int
    recompute: int
    backward: int
    held: int | None = None


@dataclass(frozen=True, eq=False)
class Schedule:
    """The order in which instructions run, each step a COMPUTE; `overwrites` maps a step to the read whose buffer it takes over."""

    order: np.ndarray
    claims: Claims
    planner: str = "store_all"
    overwrites: Mapping[int, int] = field(default_factory=dict)

    @property
    def steps(self) -> Iterator[Step]:
        """The steps one by one."""
        return (Step(Kind.COMPUTE, int(i), self.overwrites.get(at)) for at, i in enumerate(self.order))

    def __len__(self) -> int:
        return len(self.order)


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """Every buffer that a schedule brings to life, in order of birth, as arrays.

    `owner` is the value that was written there, `born` the step that allocates it, `dies` the last step that needs it (the
    number of steps where it outlives them). `cleared[step]` are the values to be dropped after a step. `inherits` marks
    buffers taken over from a dying input: their birth allocates nothing. `phases` is the phase of each step.
    """

    owner: np.ndarray
    born: np.ndarray
    dies: np.ndarray
    inherits: np.ndarray
    cleared: Mapping[int, Sequence[int]]
    phases: tuple[str, ...]

    @cached_property
    def alive_at_end(self) -> np.ndarray:
        """The buffers that outlive the schedule."""
        return np.flatnonzero(self.dies == len(self.phases))

    def live(self, amounts: np.ndarray) -> np.ndarray:
        """The total of `amounts` (one each buffer; bytes, say) alive at each step, right after its results are allocated.

        `amounts` may have further axes, which are kept.
        """
        steps = len(self.phases)
        change = np.zeros((steps + 2, *amounts.shape[1:]), dtype=amounts.dtype)
        np.add.at(change, self.born, amounts)
        # A buffer that another takes over is gone at that very step, any other only after it.
        np.subtract.at(change, self.dies + 1, amounts)
        return np.cumsum(change, axis=0)[:steps]


_NOT_COMPUTED, _GIVEN = -2, -1


@paused_collector()
def lifetimes(program: Program, schedule: Schedule) -> Lifetimes:
    """The lifetimes that follow from a schedule by liveness.

    Raises ScheduleError at the first step that reads what is not computed, computes again what may not be, or takes over a
    buffer that it may not; and for a target that is never computed.
    """
    values, instructions, overwrites = program.values, program.instructions, schedule.overwrites
    current = [_NOT_COMPUTED] * len(values)
    for given in program.given:
        current[given] = _GIVEN
    owner: list[int] = []
    born: list[int] = []
    dies: list[int] = []
    inherits: list[bool] = []
    phases: list[str] = []
    slots = _Slots(len(values))
    taken_over: dict[int, int] = {}
    seen = bytearray(len(instructions))

    for at, i in enumerate(schedule.order.tolist()):
        if not 0 <= i < len(instructions):
            raise ScheduleError(f"step {at} runs instruction {i}; expected one of 0 to {len(instructions) - 1}")
        op, reads, writes, phase = instructions[i]
        if seen[i]:
            if not op.repeatable:
                raise ScheduleError(f"step {at} computes {program.label(writes[0])} again, which would give other numbers; keep it instead")
            phase = RECOMPUTE if phase == FORWARD else phase
        seen[i] = 1
        phases.append(phase)
        for read in reads:
            buffer = current[read]
            if buffer >= 0:
                dies[buffer] = at
            elif buffer == _NOT_COMPUTED:
                raise ScheduleError(
                    f"step {at} computes {program.label(writes[0])} from {program.label(read)}, which is not computed yet; compute that before it"
                )
        takes_over = at in overwrites
        if takes_over:
            taken_over[at] = _takeover(program, at, i, overwrites[at], current)
        for write in writes:
            root = values[write].buffer
            if root == write:
                buffer = len(owner)
                owner.append(write)
                born.append(at)
                dies.append(at)
                inherits.append(takes_over)
            else:
                buffer = next((current[read] for read in reads if values[read].buffer == root), current[root])
            current[write] = buffer
            slots.define(write, buffer, at)

    for target in program.targets:
        if current[target] == _NOT_COMPUTED:
            raise ScheduleError(f"the target {program.label(target)} is never computed; expected a step that computes it")
        if current[target] >= 0:
            dies[current[target]] = len(phases)
    cleared = slots.cleared(dies, len(phases))
    for at, buffer in taken_over.items():
        if dies[buffer] != at:
            raise ScheduleError(
                f"step {at} writes over {program.label(owner[buffer])}, which is needed after it; expected a buffer that dies there"
            )
        dies[buffer] = at - 1  # from this step on its bytes are the result's
    return Lifetimes(np.array(owner, int), np.array(born, int), np.array(dies, int), np.array(inherits, bool), cleared, tuple(phases))


class _Slots:
    """Which buffer each value's slot holds from when to when, and so after which step a slot is to be emptied."""

    def __init__(self, values: int) -> None:
        self._latest = [-1] * values
        self._values: list[int] = []
        self._buffers: list[int] = []
        self._replaced: dict[int, int] = {}

    def define(self, value: int, buffer: int, at: int) -> None:
        if self._latest[value] >= 0:
            self._replaced[self._latest[value]] = at
        self._latest[value] = len(self._values)
        self._values.append(value)
        self._buffers.append(buffer)

    def cleared(self, dies: list[int], steps: int) -> dict[int, list[int]]:
        cleared: dict[int, list[int]] = {}
        for definition, (value, buffer) in enumerate(zip(self._values, self._buffers, strict=True)):
            if buffer < 0 or dies[buffer] >= steps or self._replaced.get(definition, steps) <= dies[buffer]:
                continue
            cleared.setdefault(dies[buffer], []).append(value)
        return cleared


def _takeover(program: Program, at: int, instruction: int, read: int, current: list[int]) -> int:
    """The buffer that a step takes over from one of its reads, where it may: as `_fits` says, and not the caller's."""
    _, reads, writes, _ = program.instructions[instruction]
    if not 0 <= read < len(reads):
        raise ScheduleError(f"step {at} writes {program.label(writes[0])} over read {read}; expected one of its {len(reads)} reads, from 0 on")
    buffer = current[reads[read]]
    if buffer < 0 or not _fits(program, instruction, read):
        raise ScheduleError(
            f"step {at} writes {program.label(writes[0])} over {program.label(reads[read])}; expected an elementwise op on a buffer "
            "of the same dtype and layout that is not the caller's and that it reads in one order only"
        )
    return buffer


def _fits(program: Program, instruction: int, read: int) -> bool:
    """Whether a result could be written over a read, as far as specs tell: elementwise, the whole buffer, the same dtype and layout.

    An op that reads the buffer through another view as well would find it changed.
    """
    op, reads, writes, _ = program.instructions[instruction]
    source, result = program.values[reads[read]], program.values[writes[0]]
    return (
        op.into is not None
        and program.values[source.buffer].spec.numel == source.spec.numel == result.spec.numel
        and (source.spec.dtype, source.spec.layout) == (result.spec.dtype, result.spec.layout)
        and all(other == reads[read] or program.values[other].buffer != source.buffer for other in reads)
    )


def check_schedule(program: Program, schedule: Schedule) -> Lifetimes:
    """Hold a schedule against its program and its claims against liveness; returns the lifetimes, which prove it legal.

    Raises ScheduleError with the step and the node where it is not.
    """
    lives = lifetimes(program, schedule)
    claims = schedule.claims
    for phase, claimed in zip(PHASES, (claims.forward, claims.recompute, claims.backward), strict=True):
        found = lives.phases.count(phase)
        if found != claimed:
            raise ScheduleError(f"{schedule.planner} claims {claimed} {phase} steps; its schedule has {found}; mend the planner")
    if claims.held is not None:
        held = held_activations(program, lives)
        most = int(held.max(initial=0))
        if most > claims.held:
            raise ScheduleError(
                f"{schedule.planner} claims to hold at most {claims.held} activations; at step {int(held.argmax())} {most} are alive; "
                "a recomputation is missing, or the claim is wrong"
            )
    return lives


def held_activations(program: Program, lives: Lifetimes) -> np.ndarray:
    """How many buffers of activations are alive at each step."""
    activation = np.array([program.values[value].role == ACTIVATION for value in lives.owner], int)
    return lives.live(activation)


def counted(program: Program, phase: str) -> int:
    """How many instructions a phase has; for a planner's claims."""
    return sum(instruction.phase == phase for instruction in program.instructions)


def as_created(program: Program, planner: str = "store_all") -> Schedule:
    """Every instruction once, in order of creation; gradients are accumulated in place."""
    forward, backward = counted(program, FORWARD), counted(program, BACKWARD)
    claims = Claims(forward=forward, recompute=0, backward=backward, held=forward)
    order = np.arange(len(program.instructions))
    return Schedule(order, claims, planner, accumulated_in_place(program, order))


def accumulated_in_place(program: Program, order: np.ndarray) -> dict[int, int]:
    """The steps that add a gradient to an earlier slice's, each with the read that it writes over, where that may be and is not needed later."""
    accumulating = {i for i, instruction in enumerate(program.instructions) if getattr(instruction.op, "accumulates", False)}
    given = set(program.given)
    fitting = {i: buffer for i in accumulating if (buffer := _buffer_of_first_read(program, i)) not in given and _fits(program, i, 0)}
    if not fitting:
        return {}
    last_read = {program.values[target].buffer: len(order) for target in program.targets}
    for at, i in enumerate(order.tolist()):
        for read in program.instructions[i].reads:
            buffer = program.values[read].buffer
            last_read[buffer] = max(last_read.get(buffer, 0), at)
    return {at: 0 for at, i in enumerate(order.tolist()) if i in fitting and last_read[fitting[i]] == at}


def _buffer_of_first_read(program: Program, instruction: int) -> int:
    return program.values[program.instructions[instruction].reads[0]].buffer
