"""A batch run slice after slice: what gradient accumulation saves, and what it costs."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from experiments.analysis.selection import source_words
from experiments.analysis.verdict import agreement_words
from experiments.figures import axes as scales
from experiments.figures.data import (
    Series,
    agreement_of,
    case_of,
    points_of,
    shape_words,
    theory_value,
)
from experiments.figures.style import (
    MORE_LOOKS,
    WIDTH,
    Drawing,
    Look,
    finish,
    handle,
    marks,
    new_figure,
)
from experiments.names import AXES, CASE, HOME_ENGINE, ITEMSIZES, STORE_ALL
from experiments.results.tables import Results
from experiments.text import counted, percent
from profiler.units import human_bytes

CAPTION = (
    "How to read it: a step can run one slice of its batch after another and accumulate the "
    "gradients. Only one slice’s activations are alive at once, so the peak falls towards what the "
    "weight gradients themselves need. The products of slices need as many additions fewer as "
    "accumulating the gradients needs more. Time is another matter: thin slices make slow products."
)
_SHAPE = [*CASE, *AXES]
_FULL = Series("full", STORE_ALL, HOME_ENGINE)


def draw_micro_batches(results: Results) -> Drawing | None:
    """Draw peak and operations of a full step against its batch's slices; None without rows."""
    frame = points_of(results.results, micro_batches=True)
    frame = frame[(frame["mode"] == "full") & (frame["engine"] == HOME_ENGINE)]
    # Most sweeps have thousands of shapes, a few of them in slices.
    sliced = frame.loc[frame["micro_batches"] > 1, _SHAPE].drop_duplicates()
    groups = frame.merge(sliced, on=_SHAPE).groupby(_SHAPE, sort=False)
    found = [rows.sort_values("micro_batches") for _, rows in groups]
    lines = [rows for rows in found if rows["micro_batches"].nunique() > 1][: len(MORE_LOOKS)]
    if not lines:
        return None
    figure = new_figure(3.3)
    left, right = figure.subplots(1, 2)
    peaks: list[float] = []
    ratios: list[float] = [1.0]
    handles = []
    for rows, look in zip(lines, MORE_LOOKS, strict=False):
        _curves((left, right), rows, look, (peaks, ratios))
        first = rows.iloc[0]
        handles.append(handle(f"{first['activation']}, {shape_words(first)}", look))
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
    words = agreement_words(
        {"operations": agreement_of(every, "ops"), "bytes": agreement_of(every, "peak_bytes")},
        "marks",
    )
    note = (
        f"mode full · marks {source_words(every)}, lines theory · dotted: only the weight "
        f"gradients, n·d² elements · {words}"
    )
    return Drawing(title, CAPTION, finish(figure, title, note, handles))


def _curves(
    panels: tuple[Axes, Axes], rows: pd.DataFrame, look: Look, drawn: tuple[list[float], ...]
) -> None:
    """Draw one step's peaks, and its operations over those of one slice; note the values drawn."""
    case, slices = case_of(rows), rows["micro_batches"].astype(int).tolist()
    n, d, b = (int(rows[name].iloc[0]) for name in AXES)
    whole = theory_value(_FULL, case, "ops", n, d, b) or 1.0
    quantities = (("peak_bytes", 1.0), ("ops", whole))
    for axes, (quantity, unit), known in zip(panels, quantities, drawn, strict=True):
        curve = [
            (theory_value(_FULL, case, quantity, n, d, b, micro_batches=k) or 0.0) / unit
            for k in slices
        ]
        values = (rows[quantity].astype(float) / unit).tolist()
        axes.plot(slices, curve, color=look.colour, linestyle=look.dash, zorder=3)
        marks(axes, slices, values, look)
        known.extend([*curve, *values])
    floor = float(ITEMSIZES[case["dtype"]] * n * d**2)
    panels[0].axhline(floor, color=look.colour, linewidth=1.0, linestyle=(0, (1, 2)), zorder=2)
    drawn[0].append(floor)


def _title(rows: pd.DataFrame) -> str:
    """Compare the least peak with the whole batch's (or the fewest slices'), and its operations."""
    whole, best = rows.iloc[0], rows.loc[rows["peak_bytes"].astype(float).idxmin()]
    more = int(best["ops"]) - int(whole["ops"])
    cost = (
        "no more operations"
        if not more
        else f"{percent(more, int(whole['ops']))} {'more' if more > 0 else 'fewer'} operations"
    )
    fall = f"from {human_bytes(int(whole['peak_bytes']))} to {human_bytes(int(best['peak_bytes']))}"
    slices = counted(int(best["micro_batches"]), "slice")
    return f"With {slices} of the batch the peak falls {fall}, for {cost} ({shape_words(whole)})"
