"""What a chain of cells is held against: where a program's forward part is none, an error names the first nodes that break it.

Bound: it says what leads past what; it proposes no other way to cut.
"""

from __future__ import annotations

from collections.abc import Sequence

from autodiff.checkpointing.cuts import Cuts
from autodiff.errors import PlannerError
from autodiff.instructions import BACKWARD
from autodiff.program import Program


def check_order(program: Program) -> None:
    """One forward part, then one backward part: not slice after slice, as gradients are accumulated."""
    backward: int | None = None
    for _, _, writes, phase in program.instructions:
        if phase == BACKWARD:
            backward = writes[0] if backward is None else backward
        elif backward is not None:
            label = program.label
            raise PlannerError(
                f"{label(writes[0])} is of the forward part and comes after {label(backward)}, which is of the backward part; expected one "
                "forward part and then one backward part; accumulate gradients with store_all"
            )


def check_chain(cuts: Cuts, starts: Sequence[int]) -> None:
    """Refuse a forward part that is no chain, however it is cut; raises PlannerError with the first nodes that break it."""
    stretches = cuts.between(starts)
    _check_branches(cuts, starts, stretches)
    for stretch in stretches:
        _check_overlaps(cuts, stretch)
    if not starts:
        _check_bypasses(cuts)


def _check_branches(cuts: Cuts, starts: Sequence[int], forward: Sequence[Sequence[int]]) -> None:
    """Beside the value that its cell starts from, data may pass one op reading a parameter (an input of that cell), not two."""
    label = cuts.program.label
    for start, cell in zip(starts, forward[1:], strict=True):
        behind = {start}
        beside: dict[int, int] = {}
        for i in cell:
            _, reads, writes, _ = cuts.program.instructions[i]
            if not behind.isdisjoint(reads):
                behind.update(writes)
                continue
            origin = next((beside[read] for read in reads if read in beside), None)
            if cuts.from_data[writes[0]] and any(cuts.is_parameter(read) for read in reads):
                if origin is not None:
                    raise PlannerError(
                        f"{label(origin)} and {label(writes[0])} lead past {label(start)}: the forward part is no chain of cells; "
                        "expected one path from the input to the loss; use store_all, or a planner of your own"
                    )
                origin = writes[0]
            if origin is not None:
                beside.update(dict.fromkeys(writes, origin))


def _check_overlaps(cuts: Cuts, cell: Sequence[int]) -> None:
    """Within a cell, its own start may lead past layers (a residual block); no layer's result may lead past the next one's."""
    layers = [
        write
        for i in cell
        for write in cuts.program.instructions[i].writes
        if cuts.is_layered(write) and cuts.starts_a_cell(write)
    ]
    for earlier in layers[:-1]:
        behind = {earlier}
        for i in cell:
            _, reads, writes, _ = cuts.program.instructions[i]
            if not behind.isdisjoint(reads):
                behind.update(writes)
        later = next((layer for layer in layers if layer != earlier and layer in behind), None)
        if later is not None and cuts.last_read[earlier] > cuts.born[later]:
            raise PlannerError(_leads_past(cuts.program, earlier, later))


def _check_bypasses(cuts: Cuts) -> None:
    """With a single cell nothing can be dropped: if it has layers within, what leads past the first of them is named."""
    for at, i in enumerate(cuts.instructions):
        for value in cuts.program.instructions[i].writes:
            if not cuts.is_layered(value) or not cuts.starts_a_cell(value):
                continue
            around = [
                v
                for v in cuts.layered
                if cuts.born[v] <= at < cuts.last_read.get(v, -1) and v != value
            ]
            if around:
                raise PlannerError(_leads_past(cuts.program, around[0], value))


def _leads_past(program: Program, earlier: int, later: int) -> str:
    label = program.label
    return (
        f"{label(earlier)} leads past {label(later)} and is read after it: the forward part is no chain of cells; expected values that "
        "all later ones are computed from; use store_all, or a planner of your own"
    )
