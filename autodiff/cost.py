"""What a computation costs: addable counts of scalar operations by kind.

One scalar operation is one multiplication or division, one addition, subtraction or negation, one
comparison or selection, or one evaluation of an elementary function (exp, tanh, log, erf, power) on
one scalar. Copies, conversions of dtype, views, transposes and expansions cost nothing.
Additionally `matmul_flops` counts 2·m·k·p for each product of m×k by k×p, the convention of
PyTorch's `FlopCounterMode`; it is not part of `total`.

The counts may be integers, numpy arrays (many shapes at once) or sympy expressions (a formula).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Cost:
    """Counts of scalar operations by kind, which add and can be multiplied by a number of times."""

    multiplications: Any = 0
    additions: Any = 0
    comparisons: Any = 0
    elementary: Any = 0
    matmul_flops: Any = 0

    @property
    def total(self) -> Any:
        """All scalar operations; `matmul_flops` counts the same products again and is left out."""
        return self.multiplications + self.additions + self.comparisons + self.elementary

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.multiplications + other.multiplications,
            self.additions + other.additions,
            self.comparisons + other.comparisons,
            self.elementary + other.elementary,
            self.matmul_flops + other.matmul_flops,
        )

    def __mul__(self, times: Any) -> Cost:
        return Cost(*(getattr(self, field.name) * times for field in fields(self)))

    __rmul__ = __mul__


FREE = Cost()
