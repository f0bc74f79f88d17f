"""The chain of cells in a program: what a planner may call a step, found from the graph alone.

A **cut** is a value that everything before it must pass through to reach what comes after: between its birth and its last read no
other value is both known before and read after. A **cell** starts at a cut that feeds an op reading a parameter, or that is multiplied with a
parameter before the next cut (a norm that is written out reads none at first). It reaches to the next such cut; later cuts that feed
no parameter belong to it (cuts alone would make every z_i and every x_i a cell of its own).
One exception: where the cut itself comes out of an op reading a parameter, and all that reads it reads a parameter of lower rank beside
it, it starts nothing: a bias, a scale or a norm belongs to the layer that it follows. And a stretch without a product (a norm between two
cuts, an embedding) is no cell, but joins the next one. The first cell starts from the caller's input, the last one ends in the loss. A
value and its views are one: they live in one buffer.

What counts as known: values that were computed, and the data that the chain starts from, from the first read on (so a residual branch
around the first block does not split it); only where that costs more than half of the cuts is it taken for something that is always at hand.
What never breaks a chain is what stands **beside** it: parameters, numbers, other data, whole numbers (indices, classes), views of what the
caller holds, and what is computed of these before any layer: a transpose, a norm, a mask, shifted targets. What of it is computed in one
cell and read in another is `shared`: computed once and kept.

A **stage** is a cell's share of the backward part, in order of creation: it begins with the first step that reads a value of the cell.
The state a cell starts from counts as the cell's own, so with tanh ∂z_i, which reads x_{i+1}, still belongs to the stage of
cell i+1, and x_i is not needed before x_{i+1} is done with.

It does not know graphs on which layers' results lead past each other (every layer reads all earlier ones, a U-net), towers beside each
other, or slices of a batch one after the other: those are refused, with the first nodes that break the chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from autodiff.checkpointing.chains import check_chain, check_order
from autodiff.checkpointing.cuts import Cuts
from autodiff.instructions import BACKWARD, INPUT
from autodiff.program import Program


@dataclass(frozen=True, eq=False)
class Cells:
    """A program's forward part as a chain of cells, and its backward part as their stages.

    `starts[k]` is the value that cell k starts from (None: the caller's); `forward[k]` and `stages[k]` are instructions in order of
    creation; `needs[k]` the values of cell k, its start among them, that the backward part reads. `shared` are the buffers of what stands
    beside the chain and is read in other cells than its own.
    """

    program: Program
    starts: tuple[int | None, ...]
    forward: tuple[tuple[int, ...], ...]
    stages: tuple[tuple[int, ...], ...]
    needs: tuple[tuple[int, ...], ...]
    shared: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.forward)

    @cached_property
    def lowest(self) -> int:
        """The cell where the backward part ends: the first of which it reads a value, or, of the caller's, what cell 0 starts from."""
        program = self.program
        buffers = [value.buffer for value in program.values]
        given = {buffers[value] for value in program.given if program.values[value].role == INPUT}
        first = {buffers[read] for i in self.forward[0] for read in program.instructions[i].reads}
        read_back = {
            buffers[read]
            for step in program.instructions
            if step.phase == BACKWARD
            for read in step.reads
        }
        if given & first & read_back:
            return 0
        return next((k for k in range(len(self)) if self.needs[k]), 0)


def find_cells(program: Program) -> Cells:
    """The cells of a program.

    Raises PlannerError where its forward part is no chain of cells, with the first nodes that break it.
    """
    check_order(program)
    cuts = Cuts(program)
    starts = cuts.starts()
    check_chain(cuts, starts)
    starts = cuts.with_products(starts)
    forward = cuts.between(starts)
    shared = _shared(cuts, starts, forward)
    home = _homes(cuts, starts, forward, shared)
    return Cells(
        program,
        (None, *starts),
        forward,
        _stages(program, home, len(forward)),
        _needs(program, home, len(forward)),
        shared,
    )


def _shared(cuts: Cuts, starts: Sequence[int], forward: Sequence[Sequence[int]]) -> frozenset[int]:
    """The buffers that are read in a later cell than their own, and are not what that one starts from."""
    own: dict[int, int] = {}
    found: set[int] = set()
    for k, cell in enumerate(forward):
        for i in cell:
            _, reads, writes, _ = cuts.program.instructions[i]
            found.update(
                buffer for buffer in map(cuts.buffer.__getitem__, reads) if own.get(buffer, k) != k
            )
            for write in writes:
                own.setdefault(cuts.buffer[write], k)
    return frozenset(buffer for buffer in found.difference(starts) if not cuts.is_free[buffer])


def _homes(
    cuts: Cuts, starts: Sequence[int], forward: Sequence[Sequence[int]], shared: frozenset[int]
) -> dict[int, int]:
    """The cell of each value of the forward part; the value that a cell starts from is of that cell."""
    home = {
        write: k
        for k, cell in enumerate(forward)
        for i in cell
        for write in cuts.program.instructions[i].writes
    }
    home.update({start: k for k, start in enumerate(starts, 1)})
    return {
        value: k
        for value, k in home.items()
        if not cuts.is_free[value] and cuts.buffer[value] not in shared
    }


def _backward(program: Program) -> Iterable[tuple[int, tuple[int, ...]]]:
    return (
        (i, step.reads) for i, step in enumerate(program.instructions) if step.phase == BACKWARD
    )


def _stages(program: Program, home: dict[int, int], cells: int) -> tuple[tuple[int, ...], ...]:
    stages: list[list[int]] = [[] for _ in range(cells)]
    stage = cells - 1
    for i, reads in _backward(program):
        stage = min([stage, *(home[read] for read in reads if read in home)])
        stages[stage].append(i)
    return tuple(map(tuple, stages))


def _needs(program: Program, home: dict[int, int], cells: int) -> tuple[tuple[int, ...], ...]:
    needs: list[dict[int, None]] = [{} for _ in range(cells)]
    for _, reads in _backward(program):
        for read in reads:
            if read in home:
                needs[home[read]][read] = None
    return tuple(tuple(sorted(needed)) for needed in needs)
