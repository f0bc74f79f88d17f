"""What planners take of memory and of operations on one program, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from autodiff.checkpointing.costs import operations_of
from autodiff.checkpointing.optimal import ChainPlans, Optimal
from autodiff.checkpointing.parse import Planner
from autodiff.errors import BudgetError, PlannerError
from autodiff.program import Program
from profiler.planned import SHARES
from profiler.plotting import byte_ticks, figure_with_axes
from profiler.savings import planner_savings
from profiler.units import human_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKS = "osD^vP*X"


def plot_frontier(program: Program, planners: Sequence[Planner | str] | None = None) -> Figure:
    """Return a figure of each planner's peak against its operations, with the bound of `Optimal`.

    `planners` are by default those of `planner_savings`. No plan on the cells of a chain lies
    below the bound's line; a program that is no chain has none. Planners that refuse the program
    are left out. Raises GraphError for a program whose shapes are no integers.
    """
    from matplotlib.ticker import FuncFormatter

    savings = planner_savings(program, planners).dropna(subset="peak_bytes")
    bound = operations_bound(program)
    figure, axes = figure_with_axes(height=4.5)
    families = savings["planner"].map(lambda text: text.split("(")[0])
    for place, (family, rows) in enumerate(savings.groupby(families, sort=False)):
        axes.plot(
            rows["peak_bytes"].astype(float), rows["ops"].astype(float), linestyle="none",
            marker=_MARKS[place % len(_MARKS)], label=str(family), alpha=0.85,
        )  # fmt: skip
    if len(bound) > 1:
        axes.step(
            bound["limit_bytes"], bound["operations"], where="pre", color="black", linewidth=1,
            linestyle="--", label="bound of optimal",
        )  # fmt: skip
    byte_ticks(axes.xaxis)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: human_count(count)))
    axes.set(xlabel="peak of live bytes", ylabel="operations")
    axes.set_title("What planners save, and what it costs", loc="left")
    axes.legend(frameon=False, fontsize="small")
    return figure


def operations_bound(program: Program) -> pd.DataFrame:
    """Return the operations that no plan within `limit_bytes` goes below, as `Optimal` proves it.

    The limits are shares of the plain peak and the least that any plan takes, the lowest first. A
    program that is no chain of cells has only the plain peak.
    """
    plans = ChainPlans(program, Optimal.name, operations_of(program))
    limits = [int(share * plans.plain_peak) for share in (1.0, *SHARES)]
    try:
        plans.within_bytes(0)
    except BudgetError as error:
        limits = [*(limit for limit in limits if limit > error.peak_bytes), error.peak_bytes]
    except PlannerError:
        limits = limits[:1]
    bounds = [(limit, plans.within_bytes(limit).bound) for limit in sorted(limits)]
    table = pd.DataFrame(
        [found for found in bounds if found[1] is not None], columns=["limit_bytes", "operations"]
    )
    return table.astype({"limit_bytes": np.int64, "operations": float})
