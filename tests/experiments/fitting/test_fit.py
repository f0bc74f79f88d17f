"""Formulas are found again in rows made from them, and nothing is claimed where the rows do not
decide.

The rows come from formulas that are invented here or written out here by hand; neither the engine
nor its theory is asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import sympy
from hypothesis import HealthCheck, assume, given, settings, strategies as st

from experiments.fitting import maximum as fit_maximum, search as fit_search, table as fit
from experiments.fitting.cover import Piece, equally_short, shortest_cover
from experiments.fitting.polynomials import (
    MONOMIALS,
    Formula,
    Monomial,
    Polynomial,
    independent_rows,
    null_vectors,
    order_of,
    solve,
)
from experiments.fitting.result import UNDECIDED, Fit, FitError, lacks_rank, lacks_ratio
from experiments.fitting.table import (
    complexity_table,
    fit_polynomial,
    fit_quantity,
)
from experiments.text import LATEX, PRETTY

Rule = Callable[[int, int, int], int]
Row = tuple[int, int, int, int]

DEFAULT_GRID = ((1, 2, 3, 4, 8, 16), (8, 12, 16, 24, 32, 48), (4, 8, 12, 16, 32, 48))
SMALL_GRID = ((1, 2, 3, 4, 8), (8, 12, 16, 24), (4, 8, 16, 32))
BEYOND = ((20, 10, 10), (17, 100, 3), (33, 5, 64), (9, 40, 30), (5, 36, 20))
QUICK = settings(
    max_examples=10,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def rows_of(rule: Rule, grid: Sequence[Sequence[int]] = SMALL_GRID) -> list[Row]:
    """Return the rows that a rule gives on the product of n, d and b."""
    return [(n, d, b, rule(n, d, b)) for n, d, b in itertools.product(*grid)]


def pieces_of(found: Fit) -> tuple[Polynomial, ...]:
    """Return the pieces of a decided fit, none of an undecided one."""
    return () if found.found is None else found.found.pieces


def order_in(found: Fit) -> str:
    """Return the order of a fit as text."""
    return UNDECIDED if found.found is None else str(found.found.order)


def growth(pieces: Sequence[Polynomial]) -> str:
    """Return the order of pieces as text."""
    return str(order_of(pieces))


def polynomial(text: str) -> Polynomial:
    """Read a polynomial as sympy reads it, which shares no code with ours."""
    n, b, d = sympy.symbols("n b d")
    terms = sympy.Poly(sympy.sympify(text, {"n": n, "b": b, "d": d}), n, b, d).terms()
    return Polynomial.of(
        {Monomial(*powers): Fraction(int(value.p), int(value.q)) for powers, value in terms}
    )


def maximum(*texts: str) -> tuple[set[Polynomial], Rule]:
    """Return the pieces and the rule of a maximum."""
    pieces = [polynomial(text) for text in texts]

    def rule(n: int, d: int, b: int) -> int:
        return int(max(piece(n, d, b) for piece in pieces))

    return set(pieces), rule


# Polynomials.


def test_a_polynomial_prints_its_terms_with_the_highest_power_of_n_first() -> None:
    """Terms come in one order and in Python's notation, with no 1 before a letter and no zero
    terms.
    """
    assert str(polynomial("1 + 2*d**2 + n*b*d")) == "n*b*d + 2*d**2 + 1"
    assert (
        str(polynomial("3*b*d + n*d**2 - d**2 - 1 + n*b*d**2"))
        == "n*b*d**2 + n*d**2 + 3*b*d - d**2 - 1"
    )
    assert str(polynomial("-n*d**2/2 + b")) == "-1/2*n*d**2 + b"
    assert str(polynomial("n - n")) == "0"
    assert str(Polynomial.of({Monomial(1, 1, 1): 0, Monomial(0, 0, 0): Fraction(4, 2)})) == "2"


coefficients = st.dictionaries(st.sampled_from(MONOMIALS), st.integers(-9, 9), max_size=12)


@given(coefficients, st.integers(1, 50), st.integers(1, 50), st.integers(1, 50))
def test_a_printed_polynomial_evaluates_to_the_polynomial(
    terms: dict[Monomial, int], n: int, d: int, b: int
) -> None:
    """Python's own reading of the printed formula gives the same integer."""
    ours = Polynomial.of(terms)
    assert eval(str(ours), {"n": n, "d": d, "b": b}) == ours(n, d, b)
    assert ours(n, d, b) == sum(value * n**m.n * b**m.b * d**m.d for m, value in terms.items())


@given(st.lists(st.lists(st.integers(-4, 4), min_size=4, max_size=4), min_size=1, max_size=6))
def test_exact_linear_algebra_agrees_with_sympy(matrix: list[list[int]]) -> None:
    """Rank and null space are sympy's, and the rows kept as independent are so."""
    theirs = sympy.Matrix(matrix)
    kept = independent_rows(matrix)
    assert (
        len(kept)
        == theirs.rank()
        == sympy.Matrix([matrix[index] for index in kept] or [[0]]).rank()
    )
    found = null_vectors(matrix)
    assert len(found) == len(theirs.nullspace())
    assert all((theirs * sympy.Matrix(vector)).is_zero_matrix for vector in found)
    if len(kept) == 4:
        square = [matrix[index] for index in kept]
        values = [3, -1, 4, 1]
        assert solve(square, values) == [
            Fraction(int(x.p), int(x.q)) for x in sympy.Matrix(square).LUsolve(sympy.Matrix(values))
        ]


@pytest.mark.parametrize(
    ("texts", "itemsize", "pretty", "latex"),
    [
        (
            ("n*b*d + b*d + d**2 + 1", "n*d**2 + b*d + 1"),
            4,
            "4·max{nbd + bd + d² + 1, nd² + bd + 1}",
            r"4 \cdot \max\left\{n b d + b d + d^{2} + 1, n d^{2} + b d + 1\right\}",
        ),
        (
            ("6*n*b*d**2 - 2*b*d**2 - 1",),
            1,
            "6nbd² − 2bd² − 1",
            "6 n b d^{2} - 2 b d^{2} - 1",
        ),
        (("2*b*d",), 4, "4·2bd", r"4 \cdot 2 b d"),
        (("n*b*d + 1",), 4, "4·(nbd + 1)", r"4 \cdot (n b d + 1)"),
        (("1",), 4, "4", "4"),
        (("0",), 4, "0", "0"),
        (("-n*b*d/2 + b",), 1, "−1/2nbd + b", "-1/2 n b d + b"),
    ],
)
def test_a_formula_writes_itself(
    texts: tuple[str, ...], itemsize: int, pretty: str, latex: str
) -> None:
    """A formula is written for the eye and as LaTeX, and Python's notation evaluates to
    its value.
    """
    formula = Formula(tuple(map(polynomial, texts)), itemsize)
    assert (formula.written(PRETTY), formula.written(LATEX)) == (pretty, latex)
    assert eval(str(formula), {"n": 3, "d": 4, "b": 6, "max": max}) == formula(3, 4, 6)


def test_an_order_writes_itself() -> None:
    """An order is a big O for the eye; what is zero is 0, and a constant is O(1)."""
    orders = [order_of([polynomial(text)]) for text in ("n*d**2 + 2*n*b*d", "0", "7")]
    assert [order.pretty for order in orders] == ["O(nbd + nd²)", "0", "O(1)"]


def test_big_o_keeps_what_nothing_dominates() -> None:
    """Only monomials that no other outgrows remain, of all pieces together, and what is subtracted
    does not count.
    """
    assert (
        growth([polynomial("n*b*d + b*d + d**2 + 1"), polynomial("n*d**2 + 3*b*d - d**2 + 1")])
        == "n*b*d + n*d**2"
    )
    assert growth([polynomial("6*n*b*d**2 + 2*n*b*d - n*d**2 - 1")]) == "n*b*d**2"
    assert growth([polynomial("5*b*d"), polynomial("n - b*d**2")]) == "n + b*d"
    assert growth([polynomial("7")]) == "1"
    assert growth([polynomial("0")]) == "0"


# Fitted polynomials.


@given(coefficients)
def test_an_invented_polynomial_is_found_exactly(terms: dict[Monomial, int]) -> None:
    """Any integer coefficients on the twelve monomials come back, with the rows counted."""
    truth = Polynomial.of(terms)
    found = fit_polynomial(rows_of(lambda n, d, b: int(truth(n, d, b))))
    assert (pieces_of(found), found.exact, found.valid_from_n, found.rows, found.reason) == (
        (truth,),
        True,
        1,
        80,
        "",
    )
    assert found.formula == str(truth)


def test_fractions_are_found_where_the_values_need_them() -> None:
    """Halves are coefficients like any other: n*b*(b's evenness apart) sums of pairs are exact."""
    found = fit_polynomial(rows_of(lambda n, d, b: n * d * (b // 2)))
    assert found.formula == "1/2*n*b*d"
    assert found(3, 5, 4) == 30


@given(st.integers(0, 79), st.sampled_from([-1, 1]))
def test_one_row_off_by_one_leaves_no_polynomial(place: int, error: int) -> None:
    """Wherever the row is, among those that determine or those held out, nothing is claimed."""
    rows = rows_of(lambda n, d, b: 2 * n * b * d**2 + b * d - 1)
    n, d, b, value = rows[place]
    rows[place] = (n, d, b, value + error)
    found = fit_polynomial(rows)
    assert (found.formula, order_in(found), found.exact, pieces_of(found), found.valid_from_n) == (
        "undecided",
        "undecided",
        False,
        (),
        0,
    )
    assert "held out differ" in found.reason


@pytest.mark.parametrize(
    "rule",
    [lambda n, d, b: n**2 * b * d, lambda n, d, b: d**3, lambda n, d, b: max(n * b * d, d * d)],
)
def test_what_is_no_such_polynomial_is_caught_by_the_rows_held_out(rule: Rule) -> None:
    """A polynomial goes through twelve rows of anything; the others show that it is wrong, and the
    first of them is named.
    """
    found = fit_polynomial(rows_of(rule))
    assert not found.exact
    assert "was measured" in found.reason


def test_without_a_row_held_out_nothing_is_claimed() -> None:
    """Twelve rows determine twelve coefficients and check none; with one n more the same rule is
    claimed.
    """
    rule: Rule = lambda n, d, b: n * b * d + 7  # noqa: E731 - a rule is a value here
    few = fit_polynomial(rows_of(rule, ((1, 2), (2, 3, 5), (4, 9))))
    assert not few.exact
    assert "none is held out: add n=4" in few.reason
    assert fit_polynomial(rows_of(rule, ((1, 2, 4), (2, 3, 5), (4, 9)))).formula == "n*b*d + 7"


@pytest.mark.parametrize(
    ("grid", "advice"),
    [
        (((4,), (2, 3, 5), (1, 8, 12)), "add n=8"),
        (((1, 2), (4, 6), (1, 16)), "add d=12"),
        (((1, 2, 3), (5,), (1, 12)), "add d=10, 20"),
        (((1, 2, 3), (2, 3, 5), (6,)), "add b=12"),
        (((2,), (3,), (7,)), "add n=4; d=6, 12; b=14"),
    ],
)
def test_a_grid_without_rank_names_the_values_to_add(
    grid: Sequence[Sequence[int]], advice: str
) -> None:
    """Too few values of an axis leave both kinds of fit undecided, and adding what is advised
    completes the rank.
    """
    rows = rows_of(lambda n, d, b: n * b * d, grid)
    for found in (fit_polynomial(rows), fit.fit_maximum(rows)):
        assert not found.exact
        assert found.reason.endswith(advice)
    axes = {letter: list(values) for letter, values in zip("ndb", grid, strict=True)}
    for part in advice.removeprefix("add ").split("; "):
        axes[part[0]] += [int(value) for value in part[2:].split(", ")]
    assert lacks_rank(rows_of(lambda n, d, b: 0, list(axes.values()))) == ""


def test_a_batch_that_follows_the_width_lacks_rank() -> None:
    """Many values do not help where b is always 2d: b and d cannot be told apart."""
    rows = [(n, d, 2 * d, n * d) for n in (1, 2, 3) for d in (3, 5, 8, 13)]
    found = fit_polynomial(rows)
    assert "rank 8 of 12" in found.reason
    assert "the missing shapes of the product" in found.reason


# Fitted maxima.

A_TERMS = ("n*b*d", "b*d", "n*b*d + b*d", "2*n*b*d - b*d", "3*b*d + n*b*d")
D_TERMS = ("n*d**2", "d**2", "n*d**2 - d**2 + b*d", "n*d**2 + b*d", "d**2 + 2*d")


@QUICK
@given(
    st.sampled_from(A_TERMS),
    st.sampled_from(D_TERMS),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 9),
    st.integers(0, 9),
)
def test_an_invented_maximum_of_two_is_found_exactly(
    left: str, right: str, p: int, q: int, r: int, s: int
) -> None:
    """Whatever the coefficients, where each piece rules alone at many shapes, both come back."""
    pieces, rule = maximum(f"{p}*({left}) + {r}", f"{q}*({right}) + {s}")
    rows = rows_of(rule, DEFAULT_GRID)
    assume(len(pieces) == 2 and all(_rules_widely(piece, pieces, rows) for piece in pieces))
    found = fit.fit_maximum(rows)
    assert set(pieces_of(found)) == pieces, found
    assert (found.exact, found.valid_from_n, found.rows) == (True, 1, len(rows))


@pytest.mark.slow
@settings(QUICK, max_examples=8)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(2, 6), st.integers(1, 9))
def test_an_invented_maximum_of_three_is_found_exactly(p: int, q: int, r: int, s: int) -> None:
    """A piece that is active only between two others is found as well."""
    pieces, rule = maximum(
        f"{p}*n*b*d + d**2 + {s}", f"{p}*n*d**2 + {q + 2}*b*d - d**2 + {s}", f"{r}*n*d**2 + b*d"
    )
    rows = rows_of(rule, DEFAULT_GRID)
    assume(all(_rules_widely(piece, pieces, rows) for piece in pieces))
    found = fit.fit_maximum(rows)
    assert set(pieces_of(found)) == pieces, found
    assert found.exact


def _rules_widely(piece: Polynomial, pieces: set[Polynomial], rows: Sequence[Row]) -> bool:
    """Say whether a piece alone meets twenty rows with three values of n, d and b."""
    own = [
        row for row in rows if all(piece(*row[:3]) > other(*row[:3]) for other in pieces - {piece})
    ]
    return len(own) >= 20 and all(len({row[place] for row in own}) >= 3 for place in range(3))


REAL_PEAKS = {
    "tanh no_grad": (1, ["2*b*d"], "b*d"),
    "tanh forward": (1, ["n*b*d + b*d"], "n*b*d"),
    "tanh full": (
        2,
        ["n*b*d + b*d + d**2 + 1", "n*d**2 + 3*b*d - d**2 + 1", "n*d**2 + b*d + 1"],
        "n*b*d + n*d**2",
    ),
    "tanh w1_only": (1, ["n*b*d + b*d + 2", "b*d + d**2 + 1"], "n*b*d + d**2"),
    "gelu forward": (1, ["2*n*b*d + 1"], "n*b*d"),
    "gelu full": (
        1,
        ["2*n*b*d - b*d + d**2 + 1", "2*n*b*d + 2", "n*d**2 + b*d + 1"],
        "n*b*d + n*d**2",
    ),
    "cross entropy forward": (1, ["n*b*d + b*d + b + 1"], "n*b*d"),
    "cross entropy full": (
        1,
        ["n*b*d + 3*b*d + 1", "n*d**2 + 3*b*d - d**2 + 1", "n*d**2 + b*d + 1"],
        "n*b*d + n*d**2",
    ),
    "cross entropy w1_only": (1, ["n*b*d + 3*b*d + 1", "b*d + d**2 + 1"], "n*b*d + d**2"),
    "PyTorch full": (
        2,
        ["n*b*d + b*d + d**2 + 2", "n*d**2 + 3*b*d - d**2 + 2", "n*d**2 + b*d + 2"],
        "n*b*d + n*d**2",
    ),
    "parameters": (1, ["n*d**2"], "n*d**2"),
}


@pytest.mark.parametrize("name", REAL_PEAKS)
def test_the_peaks_of_the_exercise_are_decided_on_the_default_grid(name: str) -> None:
    """The closed forms come back from bytes without reserve, with the n from which they hold, and
    hold far beyond the grid.
    """
    start, texts, growth = REAL_PEAKS[name]
    pieces, rule = maximum(*texts)

    def measured(n: int, d: int, b: int) -> int:
        return 4 * (rule(n, d, b) if n >= start else max(2 * b * d + 2, b * d + d * d + 1))

    found = fit_quantity(rows_of(measured, DEFAULT_GRID), itemsize=4, kind="maximum")
    assert set(pieces_of(found)) == pieces
    assert (found.exact, found.valid_from_n, order_in(found), found.reason, found.rivals) == (
        True,
        start,
        growth,
        "",
        (),
    )
    assert found.rows == 36 * sum(n >= start for n in DEFAULT_GRID[0])
    assert found.formula.startswith("4*(")
    assert all(found(*shape) == measured(*shape) for shape in BEYOND)
    for n, d, b in BEYOND:
        assert eval(found.formula, {"n": n, "d": d, "b": b, "max": max}) == measured(n, d, b)


REAL_OPERATIONS = {
    "no_grad": (
        lambda n, d, b: n * (b * d * (2 * d - 1) + b * d) + b * d - 1,
        "2*n*b*d**2 + b*d - 1",
    ),
    "backward": (
        lambda n, d, b: 3 * n * b * d + n * d**2 * (2 * b - 1) + (n - 1) * b * d * (2 * d - 1),
        "4*n*b*d**2 + 2*n*b*d - n*d**2 - 2*b*d**2 + b*d",
    ),
    "backward to W_1": (
        lambda n, d, b: 3 * n * b * d + d**2 * (2 * b - 1) + (n - 1) * b * d * (2 * d - 1),
        "2*n*b*d**2 + 2*n*b*d + b*d - d**2",
    ),
    "none": (lambda n, d, b: 0, "0"),
}


@pytest.mark.parametrize("name", REAL_OPERATIONS)
def test_the_operations_of_the_exercise_are_found(name: str) -> None:
    """The closed forms of the operations come back multiplied out."""
    rule, formula = REAL_OPERATIONS[name]
    assert fit_quantity(rows_of(rule, DEFAULT_GRID)).formula == formula


def test_the_least_n_that_succeeds_is_told() -> None:
    """Rows of small n that follow a rule of their own are left out, and no more rows
    than needed.
    """
    pieces, rule = maximum("n*b*d + d**2", "2*n*d**2 + 5")
    found = fit.fit_maximum(
        rows_of(lambda n, d, b: rule(n, d, b) if n >= 3 else b * d + 1, DEFAULT_GRID)
    )
    assert (set(pieces_of(found)), found.valid_from_n, found.rows) == (pieces, 3, 144)


# Undecided maxima.


@pytest.mark.parametrize(
    ("d", "b", "advice"),
    [
        ((8, 12, 16, 24), (8, 16, 32), "add b=7"),
        ((8, 12, 16, 24), (2, 4, 16), "add b=17"),
        ((8, 9, 10), (8, 9, 10), "add b=3 and b=17"),
    ],
)
def test_a_narrow_ratio_of_batch_to_width_names_the_values_to_add(
    d: tuple[int, ...], b: tuple[int, ...], advice: str
) -> None:
    """b/d must reach below 1/3 and above 2 (touching them is not enough); with what is advised it
    does.
    """
    found = fit.fit_maximum(rows_of(lambda n, d, b: 2 * b * d, ((1, 2, 3), d, b)))
    assert not found.exact
    assert found.reason.endswith(advice)
    wider = (
        *b,
        *(int(part.removeprefix("b=")) for part in advice.removeprefix("add ").split(" and ")),
    )
    assert lacks_ratio(rows_of(lambda n, d, b: 0, ((1, 2, 3), d, wider))) == ""


def test_a_rival_leaves_the_maximum_undecided() -> None:
    """A piece that is active only at the least n may as well grow with n: both forms are named, and
    neither is claimed.
    """
    _, rule = maximum("3*n*b*d", "n*d + 4*b*d")
    found = fit.fit_maximum(rows_of(rule, DEFAULT_GRID))
    assert (found.formula, found.exact) == ("undecided", False)
    assert set(map(str, found.rivals)) == {"max(3*n*b*d, n*d + 4*b*d)", "max(3*n*b*d, 4*b*d + d)"}
    assert "n=1" in found.reason


def test_the_shape_that_is_advised_tells_the_rivals_apart() -> None:
    """Rivals differ at the shape to add, and with its values in the grid the right one
    is decided.
    """
    pieces, rule = maximum(
        "n*b*d + b*d + d**2 + 1", "n*d**2 + 3*b*d - d**2 + 1", "n*d**2 + b*d + 1"
    )
    found = fit.fit_maximum(rows_of(rule, ((2, 3), (4, 6, 12), (2, 4, 8, 16))))
    assert not found.exact
    assert len(found.rivals) > 1
    shape = {part[0]: int(part[2:]) for part in found.reason.split("add ")[1].split(", ")}
    values = {eval(str(rival), {**shape, "max": max}) for rival in found.rivals}
    assert len(values) > 1
    assert set(pieces_of(fit.fit_maximum(rows_of(rule, DEFAULT_GRID)))) == pieces


@pytest.mark.parametrize("error", [-1, 1])
@pytest.mark.parametrize("shape", [(16, 16, 8), (8, 8, 48), (3, 32, 12), (4, 24, 16), (16, 48, 48)])
def test_one_row_off_by_one_leaves_no_maximum(shape: tuple[int, int, int], error: int) -> None:
    """A single wrong row is not fitted by a piece of its own, and not hidden by leaving out small
    n.
    """
    _, rule = maximum(*REAL_PEAKS["tanh full"][1])
    rows = [
        (n, d, b, value + error * ((n, d, b) == shape))
        for n, d, b, value in rows_of(rule, DEFAULT_GRID)
    ]
    found = fit.fit_maximum(rows)
    assert (found.formula, found.exact) == ("undecided", False)
    assert "measure" in found.reason


def test_a_piece_that_too_few_values_bear_out_is_not_claimed() -> None:
    """A line through two widths is shorter than the true square and meets every row; it is named,
    not claimed.
    """
    _, rule = maximum("n*b*d + 3*b*d + 1", "b*d + d**2 + 1")
    found = fit.fit_maximum(rows_of(rule, SMALL_GRID))
    assert (found.formula, found.exact) == ("undecided", False)
    assert "44*d - 383" in found.reason
    assert "add n=" in found.reason
    assert tuple(map(str, found.rivals)) == ("max(n*b*d + 3*b*d + 1, 44*d - 383)",)


def test_a_grid_of_powers_of_two_is_told_to_hide_pieces() -> None:
    """Between b = d/2 and b = d a piece may rule unseen: the shorter formula meets all rows, and
    the reason says what to add.
    """
    _, rule = maximum(*REAL_PEAKS["tanh full"][1])
    found = fit.fit_maximum(rows_of(rule, ((2, 3, 4, 8), (8, 16, 32, 64), (4, 8, 16, 32, 64, 128))))
    assert len(pieces_of(found)) == 2
    assert "between 1/4 and 1/2, 1/2 and 1, 1 and 2" in found.reason
    assert found.reason.endswith("add b=24, 48, 96")


@pytest.mark.parametrize(
    "rule",
    [lambda n, d, b: n.bit_length() * b * d + n * d * d, lambda n, d, b: (7919 * n * d * b) % 1009],
)
def test_what_is_no_maximum_of_polynomials_is_not_claimed(rule: Rule) -> None:
    """A logarithm of n and chance values find no formula."""
    assert fit.fit_maximum(rows_of(rule, DEFAULT_GRID)).formula == "undecided"


def test_contradicting_rows_are_told() -> None:
    """One shape with two values is neither fitted nor silently dropped; the same row twice is one
    row.
    """
    rows = rows_of(lambda n, d, b: n * d)
    for kind in ("polynomial", "maximum"):
        assert fit_quantity([*rows, rows[7]], kind=kind).rows == len(rows)
        found = fit_quantity([*rows, (1, 8, 4, 9)], kind=kind)
        assert not found.exact
        assert "n=1, d=8, b=4 was measured as 8 and as 9" in found.reason


# The parts.


@given(st.lists(st.tuples(st.integers(1, 63), st.integers(1, 4)), min_size=1, max_size=9))
def test_the_shortest_cover_is_that_of_brute_force(given_pieces: list[tuple[int, int]]) -> None:
    """Among all choices of pieces none is shorter, and the equally short ones are all listed."""
    pieces = [Piece(mask, terms) for mask, terms in given_pieces]
    goal = 63
    lengths: dict[tuple[int, ...], tuple[int, int]] = {}
    for size in range(1, 5):
        for choice in itertools.combinations(range(len(pieces)), size):
            if not goal & ~int(np.bitwise_or.reduce([pieces[index].mask for index in choice])):
                lengths[choice] = (size, sum(pieces[index].terms for index in choice))
    found = shortest_cover(pieces, goal, 4)
    if not lengths:
        assert found is None
        return
    assert found is not None
    best = min(lengths.values())
    assert (len(found[0]), found[1]) == best
    assert set(equally_short(pieces, goal, *best, 10_000)) == {
        choice for choice, length in lengths.items() if length == best
    }


def test_the_pool_admits_no_piece_that_exceeds_a_row_or_meets_too_few() -> None:
    """A piece one above a single row is refused, as is one that meets only as many rows as it has
    terms.
    """
    _, rule = maximum("2*b*d", "d**2 + 1")
    search = fit_search.Search(rows_of(rule))
    place = {monomial: index for index, monomial in enumerate(MONOMIALS)}

    def coefficients_of(text: str) -> tuple[int, ...]:
        values = [0] * len(MONOMIALS)
        for monomial, value in polynomial(text).terms:
            values[place[monomial]] = int(value)
        return tuple(values)

    search.admit(map(coefficients_of, ["2*b*d", "2*b*d + 1", "d**2 + 1", "d**2 + 2", "0", "b*d"]))
    assert set(search.pool) == {coefficients_of("2*b*d"), coefficients_of("d**2 + 1")}
    assert search.missing().size == 0


def test_a_fit_that_takes_any_proposal_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of evidence the false line is claimed: the tests above do depend on it."""
    _, rule = maximum("n*b*d + 3*b*d + 1", "b*d + d**2 + 1")
    monkeypatch.setattr(fit_maximum, "borne_out", lambda *_: (True, ""))
    careless = fit.fit_maximum(rows_of(rule, SMALL_GRID))
    assert careless.exact
    assert any(careless(*shape) != rule(*shape) for shape in BEYOND)


@pytest.mark.parametrize(
    "row", [(0, 8, 4, 1), (1, 8, -4, 1), (1, 8, 4), (1, 8, 4, 1.5), (1.0, 8, 4, 1)]
)
def test_a_row_that_is_none_is_refused(row: tuple[int, ...]) -> None:
    """The message says what was given, what was expected and what to do."""
    with pytest.raises(FitError, match="given, expected four integers"):
        fit_polynomial([row])


def test_options_and_use_that_make_no_sense_are_refused() -> None:
    """An unknown kind, an itemsize of nothing, and evaluating what was not decided are clear
    errors; no rows decide nothing.
    """
    with pytest.raises(FitError, match="kind 'cubic' given"):
        fit_quantity([], kind="cubic")
    with pytest.raises(FitError, match="itemsize 0 given"):
        fit_quantity([], itemsize=0)
    for kind in ("polynomial", "maximum"):
        found = fit_quantity([], kind=kind)
        assert not found.exact
        with pytest.raises(FitError, match="undecided"):
            found(1, 1, 1)


def test_bytes_that_the_itemsize_does_not_divide_are_fitted_as_they_are() -> None:
    """A single byte among elements of four leaves a formula without the factor."""
    found = fit_quantity(rows_of(lambda n, d, b: 4 * b * d + 1), itemsize=4, kind="maximum")
    assert (found.formula, found.found.itemsize) == ("4*b*d + 1", 1)


# The table.


def results(**changes: object) -> pd.DataFrame:
    """Return rows as results.csv holds them, of a made-up measurement."""
    rows = []
    for n, d, b in itertools.product(*SMALL_GRID):
        row: dict[str, object] = {
            "network": "chain",
            "activation": "tanh",
            "loss": "sum",
            "dtype": "float64",
            "engine": "tapemeasure",
            "planner": "store_all",
            "mode": "w1_only",
            "wrt": "W_1",
            "status": "ok",
            "n": n,
            "d": d,
            "b": b,
            "ops": n * b * d,
            "ops_backward": 0,
            "peak_bytes": 8 * max(n * b * d + b * d + 2, b * d + d * d + 1),
            "parameter_bytes": 8 * n * d * d,
        }
        rows.append(
            row
            | {key: value(n, d, b) if callable(value) else value for key, value in changes.items()}
        )
    return pd.DataFrame(rows)


def test_the_table_has_one_row_for_each_group_and_quantity() -> None:
    """Groups keep their order, quantities that were not measured are left out, zero is zero, and
    bytes carry their itemsize.
    """
    frame = pd.concat(
        [
            results(),
            results(
                engine="pytorch",
                dtype="torch.float32",
                ops=float("nan"),
                peak_bytes=lambda n, d, b: 8 * b * d,
            ),
        ]
    )
    before = frame.copy()
    table = complexity_table(frame)
    assert tuple(table.columns) == fit.COMPLEXITY_COLUMNS
    pd.testing.assert_frame_equal(frame, before)
    assert list(
        zip(table["engine"], table["quantity"], table["formula"], table["big_o"], strict=True)
    ) == [
        ("tapemeasure", "ops", "n*b*d", "n*b*d"),
        ("tapemeasure", "ops_backward", "0", "0"),
        ("tapemeasure", "peak_bytes", "8*(max(n*b*d + b*d + 2, b*d + d**2 + 1))", "n*b*d + d**2"),
        ("tapemeasure", "parameter_bytes", "8*(n*d**2)", "n*d**2"),
        ("pytorch", "ops_backward", "0", "0"),
        ("pytorch", "peak_bytes", "4*(2*b*d)", "b*d"),
        ("pytorch", "parameter_bytes", "4*(2*n*d**2)", "n*d**2"),
    ]
    assert set(table["exact"]) == {True}
    assert set(table["rows"]) == {80}


def test_only_rows_that_are_ok_are_fitted() -> None:
    """A point that was skipped or failed does not spoil the formula, and is not counted."""
    frame = results()
    frame["ops"] = frame["ops"].astype(float)
    frame.loc[5, ["status", "ops"]] = ["skipped_memory", float("nan")]
    frame.loc[6, ["status", "ops"]] = ["failed", 1.0]
    table = complexity_table(frame).set_index("quantity")
    assert table.loc["ops", "formula"] == "n*b*d"
    assert table.loc["ops", "rows"] == 78


def test_a_group_whose_weights_vary_is_left_out() -> None:
    """In the modes only and checkpointed a formula is sought for one wrt, not across several."""
    assert complexity_table(results(mode="only", wrt=lambda n, d, b: f"W_{n}")).empty
    assert not complexity_table(results(mode="only", wrt="W_1")).empty
    assert not complexity_table(results(mode="full", wrt=lambda n, d, b: f"all {n}")).empty


def test_an_undecided_quantity_is_a_row_with_its_reason_and_rivals() -> None:
    """The table says undecided, not exact, why, and what else would fit."""
    table = complexity_table(
        results(peak_bytes=lambda n, d, b: 8 * max(3 * n * b * d, n * d + 4 * b * d))
    ).set_index("quantity")
    row = table.loc["peak_bytes"]
    assert (row["formula"], row["big_o"], row["exact"], row["valid_from_n"]) == (
        "undecided",
        "undecided",
        False,
        0,
    )
    assert "| 8*(max(3*n*b*d, 4*b*d + d))" in row["reason"]


def test_a_table_of_nothing_is_empty_and_one_of_other_rows_is_refused() -> None:
    """No rows give the columns alone; missing columns, fractions of a byte and unknown dtypes are
    named.
    """
    assert tuple(complexity_table(results().head(0)).columns) == fit.COMPLEXITY_COLUMNS
    with pytest.raises(FitError, match="without the columns mode, d given"):
        complexity_table(results().drop(columns=["mode", "d"]))
    with pytest.raises(FitError, match="expected an integer"):
        complexity_table(results(ops=0.5))
    with pytest.raises(FitError, match="dtype 'bool' given"):
        complexity_table(results(dtype="bool"))


def test_a_fit_is_a_frozen_value() -> None:
    """Two fits of the same rows are equal, and none can be changed."""
    rows = rows_of(lambda n, d, b: n * d)
    assert fit_polynomial(rows) == fit_polynomial(reversed(rows))
    assert isinstance(fit_polynomial(rows), Fit)
    with pytest.raises(AttributeError):
        fit_polynomial(rows).formula = "n"  # type: ignore[misc]
