"""A number that notes every operation done with it in the tally that it carries.

What is noted follows the convention of `autodiff.cost`: a product or quotient, a sum, difference or
negation, a comparison, an elementary function (a power among them). In a `CountingArray` a product
of matrices (`@`) is noted in `matmul_flops` too, as twice the multiplications that it did. An
operation takes a few tenths of a microsecond. Where Python would raise (a division by zero, an
overflow) the value is that of floating point: an infinity, or not a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from autodiff.cost import Cost


class Tally:
    """The operations that the scalars carrying it have done, by kind."""

    __slots__ = ("additions", "comparisons", "elementary", "matmul_flops", "multiplications")

    def __init__(self) -> None:
        self.multiplications = self.additions = self.comparisons = self.elementary = (
            self.matmul_flops
        ) = 0

    def take(self) -> Cost:
        """Return the counts since they were last taken."""
        counts = Cost(*(getattr(self, field.name) for field in fields(Cost)))
        self.__init__()  # type: ignore[misc]
        return counts


class CountingScalar:
    """A number that notes each operation done with it in its tally.

    It is not a float, so that no arithmetic goes unnoticed.
    """

    __slots__ = ("tally", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: float, tally: Tally) -> None:
        self.value = value
        self.tally = tally

    def __repr__(self) -> str:
        return f"CountingScalar({self.value})"

    def __bool__(self) -> bool:
        raise TypeError(
            "a CountingScalar has no truth value; expected a comparison, which counts; write x > 0"
        )

    # Written out one by one: this is the inner loop.

    def __add__(self, other: Any) -> Any:
        if (number := _number(other)) is None:
            return NotImplemented
        self.tally.additions += 1
        return CountingScalar(self.value + number, self.tally)

    def __sub__(self, other: Any) -> Any:
        if (number := _number(other)) is None:
            return NotImplemented
        self.tally.additions += 1
        return CountingScalar(self.value - number, self.tally)

    def __rsub__(self, other: Any) -> Any:
        if (number := _number(other)) is None:
            return NotImplemented
        self.tally.additions += 1
        return CountingScalar(number - self.value, self.tally)

    def __mul__(self, other: Any) -> Any:
        if (number := _number(other)) is None:
            return NotImplemented
        self.tally.multiplications += 1
        return CountingScalar(self.value * number, self.tally)

    def __truediv__(self, other: Any) -> Any:
        if (number := _number(other)) is None:
            return NotImplemented
        self.tally.multiplications += 1
        return CountingScalar(_quotient(self.value, number), self.tally)

    def __rtruediv__(self, other: Any) -> Any:
        if (number := _number(other)) is None:
            return NotImplemented
        self.tally.multiplications += 1
        return CountingScalar(_quotient(number, self.value), self.tally)

    def __pow__(self, other: Any) -> Any:
        if (number := _number(other)) is None:
            return NotImplemented
        self.tally.elementary += 1
        return CountingScalar(_power(self.value, number), self.tally)

    def __rpow__(self, other: Any) -> Any:
        if (number := _number(other)) is None:
            return NotImplemented
        self.tally.elementary += 1
        return CountingScalar(_power(number, self.value), self.tally)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> CountingScalar:
        self.tally.additions += 1
        return CountingScalar(-self.value, self.tally)

    def _compared(self, other: Any, relation: Callable[[float, float], bool]) -> Any:
        if (number := _number(other)) is None:
            return NotImplemented
        self.tally.comparisons += 1
        return relation(self.value, number)

    def __lt__(self, other: Any) -> Any:
        return self._compared(other, float.__lt__)

    def __le__(self, other: Any) -> Any:
        return self._compared(other, float.__le__)

    def __gt__(self, other: Any) -> Any:
        return self._compared(other, float.__gt__)

    def __ge__(self, other: Any) -> Any:
        return self._compared(other, float.__ge__)

    def __eq__(self, other: object) -> Any:
        return self._compared(other, float.__eq__)

    def __ne__(self, other: object) -> Any:
        return self._compared(other, float.__ne__)

    def _elementary(self, function: Callable[[float], float]) -> CountingScalar:
        self.tally.elementary += 1
        return CountingScalar(function(self.value), self.tally)

    def exp(self) -> CountingScalar:
        """Return e to its power."""
        return self._elementary(_exp)

    def log(self) -> CountingScalar:
        """Return its natural logarithm."""
        return self._elementary(_log)

    def tanh(self) -> CountingScalar:
        """Return its hyperbolic tangent."""
        return self._elementary(math.tanh)

    def erf(self) -> CountingScalar:
        """Return its error function."""
        return self._elementary(math.erf)

    def sigmoid(self) -> CountingScalar:
        """Return 1 / (1 + e^−x), one elementary function."""
        return self._elementary(lambda x: 0.5 * (1 + math.tanh(0.5 * x)))

    def sqrt(self) -> CountingScalar:
        """Return its square root."""
        return self._elementary(lambda x: _power(x, 0.5))


def _number(other: Any) -> float | None:
    """Return an operand as a float; None for an array, which does its own arithmetic."""
    if type(other) is CountingScalar:
        return other.value
    return float(other) if isinstance(other, (int, float, np.number)) else None


# Python raises where floating point has an infinity or no number.


def _quotient(a: float, b: float) -> float:
    if b:
        return a / b
    return math.copysign(math.inf, a) * math.copysign(1, b) if a and not math.isnan(a) else math.nan


def _power(base: float, power: float) -> float:
    try:
        result = base**power
    except (OverflowError, ZeroDivisionError):
        return math.copysign(math.inf, base) if power % 2 == 1 else math.inf
    return math.nan if isinstance(result, complex) else result


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


def _log(x: float) -> float:
    return math.log(x) if x > 0 else math.nan if x else -math.inf


class CountingArray(np.ndarray):
    """An array of counting scalars whose products with `@` are noted in `matmul_flops` as well."""

    def __matmul__(self, other: Any) -> Any:
        if not self.size or not np.size(other):
            return np.zeros((*self.shape[:-1], other.shape[-1]), dtype=object)
        tally = self.flat[0].tally
        before = tally.multiplications
        product = super().__matmul__(other)
        tally.matmul_flops += 2 * (tally.multiplications - before)
        return product
