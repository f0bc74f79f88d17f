"""The fastest order within a budget as a constraint program: intervals in which buffers are held.

Source: M. Bartan, H. Li, H. Teague, C. Lott and B. Dilkina, "Moccasin: efficient tensor
rematerialization for neural networks", 2023. Time has a slot (k, i) for each pair i ≤ k: in stage k
task k runs for the first time, after tasks i < k that run again there. A task may run again once
(`RUNS` times in all); each run begins an interval for each buffer that it writes, and a read lies
in an interval of what it reads. The bytes of all intervals at a slot are within the budget.

Bound: exact among the orders in which first runs are as created, no task runs more than `RUNS`
times (a chain under a low budget wants more), and the tasks that run again within a stage do so in
order of creation (two branches that are made again one after the other may take less). Proofs end
at some 60 tasks of the forward part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

import numpy as np

from autodiff.checkpointing.sizes import amounts
from autodiff.checkpointing.store_all import as_created
from autodiff.checkpointing.tasks import TaskGraph
from autodiff.errors import PlannerError
from autodiff.levels import without_moves
from autodiff.program import Program

RUNS = 2


@dataclass(frozen=True, eq=False)
class Run:
    """One run of a task: its stage, its slot, whether it takes place, and the ends of its buffers.

    Each is an expression of the model, or a number where it is fixed.
    """

    stage: Any
    slot: Any
    active: Any
    ends: dict[int, Any]


def solver_library() -> Any:
    """Return the module of the solver; raise PlannerError where it is not installed."""
    try:
        from ortools.sat.python import cp_model
    except ImportError:
        raise PlannerError(
            "proven(…) needs ortools, which is not installed; expected the extra cpsat; "
            "run pip install 'tapemeasure[cpsat]'"
        ) from None
    return cp_model


class Retention:
    """The model of a program within a budget of bytes; `retention_search` solves it.

    `cost` has what each instruction costs, in whole numbers; `most` is what may be run again at
    most, where a plan is known. `runs` are those of each task, `slots` is how many slots there are,
    and `again` is what is run again, in units of `unit` operations.
    """

    def __init__(
        self, program: Program, budget: int, cost: np.ndarray, most: int | None = None
    ) -> None:
        self.graph = TaskGraph(without_moves(program))
        self.tasks = self.graph.tasks
        self.solver = solver_library()
        self.model = self.solver.CpModel()
        self.slots = _slot(len(self.tasks), 0)
        self._writer = {write: at for at, task in enumerate(self.tasks) for write in task.writes}
        self._stays = {program.values[target].buffer for target in program.targets}
        self._late = self._latest_stages()
        self.runs = [self._runs_of(at) for at in range(len(self.tasks))]
        self._keep_states()
        self._cover_reads()
        self._hold_within(budget)
        self._minimize([int(cost[task.instruction]) for task in self.tasks], most)

    def _latest_stages(self) -> list[int]:
        """Return the last stage in which each task may be worth running again.

        That is for a reader, or for a reader that is itself run again.
        """
        late = list(range(len(self.tasks)))
        for at in range(len(self.tasks) - 1, -1, -1):
            last = late[at] if self.tasks[at].repeats else at
            for read in self.tasks[at].reads:
                writer = self._writer[read]
                late[writer] = max(late[writer], last)
        return late

    def _runs_of(self, at: int) -> list[Run]:
        """Return the runs of a task: the first, and those that may follow."""
        model, task = self.model, self.tasks[at]
        first = _slot(at, at)
        runs = [Run(at, first, 1, {b: self._end(b, first) for b in task.writes})]
        if not task.repeats or self._late[at] < at + 2:
            return runs
        stages = range(at + 1, self._late[at] + 1)
        slots = {stage: _slot(stage, at) for stage in stages}
        for _ in range(1, RUNS):
            stage = model.new_int_var(stages[0], stages[-1], "")
            domain = self.solver.Domain.from_values(list(slots.values()))
            slot = model.new_int_var_from_domain(domain, "")
            model.add_allowed_assignments([stage, slot], list(slots.items()))
            run = Run(
                stage, slot, model.new_bool_var(""), {b: self._end(b, first) for b in task.writes}
            )
            for buffer, end in run.ends.items():
                model.add(end >= slot).only_enforce_if(run.active)
                model.add(slot > runs[-1].ends[buffer]).only_enforce_if(run.active)
            if not isinstance(runs[-1].active, int):
                model.add_implication(run.active, runs[-1].active)
            runs.append(run)
        return runs

    def _keep_states(self) -> None:
        """Let the state of a generator be kept only where what it is kept for runs again."""
        for runs, task in zip(self.runs, self.tasks, strict=True):
            for buffer in set(task.reads).difference(task.first_reads):
                (kept,) = self.runs[self._writer[buffer]]
                self.runs[self._writer[buffer]] = [
                    replace(kept, active=again.active) for again in runs[1:2]
                ]

    def _end(self, buffer: int, first: int) -> Any:
        if buffer in self._stays:
            return self.slots
        return self.model.new_int_var(first, self.slots, "")

    def _cover_reads(self) -> None:
        """Let each run read in an interval of what it reads."""
        for task, runs in zip(self.tasks, self.runs, strict=True):
            for run in runs:
                for buffer in task.first_reads if run is runs[0] else task.reads:
                    self._cover(run, buffer)

    def _cover(self, reader: Run, buffer: int) -> None:
        model, writers = self.model, self.runs[self._writer[buffer]]
        if len(writers) == 1:
            held = model.add(writers[0].ends[buffer] >= reader.slot)
            held.only_enforce_if(_literals(reader.active))
            return
        choices = []
        for writer in writers:
            chosen = model.new_bool_var("")
            model.add(writer.slot < reader.slot).only_enforce_if(chosen)
            model.add(writer.ends[buffer] >= reader.slot).only_enforce_if(chosen)
            for active in _literals(writer.active):
                model.add_implication(chosen, active)
            choices.append(chosen)
        model.add_bool_or(choices + [active.negated() for active in _literals(reader.active)])

    def _hold_within(self, budget: int) -> None:
        """Let what is held, and the workspace of each run, stay within the budget."""
        model, program = self.model, self.graph.program
        amount, workspace = amounts(program)
        taking_over = {int(i) for i in as_created(program).overwrites}
        intervals, demands = [], []
        for task, runs in zip(self.tasks, self.runs, strict=True):
            for run in runs:
                # A buffer that is taken over is counted once in the slot where that happens.
                start = run.slot + int(task.instruction in taking_over)
                for buffer, end in run.ends.items():
                    intervals.append(self._interval(run, start, end + 1))
                    demands.append(int(amount[buffer]))
                intervals.append(self._interval(run, run.slot, run.slot + 1))
                demands.append(int(workspace[task.instruction]))
        needed = [(i, d) for i, d in zip(intervals, demands, strict=True) if d]
        unit = max(1, gcd(*[demand for _, demand in needed]))
        self._held = [interval for interval, _ in needed], [demand // unit for _, demand in needed]
        self._budget = budget // unit
        model.add_cumulative(*self._held, self._budget)

    def _interval(self, run: Run, start: Any, stop: Any) -> Any:
        length = self.model.new_int_var(0, self.slots + 1, "")
        if isinstance(run.active, int):
            return self.model.new_interval_var(start, length, stop, "")
        return self.model.new_optional_interval_var(start, length, stop, run.active, "")

    def _minimize(self, costs: Sequence[int], most: int | None) -> None:
        terms = [
            (run.active, cost)
            for cost, runs in zip(costs, self.runs, strict=True)
            for run in runs[1:]
        ]
        self.unit = max(1, gcd(*[cost for _, cost in terms]))
        self.again = sum(cost // self.unit * active for active, cost in terms)
        if most is not None and terms:
            self.model.add(self.again <= most // self.unit)
        self.model.minimize(self.again)

    def lower_the_peak(self, again: int) -> None:
        """Let the model run so much again, no less, and hold as little as possible at the peak."""
        most = self.model.new_int_var(0, self._budget, "")
        self.model.add_cumulative(*self._held, most)
        self.model.add(self.again == again)
        self.model.minimize(most)

    def begin_with(self, order: Iterable[int]) -> None:
        """Start the search at an order of instructions; one outside of the model is left out."""
        number = {task.instruction: at for at, task in enumerate(self.tasks)}
        runs: list[list[tuple[int, int]]] = [[] for _ in self.tasks]  # stage and slot
        last: dict[tuple[int, int], int] = {}
        stage = 0
        for at in [number[i] for i in order if i in number]:
            if not runs[at]:
                stage = at  # what is kept for replays may be left out before it
            slot = _slot(stage, at)
            for buffer in self.tasks[at].reads:
                last[buffer, len(runs[self._writer[buffer]]) - 1] = slot
            for buffer in self.tasks[at].writes:
                last[buffer, len(runs[at])] = slot
            runs[at].append((stage, slot))
            stage += at == stage
        if any(
            len(found) > len(known) or any(stage > late for stage, _ in found)
            for found, known, late in zip(runs, self.runs, self._late, strict=True)
        ):
            return
        for found, known in zip(runs, self.runs, strict=True):
            for place, run in enumerate(known):
                active = place < len(found)
                if place:
                    self.model.add_hint(run.active, active)
                    if active:
                        self.model.add_hint(run.stage, found[place][0])
                        self.model.add_hint(run.slot, found[place][1])
                for buffer, end in run.ends.items():
                    if active and not isinstance(end, int):
                        self.model.add_hint(end, last[buffer, place])


def _slot(stage: int, at: int) -> int:
    """Return the slot of a task in a stage."""
    return stage * (stage + 1) // 2 + at


def _literals(active: Any) -> list[Any]:
    return [] if isinstance(active, int) else [active]
