"""The chain of cells in a program: what a planner may call a step, found from the graph alone.

A **cut** is a value that everything before it must pass through to reach what comes after: between its birth and its last read no
other value is both known before and read after. A **cell** starts at a cut that feeds an op reading a parameter, and reaches to the
next such cut; later cuts that feed no parameter belong to it (cuts alone would make every z_i and every x_i a cell of its own).
One exception: where the cut itself comes out of an op reading a parameter, and feeds parameters of lower rank than its own only, it
starts nothing: a bias, a scale or a norm belongs to the layer that it follows. The first cell starts from the caller's input, the
last one ends in the loss.

What counts as known: values that were computed, and the caller's data from the first read on (so a residual branch around the first
block does not split it); only where that leaves a single cell is the data taken for something that is always at hand. Parameters, what
is computed from parameters alone (a transpose, a norm), numbers, and views of what the caller holds never break a chain.

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
from itertools import pairwise

from autodiff.errors import PlannerError
from autodiff.program import BACKWARD, FORWARD, INPUT, PARAMETER, Program
from autodiff.spec import NUMBER


@dataclass(frozen=True, eq=False)
class Cells:
    """A program's forward part as a chain of cells, and its backward part as their stages.

    `starts[k]` is the value that cell k starts from (None: the caller's); `forward[k]` and `stages[k]` are instructions in order of
    creation; `needs[k]` the values of cell k, its start among them, that the backward part reads.
    """

    program: Program
    starts: tuple[int | None, ...]
    forward: tuple[tuple[int, ...], ...]
    stages: tuple[tuple[int, ...], ...]
    needs: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.forward)

    @cached_property
    def lowest(self) -> int:
        """The cell where the backward part ends: the first of which it reads a value, or, of the caller's, what cell 0 starts from."""
        program = self.program
        buffers = [value.buffer for value in program.values]
        given = {buffers[value] for value in program.given if program.values[value].role == INPUT}
        first = {buffers[read] for i in self.forward[0] for read in program.instructions[i].reads}
        read_back = {buffers[read] for step in program.instructions if step.phase == BACKWARD for read in step.reads}
        if given & first & read_back:
            return 0
        return next((k for k in range(len(self)) if self.needs[k]), 0)


def find_cells(program: Program) -> Cells:
    """The cells of a program.

    Raises PlannerError where its forward part is no chain of cells, with the first nodes that break it.
    """
    return _Finder(program).cells()


class _Finder:
    """What is known of every value of the forward part, by one walk over it, and the cuts that follow."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.instructions = [i for i, step in enumerate(program.instructions) if step.phase == FORWARD]
        values = program.values
        given = set(program.given)
        data_leaf = {v for v in given if values[v].role == INPUT and values[v].spec.dtype is not NUMBER}
        self.from_data = bytearray(len(values))
        self.from_parameter = bytearray(len(values))
        for v in given:
            self.from_data[v] = v in data_leaf
            self.from_parameter[v] = values[v].role == PARAMETER
        self.is_free = bytearray(values[v].buffer in given for v in range(len(values)))
        self.first_read: dict[int, int] = {}
        self.last_read: dict[int, int] = {}
        self.born: dict[int, int] = {}
        self.readers: dict[int, list[int]] = {}
        for at, i in enumerate(self.instructions):
            _, reads, writes, _ = program.instructions[i]
            for read in reads:
                known = values[read].buffer if values[read].buffer in data_leaf else read
                self.first_read.setdefault(known, at)
                self.last_read[known] = at
                self.readers.setdefault(read, []).append(i)
            for write in writes:
                self.born[write] = at
                self.from_data[write] = any(self.from_data[read] for read in reads)
                self.from_parameter[write] = any(self.from_parameter[read] for read in reads)
        self.data = [v for v in data_leaf if v in self.first_read]

    def cells(self) -> Cells:
        self._check_order()
        starts = self._starts(with_data=True) or self._starts(with_data=False)
        edges = [0, *(self.born[start] + 1 for start in starts), len(self.instructions)]
        forward = tuple(tuple(self.instructions[a:b]) for a, b in pairwise(edges))
        self._check_branches(starts, forward)
        for cell in forward:
            self._check_overlaps(cell)
        if not starts:
            self._check_bypasses()
        home = self._homes(starts, forward)
        stages = self._stages(home, len(forward))
        return Cells(self.program, (None, *starts), forward, stages, self._needs(home, len(forward)))

    def _check_order(self) -> None:
        """One forward part, then one backward part: not slice after slice, as gradients are accumulated."""
        backward: int | None = None
        for _, _, writes, phase in self.program.instructions:
            if phase == BACKWARD:
                backward = writes[0] if backward is None else backward
            elif backward is not None:
                label = self.program.label
                raise PlannerError(
                    f"{label(writes[0])} is of the forward part and comes after {label(backward)}, which is of the backward part; expected one "
                    "forward part and then one backward part; accumulate gradients with store_all"
                )

    def _starts(self, with_data: bool) -> list[int]:
        """The cuts that start a cell, in order."""
        steps = len(self.instructions)
        count, total = [0] * (steps + 1), [0] * (steps + 1)
        crossing = [(self.born[v], self.last_read.get(v, -1), v) for v in self.born if not self.is_free[v]]
        if with_data:
            crossing += [(self.first_read[v], self.last_read[v], v) for v in self.data]
        for first, last, v in crossing:
            if last > first:  # known after `first`, read for the last time at `last`
                count[first] += 1
                count[last] -= 1
                total[first] += v
                total[last] -= v
        starts: list[int] = []
        known = names = 0
        for at in range(steps):
            known, names = known + count[at], names + total[at]
            # Where only one value crosses, the sum of their numbers is its number.
            if known == 1 and self.born.get(names) == at and self._starts_a_cell(names):
                starts.append(names)
        return starts

    def _starts_a_cell(self, value: int) -> bool:
        """Whether a value feeds an op reading a parameter, and does not merely go from one such op to its bias or scale."""
        values, instructions = self.program.values, self.program.instructions
        parameters = [read for i in self.readers.get(value, ()) for read in instructions[i].reads if self._is_parameter(read)]
        if not parameters or not self.from_data[value]:
            return False
        producer = instructions[self.instructions[self.born[value]]]
        rank = len(values[value].spec.shape)
        follows = any(self._is_parameter(read) for read in producer.reads)
        return not (follows and all(len(values[read].spec.shape) < rank for read in parameters))

    def _is_parameter(self, value: int) -> bool:
        return bool(self.from_parameter[value] and not self.from_data[value])

    def _check_branches(self, starts: Sequence[int], forward: Sequence[Sequence[int]]) -> None:
        """Beside the value that its cell starts from, data may pass one op reading a parameter (an input of that cell), not two."""
        label = self.program.label
        for start, cell in zip(starts, forward[1:], strict=True):
            behind = {start}
            beside: dict[int, int] = {}
            for i in cell:
                _, reads, writes, _ = self.program.instructions[i]
                if not behind.isdisjoint(reads):
                    behind.update(writes)
                    continue
                origin = next((beside[read] for read in reads if read in beside), None)
                if self.from_data[writes[0]] and any(self._is_parameter(read) for read in reads):
                    if origin is not None:
                        raise PlannerError(
                            f"{label(origin)} and {label(writes[0])} lead past {label(start)}: the forward part is no chain of cells; "
                            "expected one path from the input to the loss; use store_all, or a planner of your own"
                        )
                    origin = writes[0]
                if origin is not None:
                    beside.update(dict.fromkeys(writes, origin))

    def _check_overlaps(self, cell: Sequence[int]) -> None:
        """Within a cell, its own start may lead past layers (a residual block); no layer's result may lead past the next one's."""
        layers = [
            write for i in cell for write in self.program.instructions[i].writes if not self.is_free[write] and self._starts_a_cell(write)
        ]
        for earlier in layers[:-1]:
            behind = {earlier}
            for i in cell:
                _, reads, writes, _ = self.program.instructions[i]
                if not behind.isdisjoint(reads):
                    behind.update(writes)
            later = next((layer for layer in layers if layer != earlier and layer in behind), None)
            if later is not None and self.last_read[earlier] > self.born[later]:
                raise PlannerError(self._leads_past(earlier, later))

    def _leads_past(self, earlier: int, later: int) -> str:
        label = self.program.label
        return (
            f"{label(earlier)} leads past {label(later)} and is read after it: the forward part is no chain of cells; expected values that "
            "all later ones are computed from; use store_all, or a planner of your own"
        )

    def _check_bypasses(self) -> None:
        """With a single cell nothing can be dropped: if it has layers within, what leads past the first of them is named."""
        for at, i in enumerate(self.instructions):
            for value in self.program.instructions[i].writes:
                if self.is_free[value] or not self._starts_a_cell(value):
                    continue
                around = [v for v in self.born if self.born[v] <= at < self.last_read.get(v, -1) and v != value and not self.is_free[v]]
                if around:
                    raise PlannerError(self._leads_past(around[0], value))

    def _homes(self, starts: Sequence[int], forward: Sequence[Sequence[int]]) -> dict[int, int]:
        """The cell of each value of the forward part; the value that a cell starts from is of that cell."""
        home = {write: k for k, cell in enumerate(forward) for i in cell for write in self.program.instructions[i].writes}
        home.update({start: k for k, start in enumerate(starts, 1)})
        return {value: k for value, k in home.items() if not self.is_free[value]}

    def _backward(self) -> Iterable[tuple[int, tuple[int, ...]]]:
        return ((i, step.reads) for i, step in enumerate(self.program.instructions) if step.phase == BACKWARD)

    def _stages(self, home: dict[int, int], cells: int) -> tuple[tuple[int, ...], ...]:
        stages: list[list[int]] = [[] for _ in range(cells)]
        stage = cells - 1
        for i, reads in self._backward():
            stage = min([stage, *(home[read] for read in reads if read in home)])
            stages[stage].append(i)
        return tuple(map(tuple, stages))

    def _needs(self, home: dict[int, int], cells: int) -> tuple[tuple[int, ...], ...]:
        needs: list[dict[int, None]] = [{} for _ in range(cells)]
        for _, reads in self._backward():
            for read in reads:
                if read in home:
                    needs[home[read]][read] = None
        return tuple(tuple(sorted(needed)) for needed in needs)
