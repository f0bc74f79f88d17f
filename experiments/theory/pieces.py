"""A moment that may be the peak as a polynomial in n, d and b, and the letters that it is made of.

KA is what waits for the backward pass when the loss has been computed, RA is one activation where
the lowest layer asked for is above the first; `peaks.py` defines both. A = b·d, D = d².
"""

from __future__ import annotations

from dataclasses import dataclass

from experiments.theory.case import Dimension, slice_width


@dataclass(frozen=True)
class Piece:
    """A moment that may be the peak.

    It is (area_n·n + area)·bd + (weight_n·n + weight)·d² + batch·b + one elements.
    """

    label: str
    area_n: int = 0
    area: int = 0
    weight_n: int = 0
    weight: int = 0
    batch: int = 0
    one: int = 0
    micro_batches: int = 1

    def elements(self, n: Dimension, d: Dimension, b: Dimension) -> Dimension:
        """Return the live elements at this moment; b is the whole batch."""
        b = slice_width(b, self.micro_batches)
        areas = (self.area_n * n + self.area) * b * d
        return areas + (self.weight_n * n + self.weight) * d**2 + self.batch * b + self.one

    @property
    def formula(self) -> str:
        """Return the polynomial as Python and sympy read it, such as "(n+1)*b*d + d**2 + 1"."""
        return self._written("*", "**2", "-")

    @property
    def pretty_formula(self) -> str:
        """Return the polynomial for the eye, such as "(n+1)bd + d² + 1"."""
        return self._written("", "²", "−")

    def _written(self, times: str, square: str, minus: str) -> str:
        batch = "b" if self.micro_batches == 1 else f"(b/{self.micro_batches})"

        def term(slope: int, constant: int, factor: str) -> str:
            if slope == 0:
                return {0: "", 1: factor}.get(constant, f"{constant}{times}{factor}")
            leading = "n" if slope == 1 else f"{slope}{times}n"
            sign = minus if constant < 0 else "+"
            sum_ = f"({leading}{sign}{abs(constant)})" if constant else leading
            return f"{sum_}{times}{factor}"

        terms = [
            term(self.area_n, self.area, f"{batch}{times}d"),
            term(self.weight_n, self.weight, f"d{square}"),
            term(0, self.batch, batch),
            str(self.one) if self.one else "",
        ]
        return " + ".join(filter(None, terms)) or "0"


@dataclass(frozen=True)
class Total:
    """A sum of the letters: how often each of KA, RA, nA, A, nD, D, b and 1 occurs."""

    parts: tuple[int, ...]

    def __add__(self, other: Total | int) -> Total:
        more = other.parts if isinstance(other, Total) else (0,) * 7 + (other,)
        return Total(tuple(mine + its for mine, its in zip(self.parts, more, strict=True)))

    def __sub__(self, other: Total) -> Total:
        return self + -1 * other

    def __rmul__(self, number: int) -> Total:
        return Total(tuple(number * part for part in self.parts))

    def piece(self, label: str, kept: tuple[int, int], r: int, micro_batches: int) -> Piece:
        """Return the moment of a case with K = kept[0]·n + kept[1], and RA = r·A."""
        ka, ra, na, a, nd, d, b, one = self.parts
        area_n, area = ka * kept[0] + na, ka * kept[1] + ra * r + a
        return Piece(label, area_n, area, nd, d, b, one, micro_batches)


KA, RA, NA, A, ND, D, B, ONE = (
    Total(tuple(int(index == place) for index in range(8))) for place in range(8)
)
