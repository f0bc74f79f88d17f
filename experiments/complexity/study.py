"""Which rows are measured, and what is found from them.

First the unit of each variable: the smallest divisor of its full value in steps of which the module
runs. Then its degree, on a line of rows along it, from divided differences. Then a grid: one value
more than its degree for each variable determines all polynomials, and further values are added
until three times as many rows are held out. Last, rows below the grid show from where the formulas
hold, and a prediction at full size shows whether they hold there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from math import prod

from experiments.complexity.config import BATCH, StudyConfig, Variable
from experiments.complexity.fitting import Fitting
from experiments.complexity.formulas import Complexity, Found
from experiments.complexity.lattice import Lattice, Shape, degree
from experiments.complexity.measuring import CHECKPOINTED, INFERENCE, TRAINING, Row
from experiments.errors import ConfigError, ModuleError

log = logging.getLogger("tapemeasure")

MOST_DEGREE, HELD_OUT = 4, 3
FAR = 33
"""How many units away a step that was found is checked once more: a step of 14 where patches have
16 pixels looks right in the first rows, floor(14·k/16) = k − 1, and no longer at k = 33."""
PEAKS = {
    TRAINING: "peak_bytes",
    CHECKPOINTED: "checkpointed_peak_bytes",
    INFERENCE: "inference_peak_bytes",
}
NEEDED = "needed_bytes"

Measure = Callable[[Shape], Row]


@dataclass(frozen=True)
class Axis:
    """The values of a variable: `unit` times 1, 2, … from `first` on, or the user's own."""

    variable: Variable
    unit: int
    degree: int = MOST_DEGREE

    def values(self, count: int) -> Shape:
        """Return the smallest values of the axis."""
        if self.variable.values:
            return self.variable.values[:count]
        first = 2 if self.variable.name == BATCH else 3
        return tuple(self.unit * (first + step) for step in range(count))


def complexity_of(study: StudyConfig, measure: Measure, predict: Measure | None) -> Complexity:
    """Return the formulas of a study; `predict` is asked for the row at full size.

    Raises ModuleError where the module runs at no small shape.
    """
    axes = [_with_degree(axes_at, place, measure) for place, axes_at in _started(study, measure)]
    rows = _rows(axes, measure)
    lattice = Lattice(tuple(axis.values(axis.degree + 1) for axis in axes))
    fitting = Fitting(study.letters, lattice, [row.shape for row in rows], _smallest(axes))
    found = _found(fitting, rows)
    lowest = _lowest(axes, found, measure)
    if predict is not None:
        found = _checked(found, study, predict(study.full))
    return Complexity(
        study.letters,
        tuple(variable.name for variable in study.variables),
        study.full,
        lowest,
        tuple(axis.unit for axis in axes),
        found,
    )


def _smallest(axes: Sequence[Axis]) -> Shape:
    return tuple(axis.values(1)[0] for axis in axes)


def _started(study: StudyConfig, measure: Measure) -> Iterator[tuple[int, list[Axis]]]:
    """Yield, for each variable, its place and the axes with units at which the module runs."""
    axes = _running(study, measure)
    for place in range(len(axes)):
        yield place, axes


def _running(study: StudyConfig, measure: Measure) -> list[Axis]:
    """Return axes of the smallest units at which the module runs."""
    failure = ModuleError("no shape was tried")
    for units in _units(study.variables):
        axes = [Axis(one, unit) for one, unit in zip(study.variables, units, strict=True)]
        try:
            for count in (1, 2):
                measure(tuple(axis.values(count)[-1] for axis in axes))
        except ModuleError as error:
            failure = error
        else:
            return axes
    raise ConfigError(
        f"vary: the module runs at no small shape, the last error was: {failure}; give the unit of "
        "a variable, such as 'vary={n_embd: {letter: d, unit: 12}}', or let an input follow an "
        "argument: 'input.shape=[\"${model.arguments.width}\"]'"
    )


def _units(variables: Sequence[Variable]) -> Iterator[Shape]:
    """Yield units to try, those with the fewest variables in steps first, small steps first."""
    choices = [
        [one.unit] if one.unit else [1] if one.values or one.name == BATCH else _divisors(one.full)
        for one in variables
    ]
    free = [place for place, choice in enumerate(choices) if len(choice) > 1]
    for size in range(min(len(free), 2) + 1):
        for places in combinations(free, size):
            options = [
                choice[1:] if place in places else choice[:1]
                for place, choice in enumerate(choices)
            ]
            yield from sorted(product(*options), key=prod)


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]


def _with_degree(axes: list[Axis], place: int, measure: Measure) -> Axis:
    """Return an axis with the degree of all sums along it, in larger steps where there is none."""
    axis = axes[place]
    given = axis.variable.unit or axis.variable.values or axis.variable.name == BATCH
    near: Axis | None = None
    for unit in (
        [axis.unit] if given else [n for n in _divisors(axis.variable.full) if n >= axis.unit]
    ):
        tried = replace(axis, unit=unit)
        try:
            found = _line_degree(axes, place, tried.values(MOST_DEGREE + 2), measure)
        except ModuleError:
            continue
        if found is None:
            continue
        tried = replace(tried, degree=found)
        if given or _reaches_far(axes, place, tried, measure):
            return tried
        near = near or tried
    if near is not None:
        return near
    log.warning(
        "%s: the sums follow no polynomial of degree %d or less", axis.variable.name, MOST_DEGREE
    )
    return replace(axis, degree=min(MOST_DEGREE, len(axis.values(MOST_DEGREE + 2)) - 2))


def _line_degree(axes: Sequence[Axis], place: int, values: Shape, measure: Measure) -> int | None:
    """Return the degree of all sums on a line of rows along an axis, None where one has none."""
    line = [measure(_on(axes, place, value)) for value in values]
    degrees = [degree([row.sums[name] for row in line], values) for name in line[0].sums]
    known = [one for one in degrees if one is not None]
    return max(known) if len(known) == len(degrees) else None


def _reaches_far(axes: Sequence[Axis], place: int, axis: Axis, measure: Measure) -> bool:
    """Return whether a line that goes on to a far value has no higher degree.

    The far value is the full one where the module does not run beyond it.
    """
    near = axis.values(MOST_DEGREE + 2)
    for far in (FAR * axis.unit, axis.variable.full):
        if far <= near[-1]:
            continue
        try:
            return _line_degree(axes, place, (*near, far), measure) is not None
        except ModuleError:
            continue
    return True


def _on(axes: Sequence[Axis], place: int, value: int) -> Shape:
    """Return the smallest shape, with another value in one place."""
    return tuple(value if at == place else axis.values(1)[0] for at, axis in enumerate(axes))


def _rows(axes: Sequence[Axis], measure: Measure) -> list[Row]:
    """Return the rows of the grid and of the lines along the axes, held-out ones thrice as many."""
    fitted = prod(axis.degree + 1 for axis in axes)
    extra = 1
    while prod(axis.degree + 1 + extra for axis in axes) < (1 + HELD_OUT) * fitted:
        extra += 1
        if all(
            len(axis.values(axis.degree + 1 + extra)) < axis.degree + 1 + extra for axis in axes
        ):
            break  # the user's values are all used
    shapes = set(product(*(axis.values(axis.degree + 1 + extra) for axis in axes)))
    shapes |= {
        _on(axes, place, value)
        for place, axis in enumerate(axes)
        for value in axis.values(MOST_DEGREE + 2)
    }
    inner = [axis.variable.name for axis in axes]
    order = sorted(
        shapes, key=lambda shape: (sorted(zip(inner, shape, strict=True), key=_by_module), shape)
    )
    log.info("%d rows, %d of them to determine %d coefficients", len(order), fitted, fitted)
    return [measure(shape) for shape in order]


def _by_module(named: tuple[str, int]) -> tuple[bool, str]:
    """Order variables so that those that leave the module as it is vary fastest."""
    name, _ = named
    return name in (BATCH, "sequence") or name.rpartition(".")[2].isdigit(), name


def _found(fitting: Fitting, rows: Sequence[Row]) -> dict[str, Found]:
    """Return what the rows decide of every quantity."""
    found = {name: fitting.sum_of([row.sums[name] for row in rows]) for name in rows[0].sums}
    uncounted = sorted({op for row in rows for op in row.uncounted})
    if uncounted:
        reason = f"without {', '.join(uncounted)}, whose operations are not counted"
        found = {
            name: replace(one, reason=one.reason or reason) if "operations" in name else one
            for name, one in found.items()
        }
    for run, name in PEAKS.items():
        if run in rows[0].runs:
            found[name] = fitting.peak_of([row.runs[run] for row in rows])
    if TRAINING in rows[0].runs:
        given = [row.sums["given_bytes"] for row in rows]
        found[NEEDED] = fitting.peak_of([row.runs[TRAINING] for row in rows], given)
    return found


def needed_bytes(row: Row) -> int:
    """Return what a row's largest run needs above the inputs and parameters, and those."""
    return row.sums.get("given_bytes", 0) + max(run.peak for run in row.runs.values())


def values_of(row: Row) -> dict[str, int]:
    """Return the value of every quantity in a row."""
    values = row.sums | {name: row.runs[run].peak for run, name in PEAKS.items() if run in row.runs}
    if TRAINING in row.runs:
        values[NEEDED] = row.sums["given_bytes"] + row.runs[TRAINING].peak
    return values


def _lowest(axes: Sequence[Axis], found: dict[str, Found], measure: Measure) -> Shape:
    """Return the smallest value of each variable at which a row meets all that was decided."""
    lowest = []
    for place, axis in enumerate(axes):
        least = axis.values(1)[0]
        for value in range(least - axis.unit, 0, -axis.unit):
            if axis.variable.values:
                break
            shape = _on(axes, place, value)
            try:
                values = values_of(measure(shape))
            except ModuleError:
                break
            formulas = ((one.formula, values[name]) for name, one in found.items())
            if any(formula is not None and formula(*shape) != value for formula, value in formulas):
                break
            least = value
        lowest.append(least)
    return tuple(lowest)


def _checked(found: dict[str, Found], study: StudyConfig, row: Row) -> dict[str, Found]:
    """Return what was found with its value at full size; what differs there is not decided."""
    checked = {}
    for name, value in values_of(row).items():
        one = replace(found[name], full=value)
        if one.formula is not None and (claimed := one.formula(*study.full)) != value:
            shape = ", ".join(
                f"{letter}={size}" for letter, size in zip(study.letters, study.full, strict=True)
            )
            one = replace(
                one,
                formula=None,
                reason=f"at full size ({shape}) {value} is predicted, the formula gives {claimed}",
            )
        checked[name] = one
    return checked
