"""Our engine and plain PyTorch on the same axes: peak, operations and time of the same points."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from autodiff.instructions import PHASES
from experiments.analysis.engines import pairs_of
from experiments.analysis.plans import planner_words
from experiments.analysis.selection import all_rows, source_words
from experiments.figures import axes as scales
from experiments.figures.data import shape_words
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
from experiments.names import AXES, ITEMSIZES, SOURCE, STORE_ALL
from experiments.results.tables import Results
from experiments.results.timings import LEAST_SECONDS, left_out_words, too_short_words
from experiments.text import counted, joined
from profiler.units import human_bytes

CAPTION = (
    "How to read it: one line per step of both engines; the number next to it is PyTorch’s over "
    "ours, or how many elements more where that would round to 1. Where the marks coincide, "
    "neither "
    "needs more. The report says why they differ and checks the reasons on every row."
)
OURS, THEIRS = Look("#10254d", "D", "-", 6.5), Look("#c0470c", "o", "-", 6.5)
_ORDER = {mode: index for index, mode in enumerate(MODE_NAMES)}
_SHAPE = ["loss", "dtype", "network", *AXES]
MOST_LINES = 16


def draw_engines(results: Results) -> Drawing | None:
    """Draw peak, operations and time of one shape's points of both engines; None without any.

    Times are left out where a step is too short for its time to mean anything.
    """
    pairs = pairs_of(all_rows(results))
    pairs = pairs[
        (pairs["mode"] != "only")
        & (pairs["planner"].ne(STORE_ALL) | pairs["mode"].ne("checkpointed"))
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
    each = pd.concat(seconds.values())
    is_timed = bool((each >= LEAST_SECONDS).all())
    figure = new_figure(1.0 + 0.3 * len(frame))
    grid = figure.subplots(1, 3 if is_timed else 2, sharey=True, squeeze=False)[0]
    itemsize = ITEMSIZES[frame["dtype"].iloc[0]]
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
    grid[0].set_ylabel("step")
    shape = shape_words(chosen)
    title = _title(frame, shape)
    note = f"{chosen['network']}, loss {chosen['loss']}, {chosen['dtype']}, {shape}{_note(frame)}"
    note += "" if is_timed else too_short_words(each.min(), "shortest")
    handles = [
        handle("our engine", OURS, line=False),
        handle("PyTorch", THEIRS, line=False, hollow=True),
    ]
    return Drawing(title, CAPTION, finish(figure, title, note, handles))


def _note(frame: pd.DataFrame) -> str:
    """Return whether the points of both were measured, and what else a reader must know."""
    theirs = frame.assign(**{SOURCE: frame[f"{SOURCE}_pytorch"]})
    return (
        f" · ours {source_words(frame)}, PyTorch’s {source_words(theirs)} · uniform is "
        f"checkpoint_sequential in PyTorch{left_out_words(frame)}"
    )


def _shape(pairs: pd.DataFrame) -> dict[str, Any]:
    """Return the shape with most pairs; of those the one with the widest batch, then depth."""
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
    """Draw two marks per line, joined, and how they compare."""
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
            _ratio(left, right, unit), (max(left, right), line), xytext=(9, 0),
            textcoords="offset points", ha="left", va="center", size=8.5, color=INK, zorder=6,
        )  # fmt: skip
    marks(axes, ours, range(len(ours)), OURS)
    marks(axes, theirs, range(len(theirs)), THEIRS, hollow=True, size=5.5)
    axes.grid(visible=False, axis="y")


def _value_axis(axes: Axes, quantity: str, values: list[float]) -> None:
    """Set the axis of a quantity, with room for the words on its right."""
    shown = [*values, max(values) * (max(values) / min(values)) ** 0.22 * 1.6]
    if quantity == "peak_bytes":
        scales.byte_axis(axes, shown, "peak above parameters", which="x", at_most=5)
    elif quantity == "ops":
        scales.count_axis(axes, shown, "operations", which="x", inches=3.2)
    else:
        scales.second_axis(axes, shown, "time", which="x", inches=3.2)


def _ratio(ours: float, theirs: float, unit: int) -> str:
    """Return PyTorch's over ours; where that rounds to 1, the difference."""
    if abs(theirs / ours - 1) >= 0.005 or not unit:
        return f"{theirs / ours:.2f}"
    more = round((theirs - ours) / unit)
    return "=" if not more else f"{more:+,}".replace("-", "−")


def _title(frame: pd.DataFrame, shape: str) -> str:
    """Return in how many steps each engine's peak is lower, and the greatest difference."""
    more = frame["peak_bytes_pytorch"] - frame["peak_bytes"]
    lower, equal, higher = int((more > 0).sum()), int((more == 0).sum()), int((more < 0).sum())
    parts = [f"lower in {lower}", f"equal in {equal}", f"HIGHER in {higher}"]
    counts = [part for part, count in zip(parts, (lower, equal, higher), strict=True) if count]
    steps = counted(len(frame), "step")
    text = f"Compared with PyTorch our peak is {joined(counts)} of {steps} ({shape})"
    if lower:
        row = frame.loc[(frame["peak_bytes_pytorch"] / frame["peak_bytes"]).astype(float).idxmax()]
        ours, theirs = (
            human_bytes(int(row[name])) for name in ("peak_bytes", "peak_bytes_pytorch")
        )
        name = _name(row.to_dict(), frame["activation"].nunique() > 1)
        text += f"; the most is saved in {name}: {ours} instead of {theirs}"
    return text
