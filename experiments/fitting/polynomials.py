"""Polynomials in depth n, batch b and width d with exact coefficients, and the exact linear algebra that finds them.

Quantities of a network of n layers of width d on a batch of b are sums of the twelve monomials {1, n} x {1, b} x {1, d, d**2}
(`MONOMIALS`). Coefficients are integers where they can be and fractions elsewhere; nothing here is a float.
Bound: `independent_rows` and `reduced` cost O(rows * monomials**2) operations on integers or fractions.
It does not decide which polynomial explains a measurement: see `fit.py` and `fit_maximum.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import NamedTuple


class Monomial(NamedTuple):
    """The exponents of n, b and d; tuples compare in the order in which terms are written, least first."""

    n: int
    b: int
    d: int

    def __str__(self) -> str:
        """Return the product as Python writes it, the letters in the order n, b, d: `n*b*d**2`."""
        factors = [
            letter if power == 1 else f"{letter}**{power}"
            for letter, power in zip("nbd", self, strict=True)
            if power
        ]
        return "*".join(factors) or "1"

    def at(self, n: int, d: int, b: int) -> int:
        """Return the value of the product at one shape."""
        value: int = int(n) ** self.n * int(b) ** self.b * int(d) ** self.d
        return value

    def dominates(self, other: Monomial) -> bool:
        """Say whether this one outgrows `other` when n, b and d grow independently of one another."""
        return self != other and all(
            mine >= theirs for mine, theirs in zip(self, other, strict=True)
        )


MONOMIALS: tuple[Monomial, ...] = tuple(
    sorted((Monomial(n, b, d) for n in (0, 1) for b in (0, 1) for d in (0, 1, 2)), reverse=True)
)


def _plain(number: int | Fraction) -> int | Fraction:
    """Return an int where the fraction is one, so that equal polynomials print alike."""
    return number.numerator if isinstance(number, Fraction) and number.denominator == 1 else number


@dataclass(frozen=True)
class Polynomial:
    """A sum of monomials with exact coefficients: no zero among them, the highest power of n first."""

    terms: tuple[tuple[Monomial, int | Fraction], ...]

    @classmethod
    def of(cls, coefficients: Mapping[Monomial, int | Fraction]) -> Polynomial:
        """Build the polynomial in its one normal form from any mapping of monomials (or triples of exponents) to coefficients."""
        ordered = sorted(
            ((Monomial(*monomial), _plain(value)) for monomial, value in coefficients.items()),
            reverse=True,
        )
        return cls(tuple((monomial, value) for monomial, value in ordered if value))

    def __call__(self, n: int, d: int, b: int) -> int | Fraction:
        """Return the exact value at depth n, width d, batch b."""
        return _plain(sum((value * monomial.at(n, d, b) for monomial, value in self.terms), 0))

    def __str__(self) -> str:
        """Return the formula in Python's own notation: `n*b*d + 2*d**2 + 1`."""
        text = ""
        for monomial, value in self.terms:
            size = abs(value)
            body = (
                str(size)
                if monomial == (0, 0, 0)
                else (str(monomial) if size == 1 else f"{size}*{monomial}")
            )
            if text:
                text += f" - {body}" if value < 0 else f" + {body}"
            else:
                text = f"-{body}" if value < 0 else body
        return text or "0"

    @property
    def weight(self) -> Fraction:
        """Return the sum of the absolute coefficients, by which equally long formulas are ordered."""
        return sum((abs(Fraction(value)) for _, value in self.terms), Fraction(0))


def formula_of(pieces: Sequence[Polynomial]) -> str:
    """Return one polynomial as it is, and several as `max(..., ...)`."""
    return str(pieces[0]) if len(pieces) == 1 else f"max({', '.join(map(str, pieces))})"


def big_o(pieces: Iterable[Polynomial]) -> str:
    """Return the monomials of a maximum that no other of its monomials dominates: `n*b*d + n*d**2`.

    A maximum of quantities grows as their sum does. A term that is subtracted makes nothing grow, so it is not counted.
    """
    growing = {monomial for piece in pieces for monomial, value in piece.terms if value > 0}
    leading = sorted(
        (one for one in growing if not any(other.dominates(one) for other in growing)), reverse=True
    )
    return " + ".join(map(str, leading)) or "0"


def independent_rows(matrix: Sequence[Sequence[int]]) -> list[int]:
    """Return the indices of the first rows that are linearly independent of those before them (their number is the rank).

    Elimination without fractions: each step multiplies crosswise and divides by the common divisor, so the arithmetic is exact.
    """
    pivots: list[tuple[int, list[int]]] = []
    chosen: list[int] = []
    for index, row in enumerate(matrix):
        rest = list(row)
        for column, pivot in pivots:
            if rest[column]:
                ours, theirs = rest[column], pivot[column]
                rest = [theirs * x - ours * p for x, p in zip(rest, pivot, strict=True)]
        divisor = gcd(*rest)
        if divisor:
            rest = [x // divisor for x in rest]
            pivots.append((next(column for column, x in enumerate(rest) if x), rest))
            chosen.append(index)
            if len(chosen) == len(row):
                break
    return chosen


def reduced(matrix: Sequence[Sequence[int]]) -> tuple[list[int], list[list[Fraction]]]:
    """Return the reduced row echelon form by Gauss-Jordan elimination over the rationals: its pivot columns, and one row for each."""
    rows = [[Fraction(x) for x in row] for row in matrix]
    pivots: list[int] = []
    for column in range(len(rows[0]) if rows else 0):
        rank = len(pivots)
        swap = next((index for index in range(rank, len(rows)) if rows[index][column]), None)
        if swap is None:
            continue
        rows[rank], rows[swap] = rows[swap], rows[rank]
        head = rows[rank][column]
        rows[rank] = [x / head for x in rows[rank]]
        for index, row in enumerate(rows):
            if index != rank and row[column]:
                factor = row[column]
                rows[index] = [x - factor * p for x, p in zip(row, rows[rank], strict=True)]
        pivots.append(column)
    return pivots, rows[: len(pivots)]


def solve(matrix: Sequence[Sequence[int]], values: Sequence[int]) -> list[Fraction]:
    """Return the exact solution of a square system of full rank."""
    return [
        row[-1]
        for row in reduced([[*row, value] for row, value in zip(matrix, values, strict=True)])[1]
    ]


def null_vectors(matrix: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return a basis, in integers without a common divisor, of what the rows of a matrix all map to zero."""
    pivots, rows = reduced(matrix)
    width = len(matrix[0])
    basis = []
    for free in sorted(set(range(width)) - set(pivots)):
        vector = [Fraction(column == free) for column in range(width)]
        for pivot, row in zip(pivots, rows, strict=True):
            vector[pivot] = -row[free]
        common = lcm(*(x.denominator for x in vector))
        whole = [int(x * common) for x in vector]
        basis.append([x // gcd(*whole) for x in whole])
    return basis
