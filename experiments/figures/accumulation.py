"""A batch run slice after slice: what gradient accumulation saves, and what it costs."""

from __future__ import annotations

import pandas as pd

from experiments.figures import axes as scales
from experiments.figures.data import (
    CASE,
    HOME_ENGINE,
    Series,
    case_of,
    itemsize_of,
    measured,
    meets,
    theory_value,
)
from experiments.figures.style import MORE_LOOKS, WIDTH, Drawing, finish, handle, marks, new_figure
from experiments.results.tables import Results
from experiments.text import counted, percent
from profiler.units import human_bytes

CAPTION = (
    "How to read it: a step can run one slice of its batch after another and add up the gradients. Only one slice’s activations are alive at "
    "once, so the peak falls towards what the weight gradients themselves take. Each product of a slice has as many additions fewer as adding "
    "the gradients up has more. Seconds are another matter: thin slices make slow products."
)
_SHAPE = [*CASE, "n", "d", "b"]
_FULL = Series("full", "store_all", HOME_ENGINE)


def draw_micro_batches(results: Results) -> Drawing | None:
    """Peak and operations of a full step against the number of slices of its batch; None without such rows."""
    frame = measured(results.results, micro_batches=True)
    frame = frame[(frame["mode"] == "full") & (frame["engine"] == HOME_ENGINE)]
    found = [
        rows.sort_values("micro_batches")
        for _, rows in frame.groupby(_SHAPE, sort=False)
        if rows["micro_batches"].max() > 1
    ]
    lines = [rows for rows in found if rows["micro_batches"].nunique() > 1][: len(MORE_LOOKS)]
    if not lines:
        return None
    figure = new_figure(3.3)
    left, right = figure.subplots(1, 2)
    peaks: list[float] = []
    ratios: list[float] = [1.0]
    handles = []
    for rank, rows in enumerate(lines):
        look, first, case = MORE_LOOKS[rank], rows.iloc[0], case_of(rows)
        slices = rows["micro_batches"].astype(int).tolist()
        shape = (int(first["n"]), int(first["d"]), int(first["b"]))
        whole = theory_value(_FULL, case, "ops", *shape) or 1.0
        for axes, quantity, unit in ((left, "peak_bytes", 1.0), (right, "ops", whole)):
            curve = [
                (theory_value(_FULL, case, quantity, *shape, micro_batches=k) or 0.0) / unit
                for k in slices
            ]
            values = (rows[quantity].astype(float) / unit).tolist()
            axes.plot(slices, curve, color=look.colour, linestyle=look.dash, zorder=3)
            marks(axes, slices, values, look, rank=rank)
            (peaks if axes is left else ratios).extend([*curve, *values])
        floor = float(itemsize_of(case["dtype"]) * shape[0] * shape[1] ** 2)
        left.axhline(floor, color=look.colour, linewidth=1.0, linestyle=(0, (1, 2)), zorder=2)
        peaks.append(floor)
        handles.append(
            handle(f"{first['activation']}, n = {shape[0]}, d = {shape[1]}, b = {shape[2]}", look)
        )
    every = pd.concat(lines)
    for axes in (left, right):
        scales.swept_axis(
            axes, every["micro_batches"], "slices of the batch (micro-batches)", WIDTH / 2 - 1
        )
    scales.byte_axis(left, peaks, "peak above parameters")
    scales.plain_axis(
        right,
        [0, 0.25, 0.5, 0.75, 1, 1.25],
        "operations, multiples of one slice’s",
        (0, max(1.3, 1.05 * max(ratios))),
    )
    title = _title(lines[0])
    note = f"mode full · marks measured, lines theory · dotted: the weight gradients alone, n·d² elements · {meets(every, 'peak_bytes')}"
    return Drawing(title, CAPTION, finish(figure, title, note, handles))


def _title(rows: pd.DataFrame) -> str:
    """The least peak beside that of the whole batch (or of the fewest slices), and what it costs in operations."""
    whole, best = rows.iloc[0], rows.loc[rows["peak_bytes"].astype(float).idxmin()]
    more = int(best["ops"]) - int(whole["ops"])
    cost = (
        "not one operation more"
        if not more
        else f"{percent(more, int(whole['ops']))} {'more' if more > 0 else 'fewer'} operations"
    )
    fall = f"from {human_bytes(int(whole['peak_bytes']))} to {human_bytes(int(best['peak_bytes']))}"
    shape = f"n = {whole['n']}, d = {whole['d']}, b = {whole['b']}"
    return f"In {counted(int(best['micro_batches']), 'slice')} of the batch the peak falls {fall}, for {cost} ({shape})"
