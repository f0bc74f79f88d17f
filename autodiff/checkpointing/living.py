"""The steps of an order that something reads or draws later, and what is claimed of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from autodiff.flat import repeated
from autodiff.instructions import BACKWARD, FORWARD
from autodiff.levels import moved_bytes
from autodiff.program import Program
from autodiff.schedule import Claims


def without_dead_steps(program: Program, order: Sequence[int], goals: Iterable[int]) -> list[int]:
    """Return the order without the steps whose results are not read before they are recomputed.

    `goals` are the values that are wanted at its end. Random ops stay where they first run, because
    what is drawn after them depends on it.
    """
    flat = program.flat
    steps = np.array(order, dtype=np.int64)
    again = repeated(steps)
    draws = (flat.draws & ~flat.keeps_state)[steps] & ~again
    wanted = bytearray(len(program.values))
    for goal in goals:
        wanted[goal] = 1
    living: list[int] = []
    for i, runs_again, is_drawn in zip(
        reversed(order), again[::-1].tolist(), draws[::-1].tolist(), strict=True
    ):
        step = program.instructions[i]
        writes = step.writes
        if is_drawn or any(map(wanted.__getitem__, writes)):
            living.append(i)
            for write in writes:
                wanted[write] = 0
            for read in step.reads if runs_again else step.first_reads:
                wanted[read] = 1
    living.reverse()
    return living


def claims_of(program: Program, order: Sequence[int], most_held: int) -> Claims:
    """Return what is claimed of an order, which holds so many activations at most."""
    phases = [step.phase for step in program.instructions]
    backward = sum(phases[i] == BACKWARD for i in order)
    forward = sum(phases[i] == FORWARD for i in set(order))
    return Claims(
        forward=forward,
        recompute=len(order) - forward - backward,
        backward=backward,
        held=most_held,
        moved_bytes=moved_bytes(program, np.array(order, dtype=np.int64)),
    )
