"""`Budget`: the best of all planners, on chains and on other graphs, and what it says of that."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from autodiff import (
    Budget,
    BudgetError,
    Optimal,
    PlannerError,
    Program,
    RecomputeAll,
    Revolve,
    Selective,
    StoreAll,
    Uniform,
    check_schedule,
    find_cells,
    parse_planner,
)
from autodiff.checkpointing.costs import operations_of
from autodiff.checkpointing.sizes import peak
from autodiff.pytorch import from_pytorch
from profiler import profile_schedule
from tests.support.chains import chain_program
from tests.support.schedules import run, total
from tests.support.torch_models import traced, training_step


class Skipping(nn.Module):
    """Every layer reads all earlier ones, so there is no chain of cells."""

    def __init__(self, layers: int = 5, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        results = [x]
        for layer in self.layers:
            results.append(layer(torch.stack(results).sum(0)).tanh().exp())
        return torch.stack(results).sum(0)


@cache
def program_of(name: str) -> Program:
    if name == "tanh":
        return chain_program(10, values=True, d=4, b=40)
    if name == "skipping":
        torch.manual_seed(0)
        model = Skipping()
        step = training_step(model, lambda model, x: model(x).square().sum())
        return from_pytorch(step, torch.randn(40, 8), model=model)
    return traced(name)[0]


NAMES = ("tanh", "mlp with dropout", "skipping")


@pytest.mark.parametrize("name", NAMES)
def test_no_planner_does_better_and_more_bytes_never_cost_more(name: str) -> None:
    """Each plan fits, costs no more than any planner's, and less as the budget grows."""
    program = program_of(name)
    plain = StoreAll()(program)
    top = peak(program, plain)
    expected = run(program, plain)
    seen: list[tuple[float, int]] = []
    for share in (1.0, 0.9, 0.8, 0.7, 0.6):
        budget = int(share * top)
        try:
            schedule = Budget(max_bytes=budget)(program)
        except BudgetError:
            break
        check_schedule(program, schedule)
        assert schedule.cost == total(program, schedule)
        measured = profile_schedule(program, schedule, execute=True).peak_bytes
        assert measured == peak(program, schedule) <= budget
        found = run(program, schedule)
        assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
        seen.append((schedule.cost, measured))
        for family in (Optimal, Selective, Revolve):
            try:
                other = family(max_bytes=budget)(program)
            except PlannerError:
                continue
            assert schedule.cost <= total(program, other)
    assert len(seen) >= 3
    assert [cost for cost, _ in seen] == sorted(cost for cost, _ in seen)
    assert [found for _, found in seen] == sorted((found for _, found in seen), reverse=True)


@pytest.mark.parametrize("name", NAMES)
def test_below_the_least_the_error_has_the_least_of_all_planners(name: str) -> None:
    """It states the least and carries its plan, which fits when asked for."""
    program = program_of(name)
    with pytest.raises(BudgetError, match="below what any plan of this program takes") as caught:
        Budget(max_bytes=100)(program)
    least = caught.value.peak_bytes
    assert peak(program, caught.value.schedule) == least
    assert str(parse_planner(caught.value.schedule.planner)) == caught.value.schedule.planner
    assert peak(program, Budget(max_bytes=least)(program)) == least
    try:
        others = [RecomputeAll(), *map(Uniform, range(1, len(find_cells(program)) + 1))]
    except PlannerError:
        others = []
    assert all(least <= peak(program, planner(program)) for planner in others)


def test_a_graph_that_is_no_chain_is_planned_too() -> None:
    """Where cells are refused the plan is a selective one, with a bound over all plans."""
    program = program_of("skipping")
    with pytest.raises(PlannerError, match="no chain of cells"):
        Optimal(max_bytes=1000)(program)
    schedule = Budget(max_bytes=int(0.9 * peak(program, StoreAll()(program))))(program)
    assert schedule.optimality.endswith("% above the optimum")
    assert schedule.bound == total(program, StoreAll()(program))


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_of_operations_gives_the_lowest_peak(name: str) -> None:
    """The peak falls as more operations are allowed, and no planner's is lower."""
    program = program_of(name)
    plain = total(program, StoreAll()(program))
    peaks = []
    for ratio in (1.0, 1.05, 1.3):
        schedule = Budget(max_ops_ratio=ratio)(program)
        assert schedule.cost == total(program, schedule)
        assert schedule.cost <= ratio * plain
        peaks.append(peak(program, schedule))
        for family in (Optimal, Selective):
            try:
                other = family(max_ops_ratio=ratio)(program)
            except PlannerError:
                continue
            assert peaks[-1] <= peak(program, other)
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[-1] < peaks[0]


def test_fractional_costs_give_the_lowest_peak_too() -> None:
    """A cost in seconds, far below 1 an instruction, is compared in its own unit."""

    def seconds(program: Program) -> np.ndarray:
        return operations_of(program) * 1.1e-9 + 1.3e-7

    program = program_of("skipping")
    for ratio in (1.05, 1.2, 1.4):
        schedule = Budget(max_ops_ratio=ratio, cost=seconds)(program)
        other = Selective(max_ops_ratio=ratio, cost=seconds)(program)
        assert peak(program, schedule) <= peak(program, other)
    assert peak(program, schedule) < peak(program, StoreAll()(program))


def test_limits_are_read_and_written_like_those_of_other_planners() -> None:
    """Text is parsed, strings read back, and wrong limits are refused."""
    assert parse_planner("budget(max_bytes=1.5MiB)") == Budget(max_bytes="1.5MiB")
    assert str(Budget(max_bytes=2**30)) == "budget(max_bytes=1GiB)"
    assert str(Budget(max_ops_ratio=1.2)) == "budget(max_ops_ratio=1.2)"
    with pytest.raises(PlannerError, match="exactly one of"):
        Budget()
