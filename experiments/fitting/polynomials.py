"""Polynomials in depth n, batch b and width d with exact coefficients, and their linear algebra.

Quantities of a network of n layers of width d on a batch of b are sums of the twelve monomials {1,
n} x {1, b} x {1, d, d**2} (`MONOMIALS`). Coefficients are integers where they can be and fractions
elsewhere; no floats. A formula writes itself in Python's notation, for the eye, and as LaTeX
(`experiments.text`).
Bound: the linear algebra is sympy's DomainMatrix, exact over the integers and the rationals.
Which polynomial explains a measurement is the subject of `table.py` and `maximum.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import NamedTuple

from sympy import ZZ
from sympy.polys.matrices import DomainMatrix

from experiments.text import PLAIN, PRETTY, Notation

ROWS_AT_ONCE = 24
"""Twice as many as there are monomials, which a dozen rows usually determine."""


class Monomial(NamedTuple):
    """The exponents of n, b and d; tuples compare as terms are ordered, least first."""

    n: int
    b: int
    d: int

    def written(self, notation: Notation = PLAIN) -> str:
        """Return the product with the letters in the order n, b, d: `n*b*d**2`."""
        return notation.times.join(
            letter if power == 1 else letter + notation.power(power)
            for letter, power in zip("nbd", self, strict=True)
            if power
        )

    def __str__(self) -> str:
        return self.written() or "1"

    def at(self, n: int, d: int, b: int) -> int:
        """Return the value of the product at one shape."""
        value: int = int(n) ** self.n * int(b) ** self.b * int(d) ** self.d
        return value

    def dominates(self, other: Monomial) -> bool:
        """Return whether this one outgrows `other` when n, b and d grow independently."""
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
    """A sum of monomials with exact coefficients, none of them zero, the highest n first."""

    terms: tuple[tuple[Monomial, int | Fraction], ...]

    @classmethod
    def of(cls, coefficients: Mapping[Monomial, int | Fraction]) -> Polynomial:
        """Return the polynomial in its one normal form.

        The mapping may have triples of exponents as its keys.
        """
        ordered = sorted(
            ((Monomial(*monomial), _plain(value)) for monomial, value in coefficients.items()),
            reverse=True,
        )
        return cls(tuple((monomial, value) for monomial, value in ordered if value))

    def __call__(self, n: int, d: int, b: int) -> int | Fraction:
        """Return the exact value at depth n, width d, batch b."""
        return _plain(sum((value * monomial.at(n, d, b) for monomial, value in self.terms), 0))

    def written(self, notation: Notation = PLAIN) -> str:
        """Return the sum, the highest power of n first: `n*b*d + 2*d**2 + 1`."""
        text = ""
        for monomial, value in self.terms:
            body = notation.product(abs(value), monomial.written(notation))
            sign = notation.minus if value < 0 else "+"
            lead = notation.minus if value < 0 else ""
            text += f" {sign} {body}" if text else lead + body
        return text or "0"

    def __str__(self) -> str:
        return self.written()

    @property
    def weight(self) -> Fraction:
        """Return the sum of absolute coefficients, which orders equally long formulas."""
        return sum((abs(Fraction(value)) for _, value in self.terms), Fraction(0))


@dataclass(frozen=True)
class Formula:
    """A polynomial, or a maximum of several, times the bytes of an element if it counts bytes."""

    pieces: tuple[Polynomial, ...]
    itemsize: int = 1

    def __call__(self, n: int, d: int, b: int) -> int | Fraction:
        """Return the exact value at depth n, width d, batch b."""
        return self.itemsize * max(piece(n, d, b) for piece in self.pieces)

    def written(self, notation: Notation = PLAIN) -> str:
        """Return the formula in a notation: `4*(max(n*b, d))`, or for the eye 4·max{nb, d}."""
        one = len(self.pieces) == 1
        text = ", ".join(piece.written(notation) for piece in self.pieces)
        text = text if one else notation.maximum(text)
        if self.itemsize == 1 or text == "0":
            return text
        if notation is PLAIN:
            return f"{self.itemsize}*({text})"
        terms = self.pieces[0].terms
        if one and len(terms) == 1 and terms[0][0] == (0, 0, 0):
            return str(self.itemsize * terms[0][1])
        return f"{self.itemsize}{notation.scale}{f'({text})' if one and len(terms) > 1 else text}"

    def __str__(self) -> str:
        return self.written()

    @property
    def order(self) -> Order:
        """Return how the formula grows."""
        return order_of(self.pieces)


@dataclass(frozen=True)
class Order:
    """The order of a formula: monomials without coefficients, none for zero."""

    monomials: tuple[Monomial, ...]

    def __str__(self) -> str:
        return " + ".join(map(str, self.monomials)) or "0"

    @property
    def pretty(self) -> str:
        """Return the order for the eye: O(nbd + d²), and 0 for what is zero."""
        return (
            f"O({' + '.join(one.written(PRETTY) or '1' for one in self.monomials)})"
            if self.monomials
            else "0"
        )


def order_of(pieces: Iterable[Polynomial]) -> Order:
    """Return the monomials of a maximum that no other of its monomials dominates.

    A maximum of quantities grows as their sum does. A subtracted term makes nothing grow, so it is
    not counted.
    """
    growing = {monomial for piece in pieces for monomial, value in piece.terms if value > 0}
    leading = (one for one in growing if not any(other.dominates(one) for other in growing))
    return Order(tuple(sorted(leading, reverse=True)))


def independent_rows(matrix: Iterable[Sequence[int]]) -> list[int]:
    """Return the indices of the first rows that are linearly independent of those before them.

    Their number is the rank. Rows are taken in blocks, and no further than to full rank.
    """
    rest, kept = iter(enumerate(matrix)), list[tuple[int, Sequence[int]]]()
    while block := list(islice(rest, ROWS_AT_ONCE)):
        tried = [*kept, *block]
        columns = _matrix([row for _, row in tried]).transpose()
        kept = [tried[pivot] for pivot in columns.rref_den()[2]]
        if len(kept) == len(block[0][1]):
            break
    return [index for index, _ in kept]


def solve(matrix: Sequence[Sequence[int]], values: Sequence[int]) -> list[Fraction]:
    """Return the exact solution of a square system of full rank."""
    found, denominator = _matrix(matrix).solve_den(_matrix([[value] for value in values]))
    return [Fraction(int(value), int(denominator)) for value in found.to_list_flat()]


def null_vectors(matrix: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return a basis, in integers without a common divisor, of what a matrix maps to zero."""
    basis = _matrix(matrix).to_field().nullspace().clear_denoms_rowwise(convert=True)[1]
    return [[int(value) for value in row] for row in basis.to_list()]


def _matrix(rows: Sequence[Sequence[int]]) -> DomainMatrix:
    return DomainMatrix(
        [[ZZ(value) for value in row] for row in rows], (len(rows), len(rows[0])), ZZ
    )
