"""Live memory through one step, one panel per mode, all on one axis of bytes."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.figures import axes as scales
from experiments.figures.data import Series, case_words, shape_words, theory_value
from experiments.figures.layout import inches_at_most
from experiments.figures.style import (
    INK,
    MODE_LOOKS,
    TEXT_SIZE,
    WIDTH,
    Drawing,
    Look,
    finish,
    new_figure,
    wrap,
)
from experiments.names import AXES, CASE, HOME_ENGINE, MEASURED, PREDICTED
from experiments.results.tables import Results
from profiler.units import human_bytes

CAPTION = (
    "How to read it: time runs to the right step by step, the height is what is alive right after "
    "a "
    "step’s result has been computed. Activations pile up on the way forward and are freed on the "
    "way back, while weight gradients stay; the triangle marks where the sum is highest."
)
ROLES = {
    "parameter_gradient": ("weight gradients", Look("#10254d", "", "")),
    "activation": ("activations", Look("#a9cfe8", "", "///")),
    "gradient": ("gradients of activations", Look("#d9691e", "", "")),
    "temporary": ("temporaries", Look("#ffffff", "", "xxx")),
}
MOST_PANELS, MOST_PLANNERS = 7, 2
_SHAPE = [*CASE, *AXES]


def draw_timelines(results: Results) -> Drawing | None:
    """Draw live bytes by role at each step of each mode on one shape; None without timelines."""
    panels = [
        (series, rows[rows["event"] == "computed"])
        for series, rows in first_shape(results.timelines)
    ]
    if not panels:
        return None
    first = panels[0][1].iloc[0]
    longest = max(len(rows) for _, rows in panels)
    widths = [max(len(rows), 0.34 * longest) for _, rows in panels]
    highest = max(int(rows["live_bytes"].max()) for _, rows in panels)
    figure = new_figure(3.9)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=widths)[0]
    for axes, (series, rows), width in zip(grid, panels, widths, strict=True):
        expected = theory_value(
            series, first.to_dict(), "peak_bytes", int(first["n"]), int(first["d"]), int(first["b"])
        )
        live_panel(axes, rows, expected, highest)
        step_axis(axes, len(rows), (WIDTH - 1.2) * width / sum(widths))
        scales.linear_byte_axis(
            axes, highest * 1.14, "live bytes above parameters" if axes is grid[0] else ""
        )
        room = (WIDTH - 1.2) * 72 * width / sum(widths)
        name = "\n".join(wrap(series.label, room, TEXT_SIZE, bold=True))
        axes.set_title(name, color=INK, weight="bold")
        axes.grid(visible=False, axis="x")
    title = _title(panels, shape_words(first))
    drawn = pd.concat([rows for _, rows in panels])
    note = (
        f"{case_words(drawn)}, {shape_words(first)} · {source_of_steps(drawn)} · dotted: the "
        "theory’s peak · vertical line: the backward pass begins"
    )
    return Drawing(
        title, CAPTION, finish(figure, title, note, role_handles([rows for _, rows in panels]))
    )


def first_shape(timelines: pd.DataFrame) -> list[tuple[Series, pd.DataFrame]]:
    """Return the events of each step on the first shape of timelines, in the order of the modes."""
    if timelines.empty or "live_bytes" not in timelines:
        return []
    first = timelines.iloc[0]
    return _panels(timelines[(timelines[_SHAPE] == first[_SHAPE]).all(axis=1)])


def _panels(frame: pd.DataFrame) -> list[tuple[Series, pd.DataFrame]]:
    """Return the series that one row of panels has room for, in the order of the modes.

    Of planners it has the first; the schedules show the others.
    """
    groups = frame.groupby(["mode", "planner", "engine"], sort=False)
    found = [(Series(mode, planner, engine), rows) for (mode, planner, engine), rows in groups]
    left_out = [series for series, _ in found if series.mode == "checkpointed"][MOST_PLANNERS:]
    found = [pair for pair in found if pair[0] not in left_out]
    rank = {mode: index for index, mode in enumerate(MODE_LOOKS)}
    found.sort(key=lambda pair: (pair[0].engine != HOME_ENGINE, rank.get(pair[0].mode, len(rank))))
    return found[:MOST_PANELS]


def live_panel(axes: Axes, rows: pd.DataFrame, expected: float | None, highest: int) -> None:
    """Draw one mode: an area per role, each step one wide, the peak marked."""
    count = len(rows)
    floor = [0.0] * (count + 1)
    for role, (_, look) in ROLES.items():
        live = _live(rows, role)
        if not any(live):
            continue
        ceiling = [low + high for low, high in zip(floor, [*live, live[-1]], strict=True)]
        style: dict[str, Any] = {
            "facecolor": look.colour,
            "hatch": look.dash,
            "edgecolor": INK,
            "linewidth": 0.5,
        }
        axes.fill_between(range(count + 1), floor, ceiling, step="post", zorder=2, **style)
        floor = ceiling
    if expected is not None:
        axes.axhline(expected, color=INK, linewidth=1.1, linestyle=(0, (1, 1.5)), zorder=4)
    later = rows["phase"].eq("backward").to_numpy()
    if later.any() and not later.all():
        axes.axvline(int(later.argmax()), color=INK, linewidth=0.9, zorder=3)
    _mark_peak(axes, rows["live_bytes"].to_numpy(), highest)


def _mark_peak(axes: Axes, live_bytes: Any, highest: int) -> None:
    """Mark the peak with a triangle and its bytes."""
    count = len(live_bytes)
    where, peak = int(live_bytes.argmax()), int(live_bytes.max())
    axes.plot(
        [where + 0.5],
        [peak + highest * 0.022],
        marker="v",
        color=INK,
        markersize=7,
        linestyle="none",
        zorder=6,
        clip_on=False,
    )
    side = "left" if where < 0.3 * count else "right" if where > 0.7 * count else "center"
    place = {"left": 0.5, "right": count - 0.2, "center": where + 0.5}[side]
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    axes.text(
        place,
        peak + highest * 0.055,
        human_bytes(peak),
        ha=side,
        va="bottom",
        weight="bold",
        size=9.5,
        color=INK,
        zorder=5,
        bbox=ground,
    )


def source_of_steps(rows: pd.DataFrame) -> str:
    """Return how many of the steps were measured and predicted: only a measured one has times."""
    if "time_ns" not in rows:
        return PREDICTED
    steps = rows["time_ns"].notna().groupby([rows["mode"], rows["planner"], rows["engine"]]).any()
    counts = {MEASURED: int(steps.sum()), PREDICTED: int((~steps).sum())}
    found = [f"{source} ({count})" for source, count in counts.items() if count]
    return " or ".join(found) if len(found) > 1 else found[0].split(" (")[0]


def step_axis(axes: Axes, steps: int, inches: float) -> None:
    """Ticks at round numbers of steps, about two an inch."""
    rough = steps / max(1.0, inches_at_most(inches) * 1.8)
    nice = next(
        size * 10**power for power in range(8) for size in (1, 2, 5) if size * 10**power >= rough
    )
    scales.plain_axis(axes, range(0, steps + 1, nice), "step", (0, steps), which="x")


def _live(rows: pd.DataFrame, role: str) -> list[float]:
    column = f"live_{role}_bytes"
    return rows[column].astype(float).tolist() if column in rows else [0.0] * len(rows)


def _title(panels: list[tuple[Series, pd.DataFrame]], shape: str) -> str:
    """Return the peaks in a sentence, the highest first."""
    peaks = sorted(
        ((int(rows["live_bytes"].max()), series.label) for series, rows in panels),
        key=lambda pair: -pair[0],
    )
    parts = [f"{label}: {human_bytes(peak)}" for peak, label in peaks]
    return f"The peak of a step ({shape}) – {'; '.join(parts)}"


def role_handles(panels: list[pd.DataFrame]) -> list[Any]:
    """Return the legend's entries of the roles that occur, and of the mark of a peak."""
    found = [
        entry for role, entry in ROLES.items() if any(any(_live(rows, role)) for rows in panels)
    ]
    patches: list[Any] = [
        Patch(facecolor=look.colour, hatch=look.dash, edgecolor=INK, linewidth=0.5, label=name)
        for name, look in found
    ]
    return [*patches, Line2D([], [], linestyle="none", marker="v", color=INK, label="peak")]
