"""Whether the rows that a piece of a maximum meets support it, and which shapes to add if not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

from experiments.fitting.polynomials import Formula, Polynomial, independent_rows
from experiments.fitting.result import Row, name


def borne_out(
    rows: Sequence[Row], piece: Polynomial, pieces: Sequence[Polynomial]
) -> tuple[bool, str]:
    """Return whether the rows that a piece meets support it, and which shape to add.

    A piece met at a single value of n, d or b shows nothing of how it grows with that. Rows at
    which all its monomials are the same count once, and each must be predicted by the others: 44*d
    - 383 through two values of d is checked by nothing, however many n those come with. Best is
    that each value of n, d and b is predicted by the other values; a remark says so where it is
    not.
    """
    met = [row for row in rows if piece(*row[:3]) == row[3]]
    seen = [tuple(monomial.at(*row[:3]) for monomial, _ in piece.terms) for row in met]
    remark = ""
    for letter, place in (("n", 0), ("d", 1), ("b", 2)):
        values = sorted({row[place] for row in met})
        alone = f"{letter}={', '.join(map(str, values))}"
        advice = (
            f"only rows with {alone} meet {piece}: {_more_of(rows, piece, pieces, values, place)}"
        )
        if len(values) == 1:
            return False, advice
        for value in values:
            others = [one for one, row in zip(seen, met, strict=True) if row[place] != value]
            if not remark and not _determined(others):
                remark = advice
    different = sorted(set(seen))
    if len(different) > 1 and not all(
        _determined([*different[:index], *different[index + 1 :]])
        for index in independent_rows(different)
    ):
        return (
            False,
            remark
            or f"too few different rows meet {piece}: add values of n, d and b between those "
            "measured",
        )
    return True, remark


def _determined(rows: Sequence[tuple[int, ...]]) -> bool:
    """Return whether the values of a piece's monomials at these rows determine its coefficients."""
    different = sorted(set(rows))
    return bool(different) and len(independent_rows(different)) == len(different[0])


def _more_of(
    rows: Sequence[Row],
    piece: Polynomial,
    pieces: Sequence[Polynomial],
    known: Sequence[int],
    place: int,
) -> str:
    """Return advice: the smallest shape nearby where this piece would be the maximum.

    The shape has a value on one axis that was not measured yet.
    """
    for shape in _nearby(rows):
        if shape[place] not in known and all(
            piece(*shape) > other(*shape) for other in pieces if other != piece
        ):
            return f"add {name(shape)}"
    return (
        f"it would be the maximum at no other {'ndb'[place]} nearby, so leave those rows out or "
        "measure them again"
    )


def _nearby(rows: Sequence[Row]) -> list[tuple[int, int, int]]:
    """Return shapes of the values measured, between and beyond them, the smallest first."""
    axes = []
    for place in (0, 1, 2):
        have = sorted({row[place] for row in rows})
        between = [(left + right) // 2 for left, right in pairwise(have)]
        below = (
            have[:1] if place == 0 else [max(1, have[0] // 2)]
        )  # the formulas hold from the least n on
        axes.append(sorted({*have, *between, *below, 2 * have[-1], 4 * have[-1]}))
    return sorted(
        ((n, d, b) for n, d, b in product(*axes)),
        key=lambda shape: (shape[0] * shape[1] * shape[2], shape),
    )


def telling(rows: Sequence[Row], formulas: Sequence[Formula]) -> str:
    """Return advice: the smallest shape nearby at which most of the rivals differ."""
    shapes = _nearby(rows)
    different = [len({formula(*shape) for formula in formulas}) for shape in shapes]
    most = max(different)
    if most == 1:
        return (
            "they agree on every shape nearby, since a piece is active only at "
            f"n={rows[0][0]} or at single values: leave those out"
        )
    return f"add {name(shapes[different.index(most)])}"
