"""What a benchmark shows: a table on the terminal, ratios as bars, a history of all runs."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.gaps import draw_gaps, print_gaps
from experiments.results.files import write_bytes, write_csv
from experiments.results.manifest import manifest_of
from profiler.units import human_bytes


def write_benchmark(frame: pd.DataFrame, directory: Path) -> None:
    """Print the table of a benchmark and write it, with its figure, into a directory.

    `benchmark.csv` and `benchmark.png` are of this run; `history.csv` keeps those of all runs. Rows
    with a budget compare operations and not times: they have a table of their own, and `plans.png`.
    """
    with_budget = frame.reindex(columns=["budget"])["budget"].notna()
    timed, planned = frame[~with_budget], frame[with_budget]
    write_csv(directory / "benchmark.csv", frame)
    if len(timed):
        print_table(timed)
        draw(timed, directory / "benchmark.png")
    if len(planned):
        print_gaps(planned)
        draw_gaps(planned, directory / "plans.png")
    append_history(frame, directory / "history.csv")


def append_history(frame: pd.DataFrame, path: Path) -> None:
    """Add the rows of a run to a history, with the time (UTC), the commit and the machine."""
    made = manifest_of({})
    rows = frame.assign(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=made["commit"],
        python=made["python"],
        torch=made["versions"]["torch"],
        system=made["system"],
        cpu=made["cpu"],
        cores=made["cores"],
        load_average=made["load_average"],
    )
    earlier = [pd.read_csv(path)] if path.exists() else []
    write_csv(path, pd.concat([*earlier, rows], ignore_index=True))


def print_table(frame: pd.DataFrame) -> None:
    """Print the medians and ratios."""
    table = Table(title="medians of alternating runs, one thread")
    for column in (
        "benchmark",
        "shape",
        "what",
        "median",
        "± half the quartiles' distance",
        "ratio to",
        "ratio",
        "peak",
    ):
        table.add_column(
            column,
            justify="left" if column in ("benchmark", "shape", "what", "ratio to") else "right",
        )
    for row in frame.itertuples():
        peak = (
            ""
            if row.peak_bytes is None or row.peak_bytes != row.peak_bytes
            else human_bytes(row.peak_bytes)
        )
        times = (f"{row.median_ms:.3f} ms", f"{row.spread_ms:.3f} ms")
        table.add_row(
            row.benchmark, row.shape, row.what, *times, row.baseline, f"{row.ratio:.3f}", peak
        )
    Console(width=150).print(table)


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Draw the ratios as bars, one panel a comparison, with a line at the baseline's 1.

    What is compared with nothing is left out.
    """
    groups = list(frame.groupby(["benchmark", "shape"], sort=False))
    groups = [
        (key, group) for key, group in groups if len(group) > 1
    ] or groups  # a single row is in the table
    heights = [len(group) + 1.6 for _, group in groups]
    figure = Figure(figsize=(10, 0.42 * sum(heights) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[
        :, 0
    ]
    for panel, ((benchmark, shape), group) in zip(panels, groups, strict=True):
        bars = panel.barh(
            group["what"],
            group["ratio"],
            color=[
                "#12284c" if what != group["baseline"].iloc[0] else "#b9c4d6"
                for what in group["what"]
            ],
        )
        panel.bar_label(bars, labels=[f"{ratio:.2f}" for ratio in group["ratio"]], padding=3)
        panel.axvline(1, color="black", linewidth=0.8, linestyle=":")
        panel.set_title(
            f"{benchmark} ({shape}): time as a multiple of {group['baseline'].iloc[0]}",
            loc="left",
            fontsize=10,
        )
        panel.margins(x=0.12)
        panel.invert_yaxis()
        panel.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, dpi=120, format="png")
    write_bytes(path, out.getvalue())
