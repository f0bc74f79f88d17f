"""Peaks along each dimension, on both sides of b = d."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from experiments.figures import axes as scales
from experiments.figures.data import (
    AXES,
    AXIS_LABELS,
    HOME_ENGINE,
    Series,
    along,
    case_words,
    fixed_words,
    main_case,
    measured,
    meets,
    series_of,
)
from experiments.figures.operations import plot_series
from experiments.figures.style import MUTED, WIDTH, Drawing, finish, handle, new_figure
from experiments.results.tables import Results
from experiments.text import joined, percent

CAPTION = (
    "How to read it: above, the batch is wide and what is kept of the activations (a multiple of bd) makes the peak; below, the layers are "
    "wide and the weight gradients (a multiple of d²) make it. Where a curve bends, another moment of the step has become the greatest."
)
REGIMES = {"b > d": lambda n, d, b: b / d, "d > b": lambda n, d, b: d / b}
RULERS = {
    "b > d": ("activation", "activations"),
    "d > b": ("parameter_gradient", "weight gradients"),
}


def draw_peaks(results: Results) -> Drawing | None:
    """Peak bytes against n, d and b, with b far above d and with d far above b; None where nothing was swept."""
    frame = main_case(measured(results.results))
    frame = frame[~frame["mode"].isin(["only", "checkpointed"])]
    swept = [axis for axis in AXES if len(frame) and frame[axis].nunique() > 1]
    regimes = [name for name in REGIMES if len(_side(frame, name))]
    if not swept or not regimes:
        return None
    figure = new_figure(2.7 * len(regimes) + 0.3)
    grid = figure.subplots(len(regimes), len(swept), sharey=True, sharex="col", squeeze=False)
    drawn: dict[Series, None] = {}
    values: list[float] = []
    shown = []
    for row, regime in enumerate(regimes):
        for column, axis in enumerate(swept):
            axes = grid[row, column]
            line, fixed = along(
                _side(frame, regime) if axis == "n" else frame, axis, prefer=REGIMES[regime]
            )
            for rank, (series, rows) in enumerate(series_of(line)):
                values += plot_series(axes, series, rows, axis, fixed, "peak_bytes", rank)
                drawn[series] = None
            shown.append(line)
            label = AXIS_LABELS[axis] if row == len(regimes) - 1 else ""
            scales.swept_axis(axes, frame[axis], label, (WIDTH - 1.4) / len(swept))
            axes.set_title(_where(axes, frame, axis, fixed, regime))
    for axes in grid.flat:
        scales.byte_axis(
            axes, values, "peak above parameters" if axes in grid[:, 0] else "", at_most=8
        )
    title = _title(frame, regimes)
    note = f"{case_words(frame)} · marks measured, lines theory · {meets(pd.concat(shown), 'peak_bytes')}"
    handles = [
        handle(series.label, series.look, hollow=series.engine != HOME_ENGINE) for series in drawn
    ]
    return Drawing(title, CAPTION, finish(figure, title, note, handles))


def _side(frame: pd.DataFrame, regime: str) -> pd.DataFrame:
    """The rows on that side of b = d."""
    return frame[frame["b"] > frame["d"]] if regime == "b > d" else frame[frame["d"] > frame["b"]]


def _where(axes: Axes, frame: pd.DataFrame, axis: str, fixed: dict[str, int], regime: str) -> str:
    """A panel's heading; where the panel crosses b = d, a line marks the place."""
    if axis == "n":
        return f"{regime}: {fixed_words(fixed)}"
    border = fixed["b" if axis == "d" else "d"]
    if not frame[axis].min() < border < frame[axis].max():
        return fixed_words(fixed)
    axes.axvline(border, color=MUTED, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1)
    return f"{fixed_words(fixed)} (dotted: b = d)"


def _title(frame: pd.DataFrame, regimes: list[str]) -> str:
    """What the peak of the whole step consists of in each regime, for the deepest network of its panel."""
    full = frame[(frame["mode"] == "full") & (frame["engine"] == HOME_ENGINE)].dropna(
        subset=["peak_activation_bytes"]
    )
    if full.empty:
        return "Peaks along each dimension, on both sides of b = d"
    facts = []
    for regime in regimes:
        side = _side(full, regime)
        if side.empty:
            continue
        row = along(side, "n", prefer=REGIMES[regime])[0].iloc[-1]
        role, name = RULERS[regime]
        shape = f"n = {row['n']}, d = {row['d']}, b = {row['b']}"
        facts.append(
            f"where {regime}, {name} are {percent(row[f'peak_{role}_bytes'], row['peak_bytes'])} ({shape})"
        )
    return (
        f"What a full step’s peak consists of: {joined(facts)}"
        if facts
        else "Peaks along each dimension, on both sides of b = d"
    )
