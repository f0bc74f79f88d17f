"""From recorded calls to a program: values with their buffers and roles, instructions with phases.

Forward is what ran before the backward pass began, and what the loss needs. A differentiation of
which the loss needs a part (a gradient penalty) belongs to forward as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from autodiff.aten.op import AtenOp, op_of
from autodiff.aten.replay import GeneratorState, replayable, state_kept_for
from autodiff.aten.storage import spec_of_result
from autodiff.errors import GraphError
from autodiff.instructions import (
    ACTIVATION,
    BACKWARD,
    FORWARD,
    GRADIENT,
    PARAMETER_GRADIENT,
    Instruction,
    Value,
)
from autodiff.program import Program
from autodiff.pytorch.recording import Call
from autodiff.spec import Spec, spec_of

_aten = torch.ops.aten
_SAME = (_aten.detach.default, _aten.alias.default)
"""Ops whose result is their argument under another name; autograd saves tensors through them."""


@dataclass(frozen=True)
class Source:
    """Where a value of a traced program comes from: its name, and the tensor if it is given."""

    label: str
    value: Any = None


@dataclass(frozen=True)
class Given:
    """A tensor from outside the step: its fake, its name and its role in the program."""

    real: torch.Tensor
    fake: torch.Tensor
    label: str
    role: str


def build(given: Iterable[Given], calls: Sequence[Call], results: Any) -> Program:
    """Return the program of recorded calls; `results` are the loss and the gradients.

    Raises GraphError unless the first result is a loss of one element.
    """
    builder = _Builder()
    for one in given:
        builder.give(one)
    for call in calls:
        builder.call(call)
    leaves = [leaf for leaf in tree_leaves(results) if isinstance(leaf, torch.Tensor)]
    if not leaves or leaves[0].numel() != 1:
        found = "nothing" if not leaves else str(spec_of(leaves[0]))
        raise GraphError(
            f"the step returns {found} first; expected the loss, of one element, and then the "
            "gradients: return loss, grads"
        )
    return builder.program([builder.value_of(leaf) for leaf in leaves])


class _Builder:
    """Writes down values and instructions, call by call; tensors are told apart by identity."""

    def __init__(self) -> None:
        self._specs: list[Spec] = []
        self._buffers: list[int] = []
        self._sources: list[Source] = []
        self._roles: dict[int, str] = {}
        self._instructions: list[tuple[Any, tuple[int, ...], tuple[int, ...], int]] = []
        self._values: dict[int, int] = {}
        self._owner_of_storage: dict[int, int] = {}
        self._names: dict[str, int] = {}
        self._held: list[torch.Tensor] = []

    def give(self, given: Given) -> None:
        value = self._add(given.fake, Source(given.label, given.real))
        self._roles[value] = given.role

    def value_of(self, fake: torch.Tensor) -> int:
        return self._values[id(fake)]

    def call(self, call: Call) -> None:
        """Add one call; what only renames or copies a value as a whole adds nothing."""
        call = _without_statistics(call)
        several = isinstance(call.result, tuple | list)
        parts = list(call.result) if several else [call.result]
        same = self._same_as(call)
        if same is not None:
            value = self._values[id(parts[0])] = self.value_of(same)
            self._owner_of_storage.setdefault(_storage(parts[0]), self._buffers[value])
            self._held.append(parts[0])
            return
        undefined = _undefined(call)
        kept = [
            i
            for i, part in enumerate(parts)
            if isinstance(part, torch.Tensor)
            and id(part) not in self._values
            and i not in undefined
        ]
        if not kept:
            return
        reads, op = op_of(
            call.overload,
            call.args,
            call.kwargs,
            self.value_of,
            kept if several else None,
            [tuple(part.shape) if i in kept else None for i, part in enumerate(parts)],
        )
        state = state_kept_for(
            op, parts[kept[0]].device, sum(parts[i].untyped_storage().nbytes() for i in kept)
        )
        if state is not None:
            op, reads = replayable(op, state), (*reads, self._keep(state, call.run))
        name = self._numbered(op.name.rpartition("::")[2])
        writes = tuple(
            self._add(parts[i], Source(name if len(kept) == 1 else f"{name}.{i}"), is_result=True)
            for i in kept
        )
        self._instructions.append((op, reads, writes, call.run))

    def _keep(self, state: GeneratorState, run: int) -> int:
        """Add the instruction that keeps a generator's state; return the state's value."""
        value = len(self._specs)
        self._specs.append(state.result_spec)
        self._sources.append(Source(self._numbered(state.name)))
        self._buffers.append(value)
        self._instructions.append((state, (), (value,), run))
        return value

    def _numbered(self, name: str) -> str:
        """Return a name, with a number from its second use on."""
        number = self._names[name] = self._names.get(name, -1) + 1
        return f"{name}_{number}" if number else name

    def _add(self, fake: torch.Tensor, source: Source, *, is_result: bool = False) -> int:
        value = len(self._specs)
        spec = spec_of(fake)
        assert spec is not None
        owner = self._owner_of_storage.setdefault(_storage(fake), value)
        if owner == value and is_result:
            spec = spec_of_result(spec, fake)
        self._values[id(fake)] = value
        self._held.append(fake)
        self._specs.append(spec)
        self._sources.append(source)
        self._buffers.append(owner)
        return value

    def _same_as(self, call: Call) -> torch.Tensor | None:
        """Return the argument that the result of a call is, if it is one of them."""
        if call.overload in _SAME:
            return call.args[0]  # type: ignore[no-any-return]
        if call.overload is _aten.copy.default and _is_whole_copy(*call.args[:2]):
            return call.args[1]  # type: ignore[no-any-return]
        return None

    def program(self, results: list[int]) -> Program:
        """Return the program of what the results need, and of all draws of random numbers."""
        needed = self._needed(results, self._draws())
        phases = self._phases(self._needed(results[:1]))
        targets = set(results[1:])
        instructions = []
        for i, (op, reads, writes, _) in enumerate(self._instructions):
            if i in needed:
                instructions.append(Instruction(op, reads, writes, phases[i]))
                for write in writes:
                    self._roles.setdefault(write, _role(phases[i], write in targets))
        for target in targets:
            # A gradient that is returned as a view makes its buffer a parameter's gradient.
            if self._roles.get(self._buffers[target]) == GRADIENT:
                self._roles[self._buffers[target]] = PARAMETER_GRADIENT
        values = [
            Value(spec, buffer, self._roles.get(i, GRADIENT), source)
            for i, (spec, buffer, source) in enumerate(
                zip(self._specs, self._buffers, self._sources, strict=True)
            )
        ]
        return Program(tuple(values), tuple(instructions), tuple(results))

    def _phases(self, for_the_loss: set[int]) -> list[str]:
        runs_of_forward = {self._instructions[i][3] for i in for_the_loss}
        phases = []
        has_begun = False
        for i, (_, _, _, run) in enumerate(self._instructions):
            has_begun = has_begun or (run != 0 and run not in runs_of_forward)
            phases.append(BACKWARD if has_begun and i not in for_the_loss else FORWARD)
        return phases

    def _draws(self) -> set[int]:
        """Return the random ops: also where nothing reads a result, later draws depend on it."""
        return {
            i
            for i, (op, _, _, _) in enumerate(self._instructions)
            if isinstance(op, AtenOp) and op.is_random
        }

    def _needed(self, targets: Sequence[int], run: Collection[int] = ()) -> set[int]:
        """Return the instructions that the targets, and those to run anyway, depend on."""
        wanted = set(targets)
        needed = set()
        for i in range(len(self._instructions) - 1, -1, -1):
            _, reads, writes, _ = self._instructions[i]
            if i in run or not wanted.isdisjoint(writes):
                needed.add(i)
                wanted.update(reads)
        return needed


def _undefined(call: Call) -> set[int]:
    """Return the places of results that a gradient's mask leaves out: no kernel computes them."""
    for place, argument in enumerate(call.overload._schema.arguments):
        if argument.name in ("output_mask", "grad_input_mask"):
            given = call.args[place] if place < len(call.args) else call.kwargs.get(argument.name)
            return {i for i, is_wanted in enumerate(given or ()) if not is_wanted}
    return set()


def _storage(fake: torch.Tensor) -> int:
    return fake.untyped_storage()._cdata  # type: ignore[no-any-return]  # PyTorch does not say


def _role(phase: str, is_target: bool) -> str:
    if phase == FORWARD:
        return ACTIVATION
    return PARAMETER_GRADIENT if is_target else GRADIENT


def _is_whole_copy(old: torch.Tensor, new: torch.Tensor) -> bool:
    """Return whether a copy over a value has its shape and dtype, so that it can take its place."""
    if old.shape != new.shape or old.dtype != new.dtype:
        return False
    # Where a part of a buffer lies is not recorded, so its strides need not agree.
    has_gaps = old.untyped_storage().nbytes() > old.numel() * old.itemsize
    return has_gaps or old.stride() == new.stride()


def _without_statistics(call: Call) -> Call:
    """Return the call; a batch norm in training without the running statistics that it updates.

    The op's schema does not declare that it writes into them; its result does not read them.
    """
    if call.overload is not _aten.native_batch_norm.default or call.args[5] is not True:
        return call
    overload = _aten._native_batch_norm_legit.no_stats
    empty: Mapping[str, Any] = {}
    return Call(overload, (*call.args[:3], *call.args[5:]), empty, call.result, call.run)
