"""A graph as plain data: instructions, the values they read and write, and buffers for these.

`linearize(targets)` keeps what the targets need, in order of creation, which is a topological order
already. What no target needs is not in the program, so it is never run. A value may share the
buffer of another (a view), and an instruction may write several values; liveness is of buffers.
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
from autodiff.node import ComputationNode, Leaf
from autodiff.walks import reached


@dataclass(frozen=True, eq=False)
class Program:
    """Instructions in order of creation, over values.

    `targets` are the values asked for, the loss first.
    """

    values: tuple[Value, ...]
    instructions: tuple[Instruction, ...]
    targets: tuple[int, ...]

    @cached_property
    def flat(self) -> Flat:
        """The same in arrays."""
        return Flat(self.values, self.instructions, self.targets)

    @cached_property
    def given(self) -> tuple[int, ...]:
        """The values that no instruction writes: caller-owned parameters and inputs."""
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
        """Return the name of a value: its node's label, numbered where that is ambiguous."""
        label: str = self.values[value].source.label
        return f"{label}#{value}" if label in self._duplicate_labels else label

    def forward_part(self) -> Program:
        """Return the forward pass, which keeps the loss and what backward would read."""
        forward = tuple(step for step in self.instructions if step.phase == FORWARD)
        computed = {value for step in forward for value in step.writes}
        read_later = {
            value for step in self.instructions if step.phase == BACKWARD for value in step.reads
        }
        kept = sorted(computed & read_later - {self.targets[0]})
        return replace(self, instructions=forward, targets=(self.targets[0], *kept))


@paused_collector()
def linearize(targets: Sequence[ComputationNode], wrt: Iterable[ComputationNode] = ()) -> Program:
    """Return the program that computes `targets`, the first of which is the loss.

    What the loss depends on is of the forward phase, all else of the backward phase. `wrt` are the
    nodes that the further targets are gradients of; where it is left out, the gradients themselves
    say. Raises GraphError for a node whose class states too little of itself to be measured.
    """
    if not targets:
        raise GraphError(
            "no targets were given; expected the loss, and the gradients that are wanted"
        )
    forward = reached(targets[:1])
    needed = reached(targets, forward)
    serials = sorted(needed)
    nodes = [needed[serial] for serial in serials]
    place = dict(zip(serials, range(len(serials)), strict=True)).__getitem__
    roles = _Roles(targets, wrt)
    columns: list[tuple[ComputationNode, tuple[int, ...], tuple[int], str]] = []
    buffers = list(range(len(nodes)))
    role_of: list[str] = []
    for i, node in enumerate(nodes):
        if node.spec is None:
            raise GraphError(_what_it_lacks(node))
        if isinstance(node, Leaf):
            role_of.append(roles.of_leaf(node))
            continue
        reads = tuple([place(below.serial) for below in node.input_nodes])
        if node.view_of is not None:
            buffers[i] = buffers[reads[node.view_of]]
        phase = FORWARD if node.serial in forward else BACKWARD
        role_of.append(ACTIVATION if phase == FORWARD else roles.of_gradient(node))
        columns.append((node, reads, (i,), phase))
    values = _all(Value, zip([node.spec for node in nodes], buffers, role_of, nodes, strict=True))
    return Program(
        tuple(values),
        tuple(_all(Instruction, columns)),
        tuple([place(target.serial) for target in targets]),
    )


def _all(record: Any, rows: Iterable[tuple[Any, ...]]) -> Iterable[Any]:
    """Return records of one kind: the same as calling it on each row, in a third of the time."""
    return map(partial(tuple.__new__, record), rows)


class _Roles:
    """The roles of the buffers of a program, from what is differentiated and what is asked for."""

    def __init__(self, targets: Sequence[ComputationNode], wrt: Iterable[ComputationNode]) -> None:
        wrt = list(wrt)
        self._differentiated = {*wrt, *(target.gradient_of for target in targets[1:])}
        of_parameters = any(isinstance(node, Leaf) and node.role != INPUT for node in wrt)
        self._asked = set(targets[1:]) if of_parameters else set()

    def of_leaf(self, leaf: Leaf) -> str:
        """Return what the leaf says, else parameter where it is differentiated and input else."""
        return leaf.role or (PARAMETER if leaf in self._differentiated else INPUT)

    def of_gradient(self, node: ComputationNode) -> str:
        """Return the role of a node of the backward phase."""
        of = node.gradient_of
        if of is None:
            return TEMPORARY
        if isinstance(of, Leaf):
            return PARAMETER_GRADIENT if self.of_leaf(of) == PARAMETER else GRADIENT
        # The gradient of a sum is that of its parts as well.
        return PARAMETER_GRADIENT if node in self._asked else GRADIENT


def _what_it_lacks(node: ComputationNode) -> str:
    if isinstance(node, Leaf):
        if node.value is None:
            return (
                f"leaf {node.label} has neither a value nor a spec; expected one of them: "
                "Leaf(value) or Leaf(None, spec=Spec(shape, dtype))"
            )
        return (
            f"leaf {node.label} holds a {type(node.value).__name__}; expected a number, a tensor "
            "or a numpy array, which can be measured"
        )
    kind = type(node)
    parts = ("compute", "result_spec", "cost")
    missing = [
        f"{part}()" for part in parts if getattr(kind, part) is getattr(ComputationNode, part)
    ]
    if missing:
        return (
            f"{kind.__name__} cannot be measured: it lacks {', '.join(missing)}; give the class "
            "these parts (a class with only forward() and backward() can be run, not measured)"
        )
    below = next((below for below in node.input_nodes if below.spec is None), node)
    return (
        f"{kind.__name__} has no spec because its input {below.label} has none; give that one a "
        "value or a result_spec()"
    )
