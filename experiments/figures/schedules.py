"""Schedules as usually drawn: layers upwards, time to the right, snapshots as bars, bytes below.

Each computed instruction is one unit of time. A bar between two layers is the value that the upper
one reads, from its allocation until it is freed; x_1 is caller-owned. What is kept of a layer
itself (z_i, on its tape) is a dashed line through its row; a dotted one is the copy of a value on a
level below memory, from the step that stores it. The chain has no random ops, so none is replayed.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from experiments.analysis.plans import described, planner_words
from experiments.figures import axes as scales
from experiments.figures.data import Series, case_words, shape_words, theory_value
from experiments.figures.schedule_events import (
    Bar,
    Block,
    Move,
    bars_of,
    blocks_of,
    moves_in,
)
from experiments.figures.style import INK, WIDTH, Drawing, Look, finish, new_figure
from experiments.figures.timelines import live_panel, role_handles, source_of_steps, step_axis
from experiments.grid.planners import theory_of
from experiments.names import AXES, CASE, HOME_ENGINE, ITEMSIZES, STORE_ALL
from experiments.results.tables import Results
from experiments.text import counted
from profiler.units import human_bytes

CAPTION = (
    "How to read it: follow the blocks from left to right. Pale blocks climb the layers for the "
    "first time, hatched ones climb again from a snapshot (a bar, as long as it is kept), and dark "
    "ones come down: the layer is reversed. A plan that keeps fewer bars climbs more often. Dashed "
    "lines are a layer’s own values, kept for its reversal (a tape). A triangle that points down "
    "is a value stored on a level below memory, where it lies along the dotted line; one that "
    "points up is the value loaded again. Below, on the same axis, the bytes that are alive."
)
KINDS = {
    "advance": ("layer run first", Look("#a9cfe8", "", "")),
    "recompute": ("layer recomputed", Look("#f3c98b", "", "\\\\\\\\")),
    "reverse": ("layer reversed", Look("#10254d", "", "")),
}
HELD, CALLERS, TAPE, BELOW = "#1a1a1a", "#8a8a8a", "#c0470c", "#00785a"
_LINES: dict[str, tuple[str, str, Any, float]] = {
    "state": ("kept (snapshot)", HELD, "-", 2.6),
    "tape": ("kept of a layer (tape)", TAPE, (0, (3, 1)), 1.7),
    "below": ("on the level below", BELOW, (0, (1, 1)), 2.0),
}
_MARKERS = {"store": ("stored", "v", BELOW), "load": ("loaded", "^", "white")}
MOST_PANELS, MOST_STEPS = 4, 4000
_SHAPE = [*CASE, *AXES]


def draw_schedules(results: Results) -> Drawing | None:
    """Draw some plans of one shape; None without the timeline of a planner on a chain."""
    frame = results.timelines
    if frame.empty or not (frame["mode"] == "checkpointed").any():
        return None
    first = frame[frame["mode"] == "checkpointed"].iloc[0]
    frame = frame[(frame[_SHAPE] == first[_SHAPE]).all(axis=1)]
    plans = _plans(frame)
    if not plans:
        return None
    n, longest = int(first["n"]), max(_length(rows) for _, rows in plans)
    widths = [max(_length(rows), 0.4 * longest) for _, rows in plans]
    highest = max(int(rows["live_bytes"].max()) for _, rows in plans)
    figure = new_figure(1.9 + min(3.4, 0.24 * (n + 2)) + 1.6)
    heights = [1.2 + 0.05 * min(n, 20), 1]
    grid = figure.subplots(
        2, len(plans), sharex="col", sharey="row", squeeze=False, width_ratios=widths,
        height_ratios=heights,
    )  # fmt: skip
    for column, (planner, rows) in enumerate(plans):
        above, below = grid[0, column], grid[1, column]
        computed = rows[rows["event"] == "computed"]
        _draw(above, blocks_of(rows, n), n, len(computed))
        _draw_kept(above, bars_of(rows, n), moves_in(rows))
        live_panel(below, computed, _theory_peak(first, planner), highest)
        scales.linear_byte_axis(below, highest * 1.2, "live bytes" if column == 0 else "")
        step_axis(below, len(computed), (WIDTH - 1.2) * widths[column] / sum(widths))
        below.set_xlabel("time (step)")
        above.tick_params(labelbottom=False)
        above.set_ylabel("layer" if column == 0 else "")
        above.set_title(_name(planner), color=INK, weight="bold")
        for axes in (above, below):
            axes.grid(visible=False, axis="x")
    title = _title(plans, n)
    note = (
        f"{case_words(frame)}, {shape_words(first)} · {source_of_steps(frame)} · "
        "dotted: the theory’s peak"
    )
    return Drawing(
        title,
        CAPTION,
        finish(
            figure, title, note, [*_handles(plans, n), *role_handles([rows for _, rows in plans])]
        ),
    )


def _plans(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the plans to draw: everything kept, then the shortest schedules on a chain."""
    found = {}
    for (mode, planner), rows in frame[frame["mode"].isin(["full", "checkpointed"])].groupby(
        ["mode", "planner"], sort=False
    ):
        drawn = blocks_of(rows, int(rows["n"].iloc[0]))
        if any(block.kind == "reverse" for block in drawn) and _length(rows) <= MOST_STEPS:
            found[STORE_ALL if mode == "full" else str(planner)] = rows
    plans = sorted(found.items(), key=lambda item: (item[0] != STORE_ALL, _length(item[1])))
    return plans[:MOST_PANELS] if any(planner != STORE_ALL for planner, _ in plans) else []


def _length(rows: pd.DataFrame) -> int:
    return int((rows["event"] == "computed").sum())


def _name(planner: str) -> str:
    return "store all (full)" if planner == STORE_ALL else planner_words(planner)


def _draw(axes: Axes, blocks: list[Block], n: int, length: int) -> None:
    """Draw blocks on the layers' rows, and the life of the caller's value below them."""
    for block in blocks:
        look = KINDS[block.kind][1]
        place, width = (block.start, block.layer - 0.36), block.stop - block.start
        axes.add_patch(
            Rectangle(
                place,
                width,
                0.72,
                facecolor=look.colour,
                hatch=look.dash,
                edgecolor=INK,
                linewidth=0.4,
                zorder=3,
            )
        )
    last = max((block.stop for block in blocks if block.layer == 1), default=length)
    axes.plot([0, last], [0.5, 0.5], color=CALLERS, linewidth=2.6, solid_capstyle="butt", zorder=4)
    ticks = range(1, n + 1, max(1, -(-n // 16)))
    scales.plain_axis(axes, [*ticks, n + 1], "", (0.2, n + 1.6))
    axes.set_yticklabels(
        [*(str(tick) for tick in ticks), "L"]
        if n - ticks[-1] < 1 or n < 16
        else [*(str(tick) for tick in ticks), ""]
    )
    axes.set_xlim(0, length)
    axes.grid(visible=False)


def _draw_kept(axes: Axes, bars: list[Bar], moves: list[Move]) -> None:
    """Draw states on the lines between the rows, tapes through them, copies and moves below."""
    for bar in bars:
        _, colour, dash, width = _LINES[bar.kind]
        y = bar.k - {"state": 0.5, "tape": 0.0, "below": 0.62}[bar.kind]
        axes.plot(
            [bar.start, bar.stop], [y, y], color=colour, linestyle=dash, linewidth=width,
            solid_capstyle="butt", dash_capstyle="butt", zorder=2 if bar.kind == "tape" else 4,
        )  # fmt: skip
    for move in moves:
        _, marker, face = _MARKERS[move.kind]
        axes.plot(
            [move.step + 0.5], [move.k - 0.56], marker=marker, linestyle="none", markersize=6,
            markerfacecolor=face, markeredgecolor=BELOW, markeredgewidth=1.0, zorder=5,
        )  # fmt: skip


def _theory_peak(first: pd.Series, planner: str) -> float | None:
    """Return the theory's peak of a plan in bytes; None for a planner that is not built in."""
    n, d, b = (int(first[name]) for name in ("n", "d", "b"))
    if planner == STORE_ALL:
        return theory_value(
            Series("full", planner, HOME_ENGINE), first.to_dict(), "peak_bytes", n, d, b
        )
    # A planner from elsewhere has no theory, and its text must not reach what imports it.
    if not described(planner).is_builtin:
        return None
    found = theory_of(planner, n, d, b, str(first["activation"]), str(first["loss"]))
    return None if found is None else float(ITEMSIZES[first["dtype"]] * int(found.peak_elements))


def _title(plans: list[tuple[str, pd.DataFrame]], n: int) -> str:
    """Return how many layers each plan runs forward, and its peak."""
    facts = []
    for planner, rows in plans:
        layers = sum(block.kind != "reverse" and block.layer <= n for block in blocks_of(rows, n))
        facts.append(
            f"{_name(planner)} runs {counted(layers, 'layer')} forward and peaks at "
            f"{human_bytes(int(rows['live_bytes'].max()))}"
        )
    return f"What is not kept is recomputed: {'; '.join(facts)}"


def _handles(plans: list[tuple[str, pd.DataFrame]], n: int) -> list[Patch | Line2D]:
    """Return the legend's entries of the kinds that occur, and of the bars."""
    kinds = {block.kind for _, rows in plans for block in blocks_of(rows, n)}
    patches: list[Patch | Line2D] = [
        Patch(facecolor=look.colour, hatch=look.dash, edgecolor=INK, linewidth=0.4, label=name)
        for kind, (name, look) in KINDS.items()
        if kind in kinds
    ]
    kept = {bar.kind for _, rows in plans for bar in bars_of(rows, n)}
    moved = {move.kind for _, rows in plans for move in moves_in(rows)}
    lines = [entry for kind, entry in _LINES.items() if kind in kept]
    lines.append(("caller-owned x₁", CALLERS, "-", 2.6))
    return [
        *patches,
        *(
            Line2D([], [], color=colour, linestyle=dash, linewidth=width, label=name)
            for name, colour, dash, width in lines
        ),
        *(
            Line2D(
                [], [], linestyle="none", marker=marker, markerfacecolor=face,
                markeredgecolor=BELOW, label=name,
            )
            for kind, (name, marker, face) in _MARKERS.items()
            if kind in moved
        ),
    ]  # fmt: skip
