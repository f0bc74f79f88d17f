"""What a plan does to a model, in its modules' names, and the plans that a model runs under.

`Plan` is one plan of one joint graph: its peak beside that of keeping everything, its operations,
what each module holds from forward to backward and what it runs again. `Plans` is what a model's
`plan` attribute holds: the plans by the shapes that the model was called with, the latest first in
everything that it shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from autodiff.check import check_schedule
from autodiff.checkpointing.csv_schedule import write_schedule
from autodiff.checkpointing.sizes import amounts
from autodiff.errors import PlannerError
from autodiff.instructions import PHASES, RECOMPUTE
from autodiff.liveness import Lifetimes
from autodiff.program import Program
from autodiff.schedule import Schedule
from profiler.applying.nested import NestedPlan, NestedPlanner, more_words as _more, outside_words
from profiler.savings import planner_savings
from profiler.units import human_bytes, human_bytes_apart, human_count, human_ns

_MOST_ROWS = 24


@dataclass(frozen=True, eq=False)
class Plan:
    """A plan of a model's step.

    `modules` has the name of the module behind each instruction; `border` is the instruction of the
    loss, at which backward begins; `resident_bytes` are parameters, buffers, inputs and the
    optimizer's state; `limit` is what was asked for, None where that was nothing. `costs` are the
    seconds of each instruction, None where they were not measured; `blocks` plans the blocks of
    the same model.
    """

    program: Program
    schedule: Schedule
    modules: tuple[str, ...]
    border: int
    limit: int | None = None
    resident_bytes: int = 0
    costs: np.ndarray | None = None
    blocks: NestedPlanner | None = None

    @cached_property
    def _lives(self) -> Lifetimes:
        return check_schedule(self.program, self.schedule)

    @cached_property
    def _amounts(self) -> tuple[np.ndarray, np.ndarray]:
        nbytes, workspace = amounts(self.program)
        return nbytes[self._lives.owner], workspace[self.schedule.order]

    @cached_property
    def _live(self) -> np.ndarray:
        nbytes, workspace = self._amounts
        live: np.ndarray = self._lives.live(nbytes) + workspace
        return live

    @cached_property
    def _compared(self) -> pd.DataFrame:
        return planner_savings(self.program, [lambda _: self.schedule])

    @property
    def planner(self) -> str:
        """Return the name of the planner that made it."""
        return self.schedule.planner

    @property
    def peak_bytes(self) -> int:
        """Return the greatest total of live bytes, without what exists before the step."""
        return int(self._live.max(initial=0))

    @property
    def plain_peak_bytes(self) -> int:
        """Return the peak if everything that backward reads is kept."""
        return int(self._compared["peak_bytes"].iloc[0])

    @property
    def operations(self) -> int:
        """Return the scalar operations of the step."""
        return int(self._compared["ops"].iloc[-1])

    @property
    def plain_operations(self) -> int:
        """Return the scalar operations if nothing runs again."""
        return int(self._compared["ops"].iloc[0])

    @property
    def seconds(self) -> float | None:
        """Return the seconds of the step's ops by themselves; None unless `cost` is "seconds"."""
        return None if self.costs is None else float(self.costs[self.schedule.order].sum())

    @property
    def plain_seconds(self) -> float | None:
        """Return the seconds of the ops if nothing runs again; None unless those are known."""
        return None if self.costs is None else float(self.costs.sum())

    @property
    def outside_bytes(self) -> int:
        """Return the part of the peak that is not the model's: what the loss outside takes."""
        at = int(self._live.argmax())
        is_outside = self.schedule.order[at] in (self.border, self.border + 1)
        return int(self._amounts[1][at]) if is_outside else 0

    @property
    def why(self) -> str:
        """Return what the peak consists of."""
        return str(self._compared["why"].iloc[-1])

    def by_module(self) -> pd.DataFrame:
        """Return a row for each module that holds or runs again anything.

        The columns are `module`, `held_bytes` (what it hands from forward to backward), `ops` of
        its forward pass and `again_ops`, what of it runs again.
        """
        works, cost_of = self.program.flat.works, {}
        work_of = self.program.flat.work_of
        rows: dict[str, dict[str, int]] = {}
        names = {"held_bytes": 0, "ops": 0, "again_ops": 0}
        order = self.schedule.order.tolist()
        for i, phase in zip(order, self._lives.phase.tolist(), strict=True):
            number = int(work_of[i])
            if number not in cost_of:
                cost_of[number] = int(works[number].op.cost(*works[number].specs).total)
            row = rows.setdefault(self.modules[i], dict(names))
            if PHASES[phase] == RECOMPUTE:
                row["again_ops"] += cost_of[number]
            elif i < self.border:
                row["ops"] += cost_of[number]
        at = int(np.flatnonzero(self.schedule.order == self.border)[0])
        held = np.flatnonzero((self._lives.born < at) & (self._lives.dies > at))
        for buffer in held.tolist():
            writer = int(self.schedule.order[self._lives.born[buffer]])
            rows[self.modules[writer]]["held_bytes"] += int(self._amounts[0][buffer])
        columns = ["module", *names]
        frame = pd.DataFrame([{"module": name, **row} for name, row in rows.items()])
        acts = (frame["held_bytes"] > 0) | (frame["again_ops"] > 0)
        return frame.loc[acts, columns].reset_index(drop=True)

    def code(self) -> str:
        """Return lines that let blocks of the model run again without this project.

        Comments say what they save and cost, and what this plan does: blocks run again as a whole,
        which costs more. They are measured on fake tensors when this is called, with the arguments
        of the call that was planned. Raises PlannerError for a plan of a backend.
        """
        if self.blocks is None:
            raise PlannerError(
                "a plan of a backend has no model whose blocks could be named; expected a plan of "
                "tapemeasure.checkpointed; use that"
            )
        limit = self.peak_bytes if self.limit is None else self.limit
        nested = self.blocks.plan(limit, least=True)
        peak, plain = human_bytes_apart(self.peak_bytes, self.plain_peak_bytes)
        optimum = (
            f"# The plan of single operations: peak {peak} (all kept: {plain}), "
            f"{_more(self.operations, self.plain_operations)}{self._optimality}."
        )
        return f"{nested.code()}\n{optimum}"

    def to_csv(self, path: str | Path) -> Path:
        """Write the plan; `checkpointed(model, plan=path)` runs it again."""
        return write_schedule(path, self.program, self.schedule)

    def __str__(self) -> str:
        """Return the table."""
        peak, plain = human_bytes_apart(self.peak_bytes, self.plain_peak_bytes)
        more = _more(self.operations, self.plain_operations)
        limit = "" if self.limit is None else f" of at most {human_bytes(self.limit)}"
        lines = [
            f"{self.planner}: peak {peak}{limit} (all kept: {plain}), {more}{self._optimality}"
        ]
        if self.seconds is not None and self.plain_seconds is not None:
            took, before = human_ns(1e9 * self.seconds), human_ns(1e9 * self.plain_seconds)
            lines.append(f"seconds of its operations, each timed by itself: {took} ({before})")
        if self.resident_bytes:
            total = human_bytes(self.peak_bytes + self.resident_bytes)
            lines.append(f"with all that exists before the step: {total}")
        lines.append(outside_words(self.outside_bytes, self.peak_bytes))
        lines.append(f"the peak: {self.why}")
        return "\n".join([*lines, *self._rows()])

    @property
    def _optimality(self) -> str:
        said = self.schedule.optimality
        return f" ({said})" if said else ""

    def _rows(self) -> list[str]:
        rows = [("module", "held", "operations run again")]
        for row in _folded(self.by_module()).itertuples():
            share = 100 * row.again_ops / max(row.ops, 1)
            again = f"{human_count(row.again_ops)} ({share:.0f}%)" if row.again_ops else "–"
            rows.append((row.module or "(model)", human_bytes(row.held_bytes), again))
        wide = max(len(name) for name, _, _ in rows)
        return [f"  {name:{wide}}  {held:>10}  {again}" for name, held, again in rows]


def _folded(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of modules, those far inside added up until they are few enough to read."""
    folded = frame
    for depth in range(frame["module"].str.count(r"\.").max(), 0, -1):
        if len(folded) <= _MOST_ROWS:
            break
        names = frame["module"].str.split(".").str[:depth].str.join(".")
        folded = frame.drop(columns="module").groupby(names, sort=False).sum().reset_index()
    return folded.head(_MOST_ROWS)


class Plans:
    """The plans of a model, one for each set of shapes; the attributes are the latest plan's."""

    def __init__(self) -> None:
        """Start without plans: the first call of the model in training plans."""
        self._plans: list[Plan | NestedPlan] = []

    def add(self, plan: Plan | NestedPlan) -> None:
        """Take a plan as the latest."""
        self._plans.append(plan)

    @property
    def latest(self) -> Plan | NestedPlan:
        """Return the latest plan; raise PlannerError where nothing was planned yet."""
        if not self._plans:
            raise PlannerError(
                "the model has no plan yet; expected a call in training before; call it once with "
                "gradients enabled"
            )
        return self._plans[-1]

    def __len__(self) -> int:
        return len(self._plans)

    def __iter__(self) -> Iterator[Plan | NestedPlan]:
        return iter(self._plans)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the latest plan."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.latest, name)

    def __str__(self) -> str:
        """Return the latest plan's table."""
        return str(self.latest) if self._plans else "no plan yet: the first training call plans"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without plans: a copy of a model plans when it is first called."""
        return Plans, ()
