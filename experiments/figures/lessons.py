"""The exercise's lessons measured: what an activation keeps, and one layer's gradient alone."""

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
    case_of,
    fixed_words,
    measured,
    meets,
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
from experiments.results.tables import Results
from experiments.text import joined, lowered, percent

ACTIVATIONS_CAPTION = (
    "How to read it: one curve an activation. The gradient of tanh, relu and sigmoid is computed from their output, which the next layer "
    "keeps anyway; that of gelu needs its input, so both are kept. Where only W₁ is asked for, no weight gradient above needs its "
    "layer’s input, and one value a layer is enough for either."
)
LAYERS_CAPTION = (
    "How to read it: the backward pass goes from the loss down to layer j and stops there, so a late layer is cheap: nothing below it is "
    "kept or run backward. From j = 2 on the layer’s own input is kept too; that of the first layer is the caller’s."
)
PEAK = "peak above parameters"
_KIND = ["activation", "loss", "dtype"]


def draw_activations(results: Results) -> Drawing | None:
    """Peak against depth, one curve an activation, one panel a mode; None without two activations on the same shapes."""
    frame = measured(results.results)
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
                Series(mode, "store_all", HOME_ENGINE), rows, "n", fixed, "peak_bytes"
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
    note = f"{where} · marks measured, lines theory · {meets(line, 'peak_bytes')}"
    handles = [handle(kind, MORE_LOOKS[rank % len(MORE_LOOKS)]) for rank, kind in enumerate(kinds)]
    return Drawing(title, ACTIVATIONS_CAPTION, finish(figure, title, note, handles))


def _common(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of one loss and dtype, on the shapes and modes that every activation has."""
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
    """The greatest ratio to the first activation at the deepest network, for the whole step and for W_1 alone."""
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
        facts.append(
            f"{'the same' if round(times, 2) == 1 else f'{times:.2f} times as high'} for {MODE_NAMES[mode]}"
        )
    return f"Beside {first}’s, the peak with {most} is {joined(facts)} (n = {deepest}, d = {at['d'].iloc[0]}, b = {at['b'].iloc[0]})"


def draw_layers(results: Results) -> Drawing | None:
    """Operations and peak of asking for W_j alone, against j; None without mode `only` at two layers of one shape."""
    frame = measured(results.results)
    frame = frame[
        (frame["mode"] == "only")
        & (frame["engine"] == HOME_ENGINE)
        & frame["wrt"].str.fullmatch(r"W_\d+")
    ]
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
        for row, quantity in enumerate(values):
            for rank, kind in enumerate(kinds):
                mine = frame[
                    (frame["d"] == d) & (frame["b"] == b) & (frame[_KIND] == list(kind)).all(axis=1)
                ].sort_values("j")
                values[quantity] += _layers(grid[row, column], mine, quantity, rank)
        grid[0, column].set_title(
            fixed_words({"n": int(frame["n"].iloc[0]), "d": int(d), "b": int(b)})
        )
        scales.linear_count_axis(
            grid[0, column], max(values["ops"]) * 1.08, "" if column else "operations"
        )
    for column in range(len(shapes)):
        for row in range(2):
            scales.swept_axis(
                grid[row, column],
                frame["j"],
                "layer j asked for" if row else "",
                (WIDTH - 1.4) / len(shapes),
                base=None,
            )
        scales.linear_count_axis(
            grid[0, column], max(values["ops"]) * 1.08, "" if column else "operations"
        )
        scales.linear_byte_axis(
            grid[1, column], max(values["peak_bytes"]) * 1.1, "" if column else PEAK
        )
    title = _layers_title(frame)
    note = f"mode only: the gradient of W_j and of no other · marks measured, lines theory · {_both(frame)}"
    handles = [handle(kind[0], MORE_LOOKS[rank]) for rank, kind in enumerate(kinds)]
    return Drawing(title, LAYERS_CAPTION, finish(figure, title, note, handles))


def _layers(axes: Axes, rows: pd.DataFrame, quantity: str, rank: int) -> list[float]:
    """One curve against j with its marks; returns the values drawn."""
    if rows.empty:
        return []
    look, first = MORE_LOOKS[rank], rows.iloc[0]
    series, shape = (
        Series("only", "store_all", HOME_ENGINE),
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


def _both(frame: pd.DataFrame) -> str:
    """Whether all marks of both quantities lie on the theory."""
    words = {meets(frame, "ops"), meets(frame, "peak_bytes")}
    return (
        words.pop()
        if len(words) == 1
        else f"operations: {meets(frame, 'ops')}; bytes: {meets(frame, 'peak_bytes')}"
    )


def _layers_title(frame: pd.DataFrame) -> str:
    """The last layer against the first, for the first shape and activation."""
    case = [*_KIND, "d", "b"]
    same = frame[(frame[case] == frame.iloc[0][case]).all(axis=1)]
    low, high = same.loc[same["j"].idxmin()], same.loc[same["j"].idxmax()]
    ops, peak = percent(high["ops"], low["ops"]), percent(high["peak_bytes"], low["peak_bytes"])
    names = [f"W{lowered(int(row['j']))}" for row in (low, high)]
    shape = f"{low['activation']}, n = {low['n']}, d = {low['d']}, b = {low['b']}"
    return f"The later the layer, the cheaper its gradient: {names[1]} takes {ops} of {names[0]}’s operations and {peak} of its peak ({shape})"
