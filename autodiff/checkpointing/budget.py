"""The best plan that is known for a limit: what a user asks for who wants it to fit.

It asks `StoreAll`, `Optimal`, `Selective`, and where `Optimal` is no proof `Uniform` and `Revolve`,
weighs each plan as it is carried out, and takes the cheapest within the bytes, or the one of the
lowest peak within the operations (then `Uniform` and `Revolve` are asked in any case). A planner
that refuses the program, because it is no chain of cells, is left out. Bound: as
`Schedule.optimality` says. `Proven`, which takes minutes, is asked only by name.

A larger budget never gives a plan that costs more or has a lower peak: the plans do not depend on
the budget, and of equally cheap ones the one with the lowest peak is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from autodiff.checkpointing.cells import find_cells
from autodiff.checkpointing.costs import cost_of_each, in_whole_numbers
from autodiff.checkpointing.limits import Limits, below_the_least, needs_sizes
from autodiff.checkpointing.optimal import ROUNDING, ChainPlans
from autodiff.checkpointing.revolve import Revolve
from autodiff.checkpointing.runs import Runs
from autodiff.checkpointing.selective import SelectivePlan, selective_plans
from autodiff.checkpointing.sizes import amounts, peak
from autodiff.checkpointing.store import schedule_from_plan
from autodiff.checkpointing.uniform import Uniform, uniform_plan
from autodiff.errors import BudgetError, PlannerError
from autodiff.program import Program
from autodiff.schedule import Schedule

MOST_SEGMENTS = 16
"""The most numbers of segments that are tried, evenly spaced by logarithm."""


@dataclass(frozen=True)
class Budget(Limits):
    """The cheapest known plan within `max_bytes`, or the lowest peak within `max_ops_ratio`."""

    name: ClassVar[str] = "budget"

    def __call__(self, program: Program) -> Schedule:
        """Return the best plan within the limit.

        Raises BudgetError, with the least, if no known plan is within the bytes.
        """
        needs_sizes(self, program)
        known = KnownPlans(program, cost_of_each(self.cost, program))
        if self.max_ops_ratio is not None:
            found = known.within_cost(self.max_ops_ratio)
        else:
            assert isinstance(self.max_bytes, int)
            found = known.within_bytes(self.max_bytes)
        return replace(found, planner=str(self))


@dataclass(frozen=True, eq=False)
class _Weighed:
    """A schedule with its true peak and cost."""

    schedule: Schedule
    peak: int
    cost: float


class KnownPlans:
    """The plans of all planners for one program; limits share what is made of it.

    `cost` is that of each instruction.
    """

    def __init__(self, program: Program, cost: np.ndarray) -> None:
        """Weigh plain backpropagation; planners are asked when it does not fit."""
        self._program, self._cost = program, cost
        self._amounts = amounts(program)
        self._chain = ChainPlans(program, Budget.name, cost)
        self.plain_peak = self._chain.plain_peak

    def within_bytes(self, limit: int) -> Schedule:
        """Return the cheapest plan with a peak of at most `limit`.

        Raises BudgetError, with the least, if there is none.
        """
        if self._chain.plain_peak <= limit:
            return self._chain.within_bytes(limit)
        plans = [
            *self._asked(lambda: self._chain.within_bytes(limit)),
            *self._selective(lambda plan: (plan.peak > limit, plan.operations, plan.peak)),
        ]
        optimum = plans[0].schedule if plans and plans[0].schedule.among else None
        if optimum is None or not optimum.proved:
            plans += self._asked(lambda: Revolve(max_bytes=limit)(self._program))
            plans += self._uniform
        plans.append(self._plain)
        fitting = [plan for plan in plans if plan.peak <= limit]
        if not fitting:
            least = min(plans, key=lambda plan: (plan.peak, plan.cost))
            ratio = least.cost / max(self._chain.plain_cost, 1e-300)
            raise below_the_least(
                Budget.name,
                limit,
                "any plan of this program",
                least.schedule,
                least.peak,
                ratio,
                by=f"a plan of {least.schedule.planner.split('(')[0]}",
            )
        best = min(fitting, key=lambda plan: (plan.cost, plan.peak))
        return self._finished(best, optimum)

    def within_cost(self, ratio: float) -> Schedule:
        """Return the plan with the lowest peak of those that cost at most `ratio` times plain."""
        limit = ratio * self._chain.plain_cost * (1 + ROUNDING)
        plans = [
            self._plain,
            *self._asked(lambda: self._chain.within_cost(limit)),
            *self._selective(self._lowest_within(ratio)),
            *self._asked(lambda: Revolve(max_ops_ratio=ratio)(self._program)),
            *self._uniform,
        ]
        best = min(
            (plan for plan in plans if plan.cost <= limit), key=lambda plan: (plan.peak, plan.cost)
        )
        return replace(best.schedule, planner=Budget.name, cost=best.cost, bound=None, proved=False)

    def _lowest_within(self, ratio: float) -> Callable[[SelectivePlan], object]:
        """Return the order of selective plans for a ratio: their costs have a unit of their own."""

        def order(plan: SelectivePlan) -> tuple[bool, int, int]:
            limit = ratio * self._selective_plans[0].operations
            return plan.operations > limit, plan.peak, plan.operations

        return order

    def _asked(self, plan: Callable[[], Schedule]) -> Iterator[_Weighed]:
        """Return the plan of a planner, or the one of its least peak; nothing if it refuses."""
        try:
            yield self._weigh(plan())
        except BudgetError as error:
            yield self._weigh(error.schedule)
        except PlannerError:
            return

    def _selective(self, order: Callable[[SelectivePlan], object]) -> Iterator[_Weighed]:
        """Return the first selective plan in an order, and the one of the lowest peak."""
        try:
            plans = self._selective_plans
        except PlannerError:
            return
        lowest = min(plans, key=lambda plan: (plan.peak, plan.operations))
        for plan in {id(one): one for one in (min(plans, key=order), lowest)}.values():  # type: ignore[arg-type]
            yield self._weigh(plan.schedule("selective"))

    @cached_property
    def _selective_plans(self) -> list[SelectivePlan]:
        return selective_plans(self._program, in_whole_numbers(self._cost))

    @cached_property
    def _plain(self) -> _Weighed:
        return self._weigh(self._chain.within_bytes(self.plain_peak))

    @cached_property
    def _uniform(self) -> list[_Weighed]:
        try:
            cells = find_cells(self._program)
        except PlannerError:
            return []
        n, runs = len(cells), Runs(cells)
        numbers = np.geomspace(min(2, n), n, MOST_SEGMENTS).round().astype(int)
        return [
            self._weigh(schedule_from_plan(cells, uniform_plan(n, k), str(Uniform(k)), runs))
            for k in sorted(set(numbers.tolist()))
        ]

    def _weigh(self, schedule: Schedule) -> _Weighed:
        cost = float(self._cost[schedule.order].sum())
        return _Weighed(schedule, peak(self._program, schedule, self._amounts), cost)

    def _finished(self, best: _Weighed, optimum: Schedule | None) -> Schedule:
        """Return the best plan with the strictest bound that is known to hold for it."""
        found = replace(
            best.schedule, planner=Budget.name, cost=best.cost, bound=self._chain.plain_cost,
            proved=False, among="",
        )  # fmt: skip
        if optimum is not None and optimum.bound is not None and optimum.bound <= best.cost:
            proved = optimum.proved and best.cost == optimum.cost
            return replace(found, bound=optimum.bound, proved=proved, among=optimum.among)
        return found
