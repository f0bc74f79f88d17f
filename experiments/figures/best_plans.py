"""The best plans of a few networks: peak against operations, with what is proved, and against time.

A row is a network. The band lies between what `Optimal` found and what it proves that no plan on
cells goes below; both are steps, since a plan within some bytes is one within more.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from experiments.figures import axes as scales
from experiments.figures.plan_marks import RECOMPUTE, REVOLVE, UNIFORM
from experiments.figures.style import (
    INK,
    MODE_LOOKS,
    Drawing,
    Look,
    finish,
    handle,
    marks,
    new_figure,
)
from experiments.names import STORE_ALL
from experiments.results.best_plans import SUBJECT
from experiments.results.tables import Results
from experiments.results.timings import LEAST_SECONDS, too_short_words

CAPTION = (
    "How to read it: to the right a step takes more operations than one that keeps everything (the "
    "scale is linear up to 0.1%), upwards it takes more memory; further down and to the left is "
    "better. Planners of today count cells; optimal and selective weigh them. No plan on cells "
    "lies to the left of the band; selective and proven are not bound to cells, and may. A star is "
    "a plan of which a solver proved that none within its bytes takes fewer operations, if nothing "
    "runs more than twice; where it ran out of time, a thin line leads to what it did prove."
)
LOOKS = {
    "recompute_all": ("recompute all", RECOMPUTE),
    "uniform": ("uniform", UNIFORM),
    "revolve": ("revolve", REVOLVE),
    "optimal": ("optimal", Look("#10254d", "o", "-", 5.5)),
    "selective": ("selective", Look("#d9691e", "^", "-", 5.5)),
    STORE_ALL: ("store all (full)", MODE_LOOKS["full"]),
}
COUNTING = ("recompute_all", "uniform", "revolve")
"""The planners that count cells and do not weigh them."""

_PROVEN = Look(INK, "*", "-", 13)
_BAND = "#a9cfe8"
NAMES = {"chain": "the chain", "gpt2": "GPT-2", "unet": "a U-Net"}
HALF = 0.5
"""The share of the plain peak that the title compares planners at."""


def draw_best_plans(results: Results) -> Drawing | None:
    """Draw each network's plans by operations, and by time where a step is long; None without."""
    subjects = _subjects(results.best_plans)
    if not subjects:
        return None
    columns = 1 + any(_is_timed(rows) for _, rows in subjects)
    figure = new_figure(0.4 + 2.7 * len(subjects))
    grid = figure.subplots(len(subjects), columns, squeeze=False, sharey="row")
    drawn: set[str] = set()
    for place, (name, rows) in enumerate(subjects):
        is_last = place == len(subjects) - 1
        drawn |= _draw_operations(grid[place, 0], rows, is_last)
        grid[place, 0].set_title(f"{NAMES.get(name, name)}: {rows['shape'].iloc[0]}")
        if columns == 2 and _is_timed(rows):
            _draw_seconds(grid[place, 1], rows, is_last)
        elif columns == 2:
            grid[place, 1].set_visible(False)
        top = 1.08 * float(rows["peak_bytes"].max())
        scales.linear_byte_axis(grid[place, 0], top, "peak above parameters")
    title = _title(subjects)
    not_run = " · no panel of seconds: nothing was run"
    timed = ", times medians of alternating runs on one thread, bars: quartiles" * (columns - 1)
    short = [too_short_words(plain_of(rows, "seconds"), "shortest") for _, rows in subjects]
    note = (
        "operations and peaks weighed from the schedules"
        f"{timed}{next(filter(None, short), '' if timed else not_run)}"
    )
    return Drawing(title, CAPTION, finish(figure, title, note, _handles(drawn)))


def _subjects(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the plans in memory of each network that has a plain one."""
    here = frame[frame["moved_bytes"] == 0]
    here = here[here["series"].isin(LOOKS) | (here["series"] == "proven")]
    groups = here.groupby(SUBJECT, sort=False)
    return [(str(name), rows) for (name, _), rows in groups if STORE_ALL in set(rows["series"])]


def plain_of(rows: pd.DataFrame, column: str) -> float:
    """Return a number of the plan that keeps everything; 0 where it has none."""
    value = rows.loc[rows["series"] == STORE_ALL, column].iloc[0]
    return 0.0 if pd.isna(value) else float(value)


def _is_timed(rows: pd.DataFrame) -> bool:
    return plain_of(rows, "seconds") >= LEAST_SECONDS and rows["seconds"].notna().sum() > 1


def _more(rows: pd.DataFrame, column: str = "ops") -> pd.Series[float]:
    """Return by how many percent a column is above the plain operations."""
    return 100 * (rows[column].astype(float) / plain_of(rows, "ops") - 1)


def _draw_operations(axes: Axes, rows: pd.DataFrame, is_last: bool) -> set[str]:
    """Draw the band, the marks and the proofs of a network; return the series that it shows."""
    frame = rows.assign(more=_more(rows), bound=_more(rows, "bound_ops"))
    shown = _draw_band(axes, frame)
    for rank, (series, (_, look)) in enumerate(LOOKS.items()):
        mine = frame[frame["series"] == series]
        if len(mine):
            peaks = mine["peak_bytes"].astype(float)
            marks(axes, mine["more"], peaks, look, rank=rank, size=look.size)
            shown.add(series)
    for one in frame[(frame["series"] == "proven") & frame["bound"].notna()].itertuples():
        peak = float(one.peak_bytes)
        if not one.proved:
            axes.plot([one.bound, one.more], [peak, peak], color=INK, linewidth=0.9, zorder=3)
            axes.plot([one.bound], [peak], marker="|", color=INK, markersize=9, zorder=3)
        _star(axes, one.more, peak, hollow=not one.proved)
        shown.add("proven" if one.proved else "open")
    label = "more operations than keeping everything" if is_last else ""
    scales.more_axis(axes, float(frame["more"].max()), label)
    return shown


def _draw_band(axes: Axes, frame: pd.DataFrame) -> set[str]:
    """Draw what `Optimal` found and what it proves, as steps; return what was drawn."""
    best = frame[(frame["series"] == "optimal") & frame["bound"].notna()]
    if best.empty:
        return set()
    plain = plain_of(frame, "peak_bytes")
    proved = sorted((float(one.limit_bytes), float(one.bound)) for one in best.itertuples())
    found = sorted((float(one.peak_bytes), one.more) for one in best.itertuples())
    found.append((plain, 0.0))
    heights = sorted({height for height, _ in (*proved, *found)})
    low = [next((bound for limit, bound in proved if limit >= h), 0.0) for h in heights]
    high = [min((more for peak, more in found if peak <= h), default=found[0][1]) for h in heights]
    # The bound of some bytes holds for fewer too, and a plan within some is one within more.
    for place, ends in enumerate(pairwise(heights)):
        axes.fill_betweenx(ends, low[place + 1], high[place], color=_BAND, linewidth=0)
    axes.step(high, heights, where="pre", color=LOOKS["optimal"][1].colour, linewidth=1.1)
    return {"band"}


def _star(axes: Axes, x: float, y: float, *, hollow: bool) -> None:
    axes.plot(
        [x], [y], marker="*", linestyle="none", markersize=_PROVEN.size, zorder=6,
        markerfacecolor="none" if hollow else _PROVEN.colour, markeredgecolor=INK,
        markeredgewidth=0.9,
    )  # fmt: skip


def _draw_seconds(axes: Axes, rows: pd.DataFrame, is_last: bool) -> None:
    """Draw the timed plans of a network, with the quartiles as bars."""
    timed = rows[rows["seconds"].notna()]
    for rank, (series, (_, look)) in enumerate(LOOKS.items()):
        mine = timed[timed["series"] == series]
        peaks = mine["peak_bytes"].astype(float)
        axes.errorbar(
            mine["seconds"], peaks, xerr=mine["spread_seconds"], linestyle="none",
            ecolor=look.colour, elinewidth=1.2, capsize=3.5, capthick=1.2, zorder=3.5,
        )  # fmt: skip
        marks(axes, mine["seconds"], peaks, look, rank=rank, size=look.size)
    scales.linear_second_axis(
        axes, float((timed["seconds"] + timed["spread_seconds"]).max()), "time of a step" * is_last
    )


def _title(subjects: list[tuple[str, pd.DataFrame]]) -> str:
    """Return what planners take of each network at half of the plain peak."""
    facts = []
    for name, rows in subjects:
        fitting = rows[rows["peak_bytes"] <= HALF * plain_of(rows, "peak_bytes")]
        more = _more(rows)[fitting.index]
        is_counting = fitting["series"].isin(COUNTING)
        counted = _percent(more[is_counting], "none fits")
        best = _percent(more[~is_counting], "none fits")
        facts.append(f"{best} on {NAMES.get(name, name)} (counting cells: {counted})")
    return f"At half the memory the best plan costs in more operations {'; '.join(facts)}"


def _percent(more: pd.Series[float], nothing: str) -> str:
    """Return the least of percentages in words."""
    if more.empty:
        return nothing
    least = float(more.min())
    return f"{least:.2g}%" if least < 10 else f"{least:.0f}%"


def _handles(drawn: set[str]) -> list[Any]:
    """Return the legend's entries of what was drawn."""
    entries: list[Any] = [
        handle(name, look, line=series == "optimal")
        for series, (name, look) in LOOKS.items()
        if series in drawn
    ]
    if "band" in drawn:
        entries.append(Patch(facecolor=_BAND, label="optimal: found to proved"))
    for kind, hollow, name in (("proven", False, "proven optimal"), ("open", True, "proven: open")):
        if kind in drawn:
            star = handle(name, _PROVEN, line=False, hollow=hollow)
            star.set(markeredgecolor=INK, markeredgewidth=0.9, markersize=11)
            entries.append(star)
    return entries
