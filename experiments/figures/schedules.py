"""Schedules as people draw them: layers upwards, time to the right, snapshots held as bars, and the live bytes under it on the same axis.

Each computed instruction is one unit of time. Layer i is the product z_i and the activation x_{i+1}; it is *advanced* when it is run for the
first time, *recomputed* when it is run again, *reversed* when ∂z_i, ∂W_i and ∂x_i are made. A bar between two layers is the value that the
upper one reads, from its birth to its death; x_1 is the caller's. Everything is read from the events of timelines.csv by their names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from experiments.analysis.plans import planner_words
from experiments.figures import axes as scales
from experiments.figures.data import Series, theory_value
from experiments.figures.style import INK, WIDTH, Drawing, Look, finish, new_figure
from experiments.figures.timelines import live_panel, role_handles, step_axis
from experiments.grid.planners import theory_of
from experiments.results.tables import Results
from experiments.text import counted, joined
from profiler.units import human_bytes

CAPTION = (
    "How to read it: follow the blocks from left to right. Pale blocks climb the layers for the first time, hatched ones climb again from a "
    "snapshot (a bar, held from its birth to its death), and dark ones come down: the layer is reversed. A plan that keeps fewer bars climbs "
    "more often. Below, on the same axis, what that keeps alive."
)
KINDS = {
    "advance": ("layer run first", Look("#a9cfe8", "", "")),
    "recompute": ("layer run again", Look("#f3c98b", "", "\\\\\\\\")),
    "reverse": ("layer reversed", Look("#10254d", "", "")),
}
HELD, CALLERS = "#1a1a1a", "#8a8a8a"
MOST_PANELS, MOST_STEPS = 3, 4000
_SHAPE = ["network", "activation", "loss", "dtype", "n", "d", "b"]


@dataclass(frozen=True)
class Block:
    """A run of steps of one kind on one layer: from `start` to `stop`."""

    kind: str
    layer: int
    start: int
    stop: int


@dataclass(frozen=True)
class Bar:
    """The life of x_k: from `start` to `stop`."""

    k: int
    start: int
    stop: int


def draw_schedules(results: Results) -> Drawing | None:
    """Some plans of one shape beside each other; None without the timeline of a planner on a chain."""
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
    grid = figure.subplots(
        2,
        len(plans),
        sharex="col",
        sharey="row",
        squeeze=False,
        width_ratios=widths,
        height_ratios=[1.2 + 0.05 * min(n, 20), 1],
    )
    for column, (planner, rows) in enumerate(plans):
        above, below = grid[0, column], grid[1, column]
        computed = rows[rows["event"] == "computed"]
        _draw(above, blocks_of(rows, n), bars_of(rows, n), n, len(computed))
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
    shape = ", ".join(f"{name} = {first[name]}" for name in ("n", "d", "b"))
    note = f"{first['network']}, {first['activation']}, loss {first['loss']}, {first['dtype']}, {shape} · dotted: the theory’s peak"
    return Drawing(
        title,
        CAPTION,
        finish(
            figure, title, note, [*_handles(plans, n), *role_handles([rows for _, rows in plans])]
        ),
    )


def _plans(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The plans to draw: everything kept, then the shortest schedules of planners; those that are no chain are left out."""
    found = {}
    for (mode, planner), rows in frame[frame["mode"].isin(["full", "checkpointed"])].groupby(
        ["mode", "planner"], sort=False
    ):
        drawn = blocks_of(rows, int(rows["n"].iloc[0]))
        if any(block.kind == "reverse" for block in drawn) and _length(rows) <= MOST_STEPS:
            found["store_all" if mode == "full" else str(planner)] = rows
    plans = sorted(found.items(), key=lambda item: (item[0] != "store_all", _length(item[1])))
    return plans[:MOST_PANELS] if any(planner != "store_all" for planner, _ in plans) else []


def _length(rows: pd.DataFrame) -> int:
    return int((rows["event"] == "computed").sum())


def _name(planner: str) -> str:
    return "store all (full)" if planner == "store_all" else planner_words(planner)


def blocks_of(rows: pd.DataFrame, n: int) -> list[Block]:
    """The runs of steps of a timeline, each of one kind and one layer; the loss is layer n + 1."""
    computed = rows.loc[rows["event"] == "computed", ["node", "phase"]].itertuples(
        index=False, name=None
    )
    kinds = {"forward": "advance", "recompute": "recompute"}
    steps: list[tuple[str, int]] = []
    for kind, run in groupby(
        ((kinds.get(phase, "reverse"), _layer(str(node), n)) for node, phase in computed),
        key=lambda step: step[0],
    ):
        layers = [layer for _, layer in run]
        known = [layer for layer in layers if layer is not None] or [n + 1]
        layer = known[0]
        for here in layers:  # a view or a part of the loss belongs to what is being done before it, or is about to be
            layer = layer if here is None else here
            steps.append((kind, layer))
    blocks, start = [], 0
    for (kind, layer), run in groupby(steps):
        stop = start + len(list(run))
        blocks.append(Block(kind, layer, start, stop))
        start = stop
    return blocks


def _layer(node: str, n: int) -> int | None:
    """The layer that a value belongs to: x_{i+1} is what layer i gives, ∂x_i what reversing it gives."""
    found = re.fullmatch(r"(∂?)([zxW])_(\d+)", node)
    if not found:
        return n + 1 if node in ("L", "∂L") else None
    k = int(found[3])
    return k - 1 if (found[1], found[2]) == ("", "x") else k


def bars_of(rows: pd.DataFrame, n: int) -> list[Bar]:
    """The lives of x_2 … x_n that outlast the step after their birth's layer: what is held, not what is passed on."""
    born: dict[str, int] = {}
    bars = []
    for node, event, step in rows[["node", "event", "step"]].itertuples(index=False, name=None):
        found = re.fullmatch(r"x_(\d+)", str(node))
        if not found or not 2 <= int(found[1]) <= n:
            continue
        if event == "allocated":
            born[node] = int(step)
        elif event == "freed" and node in born:
            start = born.pop(node)
            if int(step) > start + 1:
                bars.append(Bar(int(found[1]), start, int(step) + 1))
    return bars


def _draw(axes: Axes, blocks: list[Block], bars: list[Bar], n: int, length: int) -> None:
    """Blocks on the layers' rows, bars on the lines between them."""
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
    for bar in bars:
        axes.plot(
            [bar.start, bar.stop],
            [bar.k - 0.5] * 2,
            color=HELD,
            linewidth=2.6,
            solid_capstyle="butt",
            zorder=4,
        )
    ticks = range(1, n + 1, max(1, -(-n // 16)))
    scales.plain_axis(axes, [*ticks, n + 1], "", (0.2, n + 1.6))
    axes.set_yticklabels(
        [*(str(tick) for tick in ticks), "L"]
        if n - ticks[-1] < 1 or n < 16
        else [*(str(tick) for tick in ticks), ""]
    )
    axes.set_xlim(0, length)
    axes.grid(visible=False)


def _theory_peak(first: pd.Series, planner: str) -> float | None:
    """The theory's peak of a plan in bytes."""
    n, d, b = (int(first[name]) for name in ("n", "d", "b"))
    if planner == "store_all":
        return theory_value(
            Series("full", planner, "autodiff"), first.to_dict(), "peak_bytes", n, d, b
        )
    found = theory_of(planner, n, d, b, str(first["activation"]), str(first["loss"]))
    itemsize = int(re.sub(r"\D", "", str(first["dtype"])) or 32) // 8
    return None if found is None else float(itemsize * int(found.peak_elements))


def _title(plans: list[tuple[str, pd.DataFrame]], n: int) -> str:
    """How many layers each plan runs forward, how many values it holds at most, and its peak."""
    facts = []
    for planner, rows in plans:
        layers = sum(block.kind != "reverse" and block.layer <= n for block in blocks_of(rows, n))
        facts.append(
            f"{_name(planner)} runs {counted(layers, 'layer')} forward and peaks at {human_bytes(int(rows['live_bytes'].max()))}"
        )
    text = joined(facts) if len(facts) < 3 else "; ".join(facts)
    return f"What is not held is run again: {text}"


def _handles(plans: list[tuple[str, pd.DataFrame]], n: int) -> list[Patch | Line2D]:
    """The legend's entries of the kinds that occur, and of the bars."""
    kinds = {block.kind for _, rows in plans for block in blocks_of(rows, n)}
    patches: list[Patch | Line2D] = [
        Patch(facecolor=look.colour, hatch=look.dash, edgecolor=INK, linewidth=0.4, label=name)
        for kind, (name, look) in KINDS.items()
        if kind in kinds
    ]
    bars = [("held (snapshot)", HELD), ("the caller’s x₁", CALLERS)]
    return [
        *patches,
        *(Line2D([], [], color=colour, linewidth=2.6, label=name) for name, colour in bars),
    ]
