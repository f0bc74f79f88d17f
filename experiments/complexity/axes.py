"""The values at which a study measures: units, degrees, the grid, and rows far away.

A unit is the smallest divisor of a variable's full value in steps of which the module runs. The
degree comes from a line of rows, by divided differences. A line that goes on to a far value shows
a unit that only looks right in the first rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from math import prod

from experiments.complexity.config import BATCH, StudyConfig, Variable
from experiments.complexity.lattice import Shape, degree
from experiments.complexity.measuring import Row
from experiments.errors import ConfigError, ModuleError

log = logging.getLogger("tapemeasure")

MOST_DEGREE, HELD_OUT = 4, 3
FAR = 33
"""How many units away a step that was found is checked once more: a step of 14 where patches have
16 pixels looks right in the first rows, floor(14·k/16) = k − 1, and no longer at k = 33."""
Measure = Callable[[Shape], Row]


@dataclass(frozen=True)
class Axis:
    """The values of a variable: multiples of `unit`, or the user's own.

    `far` is a value at which a unit that was found was compared once more.
    """

    variable: Variable
    unit: int
    degree: int = MOST_DEGREE
    far: int | None = None

    def values(self, count: int) -> Shape:
        """Return the smallest values of the axis."""
        if self.variable.values:
            return self.variable.values[:count]
        first = 2 if self.variable.name == BATCH else 3
        return tuple(self.unit * (first + step) for step in range(count))


def smallest(axes: Sequence[Axis]) -> Shape:
    """Return the smallest value of each axis."""
    return tuple(axis.values(1)[0] for axis in axes)


def running(study: StudyConfig, measure: Measure) -> list[Axis]:
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


def with_degree(axes: list[Axis], place: int, measure: Measure, predict: Measure) -> Axis:
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
        if given:
            return tried
        tried, holds = _seen_far(axes, place, tried, measure, predict)
        if holds:
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
    line = [measure(on_line(axes, place, value)) for value in values]
    degrees = [degree([row.sums[name] for row in line], values) for name in line[0].sums]
    known = [one for one in degrees if one is not None]
    return max(known) if len(known) == len(degrees) else None


def _seen_far(
    axes: Sequence[Axis], place: int, axis: Axis, measure: Measure, predict: Measure
) -> tuple[Axis, bool]:
    """Return an axis with its far value, and whether a line that goes on there has no more degrees.

    The far value is the full one where the module does not run beyond it.
    """
    near = axis.values(MOST_DEGREE + 2)

    def either(shape: Shape) -> Row:
        return (predict if shape[place] > near[-1] else measure)(shape)

    for far in (FAR * axis.unit, axis.variable.full):
        if far <= near[-1]:
            continue
        try:
            found = _line_degree(axes, place, (*near, far), either)
        except ModuleError:
            continue
        return replace(axis, far=far), found is not None
    return axis, True


def far_rows(axes: Sequence[Axis], predict: Measure) -> list[Row]:
    """Return the row of each axis at its far value."""
    return [
        predict(on_line(axes, place, axis.far))
        for place, axis in enumerate(axes)
        if axis.far is not None
    ]


def on_line(axes: Sequence[Axis], place: int, value: int) -> Shape:
    """Return the smallest shape, with another value in one place."""
    return tuple(value if at == place else axis.values(1)[0] for at, axis in enumerate(axes))


def grid_rows(axes: Sequence[Axis], measure: Measure) -> list[Row]:
    """Return the rows of the grid and of the lines along the axes, held-out ones thrice as many."""
    fitted = prod(axis.degree + 1 for axis in axes)
    counts = [axis.degree + 2 for axis in axes]
    while prod(counts) < (1 + HELD_OUT) * fitted:
        growing = [
            at for at, axis in enumerate(axes) if len(axis.values(counts[at] + 1)) > counts[at]
        ]
        if not growing:
            break  # the user's values are all used
        counts[min(growing, key=lambda at: _costs(axes[at], counts[at]))] += 1
    shapes = set(product(*(axis.values(count) for axis, count in zip(axes, counts, strict=True))))
    shapes |= {
        on_line(axes, place, value)
        for place, axis in enumerate(axes)
        for value in axis.values(MOST_DEGREE + 2)
    }
    inner = [axis.variable.name for axis in axes]
    order = sorted(
        shapes, key=lambda shape: (sorted(zip(inner, shape, strict=True), key=_by_module), shape)
    )
    log.info("%d rows, %d of them to determine %d coefficients", len(order), fitted, fitted)
    return [measure(shape) for shape in order]


def _costs(axis: Axis, count: int) -> tuple[int, bool]:
    """Order axes by their held-out values, then those first that leave the module as it is."""
    return count - axis.degree, axis.variable.name != BATCH


def _by_module(named: tuple[str, int]) -> tuple[bool, str]:
    """Order variables so that those that leave the module as it is vary fastest."""
    name, _ = named
    return name in (BATCH, "sequence") or name.rpartition(".")[2].isdigit(), name
