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
    instructions = program.instructions
    number = _spec_numbers(program)
    times: Counter[Any] = Counter()
    examples: dict[Any, int] = {}
    for i, phase in zip(order, phases, strict=True):
        op, reads, _, _ = instructions[i]
        key = (phase, type(op), op.parameters, *[number[read] for read in reads])
        times[key] += 1
        examples[key] = i
    totals = dict.fromkeys(PHASES, FREE)
    for key, count in times.items():
        op, reads, _, _ = instructions[examples[key]]
        totals[key[0]] = totals[key[0]] + _cost(op, tuple(program.values[read].spec for read in reads)) * count
    return totals


def _spec_numbers(program: Program) -> list[int]:
    """A number for the spec of each value, the same for equal specs: they are compared once, and then only numbers are."""
    numbers: dict[Any, int] = {}
    known: dict[int, int] = {}
    found = []
    for value in program.values:
        spec = value.spec
        number = known.get(id(spec))
        if number is None:
            number = known[id(spec)] = numbers.setdefault(spec, len(numbers))
        found.append(number)
    return found


def _cost(op: Any, specs: tuple[Any, ...]) -> Cost:
    cost = op.cost(*specs)
    if not isinstance(cost, Cost):
        raise GraphError(f"{type(op).__name__}.cost() gave {cost!r}; expected a Cost, such as Cost(multiplications=spec.numel)")
    return cost
