"""Our engine and plain PyTorch on the same axes: peak, operations and time of the same points."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from experiments.analysis.engines import pairs_of
from experiments.analysis.plans import planner_words
from experiments.figures import axes as scales
from experiments.figures.data import CASE, all_rows, itemsize_of
from experiments.figures.style import (
    FAINT,
    INK,
    MODE_NAMES,
    Drawing,
    Look,
    finish,
    handle,
    marks,
    new_figure,
)
from experiments.results.tables import Results
from experiments.results.timings import PHASES, left_out_words
from experiments.text import counted, joined
from profiler.units import human_bytes

CAPTION = (
    "How to read it: one line a step that both engines ran; the number beside it is PyTorch’s over ours, or how many elements more where "
    "that would round to 1. Where the marks lie on one another neither needs more. Why they differ stands in the report, held against every "
    "row. Seconds of steps this short are mostly the cost of calling."
)
OURS, THEIRS = Look("#10254d", "D", "-", 6.5), Look("#c0470c", "o", "-", 6.5)
_ORDER = {mode: index for index, mode in enumerate(MODE_NAMES)}
_SHAPE = [*CASE[2:], "network", "n", "d", "b"]
MOST_LINES = 16


def draw_engines(results: Results) -> Drawing | None:
    """Peak, operations and seconds of the points of one shape that both engines ran; None without any."""
    pairs = pairs_of(all_rows(results))
    pairs = pairs[
        (pairs["mode"] != "only")
        & (pairs["planner"].ne("store_all") | pairs["mode"].ne("checkpointed"))
    ]
    if pairs.empty:
        return None
    chosen = _shape(pairs)
    frame = pairs[(pairs[list(chosen)] == pd.Series(chosen)).all(axis=1)]
    frame = frame.assign(rank=frame["mode"].map(_ORDER)).sort_values(
        ["activation", "rank", "segments"], ascending=[False, True, True], kind="stable"
    )
    frame = frame.head(MOST_LINES).reset_index(drop=True)
    several = frame["activation"].nunique() > 1
    names = [_name(row, several) for row in frame.to_dict("records")]
    seconds = {engine: _seconds(frame, engine) for engine in ("", "_pytorch")}
    timed = bool(seconds[""].notna().all() and seconds["_pytorch"].notna().all())
    figure = new_figure(1.0 + 0.3 * len(frame))
    grid = figure.subplots(1, 3 if timed else 2, sharey=True, squeeze=False)[0]
    itemsize = itemsize_of(str(frame["dtype"].iloc[0]))
    for axes, quantity, unit in zip(
        grid, ("peak_bytes", "ops", "seconds"), (itemsize, 1, 0), strict=False
    ):
        ours, theirs = (
            (
                seconds[engine] if quantity == "seconds" else frame[quantity + engine].astype(float)
            ).tolist()
            for engine in ("", "_pytorch")
        )
        _panel(axes, ours, theirs, unit)
        _value_axis(axes, quantity, [*ours, *theirs])
    grid[0].set_yticks(range(len(names)), names)
    grid[0].set_ylim(len(names) - 0.4, -0.6)
    grid[0].set_ylabel("what is run")
    shape = ", ".join(f"{name} = {chosen[name]}" for name in ("n", "d", "b"))
    title = _title(frame, shape)
    note = f"{chosen['network']}, loss {chosen['loss']}, {chosen['dtype']}, {shape} · uniform is checkpoint_sequential in PyTorch{left_out_words(frame)}"
    handles = [
        handle("our engine", OURS, line=False),
        handle("PyTorch", THEIRS, line=False, hollow=True),
    ]
    return Drawing(title, CAPTION, finish(figure, title, note, handles))


def _shape(pairs: pd.DataFrame) -> dict[str, Any]:
    """The shape that most is known of; of those the one with the widest batch, then the deepest."""
    best: tuple[Any, dict[str, Any]] | None = None
    for labels, rows in pairs.groupby(_SHAPE, sort=False):
        label = dict(zip(_SHAPE, labels, strict=True))
        score = (len(rows), label["b"] / label["d"], label["n"])
        if best is None or score > best[0]:
            best = (score, label)
    assert best is not None
    return best[1]


def _name(row: dict[str, Any], several: bool) -> str:
    name = (
        planner_words(row["planner"]) if row["mode"] == "checkpointed" else MODE_NAMES[row["mode"]]
    )
    return f"{row['activation']}, {name}" if several else name


def _seconds(frame: pd.DataFrame, engine: str) -> pd.Series[float]:
    columns = [frame[f"wall_ns_{phase}{engine}"].astype(float) for phase in PHASES]
    return (columns[0] + columns[1].fillna(0.0) + columns[2]) / 1e9


def _panel(axes: Axes, ours: list[float], theirs: list[float], unit: int) -> None:
    """Two marks a line, joined, and how they compare."""
    for line, (left, right) in enumerate(zip(ours, theirs, strict=True)):
        axes.plot(
            [left, right],
            [line, line],
            color=FAINT,
            linewidth=2.4,
            zorder=2,
            solid_capstyle="round",
        )
        axes.annotate(
            _ratio(left, right, unit), (max(left, right), line), xytext=(9, 0), textcoords="offset points", ha="left", va="center",
            size=8.5, color=INK, zorder=6,
        )  # fmt: skip
    marks(axes, ours, range(len(ours)), OURS)
    marks(axes, theirs, range(len(theirs)), THEIRS, hollow=True, size=5.5)
    axes.grid(visible=False, axis="y")


def _value_axis(axes: Axes, quantity: str, values: list[float]) -> None:
    """The axis of a quantity, with room for the words on its right."""
    shown = [*values, max(values) * (max(values) / min(values)) ** 0.22 * 1.6]
    if quantity == "peak_bytes":
        scales.byte_axis(axes, shown, "peak above parameters", which="x", at_most=5)
    elif quantity == "ops":
        scales.count_axis(axes, shown, "operations", which="x", inches=3.2)
    else:
        scales.second_axis(axes, shown, "time", which="x", inches=3.2)


def _ratio(ours: float, theirs: float, unit: int) -> str:
    """PyTorch's over ours; where that rounds to 1, the difference in elements or operations."""
    if abs(theirs / ours - 1) >= 0.005 or not unit:
        return f"{theirs / ours:.2f}"
    more = round((theirs - ours) / unit)
    return "=" if not more else f"{more:+,}".replace("-", "−")


def _title(frame: pd.DataFrame, shape: str) -> str:
    """In how many of the steps each engine's peak is lower, and where the difference is greatest."""
    more = frame["peak_bytes_pytorch"] - frame["peak_bytes"]
    lower, equal, higher = int((more > 0).sum()), int((more == 0).sum()), int((more < 0).sum())
    parts = [f"lower in {lower}", f"equal in {equal}", f"HIGHER in {higher}"]
    counts = [part for part, count in zip(parts, (lower, equal, higher), strict=True) if count]
    text = f"Beside PyTorch our peak is {joined(counts)} of {counted(len(frame), 'step')} ({shape})"
    if lower:
        row = frame.loc[(frame["peak_bytes_pytorch"] / frame["peak_bytes"]).astype(float).idxmax()]
        ours, theirs = (
            human_bytes(int(row[name])) for name in ("peak_bytes", "peak_bytes_pytorch")
        )
        text += f"; the most is saved in {_name(row.to_dict(), frame['activation'].nunique() > 1)}: {ours} for {theirs}"
    return text
