"""Formulas from rows: exact where the rows are polynomials, undecided where one is off by one."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from experiments.complexity.fitting import Fitting
from experiments.complexity.formulas import Formula
from experiments.complexity.lattice import Lattice, degree
from experiments.complexity.moments import Call, Run, by_moment, uneven

NODES = ((2, 3, 4, 5, 6), (1, 2, 3, 4, 5))
SHAPES = list(product(*NODES))
LATTICE = Lattice(((2, 3), (1, 2, 3)))
EXPONENTS = LATTICE.exponents
COEFFICIENTS = st.lists(
    st.integers(0, 99), min_size=len(EXPONENTS), max_size=len(EXPONENTS)
).filter(any)


def fitting() -> Fitting:
    return Fitting(("L", "d"), LATTICE, SHAPES, (2, 1))


def value(coefficients: list[int], shape: tuple[int, ...]) -> int:
    return sum(
        number * shape[0] ** powers[0] * shape[1] ** powers[1]
        for number, powers in zip(coefficients, EXPONENTS, strict=True)
    )


def run(*live: int) -> Run:
    """A step whose calls are all outside any list of modules."""
    return Run(tuple(Call("forward", f"part{i}", "mm") for i in range(len(live))), live)


@settings(max_examples=25, deadline=None)
@given(COEFFICIENTS)
def test_a_sum_is_found(coefficients: list[int]) -> None:
    """Rows of a polynomial give it back, coefficient by coefficient."""
    found = fitting().sum_of([value(coefficients, shape) for shape in SHAPES])
    assert found.formula is not None
    assert (found.fitted, found.held_out) == (6, 19)
    terms = {tuple(powers): int(number) for powers, number in found.formula.pieces[0].terms()}
    assert {powers: n for powers, n in terms.items() if n} == {
        powers: n for powers, n in zip(EXPONENTS, coefficients, strict=True) if n
    }


@settings(max_examples=25, deadline=None)
@given(COEFFICIENTS, st.sampled_from(range(len(SHAPES))), st.sampled_from([-1, 1]))
def test_one_row_that_is_off_by_one_leaves_a_sum_undecided(
    coefficients: list[int], at: int, by: int
) -> None:
    """Wherever the row lies, in the grid or among those held out."""
    values = [value(coefficients, shape) for shape in SHAPES]
    values[at] += by
    found = fitting().sum_of(values)
    assert found.formula is None
    assert "the polynomial through 6 rows gives" in found.reason


@settings(max_examples=25, deadline=None)
@given(st.lists(COEFFICIENTS, min_size=1, max_size=4))
def test_a_peak_is_the_greatest_of_its_moments(moments: list[list[int]]) -> None:
    """The formula is the maximum at every size, also far from the rows."""
    found = fitting().peak_of([run(*(value(one, shape) for one in moments)) for shape in SHAPES])
    assert found.formula is not None
    for shape in [*SHAPES, (2, 1000), (1000, 1), (10**6, 10**6)]:
        assert found.formula(*shape) == max(value(one, shape) for one in moments)


def test_a_moment_that_is_the_peak_in_no_row_is_in_the_formula() -> None:
    """L·d² + 1 is below 1000·L·d in all rows, and above it at full size."""
    rows = [run(1000 * L * d, L * d * d + 1) for L, d in SHAPES]
    assert all(one.peak == 1000 * L * d for one, (L, d) in zip(rows, SHAPES, strict=True))
    found = fitting().peak_of(rows)
    assert found.formula is not None
    assert found.formula(3, 5000) == 3 * 5000 * 5000 + 1
    assert [str(piece.as_expr()) for piece in found.formula.pieces] == ["1000*L*d", "L*d**2 + 1"]
    assert found.moments == ("mm in part0 (forward)", "mm in part1 (forward)")


@settings(max_examples=25, deadline=None)
@given(st.lists(COEFFICIENTS, min_size=1, max_size=3), st.sampled_from(range(len(SHAPES))))
def test_a_peak_that_is_off_by_one_byte_is_undecided(moments: list[list[int]], at: int) -> None:
    """The disturbance is in the greatest moment of one row."""
    rows = [[value(one, shape) for one in moments] for shape in SHAPES]
    rows[at][rows[at].index(max(rows[at]))] += 1
    assert fitting().peak_of([run(*row) for row in rows]).formula is None


@settings(max_examples=25, deadline=None)
@given(st.lists(COEFFICIENTS, min_size=1, max_size=3), st.integers(2, 5), st.integers(1, 9))
def test_a_kernel_that_switches_leaves_a_peak_undecided(
    moments: list[list[int]], switch: int, more: int
) -> None:
    """From some width on a workspace is added to every moment."""
    rows = [
        run(*(value(one, shape) + (more if shape[1] >= switch else 0) for one in moments))
        for shape in SHAPES
    ]
    assert fitting().peak_of(rows).formula is None


def test_a_moment_that_follows_nothing_must_be_below_one_that_does() -> None:
    """Else it might be the peak elsewhere; below one in all rows, it is named in the reason."""
    low = [run(100 * L * d, (L * d) % 7) for L, d in SHAPES]
    found = fitting().peak_of(low)
    assert found.formula is not None
    assert found.reason.startswith("1 moment of a step follow")
    crossing = [run(100 * L, 90 * d, min(100 * L, 90 * d) + (L * d) % 2) for L, d in SHAPES]
    assert fitting().peak_of(crossing).formula is None


def layers(depth: int, bump: int = 0) -> Run:
    """A step through layers that keep 10 bytes each; the third has `bump` more at its call."""
    calls = [Call("forward", f"h.{i}.mlp", "mm") for i in range(depth)]
    live = [10 * i + 15 + (bump if i == 2 else 0) for i in range(depth)]
    return Run((Call("forward", "embed", "mm"), *calls), (5, *live))


def test_layers_are_counted_from_both_ends() -> None:
    """The same layer has the name of its distance from the nearer end, or from both."""
    tables = by_moment([layers(3), layers(5)])
    assert [one.place for one in tables[1]] == [
        "embed",
        "h.+0.mlp",
        "h.+1.mlp",
        "h.-2.mlp",
        "h.-1.mlp",
    ]
    assert {one.place: live for one, live in tables[0].items()} == {
        "embed": 5, "h.+0.mlp": 15, "h.+1.mlp": 25, "h.-2.mlp": 25, "h.-1.mlp": 35,
    }  # fmt: skip
    assert [str(one) for one in tables[0]][1:3] == [
        "mm in h[0].mlp (forward)",
        "mm in h[1].mlp (forward)",
    ]
    fixed = by_moment([layers(3), layers(3)])
    assert [one.place for one in fixed[0]] == ["embed", "h.0.mlp", "h.1.mlp", "h.2.mlp"]


def test_layers_that_differ_are_noticed() -> None:
    """A layer in the middle that holds a byte more than its neighbours is no end."""
    assert uneven([layers(3), layers(6)]) == ""
    assert uneven([layers(3), layers(6, bump=1)]) == "mm in h.*.mlp (forward)"


@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_degrees_on_a_line(power: int) -> None:
    """Divided differences find the degree for any spacing, and none where one value is off."""
    nodes = (2, 3, 5, 8, 9, 12)
    values = [7 * node**power + 1 for node in nodes]
    assert degree(values, nodes) == power
    assert degree([*values[:-1], values[-1] + 1], nodes) is None


def test_a_shift_keeps_the_polynomial() -> None:
    """Coefficients in distances from a corner give the same values."""
    numbers = np.array([[1], [2], [3], [4], [5], [6]], dtype=object)
    shifted = LATTICE.shifted(numbers, (2, 1))
    away = LATTICE.monomials([(5 - 2, 7 - 1)]) @ shifted
    assert away[0, 0] == (LATTICE.monomials([(5, 7)]) @ numbers)[0, 0]


def test_a_formula_reads_well() -> None:
    """Orders, powers, fractions and signs as people write them; exact values at any size."""
    half = Fraction(1, 2)
    formula = Formula.of(("L", "d"), [{(0, 2): half, (0, 1): half}, {(1, 2): 12, (0, 0): -3}])
    assert formula.pretty == ("1/2·d² + 1/2·d", "12·L·d² − 3")
    assert formula.order == "O(L·d²)"
    assert str(formula) == "max(d**2/2 + d/2, 12*L*d**2 - 3)"
    assert formula.latex == r"\max\left\{\frac{d^{2}}{2} + \frac{d}{2}, 12 L d^{2} - 3\right\}"
    assert formula(10**9, 10**9) == 12 * 10**27 - 3
    assert formula(0, 5) == 15
    assert formula.elasticities(2, 10) == {"L": 2400 / 2397, "d": 4800 / 2397}
    assert Formula.parsed(("L", "d"), formula.plain()) == formula
