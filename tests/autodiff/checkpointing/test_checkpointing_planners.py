"""The planners on the chain of the exercise: runs of layers, live sets, budgets, edge cases."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from autodiff import (
    Leaf,
    Matsum,
    PlannerError,
    Program,
    RecomputeAll,
    Revolve,
    Schedule,
    StoreAll,
    Uniform,
    advances,
    check_schedule,
    execute,
    gradients,
    linearize,
    networks,
)
from autodiff.check import held_activations
from autodiff.instructions import FORWARD
from profiler import profile_schedule
from profiler.audit import audit_storages
from tests.support.chains import chain_program, peak_elements, runs


def same_results(program: Program, schedule: Schedule) -> bool:
    """Whether the loss and every gradient are those of the plain order, bit for bit."""
    plain, _ = execute(program, StoreAll()(program))
    results, _ = execute(program, schedule)
    return all(torch.equal(one, other) for one, other in zip(plain, results, strict=True))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_revolve_runs_the_fewest_layers_of_both_forms(activation: str) -> None:
    """With s snapshots, min(t(n, s) + 1, t(n − 1, s) + 2) layers run; peak ≤ (s + 3)A + nD + 2."""
    for n in [*range(2, 12), 20]:
        programs = {
            (d, b): chain_program(n, d, b, activation) for d, b in [(1, 1000), (9, 9), (40, 3)]
        }
        for s in range(1, n):
            for (d, b), program in programs.items():
                schedule = Revolve(s)(program)
                layers = runs(program, schedule)
                expected = min(advances(n, s) + 1, advances(n - 1, s) + 2)
                assert (layers["Matmul"], layers[activation.capitalize()]) == (
                    expected,
                    expected,
                ), (n, s)
                assert peak_elements(program, schedule) <= (s + 3) * b * d + n * d * d + 2
                assert (
                    int(held_activations(program, check_schedule(program, schedule)).max())
                    == schedule.claims.held
                )


@pytest.mark.parametrize(
    ("n", "s", "layers"), [(10, 1, 38), (10, 2, 19), (10, 3, 15), (64, 3, 254)]
)
def test_revolve_runs_the_published_layers(n: int, s: int, layers: int) -> None:
    """The counts that were found by others' brute force come out."""
    program = chain_program(n)
    assert runs(program, Revolve(s)(program))["Matmul"] == layers


@pytest.mark.slow
def test_a_form_of_two_last_layers_needs_one_activation_more() -> None:
    """Form 1 is within (s + 2)A plus gradients when chosen by its peak, with t(n, s) + 1 layers."""
    for n in range(2, 14):
        program = chain_program(n)
        for s in range(1, n):
            schedule = Revolve(max_bytes=4 * ((s + 2) * 1000 + n + 2))(program)
            assert runs(program, schedule)["Matmul"] == advances(n, s) + 1


def test_gelu_runs_no_activation_again_that_nobody_reads() -> None:
    """With gelu every recomputed value is read, and gelu runs as often as tanh would."""
    for n in range(2, 12):
        program, tanh = chain_program(n, activation="gelu"), chain_program(n)
        for planner in [RecomputeAll(), *map(Revolve, range(1, n)), *map(Uniform, range(1, n + 1))]:
            schedule = planner(program)
            assert unread_steps(program, schedule) == []
            found, like = runs(program, schedule), runs(tanh, planner(tanh))
            assert found["Gelu"] == like["Tanh"]
            assert (
                found["Matmul"] <= like["Matmul"] + n - 1
            )  # z_k is needed, and x_{k+1} does not tell it


def unread_steps(program: Program, schedule: Schedule) -> list[int]:
    """Return the steps whose results are neither read before they are recomputed nor targets."""
    unread: list[int] = []
    latest: dict[int, int] = {}
    read: set[int] = set()
    for at, i in enumerate(schedule.order.tolist()):
        _, reads, writes, _ = program.instructions[i]
        read.update(latest[value] for value in reads if value in latest)
        unread += [
            latest[write] for write in writes if write in latest and latest[write] not in read
        ]
        latest.update(dict.fromkeys(writes, at))
    return unread + [
        at for value, at in latest.items() if at not in read and value not in program.targets
    ]


def test_a_step_that_nobody_reads_is_noticed() -> None:
    """The check for unread steps finds one that was put in."""
    program = chain_program(3)
    schedule = StoreAll()(program)
    order = schedule.order.tolist()
    assert unread_steps(program, schedule) == []
    assert unread_steps(
        program, Schedule(schedule.order[[0, *range(len(order))]], schedule.claims)
    ) == [0]


def test_recompute_all_holds_the_least() -> None:
    """Three activations with tanh, and n(n − 1)/2 + 1 layers."""
    for n in range(2, 12):
        program = chain_program(n)
        schedule = RecomputeAll()(program)
        assert schedule.claims.held == 3
        assert runs(program, schedule)["Matmul"] == n * (n - 1) // 2 + 1


def test_uniform_runs_every_segment_but_the_last_again() -> None:
    """All but one layer of each segment but the last runs twice; √n segments are the default."""
    for n in range(1, 20):
        program = chain_program(n)
        for k in range(1, n + 1):
            schedule = Uniform(k)(program)
            last = -(-n // k)
            assert runs(program, schedule)["Matmul"] == n + (n - last) - (k - 1)
        assert Uniform()(program).order.tolist() == Uniform(round(n**0.5))(program).order.tolist()


def test_one_segment_and_many_snapshots_recompute_nothing() -> None:
    """uniform(1), revolve(n) and more, and one layer under any planner, are the plain order."""
    for activation in ("tanh", "gelu", "identity"):
        for n in (1, 2, 5):
            program = chain_program(n, activation=activation)
            for planner in [Uniform(1), Revolve(n), Revolve(n + 7), Revolve(max_ops_ratio=1)]:
                assert planner(program).order.tolist() == StoreAll()(program).order.tolist()
        program = chain_program(1, activation=activation)
        for planner in [RecomputeAll(), Uniform(), Revolve(1), Revolve(2)]:
            assert runs(program, planner(program))["Matmul"] == 1


PLANS = [
    (activation, loss, n, d, b, planner)
    for activation, loss in [
        ("tanh", "sum"),
        ("gelu", "cross_entropy"),
        ("relu", "squared_error"),
        ("identity", "sum"),
        ("sigmoid", "sum"),
    ]
    for n, d, b in [(5, 5, 7), (7, 3, 11)]
    for planner in [RecomputeAll(), Uniform(), Revolve(1), Revolve(3)]
]


def test_forty_plans_are_executed() -> None:
    """Each gives the plain loss and gradients bit for bit; storages agree."""
    assert len(PLANS) == 40
    for activation, loss, n, d, b, planner in PLANS:
        program = chain_program(n, d, b, activation, loss, values=True)
        schedule = planner(program)
        assert same_results(program, schedule), (activation, loss, n, str(planner))
        report = audit_storages(program, schedule)
        assert report.ok, report.first_mismatch


def test_any_weights_may_be_asked_for() -> None:
    """With one weight's gradient, what lies below it runs once; the peak falls as with all."""
    for activation in ("tanh", "gelu", "identity"):
        for j in (1, 3, 7):
            program = chain_program(7, 4, 50, activation, wrt=j, values=True)
            plain = peak_elements(program, StoreAll()(program))
            for planner in [RecomputeAll(), Uniform(), Revolve(2), Revolve(max_ops_ratio=1.5)]:
                schedule = planner(program)
                assert same_results(program, schedule)
                assert unread_steps(program, schedule) == []
                if activation != "identity" and j < 7:
                    assert peak_elements(program, schedule) < plain
                if isinstance(planner, Revolve):  # x_j is its initial state
                    steps = [program.instructions[i] for i in schedule.order.tolist()]
                    weights = [
                        program.label(step.reads[0])
                        for step in steps
                        if step.phase == FORWARD and type(step.op).__name__ == "Matmul"
                    ]
                    assert all(weights.count(f"W_{k}") == 1 for k in range(1, j))


def test_without_a_backward_part_nothing_is_run_again() -> None:
    """A program without a backward part runs each step once under any planner."""
    network = networks.chain(6, 3, 4, values=False)
    loss_alone = linearize([network.loss])
    kept = chain_program(6, 3, 4).forward_part()
    for program in (loss_alone, kept):
        for planner in [RecomputeAll(), Uniform(2), Revolve(2)]:
            schedule = planner(program)
            check_schedule(program, schedule)
            assert sorted(schedule.order.tolist()) == list(range(len(program.instructions)))


@pytest.mark.parametrize("activation", ["tanh", "gelu", "identity"])
@pytest.mark.parametrize(
    ("d", "b"),
    [(2, 60), *(pytest.param(*shape, marks=pytest.mark.slow) for shape in ((8, 8), (12, 30)))],
)
def test_a_byte_budget_is_kept_and_used(activation: str, d: int, b: int) -> None:
    """The peak keeps to the budget; no fitting plan is faster; the least peak is reported."""
    program = chain_program(12, d, b, activation)
    profiles = {
        s: profile_schedule(program, Revolve(s)(program), execute=False) for s in range(1, 13)
    }
    most = profile_schedule(program, StoreAll()(program), execute=False).peak_bytes
    peaks: list[int] = []
    fewest: list[int] = []
    least = None
    for budget in range(most // 40, most + most // 10, most // 40):
        try:
            schedule = Revolve(max_bytes=budget)(program)
        except PlannerError as error:
            assert not peaks, "a budget that fitted before does not any more"
            least = str(error)
            continue
        found = profile_schedule(program, schedule, execute=False)
        assert found.peak_bytes <= budget
        peaks.append(found.peak_bytes)
        fewest.append(found.ops.total)
        assert found.ops.total <= min(
            (one.ops.total for one in profiles.values() if one.peak_bytes <= budget),
            default=found.ops.total,
        )
    assert all(one <= other for one, other in pairwise(peaks))
    assert all(one >= other for one, other in pairwise(fewest))
    assert fewest[-1] == profile_schedule(program, StoreAll()(program), execute=False).ops.total
    assert least is not None
    told = int(least.split("the least is ")[1].split(" bytes")[0])
    assert (
        profile_schedule(program, Revolve(max_bytes=told)(program), execute=False).peak_bytes
        == told
    )
    with pytest.raises(PlannerError, match=f"the least is {told} bytes"):
        Revolve(max_bytes=told - 1)(program)


def test_an_operations_budget_is_kept_and_used() -> None:
    """The operations keep to the ratio, and the peak falls as more is allowed."""
    program = chain_program(20, 4, 64)
    plain = profile_schedule(program, StoreAll()(program), execute=False)
    peaks = []
    for ratio in (1, 1.05, 1.1, 1.2, 1.3, 1.5, 2, 3, 10):
        found = profile_schedule(program, Revolve(max_ops_ratio=ratio)(program), execute=False)
        assert found.ops.total <= ratio * plain.ops.total
        peaks.append(found.peak_bytes)
    assert peaks[0] == plain.peak_bytes
    assert all(one >= other for one, other in pairwise(peaks))
    assert peaks[-1] < plain.peak_bytes / 3


@pytest.mark.slow
def test_budgets_on_long_chains_are_kept_too() -> None:
    """Long chains are searched by bisection; budgets are kept, and results are monotone."""
    program = chain_program(90, 2, 40)
    plain = profile_schedule(program, StoreAll()(program), execute=False)
    peaks = []
    for share in (0.1, 0.2, 0.4, 0.8):
        found = profile_schedule(
            program, Revolve(max_bytes=int(share * plain.peak_bytes))(program), execute=False
        )
        assert found.peak_bytes <= share * plain.peak_bytes
        peaks.append(found.peak_bytes)
    assert peaks == sorted(peaks)
    assert (
        profile_schedule(program, Revolve(max_ops_ratio=1.3)(program), execute=False).ops.total
        <= 1.3 * plain.ops.total
    )
    with pytest.raises(PlannerError, match="the least is"):
        Revolve(max_bytes=4)(program)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "3"])
def test_counts_are_whole_numbers_of_at_least_one(wrong: Any) -> None:
    """Zero, negative, fractional and non-numeric limits are refused in one line."""
    for make in (
        lambda: Revolve(snapshots=wrong),
        lambda: Uniform(segments=wrong),
        lambda: Revolve(max_bytes=wrong),
    ):
        with pytest.raises(PlannerError, match=r"whole number of (at least 1|bytes)") as refused:
            make()
        assert "\n" not in str(refused.value)


def test_revolve_takes_exactly_one_limit() -> None:
    """None, two, a ratio below 1 or one that is no number are refused."""
    for limits in (
        {},
        {"snapshots": 2, "max_bytes": 5},
        {"max_ops_ratio": 0.9},
        {"max_ops_ratio": float("nan")},
        {"max_ops_ratio": "2"},
    ):
        with pytest.raises(PlannerError, match="expected"):
            Revolve(**limits)  # type: ignore[arg-type]


def test_more_segments_than_cells_are_refused() -> None:
    """A segment has at least one cell."""
    with pytest.raises(PlannerError, match=r"segments = 7 for 6 cells; .* give segments ≤ 6"):
        Uniform(7)(chain_program(6))


@pytest.mark.slow
def test_a_chain_of_ten_thousand_layers_is_planned() -> None:
    """Length is no limit to recursion, and the layers are those of the closed form."""
    program = chain_program(10_000, 2, 2)
    schedule = Revolve(20)(program)
    check_schedule(program, schedule)
    assert runs(program, schedule)["Matmul"] == advances(9_999, 20) + 2


def test_plans_are_made_for_shapes_that_are_symbols() -> None:
    """Planning looks at no dimension, except for budgets, which say so."""
    import sympy

    d, b = sympy.symbols("d b", positive=True, integer=True)
    network = networks.chain(8, d, b, values=False)
    program = linearize([network.loss, *gradients(network.loss, network.weights)])
    for s in (1, 2, 7):
        schedule = Revolve(s)(program)
        check_schedule(program, schedule)
        assert runs(program, schedule)["Matmul"] == min(advances(8, s) + 1, advances(7, s) + 2)
    with pytest.raises(PlannerError, match="shapes are no integers"):
        Revolve(max_bytes=100)(program)


def test_what_cannot_be_repeated_is_kept() -> None:
    """A random result is computed once, and its inputs are not recomputed for it."""
    from autodiff import Tanh

    class Noisy(Tanh):
        repeatable = False

    weights = [Leaf(torch.full((2, 2), 0.1 * i), f"W_{i}", "parameter") for i in range(1, 7)]
    x: Any = Leaf(torch.ones(2, 3), "x", "input")
    for i, weight in enumerate(weights):
        x = (Noisy if i % 2 else Tanh)(weight @ x)
    program = linearize([loss := Matsum(x), *gradients(loss, weights)])
    for planner in [RecomputeAll(), Uniform(3), Revolve(1), Revolve(2)]:
        schedule = planner(program)
        assert same_results(program, schedule)
        assert runs(program, schedule)["Noisy"] == 3
        assert schedule.claims.recompute > 0 or isinstance(planner, Uniform | Revolve)
