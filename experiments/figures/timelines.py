"""Live memory through one step, mode beside mode on one axis of bytes."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.figures import axes as scales
from experiments.figures.data import HOME_ENGINE, Series, theory_value
from experiments.figures.style import INK, MODE_LOOKS, MUTED, WIDTH, Drawing, Look, finish, new_figure
from experiments.publish import Results
from profiler.units import human_bytes

ROLE_LOOKS = {
    "parameter_gradient": Look("#10254d", "", ""),
    "activation": Look("#9cc7e4", "", "////"),
    "gradient": Look("#d9691e", "", "...."),
    "temporary": Look("#8a8a8a", "", "xxxx"),
}
ROLE_NAMES = {
    "parameter_gradient": "weight gradients",
    "activation": "activations",
    "gradient": "gradients of activations",
    "temporary": "temporaries",
}
MOST_PANELS = 8
_SHAPE = ["network", "activation", "loss", "dtype", "n", "d", "b"]


def draw_timelines(results: Results) -> Drawing | None:
    """Live bytes by role at every step of each mode on one shape, its peak marked; None without timelines."""
    frame = results.timelines
    if frame.empty or "live_bytes" not in frame:
        return None
    first = frame.iloc[0]
    frame = frame[(frame[_SHAPE] == first[_SHAPE]).all(axis=1) & (frame["event"] == "computed")]
    panels = _panels(frame)
    if not panels:
        return None
    lengths = [len(rows) for _, rows in panels]
    figure = new_figure(3.9)
    widths = [max(length, max(lengths) * 0.34) for length in lengths]
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=widths)[0]
    highest = max(int(rows["live_bytes"].max()) for _, rows in panels)
    inches = WIDTH - 1.2
    for axes, (series, rows), width in zip(grid, panels, widths, strict=True):
        peak = int(rows["live_bytes"].max())
        expected = theory_value(series, first.to_dict(), "peak_bytes", int(first["n"]), int(first["d"]), int(first["b"]))
        _panel(axes, rows, expected, highest)
        step = max(1, -(-len(rows) // max(2, round(inches * width / sum(widths) * 2.2))))
        nice = next(size for size in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 10**9) if size >= step)
        scales.plain_axis(axes, range(0, len(rows) + 1, nice), "step", (0, len(rows)), which="x")
        scales.linear_byte_axis(axes, highest * 1.14, "live bytes above parameters" if axes is grid[0] else "")
        axes.set_title(series.label, color=INK, weight="bold")
        axes.grid(visible=False, axis="x")
        axes.plot([], [], label=f"{series.label} {human_bytes(peak)}")
    shape = f"n = {first['n']}, d = {first['d']}, b = {first['b']}"
    title = _title(panels, shape)
    note = f"{first['network']}, {first['activation']}, loss {first['loss']}, {first['dtype']}, {shape} · dotted: the theory’s peak · thin line: where the backward pass begins"
    finish(figure, title, note, _handles(panels))
    caption = (
        "How to read it: time runs from step to step, the height is what is alive right after a step’s result has been made. Activations pile up on the way "
        "forward and are let go on the way back, while weight gradients stay; the peak (triangle) is where the two together are highest."
    )
    return Drawing(title, caption, figure)


def _panels(frame: pd.DataFrame) -> list[tuple[Series, pd.DataFrame]]:
    """The series in the order of the modes, as many as one row of panels holds."""
    found = [
        (Series(mode, planner, engine), rows) for (mode, planner, engine), rows in frame.groupby(["mode", "planner", "engine"], sort=False)
    ]
    order = list(MODE_LOOKS)
    found.sort(key=lambda pair: (pair[0].engine != HOME_ENGINE, order.index(pair[0].mode) if pair[0].mode in order else len(order)))
    return found[:MOST_PANELS]


def _panel(axes: Axes, rows: pd.DataFrame, expected: float | None, highest: int) -> None:
    """One mode: an area a role, one step wide a step, the peak marked."""
    steps = [*range(len(rows)), len(rows)]
    floor = [0.0] * len(steps)
    for role, look in ROLE_LOOKS.items():
        live = _live(rows, role)
        if not any(live):
            continue
        heights = [*live, live[-1]]
        ceiling = [low + high for low, high in zip(floor, heights, strict=True)]
        axes.fill_between(
            steps, floor, ceiling, step="post", facecolor=look.colour, hatch=look.dash, edgecolor=INK, linewidth=0.4, zorder=2
        )
        floor = ceiling
    if expected is not None:
        axes.axhline(expected, color=INK, linewidth=1.1, linestyle=(0, (1, 1.5)), zorder=4)
    later = rows["phase"].ne("forward").to_numpy()
    if later.any() and not later.all():
        axes.axvline(int(later.argmax()), color=INK, linewidth=0.8, zorder=4)
    live_bytes = rows["live_bytes"].to_numpy()
    where, peak = int(live_bytes.argmax()), int(live_bytes.max())
    axes.plot([where + 0.5], [peak + highest * 0.022], marker="v", color=INK, markersize=7, linestyle="none", zorder=6, clip_on=False)
    side = "left" if where < 0.25 * len(rows) else "right" if where > 0.75 * len(rows) else "center"
    place = {"left": 0.3, "right": len(rows) - 0.3, "center": where + 0.5}[side]
    axes.text(place, peak + highest * 0.052, human_bytes(peak), ha=side, va="bottom", weight="bold", size=9.5, color=INK, zorder=6)


def _live(rows: pd.DataFrame, role: str) -> list[float]:
    column = f"live_{role}_bytes"
    return rows[column].astype(float).tolist() if column in rows else [0.0] * len(rows)


def _title(panels: list[tuple[Series, pd.DataFrame]], shape: str) -> str:
    peaks = sorted(((int(rows["live_bytes"].max()), series.label) for series, rows in panels), reverse=True)
    (most, most_label), (least, least_label) = peaks[0], peaks[-1]
    if len(peaks) == 1:
        return f"One {most_label} step ({shape}) holds at most {human_bytes(most)} at once"
    others = "".join(f", {label} {human_bytes(peak)}" for peak, label in peaks[1:-1])
    return f"One step at {shape}: {most_label} holds up to {human_bytes(most)} at once{others}, {least_label} only {human_bytes(least)}"


def _handles(panels: list[tuple[Series, pd.DataFrame]]) -> list[Any]:
    handles: list[Any] = [
        Patch(facecolor=look.colour, hatch=look.dash, edgecolor=INK, linewidth=0.4, label=ROLE_NAMES[role])
        for role, look in ROLE_LOOKS.items()
        if any(any(_live(rows, role)) for _, rows in panels)
    ]
    return [
        *handles,
        Line2D([], [], linestyle="none", marker="v", color=INK, label="peak"),
        Line2D([], [], color=MUTED, linestyle=(0, (1, 1.5)), label="theory"),
    ]
