"""Plans by shape: everything kept, our planners and PyTorch's, from rows to values.

A group is one network at one shape that has rows with everything kept (`full`) and under planners.
What to conclude from them is for `advice`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from autodiff.checkpointing.parse import PlannerDescription, describe_planner
from autodiff.errors import PlannerError
from autodiff.instructions import PHASES, ROLES
from experiments.analysis.selection import completed
from experiments.names import AXES, CASE, HOME_ENGINE, ITEMSIZES, STORE_ALL
from experiments.text import counted
from profiler.units import human_bytes

REFERENCES = ("no_grad", "full", "w1_only")


@dataclass(frozen=True)
class Plan:
    """One step: its planner, peak, operations, and the bytes of each role at its peak.

    `seconds` is None where it was not timed, the theory's numbers where there is no formula.
    """

    planner: str
    peak_bytes: int
    ops: int
    seconds: float | None
    roles: dict[str, int]
    theory_peak_bytes: int | None
    theory_ops: int | None

    @property
    def words(self) -> str:
        """The planner in words."""
        return planner_words(self.planner)

    @property
    def family(self) -> str:
        """The planner's name without its numbers."""
        return described(self.planner).name

    @property
    def count(self) -> int | None:
        """The number of snapshots or segments that the planner was given."""
        found = described(self.planner)
        return found.segments if found.snapshots is None else found.snapshots


@dataclass(frozen=True, eq=False)
class PlanGroup:
    """A network at a shape.

    `full` keeps everything, `plans` are ours (most memory first), `theirs` PyTorch's, and
    `references` the steps without a planner, by mode.
    """

    case: dict[str, str]
    n: int
    d: int
    b: int
    full: Plan
    plans: tuple[Plan, ...]
    theirs: tuple[Plan, ...]
    references: dict[str, Plan]

    @property
    def shape(self) -> str:
        """The shape in words."""
        return f"n = {self.n}, d = {self.d}, b = {self.b}"

    @property
    def itemsize(self) -> int:
        """The bytes of one element."""
        return ITEMSIZES[self.case["dtype"]]

    @property
    def best(self) -> tuple[Plan, ...]:
        """The plans that no other beats in both peak and operations, the lowest peak first."""
        kept: list[Plan] = []
        for plan in sorted(self.plans, key=lambda plan: (plan.ops, plan.peak_bytes)):
            if plan.peak_bytes < min([self.full.peak_bytes, *(other.peak_bytes for other in kept)]):
                kept.append(plan)
        return tuple(reversed(kept))


@lru_cache(maxsize=4096)
def described(planner: str) -> PlannerDescription:
    """Return the fields of a planner's string from a row; nothing is ever imported.

    Text that names no planner is taken as a name.
    """
    try:
        return describe_planner(planner)
    except PlannerError:
        return PlannerDescription(planner)


def planner_words(planner: str) -> str:
    """Return a planner in words: `revolve(snapshots=3)` as revolve, s = 3; others as they are."""
    found = described(planner)
    if found.snapshots is not None:
        return f"{found.name}, s = {found.snapshots}"
    if found.segments is not None:
        return f"{found.name}, {counted(found.segments, 'segment')}"
    if found.max_bytes is not None:
        return f"{found.name} within {human_bytes(found.max_bytes)}"
    if found.max_ops_ratio is not None:
        return f"{found.name} within {found.max_ops_ratio:g}× the operations"
    names = {
        "recompute_all": "recompute all",
        STORE_ALL: "store all",
        "uniform": "uniform, √n segments",
    }
    return names.get(planner, planner)


def plan_groups(rows: pd.DataFrame) -> list[PlanGroup]:
    """Return the shapes with rows that keep everything and rows of a planner, in their order."""
    ok = completed(rows)
    ok = ok[(ok["micro_batches"] == 1) & ok["mode"].isin([*REFERENCES, "checkpointed"])]
    ok = ok.dropna(subset=["ops", "peak_bytes"])
    planned = ok[
        (ok["mode"] == "checkpointed")
        & (ok["engine"] == HOME_ENGINE)
        & (ok["planner"] != STORE_ALL)
    ]
    keys = [*CASE, *AXES]
    # First select these shapes' rows: cutting each shape out of a hundred thousand takes minutes.
    wanted = pd.MultiIndex.from_frame(planned[keys].drop_duplicates())
    groups = []
    for labels, group in ok[pd.MultiIndex.from_frame(ok[keys]).isin(wanted)].groupby(
        keys, sort=False
    ):
        made = _group(
            dict(zip(keys, labels, strict=True)),
            group.drop_duplicates(["mode", "planner", "engine"]),
        )
        groups += [] if made is None else [made]
    return groups


def _group(label: dict[str, Any], rows: pd.DataFrame) -> PlanGroup | None:
    """Return the group of one shape; None without a row that keeps everything."""
    plans: list[Plan] = []
    theirs: list[Plan] = []
    references: dict[str, Plan] = {}
    for row in rows.to_dict("records"):
        plan, ours = _plan(row), row["engine"] == HOME_ENGINE
        if row["mode"] in REFERENCES:
            references[row["mode"] if ours else f"{row['mode']}, {row['engine']}"] = plan
        elif plan.planner == STORE_ALL and ours:
            references.setdefault("full", plan)  # the same step by another name
        elif plan.planner != STORE_ALL:
            (plans if ours else theirs).append(plan)
    if "full" not in references:
        return None
    plans.sort(key=lambda plan: (-plan.peak_bytes, plan.ops))
    case = {name: str(label[name]) for name in CASE}
    shape = (int(label["n"]), int(label["d"]), int(label["b"]))
    return PlanGroup(case, *shape, references["full"], tuple(plans), tuple(theirs), references)


def _plan(row: dict[str, Any]) -> Plan:
    times = [row[f"wall_ns_{phase}"] for phase in PHASES]
    timed = pd.notna(times[0]) and pd.notna(times[-1])
    seconds = sum(float(time) for time in times if pd.notna(time)) / 1e9 if timed else None
    theory = [
        None if pd.isna(row[name]) else int(row[name])
        for name in ("theory_peak_bytes", "theory_ops")
    ]
    roles = {
        role: 0 if pd.isna(row[f"peak_{role}_bytes"]) else int(row[f"peak_{role}_bytes"])
        for role in ROLES[2:]
    }
    return Plan(
        str(row["planner"]), int(row["peak_bytes"]), int(row["ops"]), seconds, roles, *theory
    )
