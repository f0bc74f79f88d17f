"""Plans with a proof: as good as the best of all orders, executed bit for bit, and honest."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

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
from autodiff.pytorch import from_pytorch
from experiments.measuring import architectures
from experiments.measuring.architectures import Training
from profiler import profile_schedule, program_of
from tests.support.schedules import forgetful, run

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
                proven_schedule(program, budget, "proven", SECONDS)
            continue
        schedule = proven_schedule(program, budget, "proven", SECONDS)
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
    schedule = proven_schedule(program, budget, "proven", SECONDS)
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
    schedule = proven_schedule(program, budget, "proven", 1e-9)
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
    schedule = proven_schedule(program, budget, "proven", SECONDS)
    for forgotten in forgetful(schedule):
        with pytest.raises(ScheduleError):
            check_schedule(program, forgotten)


def taken_whole(model: Retention, order: np.ndarray) -> bool:
    """Whether an order that the search starts from satisfies the model."""
    model.begin_with(order.tolist())
    solver = model.solver.CpSolver()
    solver.parameters.fix_variables_to_their_hinted_value = True
    solver.parameters.num_workers = 1
    return solver.solve(model.model) in (model.solver.OPTIMAL, model.solver.FEASIBLE)


def drawing() -> Program:
    """Layers with dropout, whose masks take more than the state that they can be drawn from."""
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Dropout(0.3)) for _ in range(3)]
    model = nn.Sequential(*layers)
    rows = torch.randn(1024, 4)
    return Training(model, lambda model, x: model(x).square().sum(), (rows,)).program()


@pytest.mark.parametrize("make", [lambda: chain(5, 3, 30), drawing], ids=["chain", "drawing"])
def test_a_start_is_taken_whole(make: Callable[[], Program]) -> None:
    """The plan that the search starts from is an order of the model: it is found at once."""
    program = make()
    budget = int(0.9 * peak(program, StoreAll()(program)))
    start = Selective(max_bytes=budget)(program)
    cost = in_whole_numbers(operations_of(program))
    again = int(cost[start.order].sum() - cost.sum())
    assert again > 0
    assert taken_whole(Retention(program, budget, cost, again), start.order)
    assert not taken_whole(Retention(program, budget, cost, again - 1), start.order)


def test_states_are_kept_for_replays_only() -> None:
    """Where masks are drawn again their states are kept, and no others; numbers are the same."""
    program = drawing()
    plain = StoreAll()(program)
    expected = run(program, plain)
    states = set()
    for share in (1.0, 0.9, 0.75):
        budget = int(share * peak(program, plain))
        schedule = proven_schedule(program, budget, "proven", SECONDS)
        assert peak(program, schedule) <= budget
        times = np.bincount(schedule.order, minlength=len(program.instructions))
        draws = np.flatnonzero(program.flat.replays)
        assert times[draws - 1].tolist() == (times[draws] > 1).tolist()
        states.add(int(times[draws - 1].sum()))
        assert all(map(torch.equal, run(program, schedule), expected))
    assert 0 in states
    assert len(states) > 1


def test_a_proved_plan_is_the_same_each_time_and_of_the_lowest_peak() -> None:
    """Among orders that cost the least it is one that holds the least, each time the same one."""
    program = chain(3, 2, 30)
    cost = in_whole_numbers(operations_of(program))
    budget = int(0.9 * peak(program, StoreAll()(program)))
    one, other = (proven_schedule(program, budget, "proven", SECONDS) for _ in range(2))
    assert one.proved
    assert one.order.tolist() == other.order.tolist()
    most, least = peak(program, one), one.cost
    assert most < budget
    assert least_cost(program, most, cost, times=2) == least
    assert least_cost(program, most - 1, cost, times=2) != least


def outer_products() -> Program:
    """Two outer products, both made before each is multiplied to a few columns of one layer."""
    torch.manual_seed(0)
    n = 32
    narrow, wide, ends = torch.randn(n, 8), torch.randn(n, 64), torch.randn(n * 64)
    weight = nn.Parameter(torch.randn(16, n))

    def step(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        products = [one[:, None] * one[None, :] for one in (x, y)]
        both = torch.cat([one @ narrow for one in products], 1)
        loss = torch.dot((both @ weight @ wide).reshape(-1), ends)
        return loss, torch.autograd.grad(loss, [weight])

    return from_pytorch(step, torch.randn(n), torch.randn(n))


def branch(program: Program, value: int) -> list[int]:
    """The instructions that make a value, those of one read after those of the other."""
    found: list[int] = []
    for i, step in enumerate(program.instructions):
        if value in step.writes:
            for read in step.reads:
                found += [one for one in branch(program, read) if one not in found]
            found.append(i)
    return found


def test_another_sequence_of_runs_again_is_outside_of_the_proof() -> None:
    """Made again one branch after the other, less is held than as created: the error says so."""
    program = outer_products()
    names = [step.op.name for step in program.instructions]
    plain, joined = StoreAll()(program), names.index("cat")
    (last,) = (
        i
        for i, step in enumerate(program.instructions)
        if step.phase == "backward" and program.instructions[joined].writes[0] in step.reads
    )
    again = branch(program, program.instructions[joined].writes[0])
    peaks = []
    for sequence in (again, sorted(again)):
        order = np.concatenate([plain.order[:last], sequence, plain.order[last:]])
        schedule = Schedule(order, replace(plain.claims, recompute=len(again), held=None))
        check_schedule(program, schedule)
        peaks.append(peak(program, schedule))
    assert peaks[0] == 12_292 < peaks[1]
    with pytest.raises(PlannerError, match=r"proved that .* and runs again are in order of creat"):
        proven_schedule(program, peaks[0], "proven", SECONDS)
    found = proven_schedule(program, peaks[1], "proven", SECONDS)
    assert found.proved
    assert found.among == "orders that run nothing more than twice, and again only as created"


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
