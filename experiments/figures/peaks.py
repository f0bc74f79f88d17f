"""Peaks: along each dimension on both sides of b = d, and the map of which moment rules where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments import theory
from experiments.figures import axes as scales
from experiments.figures.data import (
    AXES,
    AXIS_LABELS,
    HOME_ENGINE,
    Series,
    along,
    case_of,
    case_words,
    fixed_words,
    itemsize_of,
    main_case,
    measured,
    meets,
    series_of,
)
from experiments.figures.operations import plot_series
from experiments.figures.style import INK, MUTED, WIDTH, Drawing, Look, finish, handle, new_figure
from experiments.publish import Results
from experiments.words import percent, pretty

_REGIMES = {"b > d": lambda n, d, b: b / d, "d > b": lambda n, d, b: d / b}
_PIECE_LOOKS = (
    Look("#cfe3f1", "o", ""),
    Look("#f4c06a", "s", "////"),
    Look("#8a8f99", "^", "...."),
    Look("#b9d8c4", "D", "\\\\\\\\"),
    Look("#e3cfe8", "v", "----"),
)
_MARK_COLOURS = ("#10254d", "#8c3506", "#000000", "#00533c", "#4f1f60")


def draw_peaks(results: Results) -> Drawing | None:
    """Peak bytes against n, d and b, with b far above d and with d far above b; None where nothing was swept."""
    frame = main_case(measured(results.results))
    frame = frame[frame["mode"] != "only"]
    swept = [axis for axis in AXES if len(frame) and frame[axis].nunique() > 1]
    regimes = {name: prefer for name, prefer in _REGIMES.items() if _reaches(frame, name)}
    if not swept or not regimes:
        return None
    figure = new_figure(2.75 * len(regimes) + 0.3)
    grid = figure.subplots(len(regimes), len(swept), sharey=True, sharex="col", squeeze=False)
    drawn: dict[Series, None] = {}
    values: list[float] = []
    shown = []
    for row, (name, prefer) in zip(grid, regimes.items(), strict=True):
        for axes, axis in zip(row, swept, strict=True):
            line, fixed = along(frame, axis, prefer=prefer)
            for rank, (series, rows) in enumerate(series_of(line)):
                values += plot_series(axes, series, rows, axis, fixed, "peak_bytes", rank)
                drawn[series] = None
            shown.append(line)
            scales.swept_axis(axes, frame[axis], AXIS_LABELS[axis] if row is grid[-1] else "", (WIDTH - 1.4) / len(swept))
            where = f"{name}: {fixed_words(fixed)}" if axis == "n" else fixed_words(fixed)
            other = fixed.get({"d": "b", "b": "d"}.get(axis, ""), 0)
            if frame[axis].min() < other < frame[axis].max():
                axes.axvline(other, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
                where += " (dotted: b = d)"
            axes.set_title(where)
    for row in grid:
        for axes in row:
            scales.byte_axis(axes, values, "peak above parameters" if axes is row[0] else "", at_most=9)
    note = f"{case_words(frame)} · marks measured, lines theory · {meets(pd.concat(shown), 'peak_bytes')}"
    finish(
        figure,
        _peaks_title(frame, list(regimes)),
        note,
        [handle(series.label, series.look, hollow=series.engine != HOME_ENGINE) for series in drawn],
    )
    caption = (
        "How to read it: above, the batch is wide and the kept activations (a multiple of bd) make the peak; below, the layers are wide and the "
        "weight gradients (a multiple of d²) do. Where a curve bends, another moment of the step has become the greatest."
    )
    return Drawing(_peaks_title(frame, list(regimes)), caption, figure)


def _reaches(frame: pd.DataFrame, regime: str) -> bool:
    if frame.empty:
        return False
    wide = frame["b"] > frame["d"] if regime == "b > d" else frame["d"] > frame["b"]
    return bool(wide.any())


def _peaks_title(frame: pd.DataFrame, regimes: list[str]) -> str:
    """What the peak of the whole step consists of in each regime, at the deepest network of its panel."""
    full = frame[(frame["mode"] == "full") & (frame["engine"] == HOME_ENGINE)].dropna(subset=["peak_activation_bytes"])
    facts = []
    for name in regimes:
        if full.empty:
            continue
        line, fixed = along(full, "n", prefer=_REGIMES[name])
        row = line.iloc[-1]
        kind = "activation" if name == "b > d" else "parameter_gradient"
        what = "activations" if name == "b > d" else "weight gradients"
        facts.append(
            f"{what} are {percent(row[f'peak_{kind}_bytes'], row['peak_bytes'])} of it where {name} (n = {row['n']}, {fixed_words(fixed)})"
        )
    return f"What sets the peak of a full step: {', '.join(facts)}" if facts else "The peak follows the theory along each dimension"


def draw_regimes(results: Results) -> Drawing | None:
    """Which of the theory's moments is the peak of a full step, over depth and b/d; None without two depths of at least 2 and two ratios."""
    frame = main_case(measured(results.results))
    rows = frame[(frame["mode"] == "full") & (frame["engine"] == HOME_ENGINE) & (frame["n"] >= 2)]
    ratios = (rows["b"] / rows["d"]).astype(float)
    if rows.empty or rows["n"].nunique() < 2 or ratios.nunique() < 2:
        return None
    case = case_of(rows)
    options = {"activation": case["activation"], "loss": case["loss"]}
    pieces = theory.peak_pieces("full", 3, **options)
    low, high = float(ratios.min()) / 1.4, float(ratios.max()) * 1.4
    deepest = int(rows["n"].max())
    figure = new_figure(4.6)
    axes = figure.subplots()
    ruling = _fill(axes, pieces, (low, high), (1.75, deepest * 1.15))
    met = _met(rows, case, options)
    marks = met["piece"].value_counts().to_dict()
    for index in [*range(len(pieces)), -1]:
        mine = met[met["piece"] == index]
        look = _PIECE_LOOKS[index % len(_PIECE_LOOKS)]
        axes.plot(
            mine["ratio"], mine["n"], linestyle="none", marker="x" if index < 0 else look.marker, markersize=12 if index < 0 else 7,
            color="#d00000" if index < 0 else _MARK_COLOURS[index % len(_MARK_COLOURS)], markeredgecolor="#d00000" if index < 0 else "white",
            markeredgewidth=2.5 if index < 0 else 0.7, zorder=5,
        )  # fmt: skip
    axes.grid(visible=False)
    _ratio_axis(axes, low, high)
    scales.swept_axis(axes, rows["n"], AXIS_LABELS["n"], 3.6, which="y")
    axes.set_ylim(1.75, deepest * 1.15)
    handles: list[Any] = []
    for index, piece in enumerate(pieces):
        look = _PIECE_LOOKS[index % len(_PIECE_LOOKS)]
        if index in ruling or marks.get(index):
            handles.append(
                Patch(
                    facecolor=look.colour, hatch=look.dash, edgecolor=MUTED, linewidth=0.6, label=f"{piece.label}: {pretty(piece.formula)}"
                )
            )
            label = f"measured, meets it: {marks.get(index, 0)} rows"
            handles.append(
                Line2D(
                    [], [], linestyle="none", marker=look.marker, color=_MARK_COLOURS[index % len(_MARK_COLOURS)], markersize=7, label=label
                )
            )
    if marks.get(-1):
        handles.append(Line2D([], [], linestyle="none", marker="x", color="#d00000", markersize=9, label=f"meets none: {marks[-1]} rows"))
    total = len(met)
    lying = total - marks.get(-1, 0)
    where = int(met["ruled"].sum())
    count = f"all {total}" if lying == total else f"ONLY {lying} of {total}"
    title = f"{len(ruling)} moments share the peak of a full step: {count} measured peaks meet a piece of the theory, {where} of them the one that rules there"
    if where == lying == total:
        title = (
            f"{len(ruling)} moments share the peak of a full step, and all {total} measured peaks meet the one that rules where they lie"
        )
    note = f"{case_words(rows)} · n ≥ 2; shapes of equal n and b/d lie on one another; the regions are those of large d"
    finish(figure, title, note, handles)
    caption = (
        "How to read it: to the right batches that are wide beside the layer, upwards deeper networks. Each region names the moment at which most is alive, "
        "each mark the piece that a measured peak equals. Left of the boundaries only smaller weight gradients help; right of them, smaller batches."
    )
    return Drawing(title, caption, figure)


def _fill(axes: Axes, pieces: list[theory.Piece], ratios: tuple[float, float], depths: tuple[float, float]) -> set[int]:
    """Fill the region of each piece, in units of d² with d large; returns the pieces that rule somewhere."""
    ratio, depth = np.meshgrid(np.geomspace(*ratios, 161), np.geomspace(*depths, 121))
    sizes = np.array([(piece.area_n * depth + piece.area) * ratio + piece.weight_n * depth + piece.weight for piece in pieces])
    ruling = set()
    for index in range(len(pieces)):
        others = np.delete(sizes, index, axis=0)
        above = sizes[index] - others.max(axis=0) if len(others) else np.ones_like(ratio)
        if (above > 0).any():
            look = _PIECE_LOOKS[index % len(_PIECE_LOOKS)]
            ruling.add(index)
            axes.contourf(ratio, depth, above, levels=[0, above.max() + 1], colors=[look.colour], hatches=[look.dash], zorder=1)
            axes.contour(ratio, depth, above, levels=[0], colors=[INK], linewidths=0.8, zorder=2)
    return ruling


def _met(rows: pd.DataFrame, case: dict[str, Any], options: dict[str, Any]) -> pd.DataFrame:
    """For each row its ratio and depth, the piece that it equals (-1: none), and whether no other piece is greater there."""
    found = []
    size = itemsize_of(case["dtype"])
    for n, d, b, peak in zip(*(rows[name].astype(int) for name in (*AXES, "peak_bytes")), strict=True):
        values = [size * piece.elements(n, d, b) for piece in theory.peak_pieces("full", n, **options)]
        piece = values.index(peak) if peak in values else -1
        found.append({"ratio": b / d, "n": n, "piece": piece, "ruled": piece >= 0 and peak == max(values)})
    return pd.DataFrame(found)


def _ratio_axis(axes: Axes, low: float, high: float) -> None:
    """A base-2 axis of b/d with ticks as fractions."""
    exponents = [exponent for exponent in range(-12, 13) if low <= 2.0**exponent <= high]
    axes.set_xscale("log", base=2)
    axes.set_xticks(
        [2.0**exponent for exponent in exponents], [f"1/{2**-exponent}" if exponent < 0 else f"{2**exponent}" for exponent in exponents]
    )
    axes.minorticks_off()
    axes.set_xlim(low, high)
    axes.set_xlabel("batch over width, b/d")
