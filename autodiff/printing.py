"""A computation graph as an indented tree of text, as the exercise prints it.

A node that was printed before is named by its number in order of printing, `@[3]`. Indentation is
two spaces a level and stops growing at level 50, so that a chain of 100,000 nodes prints in a few
megabytes. The walk is iterative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

DEEPEST_LEVEL = 50


class Printable(Protocol):
    """What is printed of a node."""

    name: str | None
    result: Any
    gradient: Any

    @property
    def input_nodes(self) -> Sequence[Printable]:
        """The nodes that it reads."""
        ...


def tree_text(root: Printable) -> str:
    """Return the tree of nodes that ends in `root`, one node a line.

    A tensor's own text may have more lines.
    """
    seen: dict[Printable, int] = {}
    lines: list[str] = []
    stack: list[tuple[Printable, int]] = [(root, 0)]
    while stack:
        node, level = stack.pop()
        indent = "  " * min(level, DEEPEST_LEVEL)
        name = type(node).__name__ + (f" {node.name}" if node.name else "")
        if node in seen:
            lines.append(f"{indent}{name} @[{seen[node]}]")
            continue
        seen[node] = len(seen) + 1
        text = f"{name} result={_text(node.result)} gradient={_text(node.gradient)}"
        lines.append(indent + text.replace("\n", f"\n{indent}"))
        stack.extend((below, level + 1) for below in reversed(node.input_nodes))
    return "\n".join(lines)


def _text(value: Any) -> str:
    """Return a value as Python prints it.

    A gradient that is itself a graph is only named, since printing it would print the graph again.
    """
    if hasattr(value, "input_nodes"):
        return f"<{type(value).__name__}{' ' + value.name if value.name else ''}>"
    return str(value)
