"""Pictures of measurements by matplotlib: live bytes through a step, and buffers above them.

Matplotlib is imported when something is drawn, never with this module. Nothing touches the state of
pyplot: a figure belongs to the code that asked for it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from profiler.ledger import Ledger
from profiler.units import human_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

ROLE_COLOURS = {
    "parameter_gradient": ("weight gradients", "#10254d"),
    "optimizer_state": ("optimizer state", "#c4c4c4"),
    "buffer": ("buffers", "#d9c58a"),
    "activation": ("activations", "#a9cfe8"),
    "gradient": ("gradients of activations", "#d9691e"),
    "temporary": ("temporaries", "#8a8a8a"),
}
"""The name and the colour of each role, the lowest area first; other roles follow in grey."""


def figure_with_axes(width: float = 8.0, height: float = 4.0) -> tuple[Figure, Axes]:
    """Return an empty figure of so many inches, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def timeline_figure(ledger: Ledger, title: str) -> Figure:
    """Return a figure of the live bytes of each role at every step, with the peak marked."""
    figure, axes = figure_with_axes()
    draw_live_bytes(axes, ledger)
    if len(ledger.phases):
        peak = ledger.peak_bytes
        axes.plot([ledger.peak_step + 0.5], [peak], marker="v", color="black", clip_on=False)
        axes.annotate(
            f"peak: {human_bytes(peak)}", (ledger.peak_step + 0.5, peak), (0, 8),
            textcoords="offset points", ha="center",
        )  # fmt: skip
    axes.set_title(title, loc="left")
    return figure


def draw_live_bytes(axes: Axes, ledger: Ledger) -> None:
    """Draw one area a role, each on the one before, a step one wide; label both axes.

    A line stands where the backward pass, or another phase after forward, begins.
    """
    count = len(ledger.phases)
    live = ledger.live_by_role
    floor = np.zeros(count + 1)
    for role in sorted(ledger.roles, key=_place):
        column = live[:, ledger.roles.index(role)]
        if not column.any():
            continue
        name, colour = ROLE_COLOURS.get(role, (role, "#b8b8b8"))
        ceiling = floor + np.append(column, column[-1])
        axes.fill_between(
            np.arange(count + 1), floor, ceiling, step="post", label=name, color=colour, linewidth=0
        )
        floor = ceiling
    later = np.flatnonzero([phase not in ("forward", "recompute") for phase in ledger.phases])
    if len(later) and later[0]:
        axes.axvline(int(later[0]), color="black", linewidth=0.9)
    axes.set_xlim(0, max(count, 1))
    axes.set_ylim(0, max(ledger.peak_bytes, 1) * 1.15)
    byte_ticks(axes.yaxis)
    axes.set(xlabel="step", ylabel="live bytes")
    if axes.get_legend_handles_labels()[0]:
        # Outside of the axes: an area may reach any corner.
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")


def byte_ticks(axis: Axis) -> None:
    """Set ticks of an axis at a few round binary sizes, written in their units."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    low, high = axis.get_view_interval()
    apart = 2 ** max(0, math.ceil(math.log2(max(high - low, 1) / 6)))
    axis.set_major_locator(MultipleLocator(apart))
    axis.set_major_formatter(FuncFormatter(lambda nbytes, _: human_bytes(nbytes)))


def _place(role: str) -> int:
    """Return where a role lies among the areas."""
    roles = list(ROLE_COLOURS)
    return roles.index(role) if role in roles else len(roles)
