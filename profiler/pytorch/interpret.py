"""The meaning of a PyTorch step's notes: phases of calls, operations, roles of buffers, the ledger.

Phases. In the backward engine a call is of the backward phase, or of recompute where autograd is on
there without being asked for (that is what `torch.utils.checkpoint` does). Outside it, a call is
forward, unless autograd is off and it reads what a backward pass made, as clipping and updating by
hand do: that is backward; updates by `torch.optim` are a phase of their own.

Roles. A buffer that is ever a parameter's gradient, an optimizer's state or a parameter has that
role from birth. Otherwise what forward and recompute make are activations; what backward makes is a
gradient, or a temporary where it lives and dies within one autograd node, or where it is a share
that is added to a parameter's gradient. What the optimizer makes for itself is a temporary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from autodiff.cost import Cost
from autodiff.instructions import (
    ACTIVATION,
    BACKWARD,
    FORWARD,
    GRADIENT,
    PARAMETER_GRADIENT,
    PHASES,
    RECOMPUTE,
    TEMPORARY,
)
from profiler.ledger import Ledger, Names
from profiler.pytorch.costs import cost_of_call
from profiler.pytorch.notes import (
    ACCUMULATE,
    BEFORE,
    IN_BACKWARD,
    IN_UNTAPED,
    NO_NODE,
    OPTIMIZER,
    ROLES,
    Noted,
    Notes,
)

_PHASE_OF_PLACE = (FORWARD, FORWARD, RECOMPUTE, BACKWARD, OPTIMIZER)
_CODE = {role: i for i, role in enumerate(ROLES)}
_CODE_OF_PHASE = {
    phase: _CODE[role]
    for phase, role in (
        (FORWARD, ACTIVATION),
        (RECOMPUTE, ACTIVATION),
        (BACKWARD, GRADIENT),
        (OPTIMIZER, TEMPORARY),
    )
}

_ADDITIONS = {id(op) for op in (torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor)}


def phases_of(notes: Notes) -> list[str]:
    """Return the phase of each call."""
    places = [call.where for call in notes.calls]
    phases = [_PHASE_OF_PLACE[place] for place in places]
    if IN_BACKWARD not in places:
        return phases
    if IN_UNTAPED in places[places.index(IN_BACKWARD) :]:
        _follow_gradients(notes, phases)
    for seed in notes.seeds:
        born = notes.born[seed]
        if born != BEFORE and notes.calls[born].func._schema.name == "aten::ones_like":
            phases[born] = BACKWARD
    return phases


def _follow_gradients(notes: Notes, phases: list[str]) -> None:
    """Call backward what runs untaped, outside the engine, on what backward made or derived."""
    derived = {buffer for buffer, role in notes.given.items() if role == PARAMETER_GRADIENT}
    for step, call in enumerate(notes.calls):
        if call.where == IN_UNTAPED and not derived.isdisjoint(call.reads):
            phases[step] = BACKWARD
        if phases[step] == BACKWARD:
            derived.update(notes.births.get(step, ()))


def operations_of(notes: Notes, phases: list[str]) -> tuple[dict[str, Cost], dict[str, int]]:
    """Return operations by phase, and the calls of each op that the table lacks."""
    equal: dict[Any, list[Any]] = {}
    for call, phase in zip(notes.calls, phases, strict=True):
        entry = equal.get(key := (id(call.func), call.args, call.kwargs, call.results, phase))
        if entry is None:
            equal[key] = [call, phase, 1]
        else:
            entry[2] += 1
    totals = {phase: [0, 0, 0, 0, 0] for phase in PHASES}
    uncounted: dict[str, int] = {}
    for call, phase, times in equal.values():
        total = totals.setdefault(phase, [0, 0, 0, 0, 0])
        cost = cost_of_call(call)
        if cost is None:
            uncounted[str(call.func)] = uncounted.get(str(call.func), 0) + times
            continue
        total[0] += cost.multiplications * times
        total[1] += cost.additions * times
        total[2] += cost.comparisons * times
        total[3] += cost.elementary * times
        total[4] += cost.matmul_flops * times
    return {phase: Cost(*total) for phase, total in totals.items()}, uncounted


def roles_of(notes: Notes, phases: list[str]) -> list[int]:
    """Return the role of each buffer, as an index into ROLES."""
    gradient = _CODE[GRADIENT]
    known = {buffer: _CODE[role] for buffer, role in notes.marks}
    known.update((seed, gradient) for seed in notes.seeds if seed not in known)
    known.update((buffer, _CODE[role]) for buffer, role in notes.given.items())
    roles = []
    for buffer, (born, dies) in enumerate(zip(notes.born, notes.dies, strict=True)):
        role = known.get(buffer)
        if role is None:
            is_own = 0 <= born < len(phases)
            role = _CODE_OF_PHASE[phases[born]] if is_own else _CODE[ACTIVATION]
            if role == gradient and _is_temporary(notes, born, dies):
                role = _CODE[TEMPORARY]
        roles.append(role)
    _call_shares_temporary(notes, roles)
    return roles


def _is_temporary(notes: Notes, born: int, dies: int) -> bool:
    """Return whether a buffer of backward dies in its node, or was made outside the engine."""
    if notes.calls[born].where != IN_BACKWARD:
        return True
    return dies < len(notes.calls) and _of_one_node(notes.calls[born], notes.calls[dies])


def _of_one_node(one: Noted, other: Noted) -> bool:
    """Return whether two backward calls are of one node.

    Nodes that accumulate gradients have one number together, and NO_NODE is not a node.
    """
    return (
        one.where == other.where == IN_BACKWARD
        and one.sequence == other.sequence
        and one.sequence not in (NO_NODE, ACCUMULATE)
    )


def _call_shares_temporary(notes: Notes, roles: list[int]) -> None:
    """Give the gradients that are added to a parameter's gradient the role of temporaries."""
    parameter_gradient = _CODE[PARAMETER_GRADIENT]
    for step, call in enumerate(notes.calls):
        if call.where != IN_BACKWARD or id(call.func) not in _ADDITIONS:
            continue
        touched = (*notes.births.get(step, ()), *call.reads)
        if any(roles[buffer] == parameter_gradient for buffer in touched):
            for share in call.reads:
                if roles[share] == _CODE[GRADIENT]:
                    roles[share] = _CODE[TEMPORARY]


def ledger_of_notes(notes: Notes, phases: list[str], names: Names) -> Ledger:
    """Return the ledger of the buffers that the step brought to life."""
    roles = roles_of(notes, phases)
    nbytes, born, dies, role = np.array(
        [[column[i] for i in notes.own] for column in (notes.sizes, notes.born, notes.dies, roles)],
        dtype=np.int64,
    )
    return Ledger(
        nbytes=nbytes,
        born=born,
        dies=dies,
        role=role,
        phases=tuple(phases),
        clocks=np.array([notes.start, *(call.done for call in notes.calls)], dtype=np.int64),
        names=names,
        roles=ROLES,
    )
