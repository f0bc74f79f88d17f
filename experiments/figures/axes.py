"""Axes: base 2 at the swept values, bytes in binary units, counts in powers of ten."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from experiments.figures.layout import inches_at_most
from experiments.figures.style import text_width
from profiler.units import human_bytes

_PADDING = 1.12
MOST_LINES = 24
"""Of more swept values than these only those with a label have a grid line."""


def swept_axis(
    axes: Axes,
    values: Iterable[int],
    label: str,
    inches: float,
    base: int | None = 2,
    which: str = "x",
) -> None:
    """Set an axis with a tick at every swept value.

    Where labels would touch, the greater value keeps its own; of very many, its grid line too.
    """
    marks = sorted({int(value) for value in values})
    place = (lambda value: math.log(value)) if base else float
    low, high = place(marks[0]), place(marks[-1])
    per_unit = inches_at_most(inches) * 72 / (high - low) if high > low else math.inf
    labels: list[str] = []
    edge = math.inf
    for mark in reversed(marks):
        half = (text_width(f"{mark:,}", 9.0) / 2 + 3) if which == "x" else 7.0
        centre = place(mark) * per_unit if high > low else 0.0
        fits = centre + half <= edge
        labels.append(f"{mark:,}" if fits else "")
        edge = centre - half if fits else edge
    _scale(axes, which, base)
    _set_ticks(axes, which, [float(mark) for mark in marks], labels[::-1])
    if len(marks) > MOST_LINES:
        axis = axes.xaxis if which == "x" else axes.yaxis
        for tick, label in zip(axis.get_major_ticks(), labels[::-1], strict=True):
            tick.gridline.set_visible(bool(label))
    if base:
        _limits(axes, which, marks[0] / _PADDING, marks[-1] * _PADDING)
    else:
        room = (marks[-1] - marks[0]) * 0.05 or 0.5
        _limits(axes, which, marks[0] - room, marks[-1] + room)
    _label(axes, which, label)


def byte_axis(
    axes: Axes, values: Iterable[float], label: str, which: str = "y", at_most: int = 8
) -> None:
    """Set a base-2 axis over the values, with at most `at_most` ticks at powers of two of bytes."""
    low, high = _span(values)
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))
    every = max(1, math.ceil((last - first) / (at_most - 1)))
    exponents = list(range(first - first % every, last + every + 1, every))
    _scale(axes, which, 2)
    _set_ticks(
        axes,
        which,
        [2.0**exponent for exponent in exponents],
        [human_bytes(2.0**exponent) for exponent in exponents],
    )
    _limits(axes, which, low / 1.25, high * 1.25)
    _label(axes, which, label)


def linear_byte_axis(
    axes: Axes, highest: float, label: str, which: str = "y", at_most: int = 6
) -> None:
    """Set a linear axis from 0, ticks at round numbers of bytes in binary units."""
    step = 2.0 ** math.ceil(math.log2(max(highest, 1.0) / at_most))
    ticks = [step * index for index in range(int(highest / step) + 1)]
    _set_ticks(axes, which, ticks, [human_bytes(tick) for tick in ticks])
    _limits(axes, which, 0.0, highest)
    _label(axes, which, label)


def count_axis(
    axes: Axes, values: Iterable[float], label: str, which: str = "y", inches: float = 3.0
) -> None:
    """Set a base-10 axis over the values, labelled with k, M, G, T.

    Ticks are at powers of ten; where there is space also at 2 and 5 times one.
    """
    low, high = _span(values)
    room = inches_at_most(inches) / (0.6 if which == "x" else 0.3)
    steps = (1, 2, 5) if 3 * math.log10(1.7 * high / low) < room else (1,)
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    thin = max(1, round(math.log10(high / low) / 7))
    ticks = [step * 10.0**decade for decade in decades if decade % thin == 0 for step in steps]
    _scale(axes, which, 10)
    _set_ticks(axes, which, ticks, [short_count(tick) for tick in ticks])
    _limits(axes, which, low / 1.3, high * 1.3)
    _label(axes, which, label)


def linear_count_axis(
    axes: Axes, highest: float, label: str, which: str = "y", at_most: int = 6
) -> None:
    """Set a linear axis from 0, ticks at round counts."""
    ticks = _round_ticks(0.0, highest, at_most)
    _set_ticks(axes, which, ticks, [short_count(tick) for tick in ticks])
    _limits(axes, which, 0.0, highest)
    _label(axes, which, label)


def _round_ticks(low: float, high: float, at_most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from `low` to `high`."""
    rough = max(high - low, 1e-12) / at_most
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(decade * size for size in (1, 2, 5, 10) if decade * size >= rough * 0.999)
    return [
        index * step
        for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def second_axis(
    axes: Axes, values: Iterable[float], label: str, which: str = "y", inches: float = 3.0
) -> None:
    """Set a base-10 axis of seconds, in s, ms, µs, ns.

    Ticks are at powers of ten; where there is space also at 2 and 5 times one.
    """
    low, high = _span(values)
    room = inches_at_most(inches) / (0.6 if which == "x" else 0.3)
    steps = (1, 2, 5) if 3 * math.log10(1.7 * high / low) < room else (1,)
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    ticks = [(step, decade) for decade in decades for step in steps]
    _scale(axes, which, 10)
    _set_ticks(
        axes,
        which,
        [step * 10.0**decade for step, decade in ticks],
        [short_seconds(decade, step) for step, decade in ticks],
    )
    _limits(axes, which, low / 1.3, high * 1.3)
    _label(axes, which, label)


def linear_second_axis(
    axes: Axes, highest: float, label: str, which: str = "x", at_most: int = 6
) -> None:
    """Set a linear axis of milliseconds from 0."""
    ticks = _round_ticks(0.0, 1e3 * highest, at_most)
    _set_ticks(axes, which, [tick / 1e3 for tick in ticks], [f"{tick:,g} ms" for tick in ticks])
    _limits(axes, which, 0.0, 1.06 * highest)
    _label(axes, which, label)


def plain_axis(
    axes: Axes, ticks: Iterable[float], label: str, limits: tuple[float, float], which: str = "y"
) -> None:
    """Set a linear axis with the ticks that are given."""
    marks = list(ticks)
    _set_ticks(axes, which, marks, [f"{mark:g}".replace("-", "−") for mark in marks])
    _limits(axes, which, *limits)
    _label(axes, which, label)


def more_axis(axes: Axes, highest: float, label: str, which: str = "x") -> None:
    """Set an axis of more operations in percent: linear up to 0.1, then in powers of ten."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("symlog", linthresh=0.1, linscale=0.5)
    decades = range(-1, max(1, math.ceil(math.log10(max(highest, 1)))) + 1)
    ticks = [0.0, *(10.0**decade for decade in decades)]
    _set_ticks(axes, which, ticks, ["0", *(f"{tick:,g}%" for tick in ticks[1:])])
    _limits(axes, which, -0.03, 1.5 * max(highest, 1.0))
    _label(axes, which, label)


def residual_axis(axes: Axes, greatest: int, label: str) -> None:
    """Set an axis about 0 that shows a distance of 1 as clearly as one of a million."""
    if greatest <= 1:
        plain_axis(axes, [-1, 0, 1], label, (-1.5, 1.5))
        return
    axes.set_yscale("symlog", linthresh=1)
    digits = len(str(greatest))
    sizes = [10.0**power for power in range(0, digits + 1, max(1, round(digits / 4)))]
    ticks = [*(-size for size in reversed(sizes)), 0.0, *sizes]
    _set_ticks(axes, "y", ticks, [f"{tick:,.0f}".replace("-", "−") for tick in ticks])
    _limits(axes, "y", -4.0 * greatest, 4.0 * greatest)
    _label(axes, "y", label)


def short_count(count: float) -> str:
    """Return a count as 10 k, 1 M, 5 G."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= size:
            return f"{count / size:.3g} {letter}"
    return f"{count:.3g}"


def short_seconds(decade: int, step: int = 1) -> str:
    """Return a multiple of a power of ten of seconds, as 10 ms."""
    unit = min(max(-(decade // 3), 0), 4)
    return f"{round(step * 10.0 ** (decade + 3 * unit), 6):g} {('s', 'ms', 'µs', 'ns', 'ps')[unit]}"


def _span(values: Iterable[float]) -> tuple[float, float]:
    """Return the least and the greatest value that a logarithmic axis can show."""
    shown = [float(value) for value in values if value > 0]
    return (min(shown), max(shown)) if shown else (1.0, 2.0)


def _scale(axes: Axes, which: str, base: int | None) -> None:
    setter = axes.set_xscale if which == "x" else axes.set_yscale
    if base:
        setter("log", base=base)


def _set_ticks(axes: Axes, which: str, ticks: list[float], labels: list[str]) -> None:
    axis: Any = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_ticks(ticks, labels=labels)
    axis.set_minor_locator(NullLocator())


def _limits(axes: Axes, which: str, low: float, high: float) -> None:
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)


def _label(axes: Axes, which: str, label: str) -> None:
    (axes.set_xlabel if which == "x" else axes.set_ylabel)(label)
