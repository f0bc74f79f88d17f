"""What is computed when: schedules, and what is held against them.

A schedule is a sequence of steps; what is computed twice is recomputed. A planner decides the sequence, never what is freed:
a buffer is born where it is computed and dies after its last read before it is computed again. Because liveness forgives a
forgotten recomputation by keeping the older copy alive, a schedule also carries claims, which `check_schedule` holds against
what follows from the steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from autodiff.errors import ScheduleError
from autodiff.liveness import Lifetimes as Lifetimes
from autodiff.liveness import fits
from autodiff.liveness import lifetimes as lifetimes
from autodiff.program import ACTIVATION, BACKWARD, FORWARD, PHASES, ROLES, Program


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
        return (
            Step(Kind.COMPUTE, int(i), self.overwrites.get(at)) for at, i in enumerate(self.order)
        )

    def __len__(self) -> int:
        return len(self.order)


def check_schedule(program: Program, schedule: Schedule) -> Lifetimes:
    """Hold a schedule against its program and its claims against liveness; returns the lifetimes, which prove it legal.

    Raises ScheduleError with the step and the node where it is not.
    """
    lives = lifetimes(program, schedule)
    claims = schedule.claims
    counts = np.bincount(lives.phase, minlength=len(PHASES)).tolist()
    for phase, found, claimed in zip(
        PHASES, counts, (claims.forward, claims.recompute, claims.backward), strict=True
    ):
        if found != claimed:
            raise ScheduleError(
                f"{schedule.planner} claims {claimed} {phase} steps; its schedule has {found}; mend the planner"
            )
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
    return lives.live((program.flat.roles[lives.owner] == ROLES.index(ACTIVATION)).astype(np.int64))


def counted(program: Program, phase: str) -> int:
    """How many instructions a phase has; for a planner's claims."""
    return int(np.count_nonzero(program.flat.phases == PHASES.index(phase)))


def as_created(program: Program, planner: str = "store_all") -> Schedule:
    """Every instruction once, in order of creation; gradients are accumulated in place."""
    forward, backward = counted(program, FORWARD), counted(program, BACKWARD)
    held = sum(len(step.writes) for step in program.instructions if step.phase == FORWARD)
    claims = Claims(forward=forward, recompute=0, backward=backward, held=held)
    order = np.arange(len(program.instructions))
    return Schedule(order, claims, planner, accumulated_in_place(program, order))


def accumulated_in_place(program: Program, order: np.ndarray) -> dict[int, int]:
    """The steps that add a gradient to an earlier slice's, each with the read that it writes over, where that may be and is not needed later."""
    accumulating = [
        i
        for i, (op, _, _, _) in enumerate(program.instructions)
        if getattr(op, "accumulates", False)
    ]
    if not accumulating:
        return {}
    given = set(program.given)
    fitting = {
        i: buffer
        for i in accumulating
        if (buffer := _buffer_of_first_read(program, i)) not in given and fits(program, i, 0)
    }
    last_read = {program.values[target].buffer: len(order) for target in program.targets}
    for at, i in enumerate(order.tolist()):
        for read in program.instructions[i].reads:
            buffer = program.values[read].buffer
            last_read[buffer] = max(last_read.get(buffer, 0), at)
    return {
        at: 0 for at, i in enumerate(order.tolist()) if i in fitting and last_read[fitting[i]] == at
    }


def _buffer_of_first_read(program: Program, instruction: int) -> int:
    return program.values[program.instructions[instruction].reads[0]].buffer
