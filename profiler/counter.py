"""Scalar operations by kind and phase, added up from what each op says that it costs for the shapes at hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

from autodiff.cost import FREE, Cost
from autodiff.errors import GraphError
from autodiff.program import PHASES, Program
from autodiff.recording import Recording


def count_operations(recording: Recording) -> dict[str, Cost]:
    """The operations of every step that was taken, by phase; all phases are keys."""
    return count_steps(recording.program, recording.schedule.order.tolist(), recording.lifetimes.phases)


def count_steps(program: Program, order: list[int], phases: tuple[str, ...]) -> dict[str, Cost]:
    """The operations of instructions in an order, each with its phase. Equal ops on equal shapes are counted together."""
    times: Counter[tuple[int, str]] = Counter(zip(order, phases, strict=True))
    alike: dict[Any, list[Any]] = {}
    for (i, phase), count in times.items():
        op, reads, _, _ = program.instructions[i]
        specs = tuple([program.values[read].spec for read in reads])
        key = (type(op), op.parameters, specs, phase)
        entry = alike.get(key)
        if entry is None:
            alike[key] = [op, specs, count]
        else:
            entry[2] += count
    totals = dict.fromkeys(PHASES, FREE)
    for key, (op, specs, count) in alike.items():
        phase = key[3]
        totals[phase] = totals[phase] + _cost(op, specs) * count
    return totals


def _cost(op: Any, specs: tuple[Any, ...]) -> Cost:
    cost = op.cost(*specs)
    if not isinstance(cost, Cost):
        raise GraphError(f"{type(op).__name__}.cost() gave {cost!r}; expected a Cost, such as Cost(multiplications=spec.numel)")
    return cost
