"""`Optimal` on programs: within its budget as measured, exact gradients, what it says of itself."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from autodiff import (
    Action,
    BudgetError,
    Optimal,
    PlannerError,
    Program,
    RecomputeAll,
    Revolve,
    Schedule,
    ScheduleError,
    StoreAll,
    Tape,
    Uniform,
    check_schedule,
    find_cells,
    parse_planner,
    schedule_from_plan,
)
from autodiff.checkpointing.costs import operations_of
from autodiff.checkpointing.moves import weighed_moves
from autodiff.checkpointing.optimal import ChainPlans
from autodiff.checkpointing.optimal_plans import OptimalPlans
from autodiff.checkpointing.runs import Runs
from autodiff.checkpointing.sizes import peak
from autodiff.checkpointing.tapes import tapes_of
from autodiff.instructions import FORWARD
from profiler import profile_schedule
from profiler.audit import audit_storages
from tests.support.chains import chain_program
from tests.support.schedules import run, total
from tests.support.torch_models import traced

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
MODELS = ("mlp", "mlp with dropout", "autoencoder", "resnet", "normed", "batch_normed", "bert")


def planned(program: Program, budget: int) -> Schedule:
    """The plan within a budget, or the one with the least peak."""
    try:
        return Optimal(max_bytes=budget)(program)
    except BudgetError as error:
        return error.schedule  # type: ignore[no-any-return]


def plain_peak(program: Program) -> int:
    return peak(program, StoreAll()(program))


@cache
def program_of(name: str) -> Program:
    """A chain of the exercise, or a traced model."""
    if name == "tanh":
        return chain_program(12, values=True, d=4, b=40)
    if name == "gelu":
        return chain_program(9, activation="gelu", values=True, d=20, b=30)
    return traced(name)[0]


@pytest.mark.parametrize("name", ["tanh", "gelu", *MODELS])
def test_a_plan_is_exact_and_takes_what_it_says(name: str) -> None:
    """Gradients are equal bit by bit; the measured peak is the predicted one, within the budget."""
    program = program_of(name)
    plain = run(program, StoreAll()(program))
    made = 0
    for share in SHARES[::3]:
        budget = int(share * plain_peak(program))
        schedule = planned(program, budget)
        check_schedule(program, schedule)
        measured = profile_schedule(program, schedule, execute=True).peak_bytes
        assert measured == peak(program, schedule)
        assert schedule.planner == str(parse_planner(schedule.planner))
        assert measured <= parse_planner(schedule.planner).max_bytes  # type: ignore[union-attr,operator]
        assert audit_storages(program, schedule).ok
        found = run(program, schedule)
        assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))
        assert schedule.cost == total(program, schedule)
        made += schedule.cost > total(program, StoreAll()(program))
    assert made or name in ("autoencoder", "resnet")


def test_a_price_on_views_counts_nowhere() -> None:
    """Views that nothing reads are left out of a plan, so a plan would go below its bound."""
    program = program_of("gpt2 with dropout")
    values = program.values
    views = [all(values[w].buffer != w for w in one.writes) for one in program.instructions]
    assert any(views)
    for share in SHARES[1::2]:
        budget = int(share * plain_peak(program))
        try:
            schedule = Optimal(max_bytes=budget, cost=one_each)(program)
        except BudgetError as error:
            schedule = error.schedule
        assert schedule.cost == sum(not views[i] for i in schedule.order)
        assert schedule.bound <= schedule.cost


def one_each(program: Program) -> np.ndarray:
    """A cost with a price on everything."""
    return np.ones(len(program.instructions))


@pytest.mark.parametrize("name", ["tanh", "gelu", *MODELS, "gpt2 with dropout"])
def test_the_moves_predict_peak_and_cost_of_every_plan(name: str) -> None:
    """Costs from the moves are those of the schedule; its peak is at most theirs, mostly equal."""
    program = program_of(name)
    cells = find_cells(program)
    runs, cost = Runs(cells), operations_of(program)
    plans = OptimalPlans(weighed_moves(cells, runs, cost, tapes_of(cells, runs, cost)))
    below = []
    for share in np.linspace(plans.least.peak / plans.plain_peak, 1, 12):
        found = plans.within_bytes(int(np.ceil(share * plans.plain_peak)))
        assert found is not None
        schedule = schedule_from_plan(cells, found.plan, "optimal", runs)
        assert total(program, schedule) == found.cost
        below.append(found.peak - peak(program, schedule))
    assert min(below) >= 0
    # A small pinned buffer counts as held until the lowest cell that might read it again.
    assert max(below) <= 0.02 * plans.plain_peak
    assert "bert" in name or "gpt2" in name or max(below) == 0


@pytest.mark.parametrize("name", ["tanh", "gelu", *MODELS, "gpt2 with dropout"])
def test_no_plan_on_the_cells_goes_below_the_bound_of_its_peak(name: str) -> None:
    """At the true peak of any plan, of this planner or another, the bound is at most its cost."""
    program = program_of(name)
    cells = find_cells(program)
    runs, cost = Runs(cells), operations_of(program)
    plans = OptimalPlans(weighed_moves(cells, runs, cost, tapes_of(cells, runs, cost)))
    chain = ChainPlans(program, "optimal", cost)
    limits = np.linspace(plans.least.peak, plans.plain_peak, 40).astype(int).tolist()
    found = {id(one): one for one in map(plans.within_bytes, limits) if one is not None}
    schedules = [
        *(schedule_from_plan(cells, one.plan, "optimal", runs) for one in found.values()),
        *(Revolve(s)(program) for s in range(1, len(cells))),
        *(Uniform(k)(program) for k in range(1, len(cells) + 1)),
        RecomputeAll()(program),
    ]
    compared = 0
    for schedule in schedules:
        best = chain.within_bytes(peak(program, schedule))
        assert best.bound is not None
        assert best.bound <= total(program, schedule)
        assert not best.proved or best.cost <= total(program, schedule)
        compared += best.bound > chain.plain_cost
    assert compared


@pytest.mark.parametrize("name", ["tanh", "mlp with dropout", "normed"])
def test_more_bytes_never_cost_more(name: str) -> None:
    """Over many budgets costs fall and peaks rise, and no Revolve within the budget is cheaper."""
    program = program_of(name)
    plain = plain_peak(program)
    seen: list[tuple[float, int]] = []
    for budget in range(plain, 0, -plain // 25):
        try:
            schedule = Optimal(max_bytes=budget)(program)
        except BudgetError:
            break
        assert schedule.cost is not None
        seen.append((schedule.cost, peak(program, schedule)))
        try:
            other = Revolve(max_bytes=budget)(program)
        except PlannerError:
            continue
        assert schedule.cost <= total(program, other)
    assert len(seen) > 5
    assert [cost for cost, _ in seen] == sorted(cost for cost, _ in seen)
    assert [found for _, found in seen] == sorted((found for _, found in seen), reverse=True)


def test_kept_sets_within_cells_take_fewer_operations_than_whole_tapes() -> None:
    """On GPT-2 at 0.7 of the peak several tapes a cell cost less than a fifth of whole ones."""
    program = traced("gpt2 with dropout")[0]
    cells = find_cells(program)
    runs, cost = Runs(cells), operations_of(program)
    limit = int(0.7 * plain_peak(program))
    more = []
    for tapes in (None, tapes_of(cells, runs, cost)):
        found = OptimalPlans(weighed_moves(cells, runs, cost, tapes)).within_bytes(limit)
        assert found is not None
        more.append(found.cost / cost.sum() - 1)
    assert 5 * more[1] < more[0]


def test_a_budget_of_operations_gives_the_lowest_peak_within_it() -> None:
    """The other way round: asking for that peak gives back the same operations."""
    program = program_of("normed")
    for ratio in (1.1, 1.2, 1.35):
        schedule = Optimal(max_ops_ratio=ratio)(program)
        assert schedule.cost is not None
        assert schedule.cost <= ratio * total(program, StoreAll()(program))
        again = Optimal(max_bytes=peak(program, schedule))(program)
        assert again.cost == schedule.cost
    plain = Optimal(max_ops_ratio=1)(program)
    assert plain.order.tolist() == StoreAll()(program).order.tolist()


def test_the_plain_step_is_taken_where_it_fits_and_is_proved() -> None:
    """Nothing is run again within the peak of plain backpropagation, and that is the optimum."""
    program = program_of("tanh")
    schedule = Optimal(max_bytes=plain_peak(program))(program)
    assert schedule.order.tolist() == StoreAll()(program).order.tolist()
    assert (schedule.proved, schedule.optimality) == (True, "optimal")
    half = Optimal(max_bytes=plain_peak(program) // 2)(program)
    assert half.optimality == "optimal among plans on 12 cells"
    assert replace(half, proved=False, bound=half.bound and half.bound / 1.02).optimality == (
        "at most 2% above the optimum among plans on 12 cells"
    )


def test_a_budget_below_the_least_says_what_the_least_is() -> None:
    """The error states the least, its plan can be run, and the least is found when asked for."""
    program = program_of("tanh")
    with pytest.raises(BudgetError, match="give optimal") as caught:
        Optimal(max_bytes=1000)(program)
    least = caught.value.peak_bytes
    assert f"the least is {least} bytes" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert peak(program, Optimal(max_bytes=least)(program)) == least
    with pytest.raises(BudgetError):
        Optimal(max_bytes=least - 1)(program)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "exactly one of max_bytes and max_ops_ratio"),
        ({"max_bytes": 5, "max_ops_ratio": 2}, "exactly one of max_bytes and max_ops_ratio"),
        ({"max_bytes": "8 apples"}, "a size with a unit"),
        ({"max_bytes": 0}, "a whole number of at least 1"),
        ({"max_ops_ratio": 0.5}, "a number of at least 1"),
        ({"max_bytes": 5, "cost": "seconds"}, "needs measured times"),
        ({"max_bytes": 5, "cost": "joules"}, "expected 'ops'"),
    ],
)
def test_wrong_limits_are_refused(limits: dict[str, object], message: str) -> None:
    """Every wrong argument is named in one line."""
    with pytest.raises(PlannerError, match=message):
        Optimal(**limits)  # type: ignore[arg-type]


def test_sizes_may_be_text() -> None:
    """A size with a unit is the number of bytes, also in a planner's string."""
    assert Optimal(max_bytes="1.5KiB") == Optimal(max_bytes=1536)
    assert str(Optimal(max_bytes="8GiB")) == "optimal(max_bytes=8GiB)"
    assert parse_planner("optimal(max_bytes=8GiB)") == Optimal(max_bytes=2**33)
    assert Revolve(max_bytes="2KiB") == Revolve(max_bytes=2048)


def test_another_cost_gives_another_plan() -> None:
    """A function may price instructions otherwise; prices that are none are refused."""
    program = program_of("mlp")
    budget = int(0.7 * plain_peak(program))

    def matmuls_only(program: Program) -> np.ndarray:
        return np.array([float("mm" in str(step.op)) for step in program.instructions])

    priced = Optimal(max_bytes=budget, cost=matmuls_only)(program)
    assert priced.cost == matmuls_only(program)[priced.order].sum()
    counted = Optimal(max_bytes=budget)(program)
    assert priced.cost <= matmuls_only(program)[counted.order].sum()
    assert total(program, counted) <= total(program, priced)
    assert str(Optimal(max_bytes=1024, cost=matmuls_only)) == (
        "optimal(max_bytes=1KiB, cost=matmuls_only)"
    )
    with pytest.raises(PlannerError, match="one for each instruction"):
        Optimal(max_bytes=budget, cost=lambda program: np.ones(3))(program)


def taped(program: Program, *, without: int | None = None) -> Schedule:
    """A plan that tapes every cell and reverses all but one."""
    cells = find_cells(program)
    plan = [(Action.TAPE, k, k + 1) for k in range(len(cells))]
    stages = [(Action.REVERSE, k, k + 1) for k in reversed(range(len(cells))) if k != without]
    return schedule_from_plan(cells, [*plan, *stages], "taped")


def test_taping_all_cells_is_the_plain_order() -> None:
    """Every instruction runs once, as in a segment of all cells."""
    program = chain_program(5)
    assert sorted(taped(program).order.tolist()) == list(range(len(program.instructions)))
    check_schedule(program, taped(program))


def test_broken_plans_with_tapes_are_caught() -> None:
    """A cell that is not reversed, and a tape whose recomputation is left out, are refused."""
    program = chain_program(5, activation="gelu")
    with pytest.raises(ScheduleError):
        check_schedule(program, taped(program, without=2))
    cells = find_cells(program)
    state = frozenset(start for start in cells.starts[2:3] if start is not None)
    plan = [
        *((Action.TAPE, k, k + 1, *([Tape(state)] if k == 2 else [])) for k in range(5)),
        *((Action.REVERSE, k, k + 1) for k in reversed(range(5))),
    ]
    schedule = schedule_from_plan(cells, plan, "thrifty")
    check_schedule(program, schedule)
    order = schedule.order.tolist()
    again = [
        at for at, i in enumerate(order)
        if program.instructions[i].phase == FORWARD and i in order[:at]
    ]  # fmt: skip
    assert again
    forgetful = np.delete(schedule.order, again)
    with pytest.raises(ScheduleError, match="claims 1 recompute steps; its schedule has 0"):
        check_schedule(program, replace(schedule, order=forgetful))
    claims = replace(schedule.claims, recompute=0)
    with pytest.raises(ScheduleError, match="claims to hold at most"):
        check_schedule(program, replace(schedule, order=forgetful, claims=claims))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((Action.TAPE, 0, 6), "expected cells from 0"),
        ((Action.TAPE, 0, 2, Tape(frozenset())), "only with TAPE or REVERSE of a single cell"),
        ((Action.ADVANCE, 0, 1, Tape(frozenset())), "only with TAPE or REVERSE of a single cell"),
        ((Action.TAPE, 0, 1, 7), "expected a Tape"),
    ],
)
def test_rows_that_are_no_moves_are_refused(row: tuple[object, ...], message: str) -> None:
    """A tape for several cells, for another action, or that is none, is named."""
    with pytest.raises(PlannerError, match=message):
        schedule_from_plan(find_cells(chain_program(5)), [row], "wrong")  # type: ignore[list-item]
