"""Scalar operations by kind and phase, added up from the costs that ops declare for shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff.cost import FREE, Cost
from autodiff.errors import GraphError
from autodiff.instructions import PHASES
from autodiff.liveness import Lifetimes
from autodiff.program import Program
from autodiff.recording import Recording
from autodiff.schedule import Schedule


def count_operations(recording: Recording) -> dict[str, Cost]:
    """Return the operations of every step that was taken, by phase; all phases are keys."""
    return count_steps(recording.program, recording.schedule, recording.lifetimes)


def count_steps(program: Program, schedule: Schedule, lives: Lifetimes) -> dict[str, Cost]:
    """Return the operations of a schedule's steps by phase.

    Equivalent steps are costed once and multiplied.
    """
    works = program.flat.works
    times = np.bincount(
        lives.phase * len(works) + program.flat.work_of[schedule.order],
        minlength=len(PHASES) * len(works),
    )
    totals = dict.fromkeys(PHASES, FREE)
    for phase, counts in zip(PHASES, times.reshape(len(PHASES), len(works)).tolist(), strict=True):
        for work, count in zip(works, counts, strict=True):
            if count:
                totals[phase] = totals[phase] + _cost(work.op, work.specs) * count
    return totals


def uncounted_ops(program: Program, schedule: Schedule) -> dict[str, int]:
    """Return the ops that run and have no known cost, with their number of calls, most first.

    Their operations count as zero, so they have to be named.
    """
    works = program.flat.works
    calls: dict[str, int] = {}
    for work, times in zip(
        works,
        np.bincount(program.flat.work_of[schedule.order], minlength=len(works)).tolist(),
        strict=True,
    ):
        if times and not getattr(work.op, "is_counted", True):
            calls[work.op.name] = calls.get(work.op.name, 0) + times
    return dict(sorted(calls.items(), key=lambda item: -item[1]))


def _cost(op: Any, specs: tuple[Any, ...]) -> Cost:
    cost = op.cost(*specs)
    if not isinstance(cost, Cost):
        raise GraphError(
            f"{type(op).__name__}.cost() gave {cost!r}; expected a Cost, such as "
            "Cost(multiplications=spec.numel)"
        )
    return cost
