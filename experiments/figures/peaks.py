"""Peaks along each dimension, on both sides of b = d."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from experiments.figures import axes as scales
from experiments.figures.data import (
    AXIS_LABELS,
    Series,
    along,
    case_words,
    fixed_words,
    main_case,
    marks_words,
    points_of,
    series_of,
    shape_words,
)
from experiments.figures.operations import plot_series
from experiments.figures.style import MUTED, WIDTH, Drawing, finish, handle, new_figure
from experiments.names import AXES, HOME_ENGINE
from experiments.results.tables import Results
from experiments.text import joined, percent

CAPTION = (
    "How to read it: above, the batch is wide and the activations that are kept (a multiple of bd) "
    "dominate the peak; below, the layers are wide and the weight gradients (a multiple of d²) do. "
    "Where a curve bends, another moment of the step becomes the peak."
)
REGIMES = {"b > d": lambda n, d, b: b / d, "d > b": lambda n, d, b: d / b}
RULERS = {
    "b > d": ("activation", "activations"),
    "d > b": ("parameter_gradient", "weight gradients"),
}


def draw_peaks(results: Results) -> Drawing | None:
    """Draw peak bytes against n, d and b, for b far above d and d far above b; None unswept."""
    frame = main_case(points_of(results.results))
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
            scales.swept_axis(axes, frame[axis].unique(), label, (WIDTH - 1.4) / len(swept))
            axes.set_title(_where(axes, frame, axis, fixed, regime))
    for axes in grid.flat:
        scales.byte_axis(
            axes, values, "peak above parameters" if axes in grid[:, 0] else "", at_most=8
        )
    title = _title(frame, regimes)
    note = f"{case_words(frame)} · {marks_words(pd.concat(shown), 'peak_bytes')}"
    handles = [
        handle(series.label, series.look, hollow=series.engine != HOME_ENGINE) for series in drawn
    ]
    return Drawing(title, CAPTION, finish(figure, title, note, handles))


def _side(frame: pd.DataFrame, regime: str) -> pd.DataFrame:
    """Return the rows on that side of b = d."""
    return frame[frame["b"] > frame["d"]] if regime == "b > d" else frame[frame["d"] > frame["b"]]


def _where(axes: Axes, frame: pd.DataFrame, axis: str, fixed: dict[str, int], regime: str) -> str:
    """Return a panel's heading; where the panel crosses b = d, draw a line there."""
    if axis == "n":
        return f"{regime}: {fixed_words(fixed)}"
    border = fixed["b" if axis == "d" else "d"]
    if not frame[axis].min() < border < frame[axis].max():
        return fixed_words(fixed)
    axes.axvline(border, color=MUTED, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1)
    return f"{fixed_words(fixed)} (dotted: b = d)"


def _title(frame: pd.DataFrame, regimes: list[str]) -> str:
    """Return what dominates a full step's peak in each regime, for the deepest of its panel."""
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
        share = percent(row[f"peak_{role}_bytes"], row["peak_bytes"])
        facts.append(f"where {regime}, {name} are {share} ({shape_words(row)})")
    return (
        f"What dominates a full step’s peak: {joined(facts)}"
        if facts
        else "Peaks along each dimension, on both sides of b = d"
    )
