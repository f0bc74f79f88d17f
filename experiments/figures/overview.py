"""The one figure of the README: what a step costs as the network grows deeper, measured marks on theoretical curves."""

from __future__ import annotations

from experiments.analysis.verdict import QUANTITIES, residuals, verdict_of
from experiments.figures import axes as scales
from experiments.figures.data import (
    AXIS_LABELS,
    HOME_ENGINE,
    all_rows,
    along,
    case_words,
    fixed_words,
    main_case,
    measured,
    series_of,
)
from experiments.figures.operations import plot_series
from experiments.figures.style import WIDTH, Drawing, finish, handle, new_figure
from experiments.results.tables import Results
from experiments.text import counted


def overview_of(results: Results) -> Drawing | None:
    """Operations and peak bytes against depth, in every mode; None without two depths."""
    frame = main_case(measured(results.results))
    frame = frame[(frame["mode"] != "only") & (frame["engine"] == HOME_ENGINE)]
    if frame.empty or frame["n"].nunique() < 2:
        return None
    grown = frame.groupby(["mode", "planner"])["n"].transform("nunique") > 1
    frame = frame[grown]  # a planner that was measured at one depth only has no growth to show
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
    verdict = verdict_of(all_rows(results))
    if verdict.agrees:
        ops, nbytes = (len(residuals(all_rows(results), name)) for name in QUANTITIES)
        claim = (
            f"measured equals theory in all {counted(ops, 'row')} with a theory of operations "
            f"and all {nbytes:,} with one of bytes"
        )
    else:
        claim = f"measured DIFFERS from theory in {verdict.differing:,} of {counted(verdict.compared, 'row')}"
    title = f"What backpropagation costs as a network grows deeper: {claim}"
    note = f"{case_words(frame)}, {fixed_words(fixed)} · marks measured, lines theory"
    return Drawing(
        title,
        "Operations and peak bytes of a step against depth.",
        finish(figure, title, note, handles),
    )
