"""The largest batch that a memory holds: a line of marks per shape, a panel per memory."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from experiments.analysis.capacity import name_of, way_of
from experiments.figures import axes as scales
from experiments.figures.style import (
    FAINT,
    MODE_LOOKS,
    MUTED,
    NOTE_SIZE,
    Drawing,
    Look,
    finish,
    handle,
    marks,
    new_figure,
)
from experiments.results.capacity import ANY_PLAN, SHAPE
from experiments.results.tables import Results
from profiler.units import human_bytes

CAPTION = (
    "How to read it: each line is a published shape as a chain, each mark the most examples (of a "
    "language model: tokens) for which one step fits in this memory, weights and data included. "
    "Further right is better. What checkpointing gains is the distance from full to the marks on "
    "its right; where the weights and their gradients fill the memory, recomputing gains nothing."
)
_PLANNED = (
    Look("#6b2d80", "v"),
    Look("#2a8f6d", "s"),
    Look("#e08a1e", "P"),
    Look("#7db8dc", "^"),
    Look("#8a8a8a", "X"),
    Look("#10254d", "*"),
)
_ANY = Look("#ffffff", "o", "-", 12.0)


def draw_capacity(results: Results) -> Drawing | None:
    """Draw each shape's largest batch under each planner and memory; None without a memory."""
    frame = results.capacity
    if frame.empty or not (frame["b"] > 0).any():
        return None
    memories = sorted({int(size) for size in frame["memory_bytes"]})
    shapes = list(frame.groupby(SHAPE, sort=False).groups)
    looks = _looks(frame)
    figure = new_figure(0.42 * len(shapes) * len(memories) + 0.75 * len(memories) + 0.3)
    panels = figure.subplots(len(memories), 1, squeeze=False, sharex=True)[:, 0]
    batches = frame.loc[frame["b"] > 0, "b"].astype(int).tolist()
    for axes, memory in zip(panels, memories, strict=True):
        _panel(axes, frame[frame["memory_bytes"] == memory], shapes, looks)
        scales.count_axis(
            axes, batches, "largest batch b" if axes is panels[-1] else "", which="x", inches=6.5
        )
        axes.set_title(f"in {human_bytes(memory)}")
        axes.set_ylabel("shape, n × d")
    case = "; ".join(
        dict.fromkeys(f"{one[1]}, {one[2]}, loss {one[3]}, {one[4]}" for one in shapes)
    )
    handles = [handle(way, look, line=False, hollow=look is _ANY) for way, look in looks.items()]
    handles = [
        _ringed(entry) if look is _ANY else entry
        for entry, look in zip(handles, looks.values(), strict=True)
    ]
    title = _title(frame)
    return Drawing(
        title, CAPTION, finish(figure, title, f"{case} · predicted from shapes", handles)
    )


def _looks(frame: pd.DataFrame) -> dict[str, Look]:
    """Return a look for each way to compute a step, in the order of the rows."""
    looks: dict[str, Look] = {}
    planned = iter(_PLANNED * 4)
    for row in frame.drop_duplicates(["mode", "planner"]).to_dict("records"):
        if row["mode"] != "checkpointed":
            looks[way_of(row)] = MODE_LOOKS[row["mode"]]
        else:
            looks[way_of(row)] = _ANY if row["planner"] == ANY_PLAN else next(planned)
    return looks


def _panel(axes: Axes, frame: pd.DataFrame, shapes: list[Any], looks: dict[str, Look]) -> None:
    """Draw one memory: shapes downwards, a line from the least to the greatest batch of each."""
    for place, shape in enumerate(shapes):
        rows = frame[(frame[SHAPE] == list(shape)).all(axis=1) & (frame["b"] > 0)].to_dict(
            "records"
        )
        if not rows:
            text = "nothing fits: the weights are too large"
            axes.annotate(
                text,
                (0.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                size=NOTE_SIZE,
                color=MUTED,
            )
            continue
        axes.plot(
            [min(int(row["b"]) for row in rows), max(int(row["b"]) for row in rows)],
            [place, place],
            color=FAINT,
            linewidth=1.2,
            zorder=1,
        )
        for rank, row in enumerate(rows):
            look = looks[way_of(row)]
            if look is _ANY:
                axes.plot(
                    [int(row["b"])],
                    [place],
                    marker="o",
                    markersize=13,
                    markerfacecolor="none",
                    markeredgecolor=MUTED,
                    markeredgewidth=1.0,
                )
            else:
                marks(axes, [int(row["b"])], [place], look, rank=rank, size=min(look.size, 8.0))
    axes.set_yticks(
        range(len(shapes)), [name_of(dict(zip(SHAPE, shape, strict=True))) for shape in shapes]
    )
    axes.set_ylim(len(shapes) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _ringed(entry: Any) -> Any:
    entry.set(markersize=11, markeredgecolor=MUTED, markerfacecolor="none", markeredgewidth=1.0)
    return entry


def _title(frame: pd.DataFrame) -> str:
    """Return how many times as many examples recomputing allows, at least and at most."""
    gains = []
    for _, group in frame.groupby([*SHAPE, "memory_bytes"], sort=False):
        full, planned = (
            group[group["mode"] == "full"]["b"],
            group[group["mode"] == "checkpointed"]["b"],
        )
        if len(full) and len(planned) and int(full.iloc[0]):
            gains.append(int(planned.max()) / int(full.iloc[0]))
    if not gains:
        return "The largest batch that a memory holds"
    low, high = f"{min(gains):.2g}", f"{max(gains):.2g}"
    times = low if low == high else f"{low} to {high}"
    return f"Recomputing allows a batch {times}× as large as keeping everything does (predicted)"
