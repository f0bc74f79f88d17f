"""Numbers from shapes alone: the fold of a program over many shapes and over symbols, compared with
executing, point by point.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings, strategies as st

from autodiff import GraphError, Leaf, Schedule, ScheduleError, ShapeError, Spec, StoreAll, networks
from autodiff.checkpointing import RecomputeAll, Revolve, Uniform
from autodiff.instructions import PHASES
from autodiff.ops import Columns
from autodiff.program import Program
from experiments.theory import peak_elements
from experiments.theory.operation_counts import total_operations
from profiler import predict, predict_formula, predict_grid, profile, profile_schedule
from profiler.envelopes import MOST, envelope
from profiler.folding import Prediction, fold
from profiler.prediction import COLUMNS, MODES, program_of_mode
from profiler.terms import at_points, combined, counted_from_one, expressions, in_terms
from tests.support.graphs import RandomGraph, graphs, schedules

D, B = (
    sympy.Symbol("d", integer=True, positive=True),
    sympy.Symbol("b", integer=True, positive=True),
)
ACTIVATIONS = ("tanh", "relu", "sigmoid", "gelu", "identity")


def same_numbers(
    prediction: Prediction, program: Program, schedule: Schedule, execute: bool = True
) -> None:
    """Assert that a prediction of integers says what executing says, by phase, kind and role."""
    measured = profile_schedule(program, schedule, execute=execute)
    assert prediction.ops_by_phase == measured.ops_by_phase
    assert prediction.peak_bytes == measured.peak_bytes
    assert prediction.live_after_bytes == measured.live_after_bytes
    assert (prediction.parameter_bytes, prediction.input_bytes) == (
        measured.parameter_bytes,
        measured.input_bytes,
    )
    columns = prediction.at({}, roles=True)
    assert {
        role: int(columns[f"peak_{role}_bytes"][0]) for role in measured.peak_by_role
    } == measured.peak_by_role
    assert np.array_equal(
        combined(prediction.live, at_points(prediction.terms, {}))[:, 0], measured.ledger.live
    )


# Amounts as coefficients over terms.

amounts = st.lists(
    st.builds(
        lambda whole, area, square, power: whole + area * B * D + square * D**2 + power * B**3,
        *(st.integers(-(2**70), 2**70) for _ in range(4)),
    ),
    max_size=5,
)


@given(amounts, st.integers(1, 10**9), st.integers(1, 10**9))
def test_amounts_survive_being_taken_apart(given_amounts: list[Any], d: int, b: int) -> None:
    """Coefficients over terms give back the expressions, and at a point what sympy gives, at any
    size.
    """
    terms, rows = in_terms(given_amounts)
    assert expressions(rows, terms) == given_amounts
    values = combined(rows, at_points(terms, {D: [d], B: [b]}))
    assert [int(value) for value in values[:, 0]] == [
        int(sympy.sympify(amount).subs({D: d, B: b})) for amount in given_amounts
    ]


def test_small_amounts_are_of_64_bits_and_large_ones_of_pythons() -> None:
    """Arithmetic leaves 64 bits only where it has to, and is exact on both sides of that border."""
    for amount, kind in ((2**62, np.dtype(np.int64)), (2**63, np.dtype(object))):
        terms, rows = in_terms([amount * B])
        total = combined(rows, at_points(terms, {B: [1]}))
        assert (total.dtype, int(total[0, 0])) == (kind, amount)
    terms, rows = in_terms([B**2])
    assert int(combined(rows, at_points(terms, {B: [2**40]}))[0, 0]) == 2**80


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        (B / 2, "has a fraction"),
        (1.5, "expected an integer"),
        (np.array([1, 2]), "expected an integer"),
    ],
    ids=["fraction", "real", "array"],
)
def test_an_amount_that_is_no_polynomial_of_integers_is_refused(amount: Any, told: str) -> None:
    """What cannot be counted exactly is an error and not rounded."""
    with pytest.raises(GraphError, match=told):
        in_terms([amount])


def test_a_symbol_without_a_value_is_refused() -> None:
    """A formula cannot be evaluated where one of its symbols has no value; the error names it."""
    with pytest.raises(GraphError, match="b has no value"):
        predict_formula(2).at({D: [1]})


def test_terms_count_from_one_only_where_symbols_are_positive_integers() -> None:
    """2·d² + 1 is never less than 3 for a positive d, so 3 need not be looked at.

    Of a symbol that may be 0 that is not known.
    """
    terms, rows = in_terms([sympy.Integer(3), 2 * D**2 + 1])
    assert envelope(counted_from_one(rows, terms)).tolist() == [1]
    free = sympy.Symbol("d")
    terms, rows = in_terms([sympy.Integer(3), 2 * free**2 + 1])
    assert envelope(counted_from_one(rows, terms)).tolist() == [0, 1]


# The few moments among which the peak is.

rows_of_integers = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 6), min_size=width, max_size=width), min_size=1, max_size=40
    )
)


@given(
    rows_of_integers,
    st.lists(st.lists(st.integers(0, 1000), min_size=4, max_size=4), min_size=1, max_size=20),
)
def test_the_envelope_loses_no_maximum(rows: list[list[int]], weights: list[list[int]]) -> None:
    """Whatever the terms' values, the greatest of the kept rows is the greatest of all."""
    matrix = np.array(rows)
    values = np.array(weights)[:, : matrix.shape[1]].T
    kept = envelope(matrix)
    assert np.array_equal((matrix[kept] @ values).max(axis=0), (matrix @ values).max(axis=0))


@given(rows_of_integers)
def test_no_row_of_the_envelope_is_below_another_or_between_two(rows: list[list[int]]) -> None:
    """What remains, remains for a reason.

    No other kept row, and no point between two of them, exceeds it.
    """
    kept = np.array(rows)[envelope(np.array(rows))]
    if len(kept) >= MOST:
        return
    for i, row in enumerate(kept):
        others = np.delete(kept, i, axis=0)
        for one, other in itertools.combinations_with_replacement(others, 2):
            shares = [
                k / 60 for k in range(61)
            ]  # every vertex of λ with differences up to 6 is a multiple of 1/60
            assert not any(
                np.all(share * one + (1 - share) * other >= row - 1e-12) for share in shares
            )


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([[0, 4], [1, 3], [2, 2], [3, 1], [4, 0]], [0, 4]),
        ([[0, 4], [1, 1], [4, 0]], [0, 2]),
        ([[0, 4], [3, 3], [4, 0]], [0, 1, 2]),
        ([[1, 1], [1, 1]], [0]),
        ([[5]], [0]),
    ],
    ids=["line", "dent", "bulge", "equal", "one"],
)
def test_the_envelope_of_rows_by_hand(rows: list[list[int]], kept: list[int]) -> None:
    """The ends of a line stay, what lies between goes, a bulge stays."""
    assert envelope(np.array(rows)).tolist() == kept


def test_the_envelope_of_nothing_and_of_very_large_rows() -> None:
    """No rows give none, and coefficients beyond 64 bits are compared exactly."""
    assert envelope(np.zeros((0, 2), dtype=np.int64)).tolist() == []
    large = 2**80
    assert envelope(np.array([[large, 0], [large - 1, 0], [0, large]], dtype=object)).tolist() == [
        0,
        2,
    ]


# The fold, compared with executing.


@settings(max_examples=60)
@given(graphs())
def test_a_prediction_says_what_executing_says_on_random_graphs(graph: RandomGraph) -> None:
    """On any graph, predicted and measured numbers are the same, at every step."""
    program = graph.program()
    schedule = StoreAll()(program)
    same_numbers(fold(program, schedule), program, schedule)


@settings(max_examples=60)
@given(st.data())
def test_a_prediction_says_what_executing_says_under_random_schedules(data: st.DataObject) -> None:
    """Steps computed again and results written over dying inputs are folded as they are
    executed.
    """
    program = data.draw(graphs(max_steps=5)).program()
    schedule = data.draw(schedules(program))
    same_numbers(fold(program, schedule), program, schedule)


def test_an_illegal_schedule_is_refused() -> None:
    """A prediction is made of checked schedules alone.

    A step too few, and a claim that is wrong, are reported.
    """
    network = networks.chain(3, 4, 5, values=False)
    program = program_of_mode(network, "full")
    schedule = StoreAll()(program)
    with pytest.raises(ScheduleError, match="is never computed"):
        fold(program, replace(schedule, order=schedule.order[:-1]))
    with pytest.raises(ScheduleError, match="claims 1 recompute steps"):
        fold(program, replace(schedule, claims=replace(schedule.claims, recompute=1)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", networks.LOSSES)
def test_a_grid_is_identical_to_executing_point_by_point(activation: str, loss: str) -> None:
    """Every column of `predict_grid` is what running that very point measures, in every mode and
    under every kind of planner.
    """
    planners = [StoreAll(), RecomputeAll(), Uniform(2), Revolve(snapshots=2)]
    d, b = np.array([1, 3, 6, 2]), np.array([5, 3, 1, 9])
    frame = predict_grid(
        [1, 2, 5],
        d,
        b,
        MODES,
        activation=activation,
        loss=loss,
        planners=[StoreAll(), RecomputeAll(), Revolve(snapshots=2)],
    )
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 3 * 4 * (4 + 3)
    chosen = {str(planner): planner for planner in planners}
    for row in frame.to_dict("records"):
        network = networks.chain(row["n"], row["d"], row["b"], activation=activation, loss=loss)
        step = profile(program_of_mode(network, row["mode"]), planner=chosen[row["planner"]])
        assert row["ops"] == step.ops.total
        assert [row[f"ops_{phase}"] for phase in PHASES] == [
            step.ops_by_phase[phase].total for phase in PHASES
        ]
        assert row["matmul_flops"] == step.matmul_flops
        assert row["peak_bytes"] == step.peak_bytes
        assert row["live_after_bytes"] == step.live_after_bytes
        assert (row["parameter_bytes"], row["input_bytes"]) == (
            step.parameter_bytes,
            step.input_bytes,
        )


def test_a_large_grid_agrees_with_the_theory_everywhere() -> None:
    """A thousand shapes at once, in four modes, are what the closed forms give for each."""
    d, b = np.arange(1, 321, 10), np.arange(1, 257, 8)
    frame = predict_grid(16, d[:, None], b[None, :], ["no_grad", "forward", "full", "w1_only"])
    assert len(frame) == len(d) * len(b) * 4
    expected = [
        (total_operations(r.mode, 16, r.d, r.b), 4 * peak_elements(r.mode, 16, r.d, r.b))
        for r in frame.itertuples()
    ]
    assert list(zip(frame["ops"], frame["peak_bytes"], strict=True)) == expected


def test_a_grid_that_was_wrong_would_be_seen() -> None:
    """The comparison is no tautology: the numbers of a neighbouring shape differ from those of a
    point in every column but one.
    """
    one, other = predict_grid(4, 8, [8, 9], "full").to_dict("records")
    differing = {name for name in COLUMNS if one[name] != other[name]}
    assert differing == {
        "b",
        "ops",
        "ops_forward",
        "ops_backward",
        "matmul_flops",
        "peak_bytes",
        "input_bytes",
    }


def test_numbers_beyond_64_bits_are_exact() -> None:
    """A shape that no machine holds has exact numbers all the same."""
    size = 2**31 - 1
    row = predict_grid(3, size, size, "full").to_dict("records")[0]
    assert row["ops"] == total_operations("full", 3, size, size) > 2**63
    assert row["peak_bytes"] == 4 * peak_elements("full", 3, size, size)


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ((2, [1, 0], 3), ShapeError, "d = "),
        ((2, 1.5, 3), ShapeError, "integers of at least 1"),
        ((2, [1, 2], [1, 2, 3]), ShapeError, "broadcast"),
        ((0, 1, 1), ShapeError, "n = 0"),
        ((2, 1, 1, "both"), GraphError, "no_grad"),
    ],
    ids=["zero", "real", "lengths", "depth", "mode"],
)
def test_what_is_no_grid_is_refused(
    arguments: tuple[Any, ...], error: type[Exception], told: str
) -> None:
    """Wrong dimensions and modes give one line."""
    with pytest.raises(error, match=told):
        predict_grid(*arguments)


# Formulas.


def hull(*amounts: Any) -> set[Any]:
    """Amounts in elements of float32 as amounts in bytes."""
    return {sympy.expand(4 * amount) for amount in amounts}


def test_the_peak_of_256_layers_is_the_paper_formula() -> None:
    """For n = 256 the fold finds the three moments that theory names, and no others."""
    peak = predict_formula(256).peak_bytes
    area, square, n = B * D, D**2, 256
    assert isinstance(peak, sympy.Max)
    assert set(peak.args) == hull(
        1 + (n + 1) * area + square, 1 + 3 * area + (n - 1) * square, 1 + area + n * square
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "checkpointed"])
def test_formulas_give_the_numbers_of_every_shape(activation: str, mode: str) -> None:
    """Width and batch put into a formula give what the theory has for that shape."""
    found = predict_formula(6, mode, activation=activation)
    for d, b in itertools.product((1, 2, 7, 40), (1, 3, 8, 31)):
        shape = {D: d, B: b}
        assert found.ops.total.subs(shape) == total_operations(
            mode, 6, d, b, activation=activation, **wrt(mode)
        )
        assert sympy.sympify(found.peak_bytes).subs(shape) == 4 * peak_elements(
            mode, 6, d, b, activation=activation, **wrt(mode)
        )


def wrt(mode: str) -> dict[str, str]:
    """What the theory asks for of a mode."""
    return {"wrt": "W_1"} if mode == "w1_only" else {}


@pytest.mark.parametrize(
    "planner", ["recompute_all", "uniform", "uniform(segments=3)", "revolve(snapshots=3)"]
)
def test_formulas_of_checkpointed_steps_give_the_numbers_of_executing(planner: str) -> None:
    """A formula made under a planner is true of the same plan on any shape."""
    found = predict_formula(9, "checkpointed", planner=planner)
    for d, b in itertools.product((1, 4, 9), (2, 5, 30)):
        row = predict_grid(9, d, b, "checkpointed", planners=planner).to_dict("records")[0]
        shape = {D: d, B: b}
        assert found.ops.total.subs(shape) == row["ops"]
        # `revolve` may choose another of its equally fast plans where gradients are larger than
        # activations, never a worse one.
        assert sympy.sympify(found.peak_bytes).subs(shape) >= row["peak_bytes"]
        if "revolve" not in planner:
            assert sympy.sympify(found.peak_bytes).subs(shape) == row["peak_bytes"]


def test_one_dimension_may_be_a_number_and_the_other_a_symbol() -> None:
    """With the width fixed, a formula is one of the batch alone."""
    found = predict_formula(3, d=8)
    assert found.peak_bytes.free_symbols == {B}
    assert found.peak_bytes.subs(B, 5) == 4 * peak_elements("full", 3, 8, 5)


def test_symbols_of_the_users_own_serve_in_any_graph() -> None:
    """A graph of symbolic leaves is predicted like any other.

    Here a product of k×m by m×p under a tanh.
    """
    k, m, p = (sympy.Symbol(name, integer=True, positive=True) for name in "kmp")
    x = Leaf(None, "x", "input", spec=Spec((m, p), torch.float64))
    weight = Leaf(None, "W", "parameter", spec=Spec((k, m), torch.float64))
    found = predict((weight @ x).tanh().sum(), [weight])
    assert sympy.expand(found.ops.total) == sympy.expand(
        k * p * (2 * m - 1) + k * p + (k * p - 1) + 3 * k * p + k * m * (2 * p - 1)
    )
    shape = {k: 3, m: 4, p: 5}
    x, weight = (
        Leaf(torch.ones(4, 5, dtype=torch.float64), role="input"),
        Leaf(torch.ones(3, 4, dtype=torch.float64)),
    )
    step = profile((weight @ x).tanh().sum(), [weight])
    assert (found.peak_bytes.subs(shape), found.ops.total.subs(shape)) == (
        step.peak_bytes,
        step.ops.total,
    )


def test_a_share_of_a_symbol_is_refused() -> None:
    """An eighth of a symbol is no whole number for every value, so the bytes of that many columns
    are unknown.
    """
    x = Leaf(None, "x", "input", spec=Spec((3, B), torch.float32))
    with pytest.raises(GraphError, match="fraction"):
        predict(Columns(x, 0, B / 8).exp().sum())


def test_predict_is_profile_without_a_ledger() -> None:
    """`predict` takes what `profile` takes, and says the same."""
    network = networks.chain(5, 3, 4, values=False)
    for options in ({}, {"stop_after": "forward"}, {"planner": Uniform(2)}):
        found, step = (
            predict(network.loss, network.weights, **options),
            profile(network.loss, network.weights, execute=False, **options),
        )
        assert (found.ops, found.peak_bytes, found.live_after_bytes) == (
            step.ops,
            step.peak_bytes,
            step.live_after_bytes,
        )
        assert found.planner == step.planner


def test_deep_networks_are_linear_in_depth() -> None:
    """Twice as many layers give twice as many steps and terms of the same few kinds.

    Nothing in the fold is held for each pair of layers.
    """
    made = [predict_formula(n) for n in (500, 1000)]
    steps: Sequence[int] = [len(one.live) for one in made]
    assert steps[1] - steps[0] == 500 * (
        len(predict_formula(3).live) - len(predict_formula(2).live)
    )
    assert [len(one.terms) for one in made] == [3, 3]
    assert [len(one.moments) for one in made] == [3, 3]
