"""Every row's distance from the theory: the first thing that a sceptic wants to see."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.analysis.selection import all_rows, source_words
from experiments.analysis.verdict import QUANTITIES, residuals, verdict_of
from experiments.figures import axes as scales
from experiments.figures.style import (
    INK,
    MODE_LOOKS,
    MODE_NAMES,
    MORE_LOOKS,
    Drawing,
    Look,
    finish,
    handle,
    new_figure,
)
from experiments.results.tables import Results
from experiments.text import counted

CAPTION = (
    "How to read it: to the right the size of a row’s value, upwards value minus theory. A mark "
    "off "
    "the line would be an operation or a byte that is missing in the theory or in the row."
)
NOTE = "marks that would hide each other are drawn once; failed and skipped rows are not shown"


def draw_residuals(results: Results) -> Drawing | None:
    """Draw value minus theory of every row, operations and bytes; None without any formula."""
    rows = all_rows(results)
    verdict = verdict_of(rows)
    if verdict.agrees is None:
        return None
    source = source_words(rows)
    if verdict.agrees:
        title = f"Residuals of {source} rows are 0: {verdict.words}"
    else:
        title = (
            f"{source.capitalize()} rows DIFFER from theory in {verdict.differing:,} of "
            f"{counted(verdict.compared, 'row')}, {verdict.distance}: {verdict.words}"
        )
    figure = new_figure(2.9)
    left, right = figure.subplots(1, 2)
    modes = {**_panel(left, rows, "operations"), **_panel(right, rows, "bytes")}
    handles = [
        handle(MODE_NAMES.get(mode, mode), look, line=False, hollow=True)
        for mode, look in modes.items()
    ]
    return Drawing(
        title, CAPTION, finish(figure, title, f"one mark per row, {source} · {NOTE}", handles)
    )


def _panel(axes: Axes, rows: pd.DataFrame, quantity: str) -> dict[str, Look]:
    """Draw one quantity's residuals; return the modes that are in it."""
    apart = residuals(rows, quantity)
    if apart.empty:
        axes.set_visible(False)
        return {}
    kept = rows.loc[apart.index]
    frame = pd.DataFrame(
        {
            "size": kept[QUANTITIES[quantity][0]].to_numpy(float),
            "apart": apart.to_numpy(),
            "mode": kept["mode"].to_numpy(),
        }
    )
    modes = {
        mode: MODE_LOOKS.get(mode, MORE_LOOKS[-1])
        for mode in [*MODE_LOOKS, *frame["mode"].unique()]
        if (frame["mode"] == mode).any()
    }
    for rank, (mode, look) in enumerate(modes.items()):
        mine = frame[frame["mode"] == mode]
        # In steps of about two points to the right, so that many thousand rows stay a small file.
        places = pd.DataFrame(
            {
                "x": np.rint(np.log2(mine["size"].clip(lower=1)) * 8),
                "y": mine["apart"],
            }
        )
        mine = mine[~places.duplicated()]
        axes.plot(
            mine["size"], mine["apart"], linestyle="none", marker=look.marker,
            markersize=10.5 - 1.4 * rank, markerfacecolor="none",
            markeredgecolor=look.colour, markeredgewidth=1.1, zorder=3 + rank,
        )  # fmt: skip
    axes.axhline(0, color=INK, linewidth=1.0, zorder=2)
    if quantity == "bytes":
        scales.byte_axis(axes, frame["size"], "peak", which="x", at_most=7)
    else:
        scales.count_axis(axes, frame["size"], "operations", which="x", inches=4)
    scales.residual_axis(axes, int(apart.abs().max()), f"value − theory ({quantity})")
    axes.set_title(f"{counted(len(apart), 'row')}, {int((apart == 0).sum()):,} at exactly 0")
    return modes
