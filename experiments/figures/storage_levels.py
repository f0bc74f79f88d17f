"""Plans that store states on the level below memory: peak against operations and bytes moved.

A row is a network whose plans move something; both panels of it have the same axis of peaks.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from experiments.figures import axes as scales
from experiments.figures.best_plans import NAMES, plain_of
from experiments.figures.plan_marks import REVOLVE
from experiments.figures.style import Drawing, Look, finish, handle, marks, new_figure
from experiments.results.best_plans import SUBJECT
from experiments.results.tables import Results
from profiler.units import human_bytes

CAPTION = (
    "How to read it: each mark is a plan with some states (snapshots) in memory and some on the "
    "level below it, a disk or the host. On the left, further left is fewer operations; on the "
    "right, further left is fewer bytes moved between the levels. Marks of one height have the "
    "same peak: what a plan saves in operations on the left it pays in bytes on the right. A move "
    "is counted as two cells run forward each way; where that is dearer than running again, plans "
    "move nothing. Only peaks are shown at which some plan moves bytes."
)
LOOKS = {
    "revolve": ("in memory only (revolve)", REVOLVE),
    "optimal": ("in memory only (optimal)", Look("#8a8a8a", "P", "-", 8)),
    "hrevolve, 2 stored": ("2 stored below", Look("#f0b02e", "o", "-", 9.5)),
    "hrevolve, 4 stored": ("4 stored below", Look("#4a9fce", "s", "-", 7.5)),
    "hrevolve, 8 stored": ("8 stored below", Look("#00785a", "^", "-", 6.5)),
    "hrevolve, any number stored": ("any number stored below", Look("#10254d", "D", "-", 5.5)),
}


def draw_storage_levels(results: Results) -> Drawing | None:
    """Draw the plans of each network where some move bytes; None where none does."""
    frame = results.best_plans
    groups = [
        (str(name), rows)
        for (name, _), rows in frame.groupby(SUBJECT, sort=False)
        if (rows["moved_bytes"] > 0).any() and (rows["series"] == "store_all").any()
    ]
    if not groups:
        return None
    figure = new_figure(0.5 + 2.9 * len(groups))
    grid = figure.subplots(len(groups), 2, squeeze=False, sharey="row")
    for place, (name, rows) in enumerate(groups):
        _draw_row(grid[place, 0], grid[place, 1], rows)
        grid[place, 0].set_title(f"{NAMES.get(name, name)}: {rows['shape'].iloc[0]}")
    title = _title(*groups[0])
    shown = set(frame["series"])
    handles = [
        handle(name, look, line=False) for series, (name, look) in LOOKS.items() if series in shown
    ]
    note = "weighed from the schedules · bytes moved: both ways"
    return Drawing(title, CAPTION, finish(figure, title, note, handles))


def _draw_row(left: Axes, right: Axes, rows: pd.DataFrame) -> None:
    """Draw the plans of a network against operations, and against the bytes that they move."""
    moving = rows[rows["moved_bytes"] > 0]
    is_low = rows["peak_bytes"] <= 1.02 * float(moving["peak_bytes"].max())
    drawn = rows[rows["series"].isin(LOOKS) & is_low]
    for rank, (series, (_, look)) in enumerate(LOOKS.items()):
        mine = drawn[drawn["series"] == series]
        peaks = mine["peak_bytes"].astype(float)
        marks(left, mine["ops"].astype(float), peaks, look, rank=rank, size=look.size)
        marks(right, mine["moved_bytes"].astype(float), peaks, look, rank=rank, size=look.size)
    scales.count_axis(
        left, drawn["ops"].astype(float), "operations of a step", which="x", inches=4.2
    )
    highest = float(drawn["moved_bytes"].max())
    scales.linear_byte_axis(right, 1.06 * highest, "bytes moved in a step", which="x")
    right.set_xlim(left=-0.03 * highest)
    peaks = drawn["peak_bytes"].astype(float)
    scales.linear_byte_axis(left, float(peaks.max()), "peak above parameters", at_most=20)
    room = 0.08 * float(peaks.max() - peaks.min())
    left.set_ylim(float(peaks.min()) - room, float(peaks.max()) + room)


def _title(name: str, rows: pd.DataFrame) -> str:
    """Return what the cheapest plan that moves bytes takes, and what one of its peak in memory."""
    moving = rows[rows["moved_bytes"] > 0]
    best = moving.loc[moving["ops"].astype(float).idxmin()]
    same = rows[(rows["moved_bytes"] == 0) & (rows["peak_bytes"] <= best["peak_bytes"])]
    plain = plain_of(rows, "ops")
    more = f"{100 * (float(best['ops']) / plain - 1):.0f}% more operations"
    than = (
        f" instead of {100 * (float(same['ops'].min()) / plain - 1):.0f}% in memory"
        if len(same)
        else ""
    )
    return (
        f"Bytes moved instead of operations: with {human_bytes(int(best['moved_bytes']))} to and "
        f"from the level below, {NAMES.get(name, name)} takes {more}{than}, at a peak of "
        f"{human_bytes(int(best['peak_bytes']))}"
    )
