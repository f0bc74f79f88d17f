"""A maximum of polynomials from measured rows: fewest pieces, then fewest terms, in integers.

Among the rows with n >= n0 no piece may exceed a row, each row is met by one piece, and a piece
meets more rows than it has terms; n0 is the least that succeeds. Pieces come from `search.py`, the
shortest choice of them from `cover.py`. Two closing steps look for what would be shorter or as
short: the rows that only one piece meets (and those of two together) are a window in which every
choice of monomials is tried, and what those rows leave free of a piece's coefficients is tried in
integer steps. A formula with as many pieces and as many terms that meets the same conditions is a
rival, whatever its coefficients. With a rival nothing is decided, since the rows cannot tell which
one is meant; the rivals are listed with the smallest coefficients first.
Bound: formulas of at most `MOST_PIECES` pieces of at most `MOST_TERMS` terms (a single polynomial
may have all twelve). That none shorter exists is as sure as the proposals of `search.py` are
complete. A piece that is active at none of the shapes measured cannot be found; where b/d leaves a
gap for one (powers of two do, between 1/2 and 1), the fit says so in its reason, as it does where
just enough rows meet a piece. Where the rows do not support a piece at all (`evidence.py`), nothing
is decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from experiments.fitting.cover import Piece, equally_short, shortest_cover
from experiments.fitting.evidence import borne_out, telling
from experiments.fitting.polynomials import (
    MONOMIALS,
    Formula,
    Polynomial,
    independent_rows,
    null_vectors,
    solve,
)
from experiments.fitting.result import (
    Fit,
    Row,
    checked,
    contradiction,
    decided,
    each_monomials,
    lacks_rank,
    lacks_ratio,
    monomials_at,
    name,
    undecided,
    wide_gap,
)
from experiments.fitting.search import MOST_TERMS, Coefficients, Search, bits, terms_of

MOST_PIECES, MOST_RIVALS, CLOSING_ROUNDS, LARGEST_VALUE = 5, 5, 4, 10**13


def fit_maximum(rows: Iterable[Sequence[int]]) -> Fit:
    """Return the shortest maximum of polynomials that rows (n, d, b, value) decide.

    Where they decide none, the fit says which values to add.
    """
    measured = checked(rows)
    if not measured:
        return undecided(0, "no rows were given: measure some")
    problem = contradiction(measured) or lacks_rank(measured) or lacks_ratio(measured)
    if problem:
        return undecided(len(measured), problem)
    if (largest := max(abs(row[3]) for row in measured)) > LARGEST_VALUE:
        return undecided(
            len(measured),
            f"a value is {largest}, above {LARGEST_VALUE}, where proposals by floats fail: use "
            "smaller shapes",
        )
    pool: Iterable[Coefficients] = ()
    for least in sorted({row[0] for row in measured}):
        kept = [row for row in measured if row[0] >= least]
        if lack := lacks_rank(kept) or lacks_ratio(kept):
            problem = f"{problem}; of the rows with n >= {least}, {lack}"
            break
        if problem := _bent(kept):
            continue
        if (single := _single(kept)) is not None:
            return _unless_lone(measured, decided([single], least, len(kept)))
        search = Search(kept)
        search.admit(pool)
        if search.fill() and (formulas := _shortest(search)):
            return _unless_lone(measured, _verdict(kept, formulas))
        problem = _unmet(search)
        pool = tuple(search.pool)
    return undecided(len(measured), problem)


def _single(rows: Sequence[Row]) -> Polynomial | None:
    """Return the one polynomial with integer coefficients that meets every row, if there is one."""
    chosen = [rows[index] for index in independent_rows(each_monomials(rows))]
    if len(chosen) < len(MONOMIALS) or len(rows) <= len(MONOMIALS):
        return None
    found = solve(monomials_at(chosen), [row[3] for row in chosen])
    polynomial = Polynomial.of(dict(zip(MONOMIALS, found, strict=True)))
    whole = all(value.denominator == 1 for value in found)
    return (
        polynomial
        if whole and all(polynomial(n, d, b) == value for n, d, b, value in rows)
        else None
    )


def _unless_lone(rows: Sequence[Row], fit: Fit) -> Fit:
    """Return the fit, unless a single row of the next smaller n keeps it from holding there.

    Small n may follow a rule of its own, but a rule needs more rows than it has terms: a single row
    that departs was measured wrongly.
    """
    below = max((row[0] for row in rows if row[0] < fit.valid_from_n), default=0)
    departing = [row for row in rows if row[0] == below and fit(*row[:3]) != row[3]]
    if len(departing) != 1:
        return fit
    n, d, b, value = departing[0]
    reason = (
        f"{name((n, d, b))} is {value}, where the other rows at n={n} meet {fit.formula}: "
        "measure it again"
    )
    return undecided(len(rows), reason, filter(None, [fit.found]))


def _bent(rows: Sequence[Row]) -> str:
    """Return what is wrong with a row that no maximum can meet, else nothing.

    Such a row is above the line through two rows that differ from it in n only, or in b only.
    """
    for place, fixed in ((0, (1, 2)), (2, (0, 1))):
        lines: dict[tuple[int, ...], list[Row]] = {}
        for row in rows:
            lines.setdefault(tuple(row[axis] for axis in fixed), []).append(row)
        for line in lines.values():
            for left, row, right in zip(line, line[1:], line[2:], strict=False):
                before, after = row[place] - left[place], right[place] - row[place]
                if row[3] * (before + after) > left[3] * after + right[3] * before:
                    return (
                        f"the row at {name(row)} is {row[3]}, above the line between "
                        f"{name(left)} and {name(right)}, "
                        "where no maximum of these polynomials can be: measure it again, or add "
                        f"n={2 * max(each[0] for each in rows)}"
                    )
    return ""


def _unmet(search: Search) -> str:
    """Say which row could not be met, or that too many pieces would be needed."""
    missing = search.missing()
    if not missing.size:
        return (
            f"more than {MOST_PIECES} pieces would be needed: measure again, or add values of n, d "
            "and b so that each piece meets more rows"
        )
    n, d, b, value = search.rows[int(missing[0])]
    return (
        f"no polynomial of up to {MOST_TERMS} terms that exceeds no row meets {name((n, d, b))} "
        f"({value}) and more rows than it has terms "
        f"({missing.size} of {len(search.rows)} rows are not met): measure this row again, or "
        "add values of n, d and b near it"
    )


def _shortest(search: Search) -> list[list[Coefficients]]:
    """Return the shortest choices of pieces that meet every row: one, or one and its rivals.

    None where too many pieces would be needed.
    """
    chosen: list[Coefficients] = []
    for _ in range(CLOSING_ROUNDS):
        keys, pieces = _candidates(search)
        found = shortest_cover(pieces, search.goal, MOST_PIECES)
        if found is None:
            return []
        before, chosen = chosen, [keys[index] for index in found[0]]
        if chosen == before:
            break
        _close(search, chosen)
    keys, pieces = _candidates(search)
    found = shortest_cover(pieces, search.goal, MOST_PIECES)
    assert found is not None, "a pool that only grows cannot lose its cover"
    ways = equally_short(pieces, search.goal, len(found[0]), found[1], MOST_RIVALS)
    return [[keys[index] for index in way] for way in ways]


def _candidates(search: Search) -> tuple[list[Coefficients], list[Piece]]:
    keys = list(search.pool)
    return keys, [Piece(search.pool[key], terms_of(key)) for key in keys]


def _close(search: Search, chosen: Sequence[Coefficients]) -> None:
    """Propose what could stand in the place of one piece, or of two, where only they meet rows."""
    own = []
    for key in chosen:
        mask = search.pool[key]
        for other in chosen:
            mask &= mask if other == key else ~search.pool[other]
        own.append(mask)
    for mask in [*own, *(one | other for one, other in combinations(own, 2))]:
        window = bits(mask)
        search.try_window(window)
        if window.size <= 2 * MOST_TERMS:
            for among in (search.goal, *(search.pool[key] for key in chosen)):
                order = search.nearest(window, bits(among & ~mask))
                for more in range(1, MOST_TERMS + 1):
                    search.try_window(np.concatenate([window, order[:more]]))
    for key, mask in zip(chosen, own, strict=True):
        search.admit(_steps(search.rows, key, mask))


def _steps(rows: Sequence[Row], key: Coefficients, mask: int) -> list[Coefficients]:
    """Return the pieces of the same monomials that meet the same rows, a few integer steps away.

    There are none where those rows have full rank.
    """
    columns = [column for column, value in enumerate(key) if value]
    matrix = monomials_at([rows[index] for index in bits(mask)])
    found = []
    for vector in null_vectors([[row[column] for column in columns] for row in matrix]):
        for step in (-3, -2, -1, 1, 2, 3):
            moved = list(key)
            for column, value in zip(columns, vector, strict=True):
                moved[column] += step * value
            found.append(tuple(moved))
    return found


def _verdict(rows: Sequence[Row], ways: Sequence[Sequence[Coefficients]]) -> Fit:
    """Return the one formula, or the rivals and a shape that would tell them apart.

    The rival with the smallest coefficients comes first.
    """
    formulas = [
        Formula(
            tuple(
                sorted(
                    (Polynomial.of(dict(zip(MONOMIALS, key, strict=True))) for key in way),
                    key=_as_written,
                )
            )
        )
        for way in ways
    ]
    formulas.sort(key=lambda one: (sum(piece.weight for piece in one.pieces), str(one)))
    if len(formulas) > 1:
        many = f"{len(formulas)}{' or more' if len(formulas) == MOST_RIVALS else ''}"
        reason = (
            f"{many} equally short formulas meet every row with n >= {rows[0][0]}: "
            f"{telling(rows, formulas)}"
        )
        return undecided(len(rows), reason, formulas)
    pieces = formulas[0].pieces
    caveats = [wide_gap(rows)] if len(pieces) > 1 else []
    for piece in pieces:
        enough, remark = borne_out(rows, piece, pieces)
        if not enough:
            return undecided(len(rows), remark, formulas)
        caveats.append(remark)
    return decided(pieces, rows[0][0], len(rows), "; ".join(filter(None, caveats)))


def _as_written(piece: Polynomial) -> list[tuple[int, ...]]:
    """Order pieces as they are read: the highest monomial first."""
    return [tuple(-power for power in monomial) for monomial, _ in piece.terms]
