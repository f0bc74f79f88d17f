"""What the notes of a PyTorch step mean: the phase of each call, operations by phase, the role of each buffer, the ledger.

Phases. In the backward engine a call is of the backward phase, or of recompute where autograd is on there without being asked for (that is
what `torch.utils.checkpoint` does). Outside it, a call is forward, unless autograd is off and it reads what a backward pass made, as
clipping and updating by hand do: that is backward; updates by `torch.optim` are a phase of their own.

Roles. A buffer that is ever a parameter's gradient, an optimiser's state, a parameter has that role from birth. Else what forward and
recompute make are activations; what backward makes is a gradient, or a temporary where it lives and dies within one autograd node,
or where it is a share that is added to a parameter's gradient. What the optimiser makes for itself is a temporary.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from autodiff.aten.call import Call
from autodiff.aten.table import cost_of, family_name
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
from profiler.pytorch.notes import (
    ACCUMULATE,
    BEFORE,
    IN_BACKWARD,
    IN_UNTAPED,
    NO_NODE,
    OPTIMIZER,
    ROLES,
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

Counts = tuple[int, int, int, int, int]
"""Multiplications, additions, comparisons, elementary functions, matmul flops."""


def phases_of(notes: Notes) -> list[str]:
    """The phase of each call."""
    places = [call[4] for call in notes.calls]
    phases = [_PHASE_OF_PLACE[place] for place in places]
    if IN_BACKWARD not in places:
        return phases
    if IN_UNTAPED in places[places.index(IN_BACKWARD) :]:
        _follow_gradients(notes, places, phases)
    for seed in notes.seeds:
        born = notes.born[seed]
        if born != BEFORE and notes.calls[born][0]._schema.name == "aten::ones_like":
            phases[born] = BACKWARD
    return phases


def _follow_gradients(notes: Notes, places: list[int], phases: list[str]) -> None:
    """Call backward what runs outside the engine, untaped, on what backward made, and what is made of that."""
    births = births_by_step(notes)
    derived = {buffer for buffer, role in notes.given.items() if role == PARAMETER_GRADIENT}
    for step, place in enumerate(places):
        if place == IN_UNTAPED and not derived.isdisjoint(notes.calls[step][7]):
            phases[step] = BACKWARD
        if phases[step] == BACKWARD:
            derived.update(births.get(step, ()))


def births_by_step(notes: Notes) -> dict[int, list[int]]:
    """The buffers that each step brings to life."""
    births: dict[int, list[int]] = {}
    for buffer, step in enumerate(notes.born):
        if step != BEFORE:
            births.setdefault(step, []).append(buffer)
    return births


@lru_cache(maxsize=1 << 16)
def counts_of(
    func: Any, args: tuple[Any, ...], kwargs: tuple[tuple[str, Any], ...], results: tuple[Any, ...]
) -> Counts | None:
    """What a call costs, from the table of aten's ops; None where that lacks the op."""
    schema = getattr(func, "_schema", None)
    cost = (
        None
        if schema is None
        else cost_of(family_name(schema.name), Call(args, dict(kwargs), results))
    )
    return (
        None
        if cost is None
        else (
            cost.multiplications,
            cost.additions,
            cost.comparisons,
            cost.elementary,
            cost.matmul_flops,
        )
    )


def operations_of(notes: Notes, phases: list[str]) -> tuple[dict[str, Cost], dict[str, int]]:
    """Operations by phase, and the ops that the table lacks with their numbers of calls. Equal calls are counted together."""
    alike: dict[Any, list[Any]] = {}
    for call, phase in zip(notes.calls, phases, strict=True):
        func, args, kwargs, results = call[:4]
        entry = alike.get(key := (id(func), args, kwargs, results, phase))
        if entry is None:
            alike[key] = [call, phase, 1]
        else:
            entry[2] += 1
    totals = {phase: [0, 0, 0, 0, 0] for phase in PHASES}
    uncounted: dict[str, int] = {}
    for call, phase, times in alike.values():
        counts = counts_of(*call[:4])
        if counts is None:
            uncounted[str(call[0])] = uncounted.get(str(call[0]), 0) + times
            counts = (0, 0, 0, 0, 0)
        total = totals.setdefault(phase, [0, 0, 0, 0, 0])
        for kind, count in enumerate(counts):
            total[kind] += count * times
    return {phase: Cost(*total) for phase, total in totals.items()}, uncounted


def lifetimes_of(notes: Notes) -> list[int]:
    """The last step at which each buffer lives; the number of steps for those that outlive them."""
    dies = [len(notes.calls)] * len(notes.sizes)
    for buffer, step in notes.deaths:
        dies[buffer] = step
    return dies


def roles_of(notes: Notes, phases: list[str], dies: list[int]) -> list[int]:
    """The role of each buffer, as an index into ROLES."""
    calls, steps, given = notes.calls, len(notes.calls), notes.given
    gradient, parameter_gradient, temporary = (
        _CODE[GRADIENT],
        _CODE[PARAMETER_GRADIENT],
        _CODE[TEMPORARY],
    )
    said = {buffer: _CODE[role] for buffer, role in notes.marks}
    said.update((seed, gradient) for seed in notes.seeds if seed not in said)
    said.update((buffer, _CODE[role]) for buffer, role in given.items())
    roles = []
    for buffer, (born, end) in enumerate(zip(notes.born, dies, strict=True)):
        role = said.get(buffer)
        if role is None:
            role = _CODE_OF_PHASE[phases[born]] if 0 <= born < steps else _CODE[ACTIVATION]
            # What does not outlive its node, or is made of gradients outside the engine, is nobody's gradient.
            if role == gradient and (
                calls[born][4] != IN_BACKWARD
                or (end < steps and _of_one_node(calls[born], calls[end]))
            ):
                role = temporary
        roles.append(role)
    additions = [
        step
        for step, call in enumerate(calls)
        if call[4] == IN_BACKWARD and id(call[0]) in _ADDITIONS
    ]
    births = births_by_step(notes) if additions else {}
    for step in additions:
        shares = calls[step][7]
        if any(roles[buffer] == parameter_gradient for buffer in (*births.get(step, ()), *shares)):
            for share in shares:
                if roles[share] == gradient:
                    roles[share] = temporary
    return roles


def _of_one_node(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two backward calls belong to one node; nodes that accumulate have one number together, and none is no node."""
    return (
        one[4] == other[4] == IN_BACKWARD
        and one[5] == other[5]
        and one[5] not in (NO_NODE, ACCUMULATE)
    )


def ledger_of_notes(notes: Notes, phases: list[str], names: Names) -> Ledger:
    """The ledger of the buffers that the step brought to life; those that existed before it are left out."""
    steps, dies = len(phases), lifetimes_of(notes)
    roles = roles_of(notes, phases, dies)
    own = [i for i, step in enumerate(notes.born) if 0 <= step < steps]
    nbytes, born, end, role = np.array(
        [[column[i] for i in own] for column in (notes.sizes, notes.born, dies, roles)],
        dtype=np.int64,
    )
    return Ledger(
        nbytes=nbytes,
        born=born,
        dies=end,
        role=role,
        phases=tuple(phases),
        clocks=np.array([notes.start, *(call[8] for call in notes.calls)], dtype=np.int64),
        names=names,
        roles=ROLES,
    )
