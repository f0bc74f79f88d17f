"""One call of a PyTorch op with shapes in the place of tensors, and counts that most rules share.

A rule is a function from a `Call` to a `Cost`. A tensor's place is taken by its `torch.Size`, a
list of tensors by a tuple of those; numbers, lists of numbers, dtypes and None stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autodiff.cost import Cost

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """The arguments of a call, as its op's schema has them, and the shapes of its results."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    results: tuple[Any, ...] = ()

    def arg(self, position: int, default: Any = None) -> Any:
        """Return the argument at a position, or its default where the call leaves it out."""
        return self.args[position] if position < len(self.args) else default

    @property
    def size(self) -> int:
        """The elements of the first result."""
        return math.prod(self.results[0])

    @property
    def given(self) -> int:
        """The elements of the first argument."""
        return math.prod(self.args[0])


Rule = Callable[[Call], Cost | None]
"""Gives the cost of a call, or None for a call that it does not describe."""


def numel(shape: Shape) -> int:
    """Return the number of elements of a shape."""
    return math.prod(shape)


def each(mul: int = 0, add: int = 0, cmp: int = 0, elem: int = 0) -> Rule:
    """Return the rule of an elementwise op: these operations for each element of its result."""
    one = Cost(mul, add, cmp, elem)
    return lambda call: one * call.size


def each_given(mul: int = 0, add: int = 0, cmp: int = 0, elem: int = 0) -> Rule:
    """Return the rule of an op that does these operations for each element of its argument 0."""
    one = Cost(mul, add, cmp, elem)
    return lambda call: one * call.given


def reduced(call: Call) -> tuple[int, int, int]:
    """Return the elements given, those of the result, and the pairings between: N, R, N − R."""
    given, left = call.given, call.size
    return given, left, max(given - left, 0)


NONE, MEAN, SUM = 0, 1, 2


def reduction(mode: int, n: int) -> Cost:
    """Return what a loss of n elements adds for its reduction.

    Without a reduction that is nothing; a sum takes n − 1 additions, a mean one division more.
    """
    if mode == NONE:
        return Cost()
    return Cost(multiplications=int(mode == MEAN), additions=max(n - 1, 0))
