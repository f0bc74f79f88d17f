"""What goes into a fit and what comes out: measured rows, checked once, and `Fit` with its advice.

A row is (n, d, b, value), four integers. Checked rows are sorted and distinct. Two conditions make
a grid able to decide: full rank on the twelve monomials, and (for a maximum, whose pieces are
active in turn as the batch outgrows the width) a ratio b/d that reaches below 1/3 and above 2.
Where one fails, the advice names the values to add.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from numbers import Integral

from autodiff.errors import TapemeasureError
from experiments.fitting.polynomials import (
    MONOMIALS,
    Formula,
    Polynomial,
    independent_rows,
)

Row = tuple[int, int, int, int]
Shape = tuple[int, int, int]

UNDECIDED = "undecided"
LOWEST_RATIO, HIGHEST_RATIO = Fraction(1, 3), Fraction(2)


class FitError(TapemeasureError):
    """Rows or options that no formula can be fitted to."""


@dataclass(frozen=True)
class Fit:
    """A formula that measured rows decide, or why they do not.

    `found` is the formula, None where nothing was decided. `rows` is the number of rows that it was
    compared with, all of which it meets; they have n >= `valid_from_n`, which is 0 where nothing
    was decided. `reason` says why not and which values to add, and of a decided maximum what the
    grid could have hidden; `rivals` are the formulas that fit equally well.
    """

    found: Formula | None
    valid_from_n: int
    rows: int
    reason: str = ""
    rivals: tuple[Formula, ...] = ()

    def __call__(self, n: int, d: int, b: int) -> int | Fraction:
        """Return the formula's value at a shape, in the unit of the rows.

        Raises FitError where nothing was decided.
        """
        if self.found is None:
            raise FitError(
                f"this fit is undecided, expected a decided one to evaluate: {self.reason}"
            )
        return self.found(n, d, b)

    @property
    def exact(self) -> bool:
        """Return whether a formula was decided."""
        return self.found is not None

    @property
    def formula(self) -> str:
        """Return the formula in Python's notation."""
        return UNDECIDED if self.found is None else str(self.found)

    def in_bytes(self, itemsize: int) -> Fit:
        """Return the fit of the same rows times the bytes of one element."""
        found = None if self.found is None else replace(self.found, itemsize=itemsize)
        return replace(
            self,
            found=found,
            rivals=tuple(replace(rival, itemsize=itemsize) for rival in self.rivals),
        )


def decided(pieces: Sequence[Polynomial], valid_from_n: int, rows: int, caveat: str = "") -> Fit:
    """Return the fit of a formula that meets every one of `rows` rows."""
    return Fit(Formula(tuple(pieces)), valid_from_n, rows, caveat)


def undecided(rows: int, reason: str, rivals: Iterable[Formula] = ()) -> Fit:
    """Return the fit that claims nothing, with its reason."""
    return Fit(None, 0, rows, reason, tuple(rivals))


def checked(rows: Iterable[Sequence[int]]) -> list[Row]:
    """Return the rows as plain integers, sorted by shape, each once.

    A `FitError` names a row that is not four integers with n, d and b at least 1.
    """
    clean: set[Row] = set()
    for row in rows:
        is_whole = len(row) == 4 and all(type(x) is int or isinstance(x, Integral) for x in row)
        if not is_whole or min(row[:3]) < 1:
            raise FitError(
                f"row {tuple(row)} given, expected four integers (n, d, b, value) with n, d, b "
                "at least 1: leave it out or correct it"
            )
        clean.add((int(row[0]), int(row[1]), int(row[2]), int(row[3])))
    return sorted(clean)


def contradiction(rows: Sequence[Row]) -> str:
    """Return what is wrong where one shape was measured with two values, else nothing."""
    for (*shape, value), (*after, other) in pairwise(rows):
        if shape == after:
            return (
                f"{name(tuple(shape))} was measured as {value} and as {other}: "
                "separate what differs between the two"
            )
    return ""


def name(shape: Sequence[int]) -> str:
    """Return the shape of a row in words."""
    return f"n={shape[0]}, d={shape[1]}, b={shape[2]}"


def each_monomials(rows: Iterable[Sequence[int]]) -> Iterator[list[int]]:
    """Yield the values of `MONOMIALS`, in their order, at each row's shape, as exact integers."""
    for n, d, b, *_ in rows:
        yield [by_n * by_b * by_d for by_n in (n, 1) for by_b in (b, 1) for by_d in (d * d, d, 1)]


def monomials_at(rows: Iterable[Sequence[int]]) -> list[list[int]]:
    """Return the values of `MONOMIALS` at each row's shape."""
    return list(each_monomials(rows))


def lacks_rank(rows: Sequence[Row]) -> str:
    """Return the values to add where rows cannot tell the monomials apart, else nothing."""
    rank = len(independent_rows(each_monomials(rows)))
    if rank == len(MONOMIALS):
        return ""
    wanted = []
    for letter, place, need in (("n", 0, 2), ("d", 1, 3), ("b", 2, 2)):
        have = sorted({row[place] for row in rows})
        if more := range(1, 1 + need - len(have)):
            wanted.append(f"{letter}={', '.join(str(have[-1] * 2**step) for step in more)}")
    advice = (
        f"add {'; '.join(wanted)}"
        if wanted
        else "add the missing shapes of the product of these n, d and b"
    )
    return f"the grid has rank {rank} of {len(MONOMIALS)} on {{1,n}}x{{1,b}}x{{1,d,d**2}}: {advice}"


def lacks_ratio(rows: Sequence[Row]) -> str:
    """Return the values to add where b/d does not reach below 1/3 and above 2, else nothing."""
    ratios = [Fraction(b, d) for b, d in {(row[2], row[1]) for row in rows}]
    low, high = min(ratios), max(ratios)
    smallest_d, largest_d, smallest_b = (
        min(row[1] for row in rows),
        max(row[1] for row in rows),
        min(row[2] for row in rows),
    )
    wanted = []
    if low >= LOWEST_RATIO:
        wanted.append(f"b={(largest_d - 1) // 3}" if largest_d > 3 else f"d={3 * smallest_b + 1}")
    if high <= HIGHEST_RATIO:
        wanted.append(f"b={2 * smallest_d + 1}")
    return (
        f"b/d reaches from {low} to {high}, expected below 1/3 and above 2: add "
        f"{' and '.join(wanted)}"
        if wanted
        else ""
    )


def wide_gap(rows: Sequence[Row]) -> str:
    """Return the values to add where b/d doubles in one step between 1/3 and 2, else nothing.

    A piece that is active only in such a gap is not seen.
    """
    ratios = sorted({Fraction(b, d) for b, d in {(row[2], row[1]) for row in rows}})
    gaps = [
        (low, high)
        for low, high in pairwise(ratios)
        if high >= 2 * low and high > LOWEST_RATIO and low < HIGHEST_RATIO
    ]
    if not gaps:
        return ""
    d = max(row[1] for row in rows)
    where = ", ".join(f"{low} and {high}" for low, high in gaps)
    wanted = ", ".join(str(max(1, round((low + high) / 2 * d))) for low, high in gaps)
    return (
        f"b/d takes no value between {where}, so a piece that is active only there is not seen: "
        f"add b={wanted}"
    )
