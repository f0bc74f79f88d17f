"""The cheapest plan of a chain of cells within a budget of live bytes, or the reverse.

Source: the dynamic programme of Beaumont et al. 2019 (`optimal_table`), with the exact peaks of
this project's liveness (`moves`), several tapes a cell (`tapes`), and every plan weighed as it is
carried out. `Revolve` counts cells; this weighs them.

Bound: the best persistent plan (what is held stays until its own cell is reversed) with the tapes
offered, up to the rounding to slots of memory; `Schedule.bound` says how far from it the plan may
be. Chains of cells only, with sizes. n cells that all differ take about n³/6 comparisons of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from autodiff.checkpointing.cells import Cells, find_cells
from autodiff.checkpointing.costs import cost_of_each
from autodiff.checkpointing.limits import Limits, below_the_least, needs_sizes
from autodiff.checkpointing.moves import weighed_moves
from autodiff.checkpointing.optimal_plans import OptimalPlans, Weighed
from autodiff.checkpointing.runs import Runs
from autodiff.checkpointing.sizes import amounts, peak
from autodiff.checkpointing.store import schedule_from_plan
from autodiff.checkpointing.store_all import as_created
from autodiff.checkpointing.tapes import tapes_of
from autodiff.errors import PlannerError
from autodiff.program import Program
from autodiff.schedule import Schedule

ROUNDING = 1e-12
"""By what share sums of costs in another order may differ."""

MOST_CELLS = 1500
"""More cells are refused: the table of sub-chains would not fit into memory."""


@dataclass(frozen=True)
class Optimal(Limits):
    """The cheapest plan on cells for one of: a budget of live bytes, a budget of operations."""

    name: ClassVar[str] = "optimal"

    def __call__(self, program: Program) -> Schedule:
        """Return the cheapest plan within the limit.

        Raises BudgetError, with the least, if no plan is within the bytes, and PlannerError if the
        program is no chain.
        """
        needs_sizes(self, program)
        measure = "operations" if self.cost == "ops" else "cost"
        chain = ChainPlans(program, str(self), cost_of_each(self.cost, program), measure)
        if self.max_ops_ratio is not None:
            return chain.within_cost(self.max_ops_ratio * chain.plain_cost)
        assert isinstance(self.max_bytes, int)
        return chain.within_bytes(self.max_bytes)


class ChainPlans:
    """The optimal plans of a program's cells for any limit; tables are shared between limits."""

    def __init__(
        self, program: Program, planner: str, cost: np.ndarray, measure: str = "operations"
    ) -> None:
        """Weigh plain backpropagation; cells are looked for when it does not fit."""
        self._program, self._planner = program, planner
        self._cost, self._measure = cost, measure
        self._weighed = amounts(program)
        self.plain_cost = float(cost.sum())
        self._plain = replace(
            as_created(program, planner),
            cost=self.plain_cost, bound=self.plain_cost, proved=True,
        )  # fmt: skip
        self.plain_peak = self.peak(self._plain)
        self._found: tuple[Cells, Runs, OptimalPlans] | None = None

    def peak(self, schedule: Schedule) -> int:
        """Return the greatest live bytes under a schedule."""
        return peak(self._program, schedule, self._weighed)

    def within_bytes(self, limit: int) -> Schedule:
        """Return the cheapest plan whose carried-out schedule has a peak of at most `limit`.

        Raises BudgetError, with the least, if there is none.
        """
        if self.plain_peak <= limit:
            return self._plain
        plans = self._plans
        found = plans.within_bytes(limit + plans.over_counted)
        while found is not None:
            schedule = self._schedule(found)
            if self.peak(schedule) <= limit:
                return self._with_bound(schedule, plans.bound(limit))
            found = plans.within_bytes(found.peak - 1)
        least = self._schedule(plans.least)
        lowest = self.peak(least)
        if lowest <= limit:
            return self._with_bound(least, plans.bound(limit))
        raise below_the_least(
            Optimal.name,
            limit,
            "any plan on the cells of this program",
            self._with_bound(least, plans.bound(lowest)),
            lowest,
            (least.cost or 0.0) / max(self.plain_cost, 1e-300),
            self._measure,
        )

    def within_cost(self, limit: float) -> Schedule:
        """Return the plan of the lowest peak with a cost of at most `limit`."""
        found = self._plans.within_cost(limit * (1 + ROUNDING))
        if found is not None:
            schedule = self._schedule(found)
            if self.peak(schedule) < self.plain_peak:
                return schedule
        return replace(self._plain, bound=None, proved=False)

    @property
    def _plans(self) -> OptimalPlans:
        return self._chain()[2]

    def _chain(self) -> tuple[Cells, Runs, OptimalPlans]:
        if self._found is None:
            cells = find_cells(self._program)
            if len(cells) > MOST_CELLS:
                raise PlannerError(
                    f"{self._planner} on {len(cells)} cells; expected at most {MOST_CELLS}; give "
                    "revolve, which counts cells instead of weighing them"
                )
            runs = Runs(cells)
            tapes = tapes_of(cells, runs, self._cost)
            plans = OptimalPlans(weighed_moves(cells, runs, self._cost, tapes))
            self._found = cells, runs, plans
        return self._found

    def _schedule(self, found: Weighed) -> Schedule:
        cells, runs, _ = self._chain()
        schedule = schedule_from_plan(cells, found.plan, self._planner, runs)
        return replace(schedule, cost=float(self._cost[schedule.order].sum()))

    def _with_bound(self, schedule: Schedule, bound: float) -> Schedule:
        """Return a schedule with a bound; sums in another order differ in their last digits."""
        assert schedule.cost is not None
        bound = max(bound, self.plain_cost)
        assert bound <= schedule.cost * (1 + ROUNDING), f"a plan goes below its bound: {schedule}"
        cells, _, _ = self._chain()
        return replace(
            schedule,
            bound=min(bound, schedule.cost),
            proved=schedule.cost <= bound * (1 + ROUNDING),
            among=f"plans on {len(cells)} cells",
        )
