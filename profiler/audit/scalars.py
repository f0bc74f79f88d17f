"""A program run on scalars that count their own arithmetic: a check of every declared cost.

The formulas (`op.compute`, never `op.kernel` or `op.cost`) are run on numpy arrays of
`CountingScalar`s by a small interpreter of its own. Indices (tensors that are not of floating
point) stay plain arrays. An operation takes a few tenths of a microsecond, so this is for programs
of up to `SCALAR_LIMIT` operations. It says nothing of the fused kernels that execution uses instead
of the formulas; that their values agree is checked where the values of an execution are given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from autodiff.cost import Cost
from autodiff.devices import on_device_of
from autodiff.instructions import FORWARD, PHASES, RECOMPUTE
from autodiff.levels import Move
from autodiff.program import Program
from autodiff.schedule import Schedule
from autodiff.spec import Spec, is_number
from profiler.audit.counting import CountingArray, CountingScalar, Tally
from profiler.audit.report import AuditReport

SCALAR_LIMIT = 10**5
"""The scalar operations up to which a sweep lets scalars count themselves."""


def _lifted(value: Any, spec: Spec, tally: Tally) -> Any:
    """Return a value with every plain number in it made into a counting scalar.

    Indices become a plain array.
    """
    is_index = not is_number(spec.dtype) and not spec.dtype.is_floating_point
    if isinstance(value, torch.Tensor):
        # numpy has no bfloat16; indices stay whole.
        value = (value if is_index else value.double()).detach().cpu().numpy()
    if is_index:
        return np.asarray(value, dtype=np.int64)

    def lift(element: Any) -> CountingScalar:
        return element if type(element) is CountingScalar else CountingScalar(float(element), tally)

    if not isinstance(value, np.ndarray):
        return lift(value)
    lifted = np.frompyfunc(lift, 1, 1)(value)
    return lifted.view(CountingArray) if isinstance(lifted, np.ndarray) else lifted


def _lowered(value: Any) -> np.ndarray:
    """Return the plain numbers in a value."""
    if isinstance(value, CountingScalar):
        return np.asarray(value.value)
    return np.array([getattr(element, "value", element) for element in value.flat]).reshape(
        value.shape
    )


@dataclass(frozen=True)
class ScalarRun:
    """A program as scalars ran it: the counts of steps, and the targets' values as arrays."""

    counts: tuple[Cost, ...]
    values: tuple[np.ndarray, ...]


def run_on_scalars(
    program: Program, schedule: Schedule | None = None, given: Mapping[int, Any] | None = None
) -> ScalarRun:
    """Run a program's formulas on scalars that count themselves.

    The order is the schedule's, or that of creation without one. `given` holds values by number;
    what it leaves out comes from the leaves, or, where these have no values to read, is all ones
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
    """Yield each step's instruction and what its scalars counted; fill `held` with values."""
    tally = Tally()
    for number in program.given:
        spec, _, _, source = program.values[number]
        value = given[number] if given is not None and number in given else source.value
        unread = value is None or (isinstance(value, torch.Tensor) and value.is_meta)
        held[number] = _lifted(_stand_in(spec) if unread else value, spec, tally)
    here = torch.empty(0, device="cpu")
    order = range(len(program.instructions)) if schedule is None else schedule.order.tolist()
    for i in order:
        op, reads, writes, _ = program.instructions[i]
        if isinstance(op, Move):
            # No scalar is ever dropped, so a LOAD finds its value; only a token is new.
            held.setdefault(writes[0], np.empty(0, dtype=np.int64))
            yield i, tally.take()
            continue
        # Infinities are values like any other; a constant is made where it can be read.
        with np.errstate(all="ignore"), on_device_of([here]):
            results = op.compute(*[held[read] for read in reads])
        for write, result in zip(writes, results if len(writes) > 1 else (results,), strict=True):
            held[write] = _lifted(result, program.values[write].spec, tally)
        yield i, tally.take()


def _stand_in(spec: Spec) -> Any:
    if is_number(spec.dtype):
        return 1.0
    return torch.full(spec.shape, 1 if spec.dtype.is_floating_point else 0, dtype=spec.dtype)


def count_by_scalars(
    program: Program, schedule: Schedule | None = None, given: Mapping[int, Any] | None = None
) -> dict[str, Cost]:
    """Return the operations of a whole program by phase, as its scalars counted them."""
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
    """Compare every op's declared cost, and its result's declared shape, with counting scalars.

    `results`, the targets' values from an execution, are compared with those of the scalars, to
    rounding. The report names the first op that differs.
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
        if isinstance(result, torch.Tensor) and result.is_meta:
            continue  # it has no values
        events += 1
        gap = _gap(_lowered(held[target]), result)
        if gap > 1:
            return AuditReport(
                "scalars",
                events,
                f"{program.label(target)}: {gap:.3g} times further from the execution's than "
                "rounding allows",
            )
    return AuditReport("scalars", events)


def _gap(found: np.ndarray, result: Any) -> float:
    """Return the greatest difference in units of what rounding allows.

    That is the root of the dtype's precision, relative to the greatest element.
    """
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
