"""Walks over a graph of nodes, from what is asked for to its inputs; all are iterative."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Protocol, TypeVar


class Walkable(Protocol):
    """What a walk reads of a node."""

    serial: int

    @property
    def input_nodes(self) -> Sequence[Any]:
        """The nodes that it is computed from."""
        ...


Node = TypeVar("Node", bound=Walkable)

creation: Callable[[Walkable], int] = attrgetter("serial")
"""The key by which nodes sort in order of creation."""


def inputs_first(root: Node, seen: set[Node]) -> list[Node]:
    """Return the nodes that `root` depends on, inputs before their readers, `root` last.

    Nodes in `seen` are left out, with all that only they depend on; the others are added to it.
    """
    nodes: list[Node] = []
    if root in seen:
        return nodes
    seen.add(root)
    stack: list[tuple[Node, Iterator[Node]]] = [(root, iter(root.input_nodes))]
    while stack:
        node, inputs = stack[-1]
        for below in inputs:
            if below not in seen:
                seen.add(below)
                stack.append((below, iter(below.input_nodes)))
                break
        else:
            nodes.append(node)
            stack.pop()
    return nodes


def reached(targets: Iterable[Node], known: Mapping[int, Node] | None = None) -> dict[int, Node]:
    """Return the targets and all nodes that they depend on, by serial number.

    The nodes in `known` are returned as well; the walk does not go past them.
    """
    found = {} if known is None else dict(known)
    stack = [target for target in targets if target.serial not in found]
    found.update((target.serial, target) for target in stack)
    take, put = stack.pop, stack.append
    while stack:
        for below in take().input_nodes:
            serial = below.serial
            if serial not in found:
                found[serial] = below
                put(below)
    return found


def in_order_of_creation(targets: Iterable[Node]) -> list[Node]:
    """Return the targets and all nodes that they depend on, in order of creation.

    That order is a topological one.
    """
    found = reached(targets)
    return [found[serial] for serial in sorted(found)]
