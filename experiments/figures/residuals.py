"""Every row's distance from the theory: the first thing a sceptic wants to see."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes

from experiments.figures import axes as scales
from experiments.figures.data import all_rows
from experiments.figures.style import MODE_LOOKS, MODE_NAMES, MORE_LOOKS, Drawing, Look, finish, handle, new_figure
from experiments.publish import Results
from experiments.verdict import QUANTITIES, residuals, verdict_of


def draw_residuals(results: Results) -> Drawing | None:
    """Measured minus theory of every row, in operations and in bytes; None where no row has a theory."""
    rows = all_rows(results)
    verdict = verdict_of(rows)
    if verdict.agrees is None:
        return None
    if verdict.agrees:
        title = f"Measured equals theory in all {verdict.compared:,} rows: the greatest residual is 0 operations and 0 bytes"
    else:
        title = (
            f"Measured DIFFERS from theory in {verdict.differing:,} of {verdict.compared:,} rows: by up to "
            f"{verdict.greatest_ops:,} operations and {verdict.greatest_bytes:,} bytes"
        )
    figure = new_figure(2.9)
    left, right = figure.subplots(1, 2)
    modes = _panel(left, rows, "operations")
    modes |= _panel(right, rows, "bytes")
    handles = [handle(MODE_NAMES.get(mode, mode), _look(mode), line=False, hollow=True) for mode in [*MODE_LOOKS, ""] if mode in modes]
    note = (
        "One mark for each measured row (marks that would hide each other are drawn once). Rows that failed or were skipped are not here."
    )
    finish(figure, title, note, handles)
    caption = (
        "How to read it: to the right the size of a measurement, upwards measured minus theory. A mark off the line would be an operation "
        "or a byte that the theory does not know of, or that was not measured."
    )
    return Drawing(title, caption, figure)


def _panel(axes: Axes, rows: pd.DataFrame, quantity: str) -> set[str]:
    measured = QUANTITIES[quantity][0]
    apart = residuals(rows, quantity)
    if apart.empty:
        axes.set_visible(False)
        return set()
    sizes = rows.loc[apart.index, measured].astype(float)
    frame = pd.DataFrame({"size": sizes, "apart": apart, "mode": rows.loc[apart.index, "mode"]})
    modes = set()
    for rank, mode in enumerate(
        mode for mode in [*MODE_LOOKS, *sorted(set(frame["mode"]) - set(MODE_LOOKS))] if (frame["mode"] == mode).any()
    ):
        mine = frame[frame["mode"] == mode]
        mine = mine[~pd.DataFrame({"x": (mine["size"].clip(lower=1).map(_step)), "y": mine["apart"]}).duplicated()]
        look = _look(mode)
        axes.plot(
            mine["size"], mine["apart"], linestyle="none", marker=look.marker, markersize=10.5 - 1.4 * rank, markerfacecolor="none",
            markeredgecolor=look.colour, markeredgewidth=1.1, zorder=3 + rank,
        )  # fmt: skip
        modes.add(mode)
    axes.axhline(0, color="#1a1a1a", linewidth=1.0, zorder=2)
    greatest = int(apart.abs().max())
    if quantity == "bytes":
        scales.byte_axis(axes, frame["size"], "measured peak", which="x", at_most=7)
    else:
        scales.count_axis(axes, frame["size"], "measured operations", which="x")
    label = f"measured − theory ({quantity})"
    if greatest <= 1:
        scales.plain_axis(axes, [-1, 0, 1], label, (-1.5, 1.5))
    else:
        axes.set_yscale("symlog", linthresh=1)
        decades = [10**power for power in range(len(str(greatest)) + 1)]
        axes.set_yticks([*(-decade for decade in reversed(decades)), 0, *decades])
        axes.set_yticklabels([*(f"−{decade:,}" for decade in reversed(decades)), "0", *(f"{decade:,}" for decade in decades)])
        axes.minorticks_off()
        axes.set_ylim(-2 * greatest, 2 * greatest)
        axes.set_ylabel(label)
    axes.set_title(f"{len(apart):,} rows, {int((apart == 0).sum()):,} of them at 0")
    return modes


def _step(size: float) -> int:
    """Where on the axis a size lies, in steps of about two points."""
    return round(math.log2(size) * 8)


def _look(mode: str) -> Look:
    return MODE_LOOKS.get(mode, MORE_LOOKS[-1])
