"""Operations: along each dimension, and of one mode against another's."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from experiments import theory
from experiments.figures import axes as scales
from experiments.figures.data import (
    AXIS_LABELS,
    Series,
    along,
    case_of,
    case_words,
    fixed_words,
    main_case,
    marks_words,
    points_of,
    series_of,
    theory_curve,
    theory_value,
    whole_numbers,
)
from experiments.figures.style import (
    MODE_NAMES,
    MUTED,
    WIDTH,
    Drawing,
    finish,
    handle,
    marks,
    new_figure,
)
from experiments.names import AXES, CASE, HOME_ENGINE
from experiments.results.tables import Results
from experiments.text import joined

OPERATIONS_CAPTION = (
    "How to read it: both axes are logarithmic, so a power law is a straight line and its power is "
    "the slope. The modes keep their distances (no-grad and forward coincide): asking for "
    "gradients "
    "changes the factor, never the order."
)
RATIOS_CAPTION = (
    "How to read it: a forward pass runs one product per layer. The whole backward pass runs two "
    "more per layer except one, since the gradient of the data is not requested; for W₁ only it "
    "runs one more per layer. Freezing all other layers saves at most a third of the work."
)


def plot_series(
    axes: Axes,
    series: Series,
    rows: pd.DataFrame,
    axis: str,
    fixed: dict[str, int],
    quantity: str,
    rank: int = 0,
) -> list[float]:
    """Draw a series' marks on the theory's curve; return all values drawn, for the axis."""
    home = series.engine == HOME_ENGINE
    xs, ys = theory_curve(series, rows, axis, fixed, quantity)
    axes.plot(
        xs,
        ys,
        color=series.look.colour,
        linestyle=series.look.dash,
        zorder=3,
        linewidth=1.6 if home else 0.9,
    )
    shown = rows.dropna(subset=[quantity])
    values = shown[quantity].astype(float).tolist()
    marks(axes, shown[axis].astype(int), values, series.look, hollow=not home, rank=rank)
    return [*ys, *values]


def draw_operations(results: Results) -> Drawing | None:
    """Draw operations against n, d and b; None where none of them was swept."""
    frame = main_case(points_of(results.results))
    frame = frame[~frame["mode"].isin(["only", "checkpointed"])]
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
        factor = _doubling(line, axis)
        growth += [] if factor is None else [f"doubling {axis} multiplies them by {factor:.1f}"]
        scales.swept_axis(axes, line[axis], AXIS_LABELS[axis], (WIDTH - 1.2) / len(swept))
        axes.set_title(fixed_words(fixed))
    for axes in panels:
        scales.count_axis(axes, values, "operations" if axes is panels[0] else "")
    change = joined(growth) if growth else "each dimension swept on its own"
    title = f"{_order(results, frame)}: {change}"
    note = f"{case_words(frame)} · {marks_words(pd.concat(shown), 'ops')}"
    handles = [
        handle(series.label, series.look, hollow=series.engine != HOME_ENGINE) for series in drawn
    ]
    return Drawing(title, OPERATIONS_CAPTION, finish(figure, title, note, handles))


def _doubling(line: pd.DataFrame, axis: str) -> float | None:
    """Return what doubling the axis multiplies the costliest mode's operations by, at its end."""
    home = line[line["engine"] == HOME_ENGINE]
    if home.empty:
        return None
    mode = home.loc[home["ops"].astype(float).idxmax(), "mode"]
    rows = home[home["mode"] == mode].drop_duplicates(axis).sort_values(axis).tail(2)
    if len(rows) < 2:
        return None
    (x0, x1), (y0, y1) = rows[axis].astype(float), rows["ops"].astype(float)
    return float(2 ** (math.log(y1 / y0) / math.log(x1 / x0)))


def _order(results: Results, frame: pd.DataFrame) -> str:
    """Return the order of the operations, where the fit found one and the same for every mode."""
    table, case = results.complexity, case_of(frame)
    if len(table):
        mine = table[(table["quantity"] == "ops") & (table["engine"] == HOME_ENGINE)]
        orders = set(mine.loc[(mine[list(CASE)] == pd.Series(case)).all(axis=1), "pretty_order"])
        if len(orders) == 1 and "undecided" not in orders:
            return f"Operations are {orders.pop()} in every mode"
    return "How operations grow"


def draw_ratios(results: Results) -> Drawing | None:
    """Draw operations over no-grad's against depth; None without no-grad, a mode, or two depths."""
    exact = main_case(points_of(results.results))
    exact = exact[exact["engine"] == HOME_ENGINE]
    modes = [series for series, _ in series_of(exact) if series.mode in ("full", "w1_only")]
    if not modes or exact["n"].nunique() < 2 or not (exact["mode"] == "no_grad").any():
        return None
    case = case_of(exact)
    line, fixed = along(exact, "n", prefer=lambda n, d, b: d * b)
    larger = main_case(points_of(results.scale)) if len(results.scale) else results.scale
    beyond, still = (
        along(larger, "n", prefer=lambda n, d, b: d * b) if len(larger) else (larger, {})
    )
    reach = max(64, 2 * max(int(rows["n"].max()) for rows in (line, beyond) if len(rows)))
    figure = new_figure(3.6)
    axes = figure.subplots()
    facts, handles, values = [], [], []
    for series in modes:
        found = _ratio_curve(axes, series, case, (line, fixed), (beyond, still), reach)
        if found is not None:
            facts.append(found.fact)
            handles += found.handles
            values += found.values
    if not facts:
        return None
    scales.swept_axis(
        axes, [*line["n"].unique(), *beyond["n"].unique(), reach], AXIS_LABELS["n"], WIDTH - 1.2
    )
    low = math.floor(4 * min(values) - 0.5) / 4
    scales.plain_axis(
        axes, _quarters(low, max(values)), "multiples of no-grad’s", (low, max(values) + 0.2)
    )
    title = f"Operations at n = {int(line['n'].max())}: {joined(facts)}"
    words = marks_words(pd.concat([line, beyond]) if len(beyond) else line, "ops")
    note = f"{case_words(exact)} · {words} · dotted: the limit as n, d and b grow without bound"
    return Drawing(title, RATIOS_CAPTION, finish(figure, title, note, handles))


class _Ratios(NamedTuple):
    """What one mode adds to the figure of ratios: a fact, legend entries, and the values drawn."""

    fact: str
    handles: list[Any]
    values: list[float]


def _ratio_curve(
    axes: Axes,
    series: Series,
    case: dict[str, str],
    line: tuple[pd.DataFrame, dict[str, int]],
    beyond: tuple[pd.DataFrame, dict[str, int]],
    reach: int,
) -> _Ratios | None:
    """Draw one mode's ratios on the theory, its limit, and those of larger shapes, hollow.

    `line` and `beyond` are rows along n with the values that they fix. None without ratios.
    """
    (rows, fixed), (larger, still) = line, beyond
    depths, ratios = _ratios(rows, series.mode)
    if not depths:
        return None
    look, name = series.look, MODE_NAMES[series.mode]
    limit = _limit(series.mode, case["activation"], case["loss"])
    xs = whole_numbers(int(rows["n"].min()), reach)
    ys = [_theory_ratio(series, case, n, fixed) for n in xs]
    axes.plot(xs, ys, color=look.colour, linestyle=look.dash, zorder=3)
    axes.axhline(limit, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=2)
    marks(axes, depths, ratios, look)
    handles = [handle(f"{name}, {fixed_words(fixed)}", look)]
    depths, more = _ratios(larger, series.mode)
    if depths:
        marks(axes, depths, more, look, hollow=True)
        handles.append(handle(f"{name}, {fixed_words(still)}", look, line=False, hollow=True))
    fact = f"{name} takes {ratios[-1]:.2f}× no-grad’s (limit {limit})"
    return _Ratios(fact, handles, [*ratios, float(limit), *more])


def _quarters(low: float, high: float) -> list[float]:
    return [tick / 4 for tick in range(math.ceil(low * 4), math.floor(high * 4) + 1)]


def _ratios(line: pd.DataFrame, mode: str) -> tuple[list[int], list[float]]:
    """Return depths, and operations of a mode over no-grad's there."""
    ops = {
        name: line[line["mode"] == name].drop_duplicates("n").set_index("n")["ops"]
        for name in ("no_grad", mode)
    }
    depths = [int(n) for n in ops[mode].index if n in ops["no_grad"].index]
    return depths, [float(ops[mode][n]) / float(ops["no_grad"][n]) for n in depths]


def _theory_ratio(series: Series, case: dict[str, str], n: int, fixed: dict[str, int]) -> float:
    """Return the theory's ratio at a depth; both modes have closed forms."""
    ground = theory_value(
        Series("no_grad", series.planner, series.engine), case, "ops", n, fixed["d"], fixed["b"]
    )
    mine = theory_value(series, case, "ops", n, fixed["d"], fixed["b"])
    assert ground is not None
    assert mine is not None
    return mine / ground


def _limit(mode: str, activation: str, loss: str) -> int:
    """Return the limit of the ratio as every dimension grows: the theory at a huge shape."""
    size = 10**9
    mine, ground = (
        int(theory.total_operations(name, size, size, size, activation=activation, loss=loss))
        for name in (mode, "no_grad")
    )
    return round(mine / ground)
