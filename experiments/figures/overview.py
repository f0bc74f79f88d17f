"""The figure of the README: what a step costs as the network grows deeper, marks on theory."""

from __future__ import annotations

from experiments.analysis.selection import all_rows, source_words
from experiments.analysis.verdict import verdict_of
from experiments.figures import axes as scales
from experiments.figures.data import (
    AXIS_LABELS,
    along,
    case_words,
    fixed_words,
    main_case,
    points_of,
    series_of,
)
from experiments.figures.operations import plot_series
from experiments.figures.style import WIDTH, Drawing, finish, handle, new_figure
from experiments.names import HOME_ENGINE
from experiments.results.tables import Results


def overview_of(results: Results) -> Drawing | None:
    """Draw operations and peak bytes against depth, in every mode; None without two depths."""
    frame = main_case(points_of(results.results))
    frame = frame[(frame["mode"] != "only") & (frame["engine"] == HOME_ENGINE)]
    # A planner with rows of one depth has no growth to show.
    frame = frame[frame.groupby(["mode", "planner"])["n"].transform("nunique") > 1]
    if frame.empty:
        return None
    line, fixed = along(frame, "n", prefer=lambda n, d, b: d * b)
    figure = new_figure(3.7)
    left, right = figure.subplots(1, 2)
    handles = []
    values: dict[str, list[float]] = {"ops": [], "peak_bytes": []}
    for rank, (series, rows) in enumerate(series_of(line)):
        for axes, quantity in ((left, "ops"), (right, "peak_bytes")):
            values[quantity] += plot_series(axes, series, rows, "n", fixed, quantity, rank)
        handles.append(handle(series.label, series.look))
    for axes in (left, right):
        scales.swept_axis(axes, line["n"], AXIS_LABELS["n"], WIDTH / 2 - 1)
    scales.count_axis(left, values["ops"], "operations")
    scales.byte_axis(right, values["peak_bytes"], "peak above parameters")
    left.set_title("time")
    right.set_title("memory")
    rows = all_rows(results)
    verdict = verdict_of(rows)
    claim = f"{'DIFFERENT from theory: ' if verdict.agrees is False else ''}{verdict.words}"
    title = f"What backpropagation costs as a network grows deeper ({source_words(rows)}): {claim}"
    note = (
        f"{case_words(frame)}, {fixed_words(fixed)} · marks {source_words(frame)}, lines theory · "
        "counts: all rows of the sweep"
    )
    return Drawing(
        title,
        "Operations and peak bytes of a step against depth.",
        finish(figure, title, note, handles),
    )
