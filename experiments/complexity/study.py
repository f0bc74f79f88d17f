"""What the rows of a study decide, from where on it holds, and whether it does at full size.

First the unit of each variable: the smallest divisor of its full value in steps of which the module
runs. Then its degree, on a line of rows along it, from divided differences. Then a grid: one value
more than its degree for each variable determines all polynomials, and further values are added
until three times as many rows are held out; rows far away on each line, predicted on fake tensors,
are held out as well. Last, rows below the grid show from where each formula holds, and a prediction
at full size shows whether it holds there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from experiments.complexity.axes import (
    Axis,
    Measure,
    far_rows,
    grid_rows,
    on_line,
    running,
    smallest,
    with_degree,
)
from experiments.complexity.config import StudyConfig
from experiments.complexity.fitting import Fitting
from experiments.complexity.formulas import Complexity, Found
from experiments.complexity.lattice import Lattice, Shape
from experiments.complexity.measuring import CHECKPOINTED, INFERENCE, TRAINING, Row
from experiments.errors import ModuleError
from experiments.text import joined

PEAKS = {
    TRAINING: "peak_bytes",
    CHECKPOINTED: "checkpointed_peak_bytes",
    INFERENCE: "inference_peak_bytes",
}
NEEDED, WORKSPACE = "needed_bytes", "workspace_bytes"


def complexity_of(study: StudyConfig, measure: Measure, predict: Measure) -> Complexity:
    """Return the formulas of a study; `predict` is asked for the rows far away and at full size.

    Raises ModuleError where the module runs at no small shape.
    """
    started = running(study, measure)
    axes = [with_degree(started, place, measure, predict) for place in range(len(started))]
    rows = [*grid_rows(axes, measure), *far_rows(axes, predict)]
    lattice = Lattice(tuple(axis.values(axis.degree + 1) for axis in axes))
    fitting = Fitting(study.letters, lattice, [row.shape for row in rows], smallest(axes))
    found = _found(fitting, rows)
    found = _ranged(axes, found, measure)
    if study.check:
        found = _checked(found, study, predict(study.full))
    return Complexity(
        study.letters,
        tuple(variable.name for variable in study.variables),
        study.full,
        tuple(axis.unit for axis in axes),
        found,
    )


def _found(fitting: Fitting, rows: Sequence[Row]) -> dict[str, Found]:
    """Return what the rows decide of every quantity."""
    found = {name: fitting.sum_of([row.sums[name] for row in rows]) for name in rows[0].sums}
    for run, name in PEAKS.items():
        if run in rows[0].runs:
            found[name] = fitting.peak_of([row.runs[run] for row in rows])
    if TRAINING in rows[0].runs:
        given = [row.sums["given_bytes"] for row in rows]
        found[NEEDED] = fitting.peak_of([row.runs[TRAINING] for row in rows], given)
    found = {name: _with_what_is_left_out(name, one, rows) for name, one in found.items()}
    if rows[0].apart:
        found[WORKSPACE] = Found(None, 0, 0, "it comes in whole pages, which no polynomial gives")
    return found


def _with_what_is_left_out(name: str, found: Found, rows: Sequence[Row]) -> Found:
    """Return what was found, with the ops as its reason whose operations or bytes it leaves out."""
    uncounted = sorted({op for row in rows for op in row.uncounted})
    apart = sorted({op for row in rows for op in row.apart})
    reason = ""
    if uncounted and "operations" in name:
        reason = f"without {joined(uncounted)}, whose operations are not counted"
    elif apart and (name in (*PEAKS.values(), NEEDED) or name.endswith("kept_bytes")):
        reason = f"without the workspace of {joined(apart)}, which is listed as {WORKSPACE}"
    return replace(found, reason="; ".join(filter(None, (found.reason, reason))))


def needed_bytes(row: Row) -> int:
    """Return what a row's largest run needs above the inputs and parameters, and those."""
    return row.sums.get("given_bytes", 0) + max(run.peak for run in row.runs.values())


def values_of(row: Row) -> dict[str, int]:
    """Return the value of every quantity in a row."""
    values = row.sums | {name: row.runs[run].peak for run, name in PEAKS.items() if run in row.runs}
    if TRAINING in row.runs:
        values[NEEDED] = row.sums["given_bytes"] + row.runs[TRAINING].peak
    if row.apart:
        values[WORKSPACE] = sum(row.apart.values())
    return values


def _ranged(axes: Sequence[Axis], found: dict[str, Found], measure: Measure) -> dict[str, Found]:
    """Return what was found with the smallest value of each variable at which a row meets it."""
    lowest = {name: list(smallest(axes)) for name in found}
    for place, axis in enumerate(axes):
        holding = {name for name, one in found.items() if one.formula is not None}
        least = 0 if axis.variable.values else axis.values(1)[0]
        for value in range(least - axis.unit, 0, -axis.unit):
            shape = on_line(axes, place, value)
            try:
                values = values_of(measure(shape))
            except ModuleError:
                break
            holding = {name for name in holding if _meets(found[name], shape, values[name])}
            for name in holding:
                lowest[name][place] = value
    return {name: replace(one, lowest=tuple(lowest[name])) for name, one in found.items()}


def _meets(found: Found, shape: Shape, value: int) -> bool:
    return found.formula is not None and found.formula(*shape) == value


def _checked(found: dict[str, Found], study: StudyConfig, row: Row) -> dict[str, Found]:
    """Return what was found with its value at full size; what differs there is not decided.

    Where the full size lies below the rows that a formula was compared with, the reason says so.
    """
    checked = {}
    for name, value in values_of(row).items():
        one = replace(found[name], full=value)
        if one.formula is not None and (claimed := one.formula(*study.full)) != value:
            reason = (
                f"at full size ({_named(study.letters, study.full)}) {value} is predicted, "
                f"the formula gives {claimed}"
            )
            if any(full < low for full, low in zip(study.full, one.lowest, strict=True)):
                reason += f", which holds from {_named(study.letters, one.lowest)} on"
                one = replace(one, reason="; ".join(filter(None, (one.reason, reason))))
            else:
                one = replace(one, formula=None, reason=reason)
        checked[name] = one
    return checked


def _named(letters: Sequence[str], shape: Shape) -> str:
    return ", ".join(f"{letter}={size}" for letter, size in zip(letters, shape, strict=True))
