"""Measured plans by shape: everything kept, our planners and PyTorch's beside each other, from rows to values.

A group is one network at one shape that was run with everything kept (`full`) and under planners. It judges nothing: `advice` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.text import counted

CASE = ("network", "activation", "loss", "dtype")
HOME_ENGINE = "autodiff"
STORE_ALL = "store_all"
REFERENCES = ("no_grad", "full", "w1_only")
ROLES = ("activation", "gradient", "parameter_gradient", "temporary")
PHASES = ("forward", "recompute", "backward")


@dataclass(frozen=True)
class Plan:
    """One measured step: its planner, peak, operations, seconds (None where it was not timed), the bytes of each role at its peak."""

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


@dataclass(frozen=True, eq=False)
class PlanGroup:
    """A network at a shape: `full` keeps everything, `plans` are ours (most memory first), `theirs` PyTorch's, by mode `references`."""

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
        return int((re.search(r"\d+$", self.case["dtype"]) or ["32"])[0]) // 8

    @property
    def activation_bytes(self) -> int:
        """The bytes of one activation, A."""
        return self.itemsize * self.b * self.d

    @property
    def weight_bytes(self) -> int:
        """The bytes of one weight gradient, D."""
        return self.itemsize * self.d**2

    @property
    def best(self) -> tuple[Plan, ...]:
        """The plans that no other beats: none is lower without more operations; the lowest peak first."""
        kept: list[Plan] = []
        for plan in sorted(self.plans, key=lambda plan: (plan.ops, plan.peak_bytes)):
            if plan.peak_bytes < min([self.full.peak_bytes, *(other.peak_bytes for other in kept)]):
                kept.append(plan)
        return tuple(reversed(kept))


def planner_words(planner: str) -> str:
    """A planner's canonical string in words: `revolve(snapshots=3)` as revolve, s = 3; others as they are."""
    found = re.fullmatch(r"(revolve|uniform)\((snapshots|segments)=(\d+)\)", planner)
    if not found:
        return {
            "recompute_all": "recompute all",
            STORE_ALL: "store all",
            "uniform": "uniform, √n segments",
        }.get(planner, planner)
    count = int(found[3])
    return (
        f"revolve, s = {count}"
        if found[2] == "snapshots"
        else f"uniform, {counted(count, 'segment')}"
    )


def plan_groups(rows: pd.DataFrame) -> list[PlanGroup]:
    """Every shape at which something was measured with everything kept and under a planner, in the order of the rows."""
    ok = rows[
        (rows["status"] == "ok")
        & (rows["micro_batches"] == 1)
        & rows["mode"].isin([*REFERENCES, "checkpointed"])
    ]
    ok = ok.dropna(subset=["ops", "peak_bytes"])
    planned = ok[
        (ok["mode"] == "checkpointed")
        & (ok["engine"] == HOME_ENGINE)
        & (ok["planner"] != STORE_ALL)
    ]
    keys = [*CASE, "n", "d", "b"]
    # First the rows of these shapes alone: a sweep may have a hundred thousand others, and to cut each shape's out takes minutes.
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
    """The group of one shape; None where nothing was measured with everything kept."""
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
        for role in ROLES
    }
    return Plan(
        str(row["planner"]), int(row["peak_bytes"]), int(row["ops"]), seconds, roles, *theory
    )
