"""What planners take of memory and of operations on one program, as a table and as a figure.

Plans that count cells or weigh them stand next to what is proved: `Optimal` bounds the operations
of any plan on cells within so many bytes, `Proven` those of nearly any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from autodiff.check import check_schedule
from autodiff.checkpointing.cells import find_cells
from autodiff.checkpointing.costs import operations_of
from autodiff.checkpointing.optimal import ChainPlans, Optimal
from autodiff.checkpointing.parse import Planner, describe_planner, planned, planner_of
from autodiff.checkpointing.proven import Proven
from autodiff.checkpointing.retention import solver_library
from autodiff.checkpointing.selective import Selective
from autodiff.checkpointing.sizes import has_sizes, peak
from autodiff.checkpointing.store_all import StoreAll
from autodiff.checkpointing.two_levels import HRevolve
from autodiff.errors import BudgetError, GraphError, PlannerError
from autodiff.program import Program
from autodiff.schedule import Schedule
from profiler.planned import default_planners, selective_schedules
from profiler.plotting import byte_ticks, figure_with_axes
from profiler.units import human_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRONTIER = (
    "planner",
    "series",
    "limit_bytes",
    "peak_bytes",
    "ops",
    "bound_ops",
    "proved",
    "moved_bytes",
)
"""The columns of a frontier. `series` is the planner's name, with what is stored of `HRevolve`."""

MOST_LIMITS = 40
"""The most budgets that best plans are made for, each a part of the plain peak below the last."""

PROOFS = (0.8, 0.6, 0.4)
"""The shares of the plain peak that a proof is tried for."""

STORED = (2, 4, 8, None)
"""How many states the level below memory may hold; None: any number."""

MOST_SNAPSHOTS = 8
_MARKS = "osD^vP*X"


def frontier_table(
    program: Program, planners: Sequence[Planner | str] | None = None, proof_seconds: float = 0
) -> pd.DataFrame:
    """Return a row for each plan, `StoreAll` first, then by planner.

    `planners` are by default `RecomputeAll`, `Uniform` and `Revolve` with several numbers;
    `Optimal` and `Selective` are always asked, down to their least, and `Proven` for so many
    seconds a budget unless they are 0. Planners that refuse the program have no row. `bound_ops` is
    what no plan within `limit_bytes` goes below, `proved` whether the plan takes no more;
    `moved_bytes` is 0 in memory. Raises GraphError for shapes that are no integers, PlannerError
    where a proof is asked for and its extra is not installed.
    """
    if not has_sizes(program):
        raise GraphError(
            "the program's shapes are no integers; expected sizes to compare; give a network of "
            "numbers"
        )
    if proof_seconds:
        solver_library()
    given = default_planners(_cells(program)) if planners is None else planners
    rows = [*_planned(program, [StoreAll(), *given])]
    plain = int(rows[0]["peak_bytes"])
    limits = [plain * part // MOST_LIMITS for part in range(MOST_LIMITS - 1, 0, -1)]
    rows += [_row(program, one, Optimal.name) for one in _optimal(program)]
    rows += [_row(program, one, Selective.name) for one in selective_schedules(program, limits)]
    if proof_seconds:
        proofs = [Proven(int(share * plain), seconds=proof_seconds) for share in PROOFS]
        rows += _planned(program, proofs)
    return _table(rows)


def levels_table(program: Program) -> pd.DataFrame:
    """Return a row for each plan of `HRevolve`, with the columns of `frontier_table`.

    They differ in the number of snapshots in memory and of states on the level below (`STORED`). A
    program that is no chain has none.
    """
    most = min(_cells(program) - 1, MOST_SNAPSHOTS)
    asked = [HRevolve(s, stored) for stored in STORED for s in range(1, most + 1)]
    return _table(_planned(program, asked))


def operations_bound(program: Program) -> pd.DataFrame:
    """Return the operations that no plan within `limit_bytes` goes below, as `Optimal` proves it.

    The limits go from the least that any plan takes up to the plain peak, the lowest first. A
    program that is no chain of cells has only the plain peak.
    """
    return bound_of(frontier_table(program, []))


def bound_of(frontier: pd.DataFrame) -> pd.DataFrame:
    """Return the bound of a frontier: `limit_bytes` and `operations`, the lowest limit first."""
    plain = frontier.iloc[0]
    proved = frontier[(frontier["series"] == Optimal.name) & frontier["bound_ops"].notna()]
    found = {int(row.limit_bytes): float(row.bound_ops) for row in proved.itertuples()}
    found |= {int(plain["peak_bytes"]): float(plain["ops"])}
    table = pd.DataFrame(sorted(found.items()), columns=["limit_bytes", "operations"])
    return table.astype({"limit_bytes": np.int64, "operations": float})


def plot_frontier(program: Program, planners: Sequence[Planner | str] | None = None) -> Figure:
    """Return a figure of each plan's peak against its operations, with the bound of `Optimal`.

    The plans are those of `frontier_table`. No plan on the cells of a chain lies below the bound's
    line; a program that is no chain has none. Raises GraphError for shapes that are no integers.
    """
    from matplotlib.ticker import FuncFormatter

    frontier = frontier_table(program, planners)
    bound = bound_of(frontier)
    figure, axes = figure_with_axes(height=4.5)
    for place, (series, rows) in enumerate(frontier.groupby("series", sort=False)):
        axes.plot(
            rows["peak_bytes"].astype(float), rows["ops"].astype(float), linestyle="none",
            marker=_MARKS[place % len(_MARKS)], label=str(series), alpha=0.85,
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


def _optimal(program: Program) -> Iterator[Schedule]:
    """Yield the plans of `Optimal`, each a byte below the last one's peak; none for no chain.

    Where such plans lie too close, a budget is a part of the plain peak below the last one.
    """
    plans = ChainPlans(program, Optimal.name, operations_of(program))
    limit = plans.plain_peak - 1
    while True:
        try:
            found = plans.within_bytes(limit)
        except BudgetError as error:
            yield error.schedule
            return
        except PlannerError:
            return
        yield replace(found, planner=str(Optimal(max_bytes=limit)))
        limit = min(plans.peak(found) - 1, limit - plans.plain_peak // MOST_LIMITS)


def _cells(program: Program) -> int:
    """Return the number of cells; 0 where the program is no chain."""
    try:
        return len(find_cells(program))
    except PlannerError:
        return 0


def _planned(
    program: Program, planners: Iterable[Callable[[Program], Schedule] | str]
) -> Iterator[dict[str, Any]]:
    """Yield the row of each planner that does not refuse the program."""
    for planner in map(planner_of, planners):
        try:
            run, schedule = planned(program, planner)
        except PlannerError:
            continue
        yield _row(run, schedule, _series(planner))


def _series(planner: object) -> str:
    if isinstance(planner, HRevolve):
        stored = "any number" if planner.stored is None else planner.stored
        return f"{planner.name}, {stored} stored"
    try:
        return describe_planner(str(planner)).name
    except PlannerError:
        return str(planner)


def _row(program: Program, schedule: Schedule, series: str) -> dict[str, Any]:
    """Return the row of a plan, which is checked."""
    check_schedule(program, schedule)
    nbytes = peak(program, schedule)
    described = describe_planner(schedule.planner) if schedule.bound is not None else None
    return {
        "planner": schedule.planner,
        "series": series,
        "limit_bytes": None if described is None else described.max_bytes,
        "peak_bytes": nbytes,
        "ops": int(operations_of(program)[schedule.order].sum()),
        "bound_ops": schedule.bound,
        "proved": schedule.proved,
        "moved_bytes": schedule.claims.moved_bytes,
    }


def _table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with its types."""
    whole = dict.fromkeys(("limit_bytes", "peak_bytes", "ops", "moved_bytes"), "Int64")
    table = pd.DataFrame(rows, columns=list(FRONTIER))
    return table.astype({**whole, "bound_ops": "Float64", "proved": bool})
