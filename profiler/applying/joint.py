"""The joint graph of a compiled model as a program, with the way back to the graph.

`reading` makes it, `splitting` makes two graphs of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx

from autodiff.program import Program


@dataclass(frozen=True)
class Input:
    """An input of the graph: its name, if it is a parameter, if it is the model's own tensor."""

    name: str
    is_parameter: bool = False
    is_own: bool = False


@dataclass(frozen=True)
class Work:
    """The graph node behind an instruction; `part` tells the two halves of a batch norm apart."""

    node: fx.Node | None
    part: str = ""


@dataclass(frozen=True, eq=False)
class Joint:
    """A joint graph as a program, with the way back.

    `works[i]` is what instruction i runs; `values` names the value, or the values, of each node
    that holds tensors; `outputs` are the results of the forward graph, `gradients` those of the
    backward graph, each a node or a constant; `border` is the instruction of the loss outside;
    `fed` are the given values that are not the model's own; `updates` are the nodes that end the
    forward pass by writing into an input, such as running statistics.
    """

    graph: fx.GraphModule
    program: Program
    works: tuple[Work, ...]
    values: Mapping[fx.Node, Any]
    outputs: tuple[Any, ...]
    gradients: tuple[Any, ...]
    border: int
    fed: tuple[int, ...] = ()
    updates: tuple[fx.Node, ...] = ()

    @property
    def placeholders(self) -> list[fx.Node]:
        """Return the inputs of the graph, those of the forward pass first."""
        return [node for node in self.graph.graph.nodes if node.op == "placeholder"]
