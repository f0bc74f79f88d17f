"""The exercise's lessons measured: the activation's price, one layer alone, a batch in slices."""

from __future__ import annotations

import pandas as pd

from experiments.figures import axes as scales
from experiments.figures.data import (
    AXES,
    AXIS_LABELS,
    HOME_ENGINE,
    Series,
    along,
    case_of,
    fixed_words,
    itemsize_of,
    measured,
    meets,
    theory_curve,
    theory_value,
)
from experiments.figures.style import MODE_NAMES, MORE_LOOKS, WIDTH, Drawing, finish, handle, new_figure
from experiments.publish import Results
from experiments.words import counted, percent
from profiler.units import human_bytes

_PEAK = "peak above parameters"


def draw_activations(results: Results) -> Drawing | None:
    """Peak against depth, one activation beside another, one panel a mode; None with fewer than two activations on the same shapes."""
    frame = measured(results.results)
    frame = frame[(frame["engine"] == HOME_ENGINE) & frame["mode"].isin(["forward", "full", "w1_only"])]
    if frame.empty:
        return None
    frame = frame[(frame["loss"] == frame["loss"].iloc[0]) & (frame["dtype"] == frame["dtype"].iloc[0])]
    kinds = list(dict.fromkeys(frame["activation"]))
    shapes = [
        set(zip(*(mine[name] for name in (*AXES, "mode")), strict=True))
        for kind in kinds
        if len(mine := frame[frame["activation"] == kind])
    ]
    common = set.intersection(*shapes)
    frame = frame[[key in common for key in zip(*(frame[name] for name in (*AXES, "mode")), strict=True)]]
    if len(kinds) < 2 or frame.empty or frame["n"].nunique() < 2:
        return None
    line, fixed = along(frame, "n", prefer=lambda n, d, b: b / d)
    modes = [mode for mode in ("forward", "full", "w1_only") if (line["mode"] == mode).any()]
    figure = new_figure(3.3)
    panels = figure.subplots(1, len(modes), sharey=True, squeeze=False)[0]
    values: list[float] = []
    for axes, mode in zip(panels, modes, strict=True):
        for index, kind in enumerate(kinds):
            rows = line[(line["mode"] == mode) & (line["activation"] == kind)].drop_duplicates("n")
            look = MORE_LOOKS[index % len(MORE_LOOKS)]
            xs, ys = theory_curve(Series(mode, "store_all", HOME_ENGINE), rows, "n", fixed, "peak_bytes")
            marks = rows["peak_bytes"].astype(float).tolist()
            axes.plot(xs, ys, color=look.colour, linestyle=look.dash, zorder=3)
            axes.plot(
                rows["n"].astype(int).tolist(), marks, linestyle="none", marker=look.marker, color=look.colour, markersize=9 - 2.2 * index,
                markeredgecolor="white", markeredgewidth=0.6, zorder=4 + index,
            )  # fmt: skip
            values += [*ys, *marks]
        scales.swept_axis(axes, line["n"], AXIS_LABELS["n"], (WIDTH - 1.4) / len(modes))
        axes.set_title(MODE_NAMES[mode])
    for axes in panels:
        scales.byte_axis(axes, values, _PEAK if axes is panels[0] else "")
    title = _activation_title(line, kinds, modes)
    note = f"loss {line['loss'].iloc[0]}, {line['dtype'].iloc[0]}, {fixed_words(fixed)} · marks measured, lines theory · {meets(line, 'peak_bytes')}"
    finish(figure, title, note, [handle(kind, MORE_LOOKS[index % len(MORE_LOOKS)]) for index, kind in enumerate(kinds)])
    caption = (
        "How to read it: the gradient of tanh is computed from its output, which the next layer keeps anyway; that of gelu needs its input, so both are kept. "
        "Where only W₁ is asked for, no layer above needs its input for a weight gradient, and the two cost the same."
    )
    return Drawing(title, caption, figure)


def _activation_title(line: pd.DataFrame, kinds: list[str], modes: list[str]) -> str:
    deepest = int(line["n"].max())
    at = line[line["n"] == deepest]
    peak = {(row.activation, row.mode): int(row.peak_bytes) for row in at.itertuples()}
    facts = []
    for mode in ("full", "w1_only", "forward"):
        if mode in modes and len(facts) < 2:
            times = {kind: peak[kind, mode] / peak[kinds[0], mode] for kind in kinds[1:]}
            most = max(times, key=lambda kind: abs(times[kind] - 1))
            same = abs(times[most] - 1) < 0.005
            facts.append(f"{'as much as' if same else f'{times[most]:.2f} times'} {kinds[0]}’s for {MODE_NAMES[mode]}")
            name = most
    return f"At n = {deepest}, the peak with {name} is {' and '.join(facts)}"


def draw_layers(results: Results) -> Drawing | None:
    """Operations and peak of asking for W_j alone, against j; None without mode `only` at two layers of one shape."""
    frame = measured(results.results)
    frame = frame[(frame["mode"] == "only") & (frame["engine"] == HOME_ENGINE) & frame["wrt"].str.fullmatch(r"W_\d+")].copy()
    if frame.empty:
        return None
    frame = frame[frame["n"] == frame["n"].max()]
    frame["j"] = frame["wrt"].str.removeprefix("W_").astype(int)
    if frame["j"].nunique() < 2:
        return None
    shapes = list(frame.groupby(["d", "b"]).groups)[:2]
    depth = int(frame["n"].iloc[0])
    figure = new_figure(2.45 * 2 + 0.2)
    grid = figure.subplots(2, len(shapes), sharex=True, sharey="row", squeeze=False)
    series = list(frame.groupby(["activation", "loss", "dtype"], sort=False).groups)[: len(MORE_LOOKS)]
    values: dict[str, list[float]] = {"ops": [], "peak_bytes": []}
    for column, (d, b) in enumerate(shapes):
        for quantity, axes in zip(values, grid[:, column], strict=True):
            for index, case in enumerate(series):
                rows = frame[
                    (frame["d"] == d) & (frame["b"] == b) & (frame[["activation", "loss", "dtype"]] == list(case)).all(axis=1)
                ].sort_values("j")
                if rows.empty:
                    continue
                look = MORE_LOOKS[index % len(MORE_LOOKS)]
                layers = rows["j"].tolist()
                curve = [
                    theory_value(Series("only", "store_all", HOME_ENGINE), case_of(rows), quantity, depth, d, b, wrt=j) or 0.0
                    for j in layers
                ]
                marks = rows[quantity].astype(float).tolist()
                axes.plot(layers, curve, color=look.colour, linestyle=look.dash, zorder=3)
                axes.plot(
                    layers,
                    marks,
                    linestyle="none",
                    marker=look.marker,
                    color=look.colour,
                    markersize=9 - 2 * index,
                    markeredgecolor="white",
                    zorder=4 + index,
                )
                values[quantity] += [*curve, *marks]
            if quantity == "ops":
                axes.set_title(fixed_words({"n": depth, "d": d, "b": b}))
    for axes in grid.flat:
        scales.swept_axis(axes, frame["j"], "layer j asked for" if axes in grid[-1] else "", (WIDTH - 1.4) / len(shapes), base=None)
    for axes in grid[0]:
        scales.linear_count_axis(axes, max(values["ops"]) * 1.08, "operations" if axes is grid[0][0] else "")
    for axes in grid[1]:
        scales.linear_byte_axis(axes, max(values["peak_bytes"]) * 1.1, _PEAK if axes is grid[1][0] else "")
    title = _layers_title(frame, depth)
    note = f"mode only: the gradient of W_j and no other · marks measured, lines theory · {meets(frame, 'ops')} (operations), {meets(frame, 'peak_bytes')} (bytes)"
    finish(figure, title, note, [handle(case[0], MORE_LOOKS[index]) for index, case in enumerate(series)])
    caption = (
        "How to read it: the backward pass goes from the loss down to layer j and stops there, so a late layer is cheap: nothing below it is kept or run backward. "
        "From j = 2 on the layer’s own input x_j is kept too, which for j = 1 is the caller’s."
    )
    return Drawing(title, caption, figure)


def _layers_title(frame: pd.DataFrame, depth: int) -> str:
    case = frame.iloc[0]
    same = frame[(frame[["d", "b", "activation", "loss", "dtype"]] == case[["d", "b", "activation", "loss", "dtype"]]).all(axis=1)]
    low, high = same.loc[same["j"].idxmin()], same.loc[same["j"].idxmax()]
    return (
        f"The later the layer, the cheaper its gradient: W_{high['j']} of {depth} takes {percent(high['ops'], low['ops'])} of the operations "
        f"and {percent(high['peak_bytes'], low['peak_bytes'])} of the peak that W_{low['j']} takes ({case['activation']}, d = {case['d']}, b = {case['b']})"
    )


def draw_micro_batches(results: Results) -> Drawing | None:
    """Peak and operations of a full step against the number of slices of its batch; None without such rows."""
    frame = measured(results.results, micro_batches=True)
    frame = frame[(frame["mode"] == "full") & (frame["engine"] == HOME_ENGINE)]
    sliced = frame[frame["micro_batches"] > 1]
    if sliced.empty:
        return None
    shape = ["network", "activation", "loss", "dtype", "n", "d", "b"]
    lines = []
    for _, rows in frame[frame["b"].isin(sliced["b"])].drop_duplicates([*shape, "micro_batches"]).groupby(shape, sort=False):
        if rows["micro_batches"].nunique() > 2:
            lines.append(rows.sort_values("micro_batches"))
    lines = lines[: len(MORE_LOOKS)]
    if not lines:
        return None
    figure = new_figure(3.3)
    left, right = figure.subplots(1, 2)
    peaks: list[float] = []
    extra: list[float] = [0.0]
    handles = []
    for index, rows in enumerate(lines):
        look = MORE_LOOKS[index]
        slices = rows["micro_batches"].astype(int).tolist()
        first = rows.iloc[0]
        case, at = case_of(rows), (int(first["n"]), int(first["d"]), int(first["b"]))
        series = Series("full", "store_all", HOME_ENGINE)
        base = theory_value(series, case, "ops", *at) or 1.0
        curves = {name: [theory_value(series, case, name, *at, micro_batches=k) or 0.0 for k in slices] for name in ("ops", "peak_bytes")}
        ops = rows["ops"].astype(float).tolist()
        marks = {"peak_bytes": rows["peak_bytes"].astype(float).tolist(), "ops": [100 * (value / base - 1) for value in ops]}
        curves["ops"] = [100 * (value / base - 1) for value in curves["ops"]]
        for axes, quantity in ((left, "peak_bytes"), (right, "ops")):
            axes.plot(slices, curves[quantity], color=look.colour, linestyle=look.dash, zorder=3)
            axes.plot(slices, marks[quantity], linestyle="none", marker=look.marker, color=look.colour, markeredgecolor="white", zorder=4)
        floor = itemsize_of(case["dtype"]) * at[0] * at[1] ** 2
        left.axhline(floor, color=look.colour, linewidth=0.9, linestyle=(0, (1, 2)), zorder=2)
        peaks += [*marks["peak_bytes"], floor]
        extra += marks["ops"]
        handles.append(handle(f"{first['activation']}, n = {at[0]}, d = {at[1]}, b = {at[2]}", look))
    every = pd.concat(lines)
    for axes in (left, right):
        scales.swept_axis(axes, every["micro_batches"], "slices of the batch (micro-batches)", WIDTH / 2 - 0.9)
    scales.byte_axis(left, peaks, _PEAK)
    scales.linear_percent_axis(right, min(extra), max(extra), "operations more than in one slice")
    title = _micro_title(lines[0])
    note = f"mode full · marks measured, lines theory, dotted: the weight gradients alone, n·d² elements · {meets(every, 'peak_bytes')}"
    finish(figure, title, note, handles)
    caption = (
        "How to read it: a step can run slice after slice of its batch and add up the gradients. Only one slice’s activations are alive at once, so the peak falls "
        "towards what the weight gradients themselves take; the additions are all that it costs. Seconds are another matter: thin slices make slow products."
    )
    return Drawing(title, caption, figure)


def _micro_title(rows: pd.DataFrame) -> str:
    whole = rows.iloc[0]
    best = rows.loc[rows["peak_bytes"].astype(float).idxmin()]
    more = percent(float(best["ops"]) - float(whole["ops"]), float(whole["ops"]))
    k = int(best["micro_batches"])
    return (
        f"In {counted(k, 'slice')}, the batch’s peak falls from {human_bytes(int(whole['peak_bytes']))} to {human_bytes(int(best['peak_bytes']))} "
        f"for {more} more operations (n = {whole['n']}, d = {whole['d']}, b = {whole['b']})"
    )
