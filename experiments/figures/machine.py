"""The machine beside the theory: seconds against operations, resident memory against the ledger. Reported, never asserted."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from experiments.figures import axes as scales
from experiments.figures.data import HOME_ENGINE, all_rows, main_case, measured, series_of
from experiments.figures.style import INK, Drawing, finish, handle, new_figure
from experiments.publish import Results
from profiler.units import human_bytes

PHASES = ("forward", "recompute", "backward")


def with_seconds(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that were timed, with `seconds` of the whole step and their `spread` (half the distance of the quartiles, phases added)."""
    timed = frame.dropna(subset=["wall_ns_forward", "wall_ns_backward"]).copy()
    timed["seconds"] = sum(timed[f"wall_ns_{phase}"].astype(float).fillna(0.0) for phase in PHASES) / 1e9
    timed["spread"] = sum(timed[f"wall_ns_{phase}_spread"].astype(float).fillna(0.0) for phase in PHASES) / 1e9
    return timed[timed["seconds"] > 0]


def draw_seconds(results: Results) -> Drawing | None:
    """Seconds of a step against its operations on the larger shapes; None where fewer than three were timed."""
    frame = with_seconds(main_case(measured(results.scale))) if len(results.scale) else results.scale
    if len(frame) < 3 or frame["ops"].nunique() < 2:
        return None
    figure = new_figure(4.3)
    axes = figure.subplots()
    drawn = []
    home = frame[frame["engine"] == HOME_ENGINE]
    fitted = home if home["ops"].nunique() > 1 else frame
    x, y = np.log(fitted["ops"].astype(float).to_numpy()), np.log(fitted["seconds"].to_numpy())
    slope, offset = np.polyfit(x, y, 1)
    ends = np.array([fitted["ops"].astype(float).min(), fitted["ops"].astype(float).max()])
    axes.plot(ends, np.exp(offset) * ends**slope, color=INK, linewidth=1.0, zorder=2)
    rates = (fitted["ops"].astype(float) / fitted["seconds"]).to_numpy()
    for series, rows in series_of(frame):
        look, own = series.look, series.engine == HOME_ENGINE
        axes.errorbar(
            rows["ops"].astype(float).tolist(), rows["seconds"].tolist(), yerr=rows["spread"].clip(upper=rows["seconds"] * 0.9).tolist(), linestyle="none",
            marker=look.marker, color=look.colour, markersize=8, markerfacecolor=look.colour if own else "none",
            markeredgecolor="white" if own else look.colour, markeredgewidth=0.7, ecolor=look.colour, elinewidth=1.2, capsize=3, zorder=4,
        )  # fmt: skip
        drawn.append(handle(series.label, look, line=False, hollow=not own))
    scales.count_axis(axes, frame["ops"].astype(float), "operations of a step", which="x")
    low = (frame["seconds"] - frame["spread"]).clip(lower=frame["seconds"] * 0.1)
    scales.second_axis(axes, [*low, *(frame["seconds"] + frame["spread"])], "seconds of a step")
    title = (
        f"Seconds follow operations: the log–log slope is {slope:.2f}, at {rates.min() / 1e9:.0f} to {rates.max() / 1e9:.0f} "
        f"billion operations a second over {len(fitted)} larger shapes and modes"
    )
    threads = int(frame["threads"].iloc[0]) if frame["threads"].notna().any() else 1
    note = f"medians of {int(frame['repeats'].max())} runs, bars: half the distance between the quartiles, {threads} thread{'s' if threads > 1 else ''} · line: least squares through the logarithms"
    finish(figure, title, note, drawn)
    caption = (
        "How to read it: a slope of 1 would mean that operations alone decide the time. Time is the machine’s as much as the algorithm’s, so it is shown and "
        "never asserted: narrow products, elementwise passes over memory and other processes all move a mark."
    )
    return Drawing(title, caption, figure)


def draw_process(results: Results) -> Drawing | None:
    """Growth of the process against the ledger's peak, where it was measured; None where it was not."""
    frame = measured(all_rows(results)).dropna(subset=["peak_rss_bytes", "baseline_rss_bytes", "peak_bytes"])
    frame = frame[frame["peak_bytes"] > 0]
    if frame.empty:
        return None
    grown = (frame["peak_rss_bytes"] - frame["baseline_rss_bytes"]).astype(float)
    ledger = frame["peak_bytes"].astype(float)
    share = (grown / ledger).to_numpy()
    figure = new_figure(3.9)
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    ends = [float(ledger.min()) / 1.3, float(ledger.max()) * 1.3]
    left.plot(ends, ends, color=INK, linewidth=1.0, zorder=2)
    right.axhline(1.0, color=INK, linewidth=1.0, zorder=2)
    drawn = []
    for series, rows in series_of(frame):
        look, own = series.look, series.engine == HOME_ENGINE
        for axes, ys in ((left, grown[rows.index].clip(lower=1.0)), (right, grown[rows.index] / ledger[rows.index])):
            axes.plot(
                ledger[rows.index].tolist(), ys.tolist(), linestyle="none", marker=look.marker, color=look.colour, markersize=8,
                markerfacecolor=look.colour if own else "none", markeredgecolor="white" if own else look.colour, markeredgewidth=0.7, zorder=4,
            )  # fmt: skip
        drawn.append(handle(series.label, look, line=False, hollow=not own))
    scales.byte_axis(left, ledger, "ledger’s peak bytes", which="x", at_most=7)
    scales.byte_axis(left, [*ledger, *grown.clip(lower=1.0)], "growth of the process")
    scales.byte_axis(right, ledger, "ledger’s peak bytes", which="x", at_most=6)
    scales.plain_axis(right, _ticks_about_one(share), "growth over ledger", _limits_about_one(share))
    title = (
        f"The process grows by {share.min():.2f} to {share.max():.2f} times what the ledger says, on {len(frame)} steps of "
        f"{human_bytes(float(ledger.min()))} to {human_bytes(float(ledger.max()))}"
    )
    note = "highest resident memory of a child process that runs one step, less what was resident before · line: equal"
    finish(figure, title, note, drawn)
    caption = (
        "How to read it: the operating system is a witness that shares nothing with the ledger. It counts whole pages and whatever else the process touches, so small "
        "peaks are not measured this way; on large ones the two should be near each other."
    )
    return Drawing(title, caption, figure)


def _limits_about_one(share: np.ndarray) -> tuple[float, float]:
    reach = max(0.06, float(np.abs(share - 1).max()) * 1.15)
    return 1 - min(reach, 1.0), 1 + reach


def _ticks_about_one(share: np.ndarray) -> list[float]:
    low, high = _limits_about_one(share)
    step = next(size for size in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, math.inf) if (high - low) / size <= 8)
    return (
        [1.0]
        if math.isinf(step)
        else [round(1 + index * step, 6) for index in range(math.ceil((low - 1) / step), math.floor((high - 1) / step) + 1)]
    )
