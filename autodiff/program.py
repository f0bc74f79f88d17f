"""A graph as plain data: instructions, the values they read and write, and the buffers that hold those.

`linearize(targets)` keeps what the targets need, in order of creation, which is a topological order already. What no target
needs is not in the program, so it is never run. A value may share the buffer of another (a view), and an instruction may write
several values; liveness is of buffers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from autodiff.collector import paused_collector
from autodiff.errors import GraphError
from autodiff.flat import Flat
from autodiff.instructions import (
    ACTIVATION,
    BACKWARD,
    FORWARD,
    GRADIENT,
    INPUT,
    PARAMETER,
    PARAMETER_GRADIENT,
    TEMPORARY,
    Instruction,
    Value,
)
from autodiff.node import ComputationNode, Leaf, reached
from autodiff.spec import Spec


@dataclass(frozen=True, eq=False)
class Program:
    """Instructions in order of creation, over values; `targets` are the values asked for, the loss first."""

    values: tuple[Value, ...]
    instructions: tuple[Instruction, ...]
    targets: tuple[int, ...]

    @cached_property
    def flat(self) -> Flat:
        """The same in arrays."""
        return Flat(self.values, self.instructions, self.targets)

    @cached_property
    def given(self) -> tuple[int, ...]:
        """The values that no instruction writes: the caller's parameters and inputs."""
        return tuple(np.flatnonzero(self.flat.given).tolist())

    @cached_property
    def _duplicate_labels(self) -> frozenset[str]:
        seen: set[str] = set()
        twice: set[str] = set()
        for value in self.values:
            label = value.source.label
            (twice if label in seen else seen).add(label)
        return frozenset(twice)

    def label(self, value: int) -> str:
        """What to call a value: its node's label, with its number where that alone would be ambiguous."""
        label: str = self.values[value].source.label
        return f"{label}#{value}" if label in self._duplicate_labels else label

    def forward_part(self) -> Program:
        """The forward pass alone, which keeps the loss and every value that the backward part would read."""
        forward = tuple(step for step in self.instructions if step.phase == FORWARD)
        computed = {value for step in forward for value in step.writes}
        read_later = {
            value for step in self.instructions if step.phase == BACKWARD for value in step.reads
        }
        kept = sorted(computed & read_later - {self.targets[0]})
        return replace(self, instructions=forward, targets=(self.targets[0], *kept))


@paused_collector()
def linearize(targets: Sequence[ComputationNode], wrt: Iterable[ComputationNode] = ()) -> Program:
    """The program that computes `targets`, the first of which is the loss.

    What the loss depends on is of the forward phase, all else of the backward phase. `wrt` are the nodes that the further
    targets are gradients of; where it is left out, the gradients themselves say. Raises GraphError for a node whose class says
    too little of itself to be measured.
    """
    if not targets:
        raise GraphError(
            "no targets were given; expected the loss, and the gradients that are wanted"
        )
    forward = reached(targets[:1])
    needed = reached(targets, forward)
    serials = sorted(needed)
    place = dict(zip(serials, range(len(serials)), strict=True)).__getitem__
    differentiated = {*wrt, *(target.gradient_of for target in targets[1:])}
    asked = (
        set(targets[1:])
        if any(isinstance(node, Leaf) and node.role != INPUT for node in wrt)
        else set()
    )

    specs: list[Spec] = []
    buffers = list(range(len(serials)))
    roles: list[str] = []
    ops: list[ComputationNode] = []
    reads: list[tuple[int, ...]] = []
    writes: list[tuple[int]] = []
    phases: list[str] = []
    for i, serial in enumerate(serials):
        node = needed[serial]
        spec = node.spec
        if spec is None:
            raise GraphError(_what_it_lacks(node))
        specs.append(spec)
        inputs = node.input_nodes
        if not inputs and isinstance(node, Leaf):
            roles.append(node.role or (PARAMETER if node in differentiated else INPUT))
            continue
        ops.append(node)
        writes.append((i,))
        reads.append(read := tuple([place(below.serial) for below in inputs]))
        if node.view_of is not None:
            buffers[i] = buffers[read[node.view_of]]
        if serial in forward:
            phases.append(FORWARD)
            roles.append(ACTIVATION)
        else:
            phases.append(BACKWARD)
            roles.append(
                TEMPORARY
                if node.gradient_of is None
                else _role_of_gradient(node, node.gradient_of, differentiated, asked)
            )
    values = _all(Value, specs, buffers, roles, map(needed.__getitem__, serials))
    instructions = _all(Instruction, ops, reads, writes, phases)
    return Program(
        tuple(values), tuple(instructions), tuple([place(target.serial) for target in targets])
    )


def _all(record: Any, *columns: Iterable[Any]) -> Iterable[Any]:
    """Records of a kind from the columns of their fields: the same as calling it for each, in a third of the time."""
    return map(partial(tuple.__new__, record), zip(*columns, strict=True))


def _role_of_gradient(
    node: ComputationNode,
    of: ComputationNode,
    differentiated: set[ComputationNode | None],
    asked: set[ComputationNode],
) -> str:
    if isinstance(of, Leaf):
        return (
            PARAMETER_GRADIENT
            if of.role == PARAMETER or (of.role is None and of in differentiated)
            else GRADIENT
        )
    return (
        PARAMETER_GRADIENT if node in asked else GRADIENT
    )  # the gradient of a sum is that of its parts as well


def _what_it_lacks(node: ComputationNode) -> str:
    if isinstance(node, Leaf):
        if node.value is None:
            return f"leaf {node.label} has neither a value nor a spec; expected one of them: Leaf(value) or Leaf(None, spec=Spec(shape, dtype))"
        return f"leaf {node.label} holds a {type(node.value).__name__}; expected a number, a tensor or a numpy array, which can be measured"
    kind = type(node)
    parts = ("compute", "result_spec", "cost")
    missing = [
        f"{part}()" for part in parts if getattr(kind, part) is getattr(ComputationNode, part)
    ]
    if missing:
        return f"{kind.__name__} cannot be measured: it lacks {', '.join(missing)}; give the class these parts (forward() and backward() alone can only be run)"
    below = next((below for below in node.input_nodes if below.spec is None), node)
    return f"{kind.__name__} has no spec because its input {below.label} has none; give that one a value or a result_spec()"
