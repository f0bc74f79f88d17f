"""One call of one of PyTorch's ops with every tensor replaced by its shape, and the few counts that most rules are made of.

A rule is a function from a `Call` to a `Cost`. A tensor's place is taken by its `torch.Size`, a list of tensors by a tuple of
those; numbers, lists of numbers, dtypes and None stay what they are.
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
    """The arguments of a call, by position and by name as the op's schema has them, and the shapes of its results."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    results: tuple[Any, ...] = ()

    def arg(self, position: int, default: Any = None) -> Any:
        """The argument at a position, or its default where the call leaves it out."""
        return self.args[position] if position < len(self.args) else default

    @property
    def size(self) -> int:
        """The elements of the first result."""
        return math.prod(self.results[0])

    @property
    def given(self) -> int:
        """The elements of the first argument."""
        return math.prod(self.args[0])


Rule = Callable[[Call], Cost]


def numel(shape: Shape) -> int:
    """The elements of a shape."""
    return math.prod(shape)


def each(mul: int = 0, add: int = 0, cmp: int = 0, elem: int = 0) -> Rule:
    """The rule of an elementwise op: so many operations of each kind for each element of its (broadcast) result."""
    one = Cost(mul, add, cmp, elem)
    return lambda call: one * call.size


def each_given(mul: int = 0, add: int = 0, cmp: int = 0, elem: int = 0) -> Rule:
    """The rule of an op that does so many operations of each kind for each element of its first argument."""
    one = Cost(mul, add, cmp, elem)
    return lambda call: one * call.given


def reduced(call: Call) -> tuple[int, int, int]:
    """Elements given, elements of the result, and the pairings that bring the former down to the latter: N, R, N − R."""
    given, left = call.given, call.size
    return given, left, max(given - left, 0)


NONE, MEAN, SUM = 0, 1, 2


def reduction(mode: int, n: int) -> Cost:
    """What a loss of n elements adds for its reduction: nothing, n − 1 additions, and for a mean one division more."""
    if mode == NONE:
        return Cost()
    return Cost(multiplications=int(mode == MEAN), additions=max(n - 1, 0))
