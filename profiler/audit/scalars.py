"""A program run on scalars that count their own arithmetic: a witness for every declared cost.

The formulas (`op.compute`, never `op.kernel` or `op.cost`) are run on numpy arrays of `CountingScalar`s by a small interpreter of
its own. Indices (tensors that are not of floating point) stay plain arrays. An operation takes a few tenths of a microsecond, so
this is for programs of up to `SCALAR_LIMIT` operations. It says nothing of the fused kernels that execution uses instead of
the formulas; that their values agree is checked where the values of an execution are given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from autodiff.cost import Cost
from autodiff.instructions import FORWARD, PHASES, RECOMPUTE
from autodiff.program import Program
from autodiff.schedule import Schedule
from autodiff.spec import NUMBER, Spec
from profiler.audit.counting import CountingArray, CountingScalar, Tally
from profiler.audit.report import AuditReport

SCALAR_LIMIT = 10**5
"""The scalar operations up to which a sweep lets scalars count themselves."""


def _lifted(value: Any, spec: Spec, tally: Tally) -> Any:
    """A number, tensor or array with every plain number in it made into a counting scalar; indices as a plain array."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if spec.dtype is not NUMBER and not spec.dtype.is_floating_point:
        return np.asarray(value, dtype=np.int64)

    def lift(element: Any) -> CountingScalar:
        return element if type(element) is CountingScalar else CountingScalar(float(element), tally)

    if not isinstance(value, np.ndarray):
        return lift(value)
    lifted = np.frompyfunc(lift, 1, 1)(value)
    return lifted.view(CountingArray) if isinstance(lifted, np.ndarray) else lifted


def _lowered(value: Any) -> np.ndarray:
    """The plain numbers in a value."""
    if isinstance(value, CountingScalar):
        return np.asarray(value.value)
    return np.array([getattr(element, "value", element) for element in value.flat]).reshape(
        value.shape
    )


@dataclass(frozen=True)
class ScalarRun:
    """A program as scalars ran it: the count of each step, and the targets' values as plain arrays."""

    counts: tuple[Cost, ...]
    values: tuple[np.ndarray, ...]


def run_on_scalars(
    program: Program, schedule: Schedule | None = None, given: Mapping[int, Any] | None = None
) -> ScalarRun:
    """Run a program's formulas on scalars that count themselves, in the schedule's order (else as created).

    `given` holds values by number; what it leaves out comes from the leaves, or, where these hold only shapes, is all ones
    (zeros for indices).
    """
    held: dict[int, Any] = {}
    counts = tuple(count for _, count in _steps(program, schedule, given, held))
    return ScalarRun(counts, tuple(_lowered(held[target]) for target in program.targets))


def _steps(
    program: Program,
    schedule: Schedule | None,
    given: Mapping[int, Any] | None,
    held: dict[int, Any],
) -> Iterator[tuple[int, Cost]]:
    """Each step's instruction, and what its scalars counted; `held` is filled with values."""
    tally = Tally()
    for number in program.given:
        spec, _, _, source = program.values[number]
        value = given[number] if given is not None and number in given else source.value
        held[number] = _lifted(_stand_in(spec) if value is None else value, spec, tally)
    order = range(len(program.instructions)) if schedule is None else schedule.order.tolist()
    for i in order:
        op, reads, writes, _ = program.instructions[i]
        with np.errstate(all="ignore"):  # infinities are values like any other
            results = op.compute(*[held[read] for read in reads])
        for write, result in zip(writes, results if len(writes) > 1 else (results,), strict=True):
            held[write] = _lifted(result, program.values[write].spec, tally)
        yield i, tally.take()


def _stand_in(spec: Spec) -> Any:
    if spec.dtype is NUMBER:
        return 1.0
    return torch.full(spec.shape, 1 if spec.dtype.is_floating_point else 0, dtype=spec.dtype)


def count_by_scalars(
    program: Program, schedule: Schedule | None = None, given: Mapping[int, Any] | None = None
) -> dict[str, Cost]:
    """The operations of a whole program by phase, as its scalars counted them."""
    totals = {phase: Cost() for phase in PHASES}
    seen: set[int] = set()
    for i, count in _steps(program, schedule, given, {}):
        phase = program.instructions[i].phase
        phase = RECOMPUTE if phase == FORWARD and i in seen else phase
        seen.add(i)
        totals[phase] = totals[phase] + count
    return totals


def audit_scalars(
    program: Program,
    schedule: Schedule | None = None,
    given: Mapping[int, Any] | None = None,
    results: Sequence[Any] | None = None,
) -> AuditReport:
    """Hold every op's declared cost, and its result's declared shape, against scalars that count themselves.

    `results`, the targets' values from an execution, are held against those of the scalars, to rounding. The report names the
    first op that differs.
    """
    held: dict[int, Any] = {}
    events = 0
    for at, (i, counted) in enumerate(_steps(program, schedule, given, held)):
        events += 1
        op, reads, writes, _ = program.instructions[i]
        where = f"step {at}, {type(op).__name__} {program.label(writes[0])}"
        declared = op.cost(*(program.values[read].spec for read in reads))
        if declared != counted:
            return AuditReport(
                "scalars", events, f"{where}: declared {declared}, counted {counted}"
            )
        for write in writes:
            shape, expected = (
                tuple(getattr(held[write], "shape", ())),
                tuple(program.values[write].spec.shape),
            )
            if shape != expected:
                return AuditReport(
                    "scalars", events, f"{where}: declared shape {expected}, computed {shape}"
                )
    for target, result in zip(program.targets, results or (), strict=results is not None):
        events += 1
        gap = _gap(_lowered(held[target]), result)
        if gap > 1:
            return AuditReport(
                "scalars",
                events,
                f"{program.label(target)}: {gap:.3g} times further from the execution's than rounding allows",
            )
    return AuditReport("scalars", events)


def _gap(found: np.ndarray, result: Any) -> float:
    """The greatest difference in units of what rounding allows: the root of the dtype's precision, relative to the greatest element."""
    tensor = torch.as_tensor(result)
    precision = torch.finfo(
        tensor.dtype
        if isinstance(result, torch.Tensor) and tensor.is_floating_point()
        else torch.float64
    ).eps
    expected = tensor.detach().cpu().double().numpy()
    if found.shape != expected.shape or not np.array_equal(
        np.isfinite(found), np.isfinite(expected)
    ):
        return math.inf
    finite = np.isfinite(expected)
    allowed = math.sqrt(precision) * (1 + float(np.abs(expected[finite]).max(initial=0)))
    return float(np.abs(found[finite] - expected[finite]).max(initial=0)) / allowed
