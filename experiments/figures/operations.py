"""Operations: along each dimension, and one mode against another."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes

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
    main_case,
    measured,
    meets,
    series_of,
    theory_curve,
    theory_value,
    whole_numbers,
)
from experiments.figures.style import MODE_NAMES, MUTED, WIDTH, Drawing, finish, handle, new_figure
from experiments.publish import Results
from experiments.words import joined, pretty


def plot_series(
    axes: Axes, series: Series, rows: pd.DataFrame, axis: str, fixed: dict[str, int], quantity: str, rank: int = 0
) -> list[float]:
    """Marks at what was measured on the theory's curve; returns all values drawn, for the axis."""
    look, home = series.look, series.engine == HOME_ENGINE
    xs, ys = theory_curve(series, rows, axis, fixed, quantity)
    axes.plot(xs, ys, color=look.colour, linestyle=look.dash, zorder=3, linewidth=1.6 if home else 0.9)
    shown = rows.dropna(subset=[quantity])
    values = shown[quantity].astype(float).tolist()
    axes.plot(
        shown[axis].astype(int).tolist(), values, linestyle="none", marker=look.marker, color=look.colour, zorder=4,
        markersize=(8.2 - 0.9 * rank) if home else 10.5, markerfacecolor=look.colour if home else "none",
        markeredgecolor="white" if home else look.colour, markeredgewidth=0.7 if home else 1.1,
    )  # fmt: skip
    return [*ys, *values]


def draw_operations(results: Results) -> Drawing | None:
    """Operations against n, d and b; None where none of them was swept."""
    frame = main_case(measured(results.results))
    frame = frame[~frame["mode"].isin(["only"])]
    swept = [axis for axis in AXES if len(frame) and frame[axis].nunique() > 1]
    if not swept:
        return None
    figure = new_figure(3.4)
    panels = figure.subplots(1, len(swept), sharey=True, squeeze=False)[0]
    drawn: dict[Series, None] = {}
    values: list[float] = []
    growth, shown = [], []
    for axes, axis in zip(panels, swept, strict=True):
        line, fixed = along(frame, axis)
        for rank, (series, rows) in enumerate(series_of(line)):
            values += plot_series(axes, series, rows, axis, fixed, "ops", rank)
            drawn[series] = None
        shown.append(line)
        growth.append((axis, _doubling(line, axis)))
        scales.swept_axis(axes, line[axis], AXIS_LABELS[axis], (WIDTH - 1.2) / len(swept))
        axes.set_title(fixed_words(fixed))
    for axes in panels:
        scales.count_axis(axes, values, "operations" if axes is panels[0] else "")
    title = _operations_title(results, frame, growth)
    note = f"{case_words(frame)} · marks measured, lines theory · {meets(pd.concat(shown), 'ops')}"
    finish(figure, title, note, [handle(series.label, series.look, hollow=series.engine != HOME_ENGINE) for series in drawn])
    caption = (
        "How to read it: both axes are logarithmic, so a power law is a straight line and its power is the slope. The modes keep their "
        "distances: asking for gradients changes the factor, never the order."
    )
    return Drawing(title, caption, figure)


def _doubling(line: pd.DataFrame, axis: str) -> float | None:
    """What twice the axis' value multiplies the operations of the costliest mode by, between the two greatest values measured."""
    home = line[line["engine"] == HOME_ENGINE]
    if home.empty:
        return None
    mode = home.loc[home["ops"].astype(float).idxmax(), "mode"]
    rows = home[home["mode"] == mode].drop_duplicates(axis).sort_values(axis).tail(2)
    if len(rows) < 2:
        return None
    (x0, x1), (y0, y1) = rows[axis].astype(float), rows["ops"].astype(float)
    return float(2 ** (math.log(y1 / y0) / math.log(x1 / x0)))


def _operations_title(results: Results, frame: pd.DataFrame, growth: list[tuple[str, float | None]]) -> str:
    """The found order where the fit decided one for every mode, and what doubling does."""
    by_doubling = [f"twice the {axis} makes {factor:.1f} times as many" for axis, factor in growth if factor is not None]
    what = joined(by_doubling) if by_doubling else "measured along each dimension"
    orders = {}
    table = results.complexity
    if len(table):
        case = case_of(frame)
        mine = table[(table["quantity"] == "ops") & (table["engine"] == HOME_ENGINE)]
        mine = mine[[all(row[name] == case[name] for name in case) for _, row in mine.iterrows()]]
        orders = dict(zip(mine["mode"], mine["big_o"], strict=True))
    if orders and len(set(orders.values())) == 1 and "undecided" not in orders.values():
        return (
            f"Operations are O({pretty(next(iter(orders.values())))}) in {'every mode' if len(orders) > 1 else 'the mode measured'}: {what}"
        )
    return f"Operations along the grid: {what}"


def draw_ratios(results: Results) -> Drawing | None:
    """Operations as multiples of no-grad's, against depth; None without no-grad, another mode, or a second depth."""
    exact = main_case(measured(results.results))
    exact = exact[exact["engine"] == HOME_ENGINE]
    if exact.empty or exact["n"].nunique() < 2:
        return None
    ground = exact[exact["mode"] == "no_grad"]
    modes = [series for series, _ in series_of(exact) if series.mode in ("full", "w1_only")]
    if ground.empty or not modes:
        return None
    case = case_of(exact)
    limits = {series.mode: _limit(series.mode, case["activation"], case["loss"]) for series in modes}
    figure = new_figure(3.5)
    axes = figure.subplots()
    line, fixed = along(exact, "n", prefer=lambda n, d, b: d * b)
    reach = max(256, int(line["n"].max()) * 4)
    facts, drawn = [], []
    larger = main_case(measured(results.scale)) if len(results.scale) else results.scale
    for series in modes:
        look, name = series.look, MODE_NAMES[series.mode]
        xs = whole_numbers(int(line["n"].min()), reach)
        axes.plot(xs, [_theory_ratio(series, case, n, fixed) for n in xs], color=look.colour, linestyle=look.dash, zorder=3)
        axes.axhline(limits[series.mode], color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=2)
        depths, ratios = _ratios(line, series.mode)
        if not depths:
            continue
        axes.plot(depths, ratios, linestyle="none", marker=look.marker, markersize=8, color=look.colour, markeredgecolor="white", zorder=4)
        drawn.append(handle(f"{name}, {fixed_words(fixed)}", look))
        facts.append(f"{name} takes {ratios[-1]:.2f} times no-grad’s at n = {depths[-1]} and tends to {limits[series.mode]}")
        if len(larger):
            biggest, still = along(larger, "n", prefer=lambda n, d, b: d * b)
            depths, ratios = _ratios(biggest, series.mode)
            if depths:
                axes.plot(
                    depths, ratios, linestyle="none", marker=look.marker, markersize=11, markerfacecolor="none", markeredgecolor=look.colour,
                    markeredgewidth=1.3, zorder=5,
                )  # fmt: skip
                drawn.append(handle(f"{name}, {fixed_words(still)}", look, line=False, hollow=True))
    if not facts:
        return None
    scales.swept_axis(axes, [*line["n"].unique(), reach], AXIS_LABELS["n"], WIDTH - 1.2)
    top = max(limits.values())
    scales.plain_axis(axes, [tick / 2 for tick in range(2, 2 * top + 1)], "operations, multiples of no-grad’s", (1, top + 0.25))
    title = f"Operations: {'; '.join(facts)}"
    note = f"{case_words(exact)} · marks measured, lines theory (to n = {reach:,}), dotted: the limits for n, d, b without bound"
    finish(figure, title, note, drawn)
    caption = (
        "How to read it: a forward pass multiplies once a layer. The whole backward pass multiplies twice more a layer, save that nobody "
        "asks for the gradient of the data; for W₁ alone it multiplies once more a layer. So freezing every other layer saves a third of the work at best."
    )
    return Drawing(title, caption, figure)


def _ratios(line: pd.DataFrame, mode: str) -> tuple[list[int], list[float]]:
    """Depths, and operations of a mode over no-grad's there."""
    ops = {name: line[line["mode"] == name].drop_duplicates("n").set_index("n")["ops"] for name in ("no_grad", mode)}
    depths = [int(n) for n in ops[mode].index if n in ops["no_grad"].index]
    return depths, [float(ops[mode][n]) / float(ops["no_grad"][n]) for n in depths]


def _theory_ratio(series: Series, case: dict[str, str], n: int, fixed: dict[str, int]) -> float:
    ground = theory_value(Series("no_grad", series.planner, series.engine), case, "ops", n, fixed["d"], fixed["b"])
    mine = theory_value(series, case, "ops", n, fixed["d"], fixed["b"])
    assert ground is not None
    assert mine is not None
    return mine / ground


def _limit(mode: str, activation: str, loss: str) -> int:
    """What the ratio tends to as every dimension grows: the theory at a shape beyond all measure."""
    beyond = 10**9
    mine, ground = (theory.total_operations(name, beyond, beyond, beyond, activation=activation, loss=loss) for name in (mode, "no_grad"))
    return round(mine / ground)
