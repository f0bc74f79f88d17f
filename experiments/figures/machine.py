"""The machine and the theory: time against operations, resident memory against the ledger."""

from __future__ import annotations

import math

import numpy as np

from experiments.analysis.selection import all_rows
from experiments.figures import axes as scales
from experiments.figures.data import case_words, main_case, points_of, series_of
from experiments.figures.style import INK, Drawing, finish, handle, marks, new_figure
from experiments.names import HOME_ENGINE
from experiments.results.tables import Results
from experiments.results.timings import left_out_words, with_seconds
from experiments.text import counted
from profiler.units import human_bytes

SECONDS_CAPTION = (
    "How to read it: if only operations determined the time, the slope would be 1. Time depends on "
    "the machine as much as on the algorithm, so it is reported and never asserted: narrow "
    "products, elementwise passes over memory and other processes all move a mark."
)
PROCESS_CAPTION = (
    "How to read it: the operating system is a cross-check that shares nothing with the ledger. It "
    "counts whole pages, and whatever else the process touches meanwhile, so small peaks are not "
    "measured this way; the larger the peak, the closer the two should be."
)


def draw_seconds(results: Results) -> Drawing | None:
    """Draw time against operations on the larger shapes; None where fewer than three were timed."""
    frame = results.scale
    left_out = left_out_words(frame)
    frame = main_case(points_of(with_seconds(frame))) if len(frame) else frame
    fitted = frame[frame["engine"] == HOME_ENGINE] if len(frame) else frame
    if len(fitted) < 3 or fitted["ops"].nunique() < 2:
        return None
    figure = new_figure(4.3)
    axes = figure.subplots()
    ops, seconds = fitted["ops"].astype(float).to_numpy(), fitted["seconds"].to_numpy()
    slope, offset = np.polyfit(np.log(ops), np.log(seconds), 1)
    ends = np.array([ops.min(), ops.max()])
    axes.plot(ends, np.exp(offset) * ends**slope, color=INK, linewidth=1.0, zorder=2)
    handles = []
    for rank, (series, rows) in enumerate(series_of(frame)):
        look, hollow = series.look, series.engine != HOME_ENGINE
        # A bar may not reach zero, which a logarithmic axis does not have.
        bars = np.array([rows["spread"].clip(upper=0.9 * rows["seconds"]), rows["spread"]])
        x, y = rows["ops"].astype(float).to_numpy(), rows["seconds"].to_numpy()
        axes.errorbar(
            x, y, yerr=bars, linestyle="none", ecolor=look.colour, elinewidth=1.3, capsize=4.5,
            capthick=1.3, zorder=3.5,
        )  # fmt: skip
        marks(axes, x, y, look, hollow=hollow, rank=rank, size=7)
        handles.append(handle(series.label, look, line=False, hollow=hollow))
    scales.count_axis(axes, frame["ops"].astype(float), "operations of a step", which="x", inches=8)
    low = (frame["seconds"] - frame["spread"]).clip(lower=0.1 * frame["seconds"])
    scales.second_axis(axes, [*low, *(frame["seconds"] + frame["spread"])], "time of a step")
    rates = ops / seconds / 1e9
    title = (
        f"Time follows operations: the slope on logarithmic axes is {slope:.2f}, the rate "
        f"{rates.min():.3g} to {rates.max():.3g} billion operations per second "
        f"({counted(len(fitted), 'step')} measured)"
    )
    threads = int(frame["threads"].dropna().max()) if frame["threads"].notna().any() else 1
    runs = (
        f"medians of {counted(int(frame['repeats'].max()), 'run')} on {counted(threads, 'thread')}"
    )
    note = (
        f"{case_words(fitted)} · {runs}, bars: half the distance between the quartiles · "
        f"line: least squares{left_out}"
    )
    return Drawing(title, SECONDS_CAPTION, finish(figure, title, note, handles))


def draw_process(results: Results) -> Drawing | None:
    """Draw the process's growth against the ledger's peak; None where it was not measured."""
    frame = points_of(
        all_rows(results).dropna(subset=["peak_rss_bytes", "baseline_rss_bytes", "peak_bytes"])
    )
    frame = frame[frame["peak_bytes"] > 0]
    if frame.empty:
        return None
    ledger = frame["peak_bytes"].astype(float)
    grown = (frame["peak_rss_bytes"] - frame["baseline_rss_bytes"]).astype(float)
    share = grown / ledger
    figure = new_figure(3.8)
    left, right = figure.subplots(1, 2, width_ratios=[1.1, 1])
    ends = [float(ledger.min()) / 1.3, float(ledger.max()) * 1.3]
    left.plot(ends, ends, color=INK, linewidth=1.0, zorder=2)
    right.axhline(1.0, color=INK, linewidth=1.0, zorder=2)
    handles = []
    for rank, (series, rows) in enumerate(series_of(frame, without=())):
        hollow = series.engine != HOME_ENGINE
        for axes, values in ((left, grown.clip(lower=1.0)), (right, share)):
            marks(
                axes,
                ledger[rows.index],
                values[rows.index],
                series.look,
                hollow=hollow,
                rank=rank,
                size=7,
            )
        handles.append(handle(series.label, series.look, line=False, hollow=hollow))
    scales.byte_axis(left, ledger, "the ledger’s peak", which="x", at_most=7)
    scales.byte_axis(left, [*ledger, *grown.clip(lower=ledger.min() / 8)], "growth of the process")
    scales.byte_axis(right, ledger, "the ledger’s peak", which="x", at_most=6)
    low, high = min(float(share.min()), 0.96) - 0.04, max(float(share.max()), 1.04) + 0.04
    scales.plain_axis(right, _round_ticks(low, high), "growth over the ledger’s peak", (low, high))
    title = (
        f"The process grows by {share.min():.2f} to {share.max():.2f}× the ledger’s peak (median "
        f"{share.median():.2f}) in {counted(len(frame), 'step')} with peaks of "
        f"{human_bytes(float(ledger.min()))} to {human_bytes(float(ledger.max()))}"
    )
    note = (
        "the highest resident memory of a child process that runs one step, minus what was "
        "resident "
        "before it · line: equal"
    )
    return Drawing(title, PROCESS_CAPTION, finish(figure, title, note, handles))


def _round_ticks(low: float, high: float) -> list[float]:
    """Return round numbers about 1, at most eight."""
    step = next(
        size * 10.0**power
        for power in range(-3, 12)
        for size in (1, 2, 5)
        if (high - low) / (size * 10.0**power) <= 8
    )
    return [
        round(1 + index * step, 6)
        for index in range(math.ceil((low - 1) / step), math.floor((high - 1) / step) + 1)
    ]
