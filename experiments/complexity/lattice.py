"""Polynomials through a grid of rows, in exact arithmetic.

On a grid of d+1 values of each variable there is exactly one polynomial of degree at most d in that
variable (Isaacson and Keller 1966, section 6.6): the inverse of each axis's Vandermonde matrix,
applied along that axis. Coefficients are whole numbers over one denominator, so that comparing them
with rows is arithmetic of integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from math import comb, lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import QQ
from sympy.polys.matrices import DomainMatrix

Shape = tuple[int, ...]
Integers = NDArray[Any]
"""An array of Python's integers, which do not overflow."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """The values of each variable that determine a polynomial; one more than its degree."""

    nodes: tuple[Shape, ...]

    @property
    def exponents(self) -> list[Shape]:
        """Return the exponents of the monomials, in the order of coefficients."""
        return list(product(*(range(len(axis)) for axis in self.nodes)))

    @property
    def shapes(self) -> list[Shape]:
        """Return the shapes of the grid, in the order of values."""
        return list(product(*self.nodes))

    def coefficients(self, values: Integers) -> tuple[Integers, int]:
        """Return the numerators of the polynomials through `values`, and their one denominator.

        Rows of `values` are `shapes`, columns are quantities; rows of the result are `exponents`.
        """
        lengths = [len(axis) for axis in self.nodes]
        found = values.reshape(*lengths, -1)
        denominator = 1
        for place, axis in enumerate(self.nodes):
            inverse, common = _inverse(axis)
            found = np.moveaxis(np.tensordot(inverse, found, axes=(1, place)), 0, place)
            denominator *= common
        return found.reshape(len(self.exponents), -1), denominator

    def monomials(self, shapes: Sequence[Shape]) -> Integers:
        """Return the value of each monomial (columns) at each shape (rows)."""
        rows = [
            [_power(shape, exponents) for exponents in self.exponents]
            for shape in map(tuple, shapes)
        ]
        return np.array(rows, dtype=object).reshape(len(rows), -1)

    def shifted(self, coefficients: Integers, corner: Sequence[int]) -> Integers:
        """Return the coefficients in the distances from a corner."""
        lengths = [len(axis) for axis in self.nodes]
        found = coefficients.reshape(*lengths, -1)
        for place, (length, low) in enumerate(zip(lengths, corner, strict=True)):
            matrix = np.array(
                [[comb(j, i) * low ** max(j - i, 0) for j in range(length)] for i in range(length)],
                dtype=object,
            )
            found = np.moveaxis(np.tensordot(matrix, found, axes=(1, place)), 0, place)
        return found.reshape(len(self.exponents), -1)


def degree(values: Sequence[int], nodes: Sequence[int]) -> int | None:
    """Return the degree of the polynomial through values; None where no value is left to check.

    Divided differences of one order more are zero.
    """
    row = [Fraction(value) for value in values]
    for order in range(len(values) - 1):
        if not any(row[1:]) and not row[0]:
            return max(order - 1, 0)
        if len(set(row)) == 1:
            return order
        row = [
            (after - before) / (nodes[place + order + 1] - nodes[place])
            for place, (before, after) in enumerate(pairwise(row))
        ]
    return None


def _inverse(nodes: Shape) -> tuple[Integers, int]:
    """Return the inverse of a Vandermonde matrix, as integers over one denominator."""
    size = len(nodes)
    matrix = DomainMatrix(
        [[QQ(node) ** power for power in range(size)] for node in nodes], (size, size), QQ
    )
    cells = [
        [Fraction(int(cell.numerator), int(cell.denominator)) for cell in row]
        for row in matrix.inv().to_list()
    ]
    common = lcm(*(cell.denominator for row in cells for cell in row))
    return np.array([[int(cell * common) for cell in row] for row in cells], dtype=object), common


def _power(shape: Shape, exponents: Shape) -> int:
    value = 1
    for number, exponent in zip(shape, exponents, strict=True):
        value *= number**exponent
    return value
