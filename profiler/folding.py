"""A program and a schedule folded over shapes: every number of a step, for all shapes at once.

The result serves one shape, thousands at once, or a formula. Operations are counted once for each
kind of work. Live bytes are coefficients over terms at every step (`terms`), of which the few that
can be the peak remain (`envelope`). So the work is that of one long program and a handful of
integers, however many the shapes.

The numbers are those that `recording_from_specs` and the ledger would give, point by point, from
the same lifetimes and specs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property, reduce
from operator import add
from typing import Any

import numpy as np

from autodiff.check import check_schedule
from autodiff.cost import Cost
from autodiff.instructions import INPUT, PARAMETER, ROLES, TEMPORARY
from autodiff.liveness import Lifetimes
from autodiff.node import ComputationNode
from autodiff.program import Program
from autodiff.schedule import Schedule
from profiler.counter import count_steps
from profiler.envelopes import envelope
from profiler.ledger import COMPUTED_ROLES
from profiler.programs import given_bytes
from profiler.terms import Symbols, at_points, combined, counted_from_one, expressions, in_terms

_MOST_AT_ONCE = 2**24


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a step costs, from shapes: integers, or expressions where dimensions are symbols.

    `ops_by_phase` has a `Cost` for forward, recompute and backward. `live` are the live bytes right
    after each step, as coefficients over `terms`; `buffers` has the same for each buffer that is
    allocated, `role`, `born` and `dies` as in a ledger.
    """

    ops_by_phase: dict[str, Cost]
    parameter_bytes: Any
    input_bytes: Any
    terms: Sequence[Any]
    live: np.ndarray
    buffers: np.ndarray
    role: np.ndarray
    born: np.ndarray
    dies: np.ndarray
    planner: str = "store_all"

    @property
    def ops(self) -> Cost:
        """The scalar operations of all phases together."""
        return reduce(add, self.ops_by_phase.values())

    @property
    def matmul_flops(self) -> Any:
        """2·m·k·p for every matrix product."""
        return self.ops.matmul_flops

    @cached_property
    def moments(self) -> np.ndarray:
        """The steps among which is the peak, for any shape."""
        return envelope(counted_from_one(self.live, self.terms))

    @cached_property
    def peak_bytes(self) -> Any:
        """The greatest total of live bytes, without parameters and inputs.

        It is an integer, or the maximum of a few polynomials.
        """
        amounts = expressions(self.live[self.moments], self.terms)
        if all(isinstance(amount, int) for amount in amounts):
            return max(amounts, default=0)
        import sympy  # where there are symbols, it has been loaded already

        return sympy.Max(*amounts, evaluate=False) if len(amounts) > 1 else amounts[0]

    @cached_property
    def live_after_bytes(self) -> Any:
        """The bytes that live on after the last step, without parameters and inputs."""
        return expressions(self._live_after, self.terms)[0]

    @property
    def _live_after(self) -> np.ndarray:
        total: np.ndarray = self.buffers[self.dies == len(self.live)].sum(axis=0, keepdims=True)
        return total

    def at(self, symbols: Symbols, *, roles: bool = False) -> dict[str, np.ndarray]:
        """Return every number as an array over points.

        `symbols` gives each symbol's values there, arrays of one length. With `roles`, also the
        numbers of `peak_by_role`, as `peak_<role>_bytes`. Arrays hold 64-bit integers, or Python
        integers where these are too small.
        """
        values = at_points(self.terms, symbols)
        at_moments = combined(self.live[self.moments], values)
        columns: dict[str, np.ndarray] = {"peak_bytes": at_moments.max(axis=0, initial=0)}
        if roles:
            columns |= self._by_role(values, self._peak_steps(values, at_moments))
        columns["live_after_bytes"] = combined(self._live_after, values)[0]
        return columns | _on_points(self._amounts, symbols)

    @property
    def _amounts(self) -> dict[str, Any]:
        """The numbers that are no maxima."""
        ops = self.ops
        return {
            "ops": ops.total,
            **{f"ops_{phase}": cost.total for phase, cost in self.ops_by_phase.items()},
            **{field.name: getattr(ops, field.name) for field in fields(Cost)},
            "parameter_bytes": self.parameter_bytes,
            "input_bytes": self.input_bytes,
        }

    def _peak_steps(self, values: np.ndarray, at_moments: np.ndarray) -> np.ndarray:
        """Return the first step at which the live bytes are greatest, at each point.

        Where only one moment is the greatest it is that one; where several are, steps between them
        may be as great and earlier.
        """
        if not len(self.live):
            return np.zeros(values.shape[1], dtype=np.int64)
        steps: np.ndarray = self.moments[at_moments.argmax(axis=0)]
        ties = np.flatnonzero((at_moments == at_moments.max(axis=0)).sum(axis=0) > 1)
        size = max(_MOST_AT_ONCE // len(self.live), 1)
        for start in range(0, len(ties), size):
            some = ties[start : start + size]
            steps[some] = combined(self.live, values[:, some]).argmax(axis=0)
        return steps

    def _by_role(self, values: np.ndarray, steps: np.ndarray) -> dict[str, np.ndarray]:
        """Return the live bytes of each role at each point's step."""
        found = np.zeros((len(COMPUTED_ROLES), len(steps)), dtype=values.dtype)
        for step in np.unique(steps).tolist():
            alive = (self.born <= step) & (self.dies >= step)
            points = np.flatnonzero(steps == step)
            rows = np.stack(
                [
                    self.buffers[alive & (self.role == code)].sum(axis=0)
                    for code in range(len(COMPUTED_ROLES))
                ]
            )
            held = combined(rows, values[:, points])
            found = found.astype(np.result_type(found, held))
            found[:, points] = held
        return {f"peak_{role}_bytes": row for role, row in zip(COMPUTED_ROLES, found, strict=True)}


def _on_points(amounts: dict[str, Any], symbols: Symbols) -> dict[str, np.ndarray]:
    terms, rows = in_terms(list(amounts.values()))
    return dict(zip(amounts, combined(rows, at_points(terms, symbols)), strict=True))


def fold(program: Program, schedule: Schedule, lives: Lifetimes | None = None) -> Prediction:
    """Fold a program and a schedule, which is checked unless its lifetimes are given.

    Raises ScheduleError where the schedule is illegal or breaks its claims, GraphError where a
    dimension is neither an integer nor a symbol.
    """
    lives = check_schedule(program, schedule) if lives is None else lives
    flat = program.flat
    # Most ops inherit the rule that they need nothing but their results, and are not asked.
    workspaces = [
        0 if type(op).workspace is ComputationNode.workspace else op.workspace(*specs)
        for op, specs in flat.works
    ]
    terms, rows = in_terms([*(spec.nbytes for spec in flat.specs), *workspaces])
    buffers = rows[flat.spec_of[lives.owner]]
    held = rows[len(flat.specs) :][flat.work_of[schedule.order]]
    at = np.flatnonzero(held.any(axis=1))
    return Prediction(
        ops_by_phase=count_steps(program, schedule, lives),
        parameter_bytes=given_bytes(program, PARAMETER),
        input_bytes=given_bytes(program, INPUT),
        terms=terms,
        live=lives.live(buffers) + held,
        buffers=np.concatenate([buffers, held[at]]),
        role=np.concatenate(
            [
                flat.roles[lives.owner] - ROLES.index(COMPUTED_ROLES[0]),
                np.full(len(at), COMPUTED_ROLES.index(TEMPORARY)),
            ]
        ),
        born=np.concatenate([lives.born, at]),
        dies=np.concatenate([lives.dies, at]),
        planner=schedule.planner,
    )
