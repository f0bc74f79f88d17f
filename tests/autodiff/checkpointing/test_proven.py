"""Plans with a proof: as good as the best of all orders, executed bit for bit, and honest."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from autodiff import (
    Executable,
    Leaf,
    Matsum,
    PlannerError,
    Program,
    Proven,
    Schedule,
    ScheduleError,
    Selective,
    StoreAll,
    check_schedule,
    gradients,
    linearize,
    networks,
    parse_builtin_planner,
)
from autodiff.checkpointing.costs import in_whole_numbers, operations_of
from autodiff.checkpointing.proven import proven_schedule
from autodiff.checkpointing.retention import Retention
from autodiff.checkpointing.sizes import peak
from autodiff.checkpointing.tasks import TaskGraph
from experiments.measuring import architectures
from profiler import profile_schedule, program_of
from tests.support.schedules import forgetful

SECONDS = 60


def chain(n: int, d: int, b: int) -> Program:
    net = networks.chain(n, d, b)
    return program_of(net.loss, net.weights)


def least_cost(program: Program, budget: int, cost: np.ndarray, times: int) -> int | None:
    """The cost of the best order within a budget, by a search through all states.

    A state is how far the first runs are, how often each task ran, and what is held; a move runs
    the next task, or one before it again, or drops a buffer.
    """
    tasks = TaskGraph(program).tasks
    size = {w: program.values[w].spec.nbytes for task in tasks for w in task.writes}
    stays = {program.values[target].buffer for target in program.targets}
    begin = (0, (0,) * len(tasks), frozenset[int]())
    ahead: list[tuple[int, int, tuple[int, tuple[int, ...], frozenset[int]]]] = [(0, 0, begin)]
    best = {begin: 0}
    count = 0
    while ahead:
        spent, _, state = heapq.heappop(ahead)
        if spent > best[state]:
            continue
        done, ran, held = state
        if done == len(tasks):
            return spent
        for at in range(done + 1):
            task = tasks[at]
            if at < done and (not task.repeats or ran[at] == times):
                continue
            if not held.issuperset(task.reads) or not held.isdisjoint(task.writes):
                continue
            now = held | set(task.writes)
            if sum(size[buffer] for buffer in now) > budget:
                continue
            useful = {read for later in tasks[done + (at == done) :] for read in later.reads}
            again = {read for one in tasks if one.repeats for read in one.reads}
            following = frozenset(now & (useful | again | stays))
            for kept in _fewer(following - stays):
                after = (
                    done + (at == done),
                    (*ran[:at], ran[at] + 1, *ran[at + 1 :]),
                    frozenset(kept | (following & stays)),
                )
                total = spent + int(cost[task.instruction])
                if total < best.get(after, sys.maxsize):
                    best[after] = total
                    count += 1
                    heapq.heappush(ahead, (total, count, after))
    return None


def _fewer(buffers: frozenset[int]) -> list[frozenset[int]]:
    """What may be held on: all subsets."""
    found: list[frozenset[int]] = [frozenset()]
    for buffer in buffers:
        found += [one | {buffer} for one in found]
    return found


def skipping() -> Program:
    """Two layers, the first of which is also added to what comes out of the second."""
    x = Leaf(torch.randn(2, 30), "x", "input")
    weights = [Leaf(torch.randn(2, 2), f"W_{i}", "parameter") for i in (1, 2)]
    first = (weights[0] @ x).tanh()
    loss = Matsum(((weights[1] @ first).tanh() + first).tanh())
    return linearize([loss, *gradients(loss, weights)])


@pytest.mark.parametrize(
    "make", [pytest.param(lambda: chain(3, 2, 30), id="chain"), pytest.param(skipping, id="skip")]
)
def test_no_order_costs_less(make: Callable[[], Program]) -> None:
    """The proved cost is that of a search through all orders, for budgets of each kind."""
    program = make()
    cost = in_whole_numbers(operations_of(program))
    most = peak(program, StoreAll()(program))
    found = set()
    for budget in (most, int(0.9 * most), int(0.75 * most), int(0.6 * most)):
        expected = least_cost(program, budget, cost, times=2)
        found.add(expected)
        if expected is None:
            with pytest.raises(PlannerError, match="it is proved that no order"):
                proven_schedule(program, budget, "proven", SECONDS, workers=1)
            continue
        schedule = proven_schedule(program, budget, "proven", SECONDS, workers=1)
        assert schedule.proved
        assert schedule.cost == schedule.bound == cost[schedule.order].sum() == expected
        assert peak(program, schedule) <= budget
    assert None in found
    assert len(found) > 1


def test_the_search_through_all_orders_tells_budgets_apart() -> None:
    """It finds nothing where nothing may run again, and something where it may."""
    program = chain(3, 2, 30)
    cost = in_whole_numbers(operations_of(program))
    tight = int(0.9 * peak(program, StoreAll()(program)))
    assert least_cost(program, tight, cost, times=1) is None
    assert least_cost(program, tight, cost, times=2) is not None


@pytest.mark.parametrize(
    "training",
    [
        pytest.param(lambda: architectures.unet((2, 3), batch=4, size=8, norm=False), id="unet"),
        pytest.param(lambda: architectures.unet((2, 3), batch=4, size=8), id="unet with norms"),
    ],
)
def test_a_proved_plan_is_executed_within_its_budget(training: object) -> None:
    """Measured is predicted, gradients are bit for bit, and no plan of a set is faster."""
    torch.manual_seed(0)
    program = training().program()  # type: ignore[operator]
    plain = StoreAll()(program)
    cost = in_whole_numbers(operations_of(program))
    budget = int(0.85 * peak(program, plain))
    schedule = proven_schedule(program, budget, "proven", SECONDS, workers=1)
    check_schedule(program, schedule)
    assert profile_schedule(program, schedule).peak_bytes == peak(program, schedule) <= budget
    assert schedule.cost == cost[schedule.order].sum()
    assert schedule.bound is not None
    assert schedule.bound <= schedule.cost
    assert schedule.cost <= cost[Selective(max_bytes=budget)(program).order].sum()
    found, expected = (Executable(program, one).run()[0] for one in (schedule, plain))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_without_time_the_best_of_the_others_is_given() -> None:
    """A search that has no time to begin gives what it would have started from, unproved."""
    program = chain(6, 3, 9)
    budget = peak(program, StoreAll()(program))
    schedule = proven_schedule(program, budget, "proven", 1e-9, workers=1)
    check_schedule(program, schedule)
    assert schedule.planner == "proven"
    assert peak(program, schedule) <= budget


def test_a_budget_that_is_too_low_says_what_was_proved() -> None:
    """The error says among which orders there is none."""
    with pytest.raises(PlannerError, match=r"^proven\(max_bytes=8\): it is proved that no order"):
        Proven(max_bytes=8)(chain(2, 2, 2))


def test_a_plan_that_forgets_to_run_again_is_caught() -> None:
    """Without one of its recomputations a plan is refused, by its claims or as illegal."""
    program = chain(4, 2, 30)
    budget = int(0.85 * peak(program, StoreAll()(program)))
    schedule = proven_schedule(program, budget, "proven", SECONDS, workers=1)
    for forgotten in forgetful(schedule):
        with pytest.raises(ScheduleError):
            check_schedule(program, forgotten)


def test_a_start_is_taken_whole() -> None:
    """The plan that the search starts from is an order of the model: it is found at once."""
    program = chain(5, 3, 30)
    budget = int(0.9 * peak(program, StoreAll()(program)))
    start = Selective(max_bytes=budget)(program)
    cost = in_whole_numbers(operations_of(program))
    again = int(cost[start.order].sum() - cost.sum())
    model = Retention(program, budget, cost, again)
    model.begin_with(start.order.tolist())
    assert model.hints_are_whole()


def test_views_are_made_again_with_their_buffer() -> None:
    """An order of tasks is completed by the views that they read, also after a second run."""
    torch.manual_seed(0)
    program = architectures.encoder_decoder(8, 1, 2, 3, 4).program()
    graph = TaskGraph(program)
    assert len(graph.tasks) < len(program.instructions)
    order = graph.expanded(range(len(graph.tasks)))
    assert sorted(order) == list(range(len(program.instructions)))
    twice = next(at for at, task in enumerate(graph.tasks) if task.repeats)
    again = [*range(twice + 1), twice, *range(twice + 1, len(graph.tasks))]
    for tasks in (range(len(graph.tasks)), again):
        found = np.array(graph.expanded(tasks))
        schedule = Schedule(found, StoreAll()(program).claims)
        assert peak(program, schedule) > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_bytes": 0},
        {"max_bytes": "much"},
        {"max_bytes": 1.5},
        {"max_bytes": 9, "seconds": 0},
        {"max_bytes": 9, "seconds": True},
        {"max_bytes": 9, "seconds": float("inf")},
        {"max_bytes": 9, "seconds": "long"},
    ],
)
def test_wrong_limits_are_refused(wrong: dict[str, object]) -> None:
    """A size and a time above 0."""
    with pytest.raises(PlannerError, match="expected"):
        Proven(**wrong)  # type: ignore[arg-type]


def test_a_planner_as_a_string() -> None:
    """The canonical string reads back."""
    planner = Proven(max_bytes="1MiB", seconds=5)
    assert str(planner) == "proven(max_bytes=1MiB, seconds=5)"
    assert parse_builtin_planner(str(planner)) == planner
    assert parse_builtin_planner("proven(max_bytes=1MiB)") == Proven(max_bytes=2**20)


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ortools the error says what to install."""
    monkeypatch.setitem(sys.modules, "ortools.sat.python", None)
    with pytest.raises(PlannerError, match=r"run pip install 'tapemeasure\[cpsat\]'$"):
        Proven(max_bytes=10_000)(chain(2, 2, 2))
