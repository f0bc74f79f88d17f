"""Autograd nodes that have become Python objects, so that a deep graph of them can be freed.

PyTorch frees a graph's nodes iteratively, but those that were given to Python it frees by
recursion, node after node along the graph; some 25,000 in a row overflow the stack and end the
process. To ask which node is running gives it to Python. So one of every `_SPACING` such nodes is
held here, which cuts the recursion, until nothing else holds it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from sys import getrefcount
from typing import Any

import torch

_SPACING = 512
_ONLY_HELD_HERE = 2
"""The reference count of a node that is only in the list below: that, and the question's own."""

_current_node: Callable[[], Any] = torch._C._current_autograd_node
_given = count(1)

held: list[Any] = []
"""The nodes that are held, in the order in which backward passes ran them: a graph's end first."""


def current_node() -> Any:
    """Return the node that the backward engine runs, or None."""
    node = _current_node()
    if node is not None and not next(_given) % _SPACING:
        _release_all()
        held.append(node)
    return node


def release() -> None:
    """Let go of the first nodes that nothing else holds."""
    while held and getrefcount(held[0]) <= _ONLY_HELD_HERE:
        del held[0]


def _release_all() -> None:
    """Let go of every node that nothing else holds, where freeing one may free the next."""
    place = 0
    while place < len(held):
        if getrefcount(held[place]) <= _ONLY_HELD_HERE:
            del held[place]
        else:
            place += 1
