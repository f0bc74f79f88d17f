"""The chain of cells in a program: the steps of a planner, found from the graph only.

A **cut** is a value that everything before it must pass through to reach what comes after: between
its birth and its last read no other value is both known before and read after. A **cell** starts at
a cut that feeds an op reading a parameter, or that is multiplied with a parameter before the next
cut (a norm that is written out reads none at first). It reaches to the next such cut; later cuts
that feed no parameter belong to it (cuts by themselves would make every z_i and every x_i a cell of
its own).
One exception: where the cut itself comes out of an op reading a parameter, and every op that reads
it also reads a parameter of lower rank, it starts nothing: a bias, a scale or a norm belongs to the
layer that it follows. And a stretch without a product (a norm between two cuts, an embedding) is no
cell, but joins the next one. The first cell starts from the program's input, the last one ends in
the loss. A value and its views are one: they live in one buffer.

Known values are those that were computed and, from its first read on, the data that the chain
starts from (so a residual branch around the first block does not split it). If counting that data
would cost more than half of the cuts, it counts as always available instead. **Side values** never
break a chain: parameters, numbers, other data, integers (indices, classes), views of given tensors,
and what is computed from these before any layer: a transpose, a norm, a mask, shifted targets. A
side value that is computed in one cell and read in another is `shared`: computed once and kept.

A **stage** is a cell's share of the backward part, in order of creation: it begins with the first
step that reads a value of the cell. The state a cell starts from counts as the cell's own, so with
tanh ∂z_i, which reads x_{i+1}, still belongs to the stage of cell i+1, and x_i is not needed before
x_{i+1} is done with.

Graphs on which results of layers bypass each other (every layer reads all earlier ones, a U-net),
parallel towers and slices of a batch in sequence are refused; the error names the first nodes that
break the chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from autodiff.checkpointing.beginnings import chain_starts
from autodiff.checkpointing.chains import check_chain, check_order
from autodiff.checkpointing.cuts import Cuts
from autodiff.errors import PlannerError
from autodiff.instructions import BACKWARD
from autodiff.levels import without_moves
from autodiff.program import Program


@dataclass(frozen=True, eq=False)
class Cells:
    """A program's forward part as a chain of cells, and its backward part as their stages.

    `starts[k]` is the value that cell k starts from (None: the program's input); `forward[k]` and
    `stages[k]` are instructions in order of creation; `needs[k]` the values of cell k, its start
    among them, that the backward part reads. `shared` are the buffers that
    are not part of the chain and are read in cells other than their own; `data` are the buffers
    that the chain starts from.
    """

    program: Program
    starts: tuple[int | None, ...]
    forward: tuple[tuple[int, ...], ...]
    stages: tuple[tuple[int, ...], ...]
    needs: tuple[tuple[int, ...], ...]
    shared: frozenset[int] = frozenset()
    data: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.forward)

    @cached_property
    def lowest(self) -> int:
        """Return the cell where the backward part ends: the first of which it reads a value.

        That is cell 0 if the backward part reads the data that cell 0 starts from.
        """
        program = self.program
        buffers = [value.buffer for value in program.values]
        first = {buffers[read] for i in self.forward[0] for read in program.instructions[i].reads}
        read_back = {
            buffers[read]
            for step in program.instructions
            if step.phase == BACKWARD
            for read in step.reads
        }
        if self.data & first & read_back:
            return 0
        return next((k for k in range(len(self)) if self.needs[k]), 0)


def find_cells(program: Program) -> Cells:
    """Return the cells of a program.

    Raises PlannerError where its forward part is no chain of cells, with the first nodes that break
    it.
    """
    whole, program = program, without_moves(program)
    check_order(program)
    refusal: PlannerError | None = None
    best: Cells | None = None
    for data in chain_starts(program):
        cuts = Cuts(program, data)
        try:
            cells = _cells_from(cuts)
        except PlannerError as error:
            refusal = refusal or error
            if cuts.has_all_products:
                break
            continue
        if best is None or len(cells) > len(best):
            best = cells
        if len(best) > 1 and cuts.has_all_products:
            break
    if best is None or (len(best) == 1 and refusal is not None):
        assert refusal is not None
        raise refusal
    return replace(best, program=whole)


def _cells_from(cuts: Cuts) -> Cells:
    """Return the cells of a program for one choice of the data."""
    program = cuts.program
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
        frozenset(cuts.buffer[v] for v in cuts.data),
    )


def _shared(cuts: Cuts, starts: Sequence[int], forward: Sequence[Sequence[int]]) -> frozenset[int]:
    """Return the buffers that are read in a later cell, except the starts of cells."""
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
    """Return the cell of each forward value; the value that a cell starts from is of that cell."""
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
