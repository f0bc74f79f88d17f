"""Plain backpropagation: every instruction once; what the backward pass reads is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from autodiff.instructions import BACKWARD, FORWARD, PHASES
from autodiff.liveness import fits
from autodiff.program import Program
from autodiff.schedule import Claims, Schedule


@dataclass(frozen=True)
class StoreAll:
    """Keep every activation that the backward pass reads; recompute nothing."""

    name: ClassVar[str] = "store_all"

    def __str__(self) -> str:
        """Return the canonical string."""
        return self.name

    def __call__(self, program: Program) -> Schedule:
        """Return the schedule of plain backpropagation."""
        return as_created(program, str(self))


def as_created(program: Program, planner: str = "store_all") -> Schedule:
    """Return every instruction once, in order of creation; gradients are accumulated in place.

    No states of random generators are kept for replays, and nothing moves to another level.
    """
    order = np.flatnonzero(~program.flat.optional)
    phases = program.flat.phases[order]
    forward, backward = (
        int(np.count_nonzero(phases == PHASES.index(phase))) for phase in (FORWARD, BACKWARD)
    )
    held = sum(len(step.writes) for step in program.instructions if step.phase == FORWARD)
    claims = Claims(forward=forward, recompute=0, backward=backward, held=held)
    return Schedule(order, claims, planner, accumulated_in_place(program, order))


def accumulated_in_place(program: Program, order: np.ndarray) -> dict[int, int]:
    """Return the steps that may add a gradient in place, each with the read that it writes over.

    A step may do so if the earlier sum has a buffer of its own that nothing reads later.
    """
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
