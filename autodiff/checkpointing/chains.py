"""The checks that a forward part is a chain of cells; an error names the first nodes that break it.

Bound: the error says which value bypasses which; it proposes no other way to cut.
"""

from __future__ import annotations

from collections.abc import Sequence

from autodiff.checkpointing.cuts import Cuts
from autodiff.errors import PlannerError
from autodiff.instructions import BACKWARD
from autodiff.program import Program


def check_order(program: Program) -> None:
    """Raise PlannerError unless one forward part is followed by one backward part."""
    backward: int | None = None
    for _, _, writes, phase in program.instructions:
        if phase == BACKWARD:
            backward = writes[0] if backward is None else backward
        elif backward is not None:
            label = program.label
            raise PlannerError(
                f"{label(writes[0])} is of the forward part and comes after {label(backward)}, "
                "which is of the backward part; expected one "
                "forward part and then one backward part; accumulate gradients with store_all"
            )


def check_chain(cuts: Cuts, starts: Sequence[int]) -> None:
    """Raise PlannerError, with the first nodes that break it, if the forward part is no chain."""
    stretches = cuts.between(starts)
    _check_branches(cuts, starts, stretches)
    for stretch in stretches:
        _check_overlaps(cuts, stretch)
    if not starts:
        _check_bypasses(cuts)


def _check_branches(cuts: Cuts, starts: Sequence[int], forward: Sequence[Sequence[int]]) -> None:
    """Refuse data that bypasses the start of a cell and passes two ops that read parameters.

    One such op is allowed: it makes a further input of that cell.
    """
    label = cuts.program.label
    for start, cell in zip(starts, forward[1:], strict=True):
        behind = {start}
        bypassing: dict[int, int] = {}
        for i in cell:
            _, reads, writes, _ = cuts.program.instructions[i]
            if not behind.isdisjoint(reads):
                behind.update(writes)
                continue
            origin = next((bypassing[read] for read in reads if read in bypassing), None)
            if cuts.from_data[writes[0]] and any(cuts.is_parameter(read) for read in reads):
                if origin is not None:
                    raise PlannerError(
                        f"{label(origin)} and {label(writes[0])} lead past {label(start)}: the "
                        "forward part is no chain of cells; "
                        "expected one path from the input to the loss; use store_all, or a "
                        "planner of your own"
                    )
                origin = writes[0]
            if origin is not None:
                bypassing.update(dict.fromkeys(writes, origin))


def _check_overlaps(cuts: Cuts, cell: Sequence[int]) -> None:
    """Refuse a cell in which a layer's result bypasses the next layer's.

    The start of the cell may bypass its layers: that is a residual block.
    """
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
    """Refuse a single cell with layers in it; name the value that bypasses the first of them."""
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
        f"{label(earlier)} leads past {label(later)} and is read after it: the forward part is "
        "no chain of cells; expected values that "
        "all later ones are computed from; use store_all, or a planner of your own"
    )
