"""Plans that keep one set of values, on any graph: exact, as predicted, within their budget."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from autodiff import (
    BudgetError,
    PlannerError,
    ScheduleError,
    Selective,
    StoreAll,
    check_schedule,
    networks,
    parse_builtin_planner,
)
from autodiff.checkpointing.costs import in_whole_numbers, operations_of
from autodiff.checkpointing.on_demand import OnDemand
from autodiff.checkpointing.selective import selective_plans
from autodiff.checkpointing.sizes import peak
from experiments.measuring import architectures
from experiments.measuring.architectures import Training
from profiler import profile_schedule, program_of
from profiler.audit import audit_storages
from tests.support.graphs import RandomGraph, graphs
from tests.support.schedules import forgetful, run

SKIPPING = {
    "unet": lambda: architectures.unet((2, 3, 4), batch=4, size=8),
    "unet without norms": lambda: architectures.unet((2, 3), batch=4, size=8, norm=False),
    "densenet": lambda: architectures.densenet(2, 2, 2, batch=2, size=8),
    "encoder with decoder": lambda: architectures.encoder_decoder(8, 1, 4, 5, 4),
    "autoencoder": lambda: architectures.autoencoder((2, 3), 1, 4, 8),
}


def made(name: str) -> Training:
    torch.manual_seed(0)
    return SKIPPING[name]()


@pytest.mark.parametrize("name", SKIPPING)
def test_every_plan_gives_the_gradients_bit_for_bit(name: str) -> None:
    """Each budget is met by what is measured, which is as predicted; audited by storages."""
    program = made(name).program()
    plain = StoreAll()(program)
    expected = run(program, plain)
    most = profile_schedule(program, plain).peak_bytes
    plans = selective_plans(program)
    limits = sorted({plan.peak for plan in plans if plan.peak < most})
    for limit in (limits[0], limits[len(limits) // 2], most):
        schedule = Selective(max_bytes=limit)(program)
        check_schedule(program, schedule)
        measured = profile_schedule(program, schedule)
        assert measured.peak_bytes == peak(program, schedule) <= limit
        found = run(program, schedule)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    audit_storages(program, Selective(max_bytes=limits[0])(program)).raise_if_wrong()


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_any_graph_is_planned(graph: RandomGraph) -> None:
    """Branches, views, several losses, slices in sequence: plans are legal, exact and weighed."""
    program = graph.program()
    cost = in_whole_numbers(operations_of(program))
    expected = run(program, StoreAll()(program))
    plans = selective_plans(program)
    assert plans[0].operations == cost.sum()
    for plan in plans:
        schedule = plan.schedule("selective")
        check_schedule(program, schedule)
        assert (peak(program, schedule), cost[schedule.order].sum()) == (plan.peak, plan.operations)
    found = run(program, min(plans, key=lambda plan: plan.peak).schedule("selective"))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_what_a_set_costs_is_what_its_plan_runs_again() -> None:
    """The operations of a cut are those of its plan, for every set of a U-net."""
    program = made("unet").program()
    plans = selective_plans(program)
    order = [plan.operations for plan in plans if plan.within is None]
    assert order == sorted(order)
    assert len(set(order)) > 10


def test_peaks_and_operations_are_monotone_in_the_budget() -> None:
    """More bytes never take more operations; less bytes never give a higher peak."""
    program = made("unet").program()
    cost = in_whole_numbers(operations_of(program))
    plans = selective_plans(program)
    low, high = min(plan.peak for plan in plans), plans[0].peak
    schedules = [
        Selective(max_bytes=int(limit))(program) for limit in np.linspace(low, high, 30).round()
    ]
    peaks = [peak(program, schedule) for schedule in schedules]
    took = [int(cost[schedule.order].sum()) for schedule in schedules]
    assert peaks == sorted(peaks)
    assert took == sorted(took, reverse=True)
    assert len(set(peaks)) > 4


def test_a_budget_below_the_least_says_what_the_least_is() -> None:
    """The error names a budget that is met."""
    program = made("densenet").program()
    least = min(plan.peak for plan in selective_plans(program))
    with pytest.raises(
        BudgetError, match=f"the least is {least} bytes, by a plan that takes 2"
    ) as e:
        Selective(max_bytes=least - 1)(program)
    assert peak(program, e.value.schedule) == e.value.peak_bytes == least
    assert peak(program, Selective(max_bytes=least)(program)) == least


def test_a_budget_of_operations_lowers_the_peak() -> None:
    """Within a ratio of the operations the peak is the lowest; at 1 nothing that costs is rerun."""
    program = made("unet").program()
    cost = in_whole_numbers(operations_of(program))
    plain = StoreAll()(program)
    peaks = []
    for ratio in (1, 1.01, 1.05, 2.0):
        schedule = Selective(max_ops_ratio=ratio)(program)
        assert cost[schedule.order].sum() <= ratio * cost[plain.order].sum()
        peaks.append(peak(program, schedule))
    assert peak(program, plain) >= peaks[0] > peaks[1] > peaks[-1]
    assert peaks == sorted(peaks, reverse=True)


def test_a_chain_keeps_what_a_planner_of_chains_would() -> None:
    """On a chain with tanh a plan within a budget takes one more run of each layer at most."""
    net = networks.chain(16, 8, 48)
    program = program_of(net.loss, net.weights)
    schedule = Selective(max_bytes="20KiB")(program)
    assert peak(program, schedule) <= 20 * 2**10
    assert 0 < schedule.claims.recompute <= schedule.claims.forward


def test_a_forgotten_recomputation_is_caught() -> None:
    """Without one of the steps that run again the claims of the plan fail."""
    program = made("unet").program()
    plans = selective_plans(program)
    schedule = min(plans, key=lambda plan: plan.peak).schedule("selective")
    for forgotten in forgetful(schedule):
        with pytest.raises(ScheduleError):
            check_schedule(program, forgotten)


@pytest.mark.parametrize("rows", [32, 512])
def test_random_numbers_are_drawn_once_or_replayed(rows: int) -> None:
    """Masks of fewer bytes than a state are drawn once, others again; gradients stay the same."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        *[
            layer
            for _ in range(3)
            for layer in (torch.nn.Linear(6, 6), torch.nn.GELU(), torch.nn.Dropout(0.4))
        ]
    )
    training = Training(model, lambda model, x: model(x).square().sum(), (torch.randn(rows, 6),))
    program = training.program()
    expected = run(program, StoreAll()(program))
    draws = program.flat.draws & ~program.flat.keeps_state
    assert draws.sum() == 3
    times = set()
    for plan in selective_plans(program):
        schedule = plan.schedule("selective")
        times |= set(np.bincount(schedule.order, minlength=len(draws))[draws].tolist())
        found = run(program, schedule)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert (times == {1}) == (rows == 32)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"max_bytes": 1, "max_ops_ratio": 2},
        {"max_bytes": 0},
        {"max_bytes": "much"},
        {"max_bytes": 1.5},
        {"max_ops_ratio": 0.5},
        {"max_ops_ratio": True},
        {"max_ops_ratio": float("nan")},
    ],
)
def test_wrong_limits_are_refused(wrong: dict[str, object]) -> None:
    """One limit, in its range."""
    with pytest.raises(PlannerError, match="expected"):
        Selective(**wrong)  # type: ignore[arg-type]


def test_sizes_as_text_and_planners_as_strings() -> None:
    """A size is read as its bytes; the canonical string reads back, and so does a pickle."""
    planner = Selective(max_bytes="1.5MiB")
    assert planner == Selective(max_bytes=3 * 2**19)
    assert str(planner) == "selective(max_bytes=1536KiB)"
    assert parse_builtin_planner(str(planner)) == planner == pickle.loads(pickle.dumps(planner))
    assert parse_builtin_planner("selective(max_ops_ratio=1.2)") == Selective(max_ops_ratio=1.2)


def test_the_plan_is_the_same_each_time() -> None:
    """A planner is a pure function of its program."""
    one, other = (OnDemand(made("densenet").program()).order([]) for _ in range(2))
    assert one == other


def test_another_cost_takes_the_place_of_operations() -> None:
    """Where every step costs one, fewer steps run again; seconds need measured times."""
    program = made("unet").program()
    budget = int(0.85 * peak(program, StoreAll()(program)))
    by_steps = Selective(max_bytes=budget, cost=lambda p: np.ones(len(p.instructions)))(program)
    by_operations = Selective(max_bytes=budget)(program)
    assert peak(program, by_steps) <= budget
    assert 0 < by_steps.claims.recompute < by_operations.claims.recompute
    with pytest.raises(PlannerError, match="needs measured times"):
        Selective(max_bytes=budget, cost="seconds")


def test_what_runs_again_may_be_dropped_and_run_a_third_time() -> None:
    """The lowest peak of a U-net is one of a plan that does not hold what it ran again."""
    program = architectures.unet().program()
    plans = selective_plans(program)
    held, dropped = (
        min(plan.peak for plan in plans if (plan.within is None) == is_held)
        for is_held in (True, False)
    )
    assert dropped < 0.95 * held
    lowest = min(plans, key=lambda plan: plan.peak).schedule("selective")
    check_schedule(program, lowest)
    assert np.bincount(lowest.order).max() > 2
