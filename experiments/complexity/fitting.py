"""A sum to a polynomial, a peak to a maximum of polynomials, exactly; or why neither is decided.

The rows of a grid determine a polynomial, all others are held out and must meet it. Of a peak every
moment of the step is fitted so, also those that are the peak in no row: the peak is the greatest of
all moments, and a moment that is the peak only at sizes never measured is still in the formula. A
moment is dropped where another one is at least as great at every size, which is proved by the
coefficients of the difference, none of which is negative in distances from the smallest size.

Bound: a formula is as sure as the rows held out; each row must meet it to the last byte, so one row
that is off by one leaves nothing decided. Moments that only some of the rows have are not fitted;
where there are such, or moments that follow no polynomial, a formula is decided only if each of
them is below one that is fitted in all rows, and the reason says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from experiments.complexity.formulas import Formula, Found
from experiments.complexity.lattice import Integers, Lattice, Shape
from experiments.complexity.moments import Moment, Run, by_moment, uneven
from experiments.text import counted


class Fitting:
    """The rows of a study as a system of equations: a grid, the rows held out, the letters."""

    def __init__(
        self, letters: Sequence[str], lattice: Lattice, shapes: Sequence[Shape], corner: Shape
    ) -> None:
        place = {shape: number for number, shape in enumerate(shapes)}
        self._letters = tuple(letters)
        self._lattice = lattice
        self._shapes = list(shapes)
        self._corner = corner
        self._grid = [place[shape] for shape in lattice.shapes]
        self._monomials = lattice.monomials(shapes)
        self.fitted = len(self._grid)
        self.held_out = len(shapes) - self.fitted

    def sum_of(self, values: Sequence[int]) -> Found:
        """Return the polynomial that meets the values of all rows, or the first that it misses."""
        columns = np.array([[int(value)] for value in values], dtype=object)
        numerators, denominator = self._lattice.coefficients(columns[self._grid])
        missed = np.flatnonzero(
            (self._monomials @ numerators != columns * denominator)[:, 0].astype(bool)
        )
        if missed.size or not self.held_out:
            return self._undecided(
                self._miss(int(missed[0]), values, numerators, denominator)
                if missed.size
                else "no row is held out: add values"
            )
        return self._decided(numerators, denominator)

    def peak_of(self, runs: Sequence[Run], constant: Sequence[int] | None = None) -> Found:
        """Return the maximum of polynomials that meets the peaks of all runs.

        `constant` is what is to be added to the live bytes of each run, if anything.
        """
        added = [0] * len(runs) if constant is None else [int(value) for value in constant]
        if where := uneven(runs):
            return self._undecided(
                f"live bytes do not change evenly from layer to layer at {where}"
            )
        moments, columns, partial = _columns(by_moment(runs), added)
        peaks = [run.peak + more for run, more in zip(runs, added, strict=True)]
        if not moments or not self.held_out:
            return self._undecided("no moment occurs in all rows")
        numerators, denominator = self._lattice.coefficients(columns[self._grid])
        misses = self._monomials @ numerators != columns * denominator
        good = np.flatnonzero(~misses.astype(bool).any(axis=0))
        strays = [*partial, *(column for at, column in enumerate(columns.T) if at not in set(good))]
        if not good.size:
            at = int(misses.astype(bool).sum(axis=1).argmax())
            return self._undecided(
                f"no moment follows a polynomial, and most miss the row at {self._name(at)}: "
                "add values, or larger ones"
            )
        kept = good[self._undominated(numerators[:, good], denominator)]
        values = columns[:, kept].max(axis=1)
        if (missed := [at for at, peak in enumerate(peaks) if values[at] != peak]) != []:
            at = missed[0]
            return self._undecided(
                f"at {self._name(at)} the peak is {peaks[at]}, the greatest moment that follows a "
                f"polynomial is {values[at]} ({counted(len(missed), 'row')} of {len(peaks)} differ)"
            )
        above = [one for one in strays if not _is_below(one, columns[:, good])]
        if above:
            return self._undecided(
                f"{counted(len(above), 'moment')} of a step follow no polynomial, or occur in some "
                "rows only, and may be the peak at other sizes"
            )
        reason = (
            f"{counted(len(strays), 'moment')} of a step follow no polynomial; each is below one "
            "that does, in all rows"
            if strays
            else ""
        )
        active = [str(moments[number]) for number in kept]
        return self._decided(numerators[:, kept], denominator, reason, active)

    def _undominated(self, numerators: Integers, denominator: int) -> list[int]:
        """Return the polynomials that no other is above at every size from the corner on."""
        shifted = self._lattice.shifted(numerators, self._corner)
        seen: dict[tuple[Any, ...], int] = {}
        for at, column in enumerate(shifted.T):
            seen.setdefault(tuple(column), at)
        order = sorted(seen.values(), key=lambda at: sum(shifted[:, at]), reverse=True)
        kept: list[int] = []
        for at in order:
            if not any((shifted[:, other] >= shifted[:, at]).all() for other in kept):
                kept.append(at)
        return kept

    def _decided(
        self,
        numerators: Integers,
        denominator: int,
        reason: str = "",
        moments: Sequence[str] = (),
    ) -> Found:
        pieces = [
            {
                powers: Fraction(int(value), denominator)
                for powers, value in zip(self._lattice.exponents, column, strict=True)
                if value
            }
            for column in numerators.T
        ]
        formula = Formula.of(self._letters, pieces)
        return Found(formula, self.fitted, self.held_out, reason, moments=tuple(moments))

    def _undecided(self, reason: str) -> Found:
        return Found(None, self.fitted, self.held_out, reason)

    def _name(self, at: int) -> str:
        return ", ".join(
            f"{letter}={value}"
            for letter, value in zip(self._letters, self._shapes[at], strict=True)
        )

    def _miss(self, at: int, values: Sequence[int], numerators: Integers, denominator: int) -> str:
        found = Fraction(int((self._monomials[at] @ numerators)[0]), denominator)
        return (
            f"at {self._name(at)} the value is {values[at]}, the polynomial through "
            f"{counted(self.fitted, 'row')} gives {found}"
        )


def _columns(
    tables: Sequence[Mapping[Moment, int]], added: Sequence[int]
) -> tuple[list[Moment], Integers, list[Integers]]:
    """Return the distinct moments that all rows have, their bytes, and those of the others.

    A moment that a row lacks has -1 there.
    """
    seen: dict[tuple[int, ...], Moment] = {}
    partial: dict[tuple[int, ...], Moment] = {}
    for moment in dict.fromkeys(moment for table in tables for moment in table):
        column = tuple(
            table[moment] + more if moment in table else -1
            for table, more in zip(tables, added, strict=True)
        )
        (partial if -1 in column else seen).setdefault(column, moment)
    values = np.array(list(seen), dtype=object).T if seen else np.empty((len(tables), 0), object)
    return list(seen.values()), values, [np.array(one, dtype=object) for one in partial]


def _is_below(column: Integers, columns: Integers) -> bool:
    """Return whether one and the same other moment is at least as great in all rows."""
    return bool((columns >= column[:, None]).astype(bool).all(axis=0).any())
