"""The exercise's lessons: what an activation keeps, and the gradient of only one layer."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from experiments.analysis.selection import source_words
from experiments.analysis.verdict import agreement_words
from experiments.figures import axes as scales
from experiments.figures.data import (
    AXIS_LABELS,
    Series,
    agreement_of,
    along,
    case_of,
    fixed_words,
    marks_words,
    points_of,
    shape_words,
    theory_curve,
    theory_value,
)
from experiments.figures.style import (
    MODE_NAMES,
    MORE_LOOKS,
    WIDTH,
    Drawing,
    finish,
    handle,
    marks,
    new_figure,
)
from experiments.names import AXES, HOME_ENGINE, STORE_ALL
from experiments.results.tables import Results
from experiments.text import joined, lowered, percent

ACTIVATIONS_CAPTION = (
    "How to read it: one curve per activation. The gradient of tanh, relu and sigmoid is computed "
    "from their output, which the next layer keeps anyway; that of gelu needs its input, so both "
    "are kept. Where only W₁ is asked for, no weight gradient above needs its layer’s input, and "
    "one value per layer is enough for either."
)
LAYERS_CAPTION = (
    "How to read it: the backward pass goes from the loss down to layer j and stops there, so a "
    "late layer is cheap: nothing below it is kept or run backward. From j = 2 on the layer’s own "
    "input is kept too; that of the first layer is caller-owned."
)
PEAK = "peak above parameters"
_KIND = ["activation", "loss", "dtype"]


def draw_activations(results: Results) -> Drawing | None:
    """Draw peak against depth by activation and mode; None without two activations on a shape."""
    frame = points_of(results.results)
    frame = _common(
        frame[(frame["engine"] == HOME_ENGINE) & frame["mode"].isin(["forward", "full", "w1_only"])]
    )
    if frame.empty or frame["activation"].nunique() < 2 or frame["n"].nunique() < 2:
        return None
    line, fixed = along(frame, "n", prefer=lambda n, d, b: b / d)
    kinds = list(dict.fromkeys(line["activation"]))
    modes = [mode for mode in ("forward", "full", "w1_only") if (line["mode"] == mode).any()]
    figure = new_figure(3.3)
    panels = figure.subplots(1, len(modes), sharey=True, squeeze=False)[0]
    values: list[float] = []
    for axes, mode in zip(panels, modes, strict=True):
        for rank, kind in enumerate(kinds):
            rows = line[(line["mode"] == mode) & (line["activation"] == kind)]
            look = MORE_LOOKS[rank % len(MORE_LOOKS)]
            xs, ys = theory_curve(
                Series(mode, STORE_ALL, HOME_ENGINE), rows, "n", fixed, "peak_bytes"
            )
            axes.plot(xs, ys, color=look.colour, linestyle=look.dash, zorder=3)
            marks(axes, rows["n"].astype(int), rows["peak_bytes"].astype(float), look, rank=rank)
            values += [*ys, *rows["peak_bytes"].astype(float)]
        scales.swept_axis(axes, line["n"], AXIS_LABELS["n"], (WIDTH - 1.4) / len(modes))
        axes.set_title(MODE_NAMES[mode])
    for axes in panels:
        scales.byte_axis(axes, values, PEAK if axes is panels[0] else "")
    title = _activations_title(line, kinds, modes)
    where = f"loss {line['loss'].iloc[0]}, {line['dtype'].iloc[0]}, {fixed_words(fixed)}"
    note = f"{where} · {marks_words(line, 'peak_bytes')}"
    handles = [handle(kind, MORE_LOOKS[rank % len(MORE_LOOKS)]) for rank, kind in enumerate(kinds)]
    return Drawing(title, ACTIVATIONS_CAPTION, finish(figure, title, note, handles))


def _common(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one loss and dtype, on shapes and modes that every activation has."""
    if frame.empty:
        return frame
    frame = frame[
        (frame["loss"] == frame["loss"].iloc[0]) & (frame["dtype"] == frame["dtype"].iloc[0])
    ]
    keys = pd.Series(
        list(zip(*(frame[name] for name in (*AXES, "mode")), strict=True)), index=frame.index
    )
    common = set.intersection(*(set(group) for _, group in keys.groupby(frame["activation"])))
    return frame[keys.isin(common)]


def _activations_title(line: pd.DataFrame, kinds: list[str], modes: list[str]) -> str:
    """Return the greatest ratio to the first activation at the deepest network, for each mode."""
    deepest = int(line["n"].max())
    at = line[line["n"] == deepest]
    peaks = {
        (kind, mode): int(peak)
        for kind, mode, peak in zip(at["activation"], at["mode"], at["peak_bytes"], strict=True)
    }
    first = kinds[0]
    shown = [mode for mode in ("full", "w1_only") if mode in modes] or modes
    most = max(kinds[1:], key=lambda kind: peaks[kind, shown[0]] / peaks[first, shown[0]])
    facts = []
    for mode in shown:
        times = peaks[most, mode] / peaks[first, mode]
        ratio = "equal" if round(times, 2) == 1 else f"{times:.2f}× as high"
        facts.append(f"{ratio} for {MODE_NAMES[mode]}")
    where = shape_words(at.iloc[0])
    return f"Compared with {first}, the peak with {most} is {joined(facts)} ({where})"


def draw_layers(results: Results) -> Drawing | None:
    """Draw operations and peak of asking for only W_j; None without two layers of one shape."""
    frame = points_of(results.results)
    frame = frame[(frame["mode"] == "only") & (frame["engine"] == HOME_ENGINE)]
    frame = frame[frame["wrt"].str.fullmatch(r"W_\d+")]
    frame = frame[frame["n"] == frame["n"].max()] if len(frame) else frame
    frame = frame.assign(j=frame["wrt"].str.removeprefix("W_").astype(int))
    if frame["j"].nunique() < 2:
        return None
    shapes = list(frame.groupby(["d", "b"]).groups)[:2]
    kinds = list(frame.groupby(_KIND, sort=False).groups)[: len(MORE_LOOKS)]
    figure = new_figure(5.0)
    grid = figure.subplots(2, len(shapes), sharex=True, sharey="row", squeeze=False)
    values: dict[str, list[float]] = {"ops": [0.0], "peak_bytes": [0.0]}
    for column, (d, b) in enumerate(shapes):
        at = frame[(frame["d"] == d) & (frame["b"] == b)].sort_values("j")
        grid[0, column].set_title(shape_words(at.iloc[0]))
        for row, quantity in enumerate(values):
            for rank, kind in enumerate(kinds):
                mine = at[(at[_KIND] == list(kind)).all(axis=1)]
                values[quantity] += _layers(grid[row, column], mine, quantity, rank)
    _layer_axes(grid, frame["j"], {name: max(drawn) for name, drawn in values.items()})
    title = _layers_title(frame)
    words = agreement_words(
        {"operations": agreement_of(frame, "ops"), "bytes": agreement_of(frame, "peak_bytes")},
        "marks",
    )
    note = (
        "mode only: the gradient of W_j and of no other · "
        f"marks {source_words(frame)}, lines theory · {words}"
    )
    handles = [handle(kind[0], MORE_LOOKS[rank]) for rank, kind in enumerate(kinds)]
    return Drawing(title, LAYERS_CAPTION, finish(figure, title, note, handles))


def _layer_axes(grid: Any, layers: pd.Series[int], highest: dict[str, float]) -> None:
    """Set the axes of the panels: operations above, bytes below, layers along both."""
    for column in range(grid.shape[1]):
        first = column == 0
        for row, label in enumerate(("", "layer j asked for")):
            width = (WIDTH - 1.4) / grid.shape[1]
            scales.swept_axis(grid[row, column], layers, label, width, base=None)
        label = "operations" if first else ""
        scales.linear_count_axis(grid[0, column], highest["ops"] * 1.08, label)
        label = PEAK if first else ""
        scales.linear_byte_axis(grid[1, column], highest["peak_bytes"] * 1.1, label)


def _layers(axes: Axes, rows: pd.DataFrame, quantity: str, rank: int) -> list[float]:
    """Draw one curve against j with its marks; return the values drawn."""
    if rows.empty:
        return []
    look, first = MORE_LOOKS[rank], rows.iloc[0]
    series, shape = (
        Series("only", STORE_ALL, HOME_ENGINE),
        (int(first["n"]), int(first["d"]), int(first["b"])),
    )
    curve = [
        theory_value(series, case_of(rows), quantity, *shape, wrt=j) or 0.0
        for j in rows["j"].tolist()
    ]
    measured_values = rows[quantity].astype(float).tolist()
    axes.plot(rows["j"].tolist(), curve, color=look.colour, linestyle=look.dash, zorder=3)
    marks(axes, rows["j"], measured_values, look, rank=rank)
    return [*curve, *measured_values]


def _layers_title(frame: pd.DataFrame) -> str:
    """Compare the last layer with the first, for the first shape and activation."""
    case = [*_KIND, "d", "b"]
    same = frame[(frame[case] == frame.iloc[0][case]).all(axis=1)]
    low, high = same.loc[same["j"].idxmin()], same.loc[same["j"].idxmax()]
    ops, peak = percent(high["ops"], low["ops"]), percent(high["peak_bytes"], low["peak_bytes"])
    names = [f"W{lowered(int(row['j']))}" for row in (low, high)]
    return (
        f"The later the layer, the cheaper its gradient: {names[1]} takes {ops} of {names[0]}’s "
        f"operations and {peak} of its peak ({low['activation']}, {shape_words(low)})"
    )
