"""The values that a chain of cells may start from, the likeliest first.

These are the program's inputs. Where they leave products out (those of a generator whose only input
are labels), they are also what the step makes from nothing (noise that it draws, a constant that it
fills in), or else a parameter (a learned constant or token): each one behind the first product.
"""

from __future__ import annotations

from collections.abc import Iterator

from autodiff.instructions import FORWARD, INPUT, PARAMETER
from autodiff.program import Program
from autodiff.spec import is_number


def chain_starts(program: Program) -> Iterator[frozenset[int]]:
    """Return sets of values that the chain may start from, to be tried in this order."""
    inputs = frozenset(
        v
        for v in program.given
        if program.values[v].role == INPUT and not is_number(program.values[v].spec.dtype)
    )
    yield inputs
    made = _made_from_nothing(program)
    if made:
        yield inputs | made
    for parameter in _behind_the_first_product(program):
        yield inputs | {parameter}


def _made_from_nothing(program: Program) -> frozenset[int]:
    values = program.values
    return frozenset(
        write
        for step in program.instructions
        if step.phase == FORWARD and not step.first_reads
        for write in step.writes
        if values[write].spec.dtype.is_floating_point or values[write].spec.dtype.is_complex
    )


def _behind_the_first_product(program: Program) -> list[int]:
    values = program.values
    behind: dict[int, list[int]] = {v: [v] for v in program.given if values[v].role == PARAMETER}
    for step in program.instructions:
        if step.phase == FORWARD:
            found = list(dict.fromkeys(one for read in step.reads for one in behind.get(read, ())))
            if step.op.cost(*(values[read].spec for read in step.reads)).matmul_flops != 0:
                return found
            behind.update((write, found) for write in step.writes)
    return []
