"""The steps of an order that something reads, and what is claimed of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from autodiff.instructions import BACKWARD, FORWARD
from autodiff.levels import moved_bytes
from autodiff.program import Program
from autodiff.schedule import Claims


def without_dead_steps(program: Program, order: Sequence[int], goals: Iterable[int]) -> list[int]:
    """Return the order without the steps whose results are not read before they are recomputed.

    `goals` are the values that are wanted at its end.
    """
    wanted = bytearray(len(program.values))
    for goal in goals:
        wanted[goal] = 1
    living: list[int] = []
    for i in reversed(order):
        _, reads, writes, _ = program.instructions[i]
        if any(wanted[write] for write in writes):
            living.append(i)
            for write in writes:
                wanted[write] = 0
            for read in reads:
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
