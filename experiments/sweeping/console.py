"""What a sweep prints: its plan before, its progress, a table of its points at the end."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pandas as pd
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from experiments.cli.exit import report_command
from experiments.measuring.shapes import needed_bytes
from experiments.names import LOST, MEASURED, OK, PREDICTED, SOURCE
from experiments.results.point import Point
from experiments.results.timings import seconds_that_count, seconds_words
from experiments.text import counted
from profiler.available import available_bytes
from profiler.units import human_bytes

log = logging.getLogger("tapemeasure")

SAY_EVERY_S = 10.0
MOST_FAILURES_SHOWN = 5


def say_plan(points: list[Point]) -> None:
    """Print how many points there are, how many would be skipped or fail, the greatest peak."""
    available = available_bytes()
    needed, failing = needed_bytes(points)
    skipped = sum(point.execute and whole > available for point, (_, whole) in needed.items())
    print(
        f"{len(points)} points, {skipped} of which would be skipped: "
        f"{human_bytes(available)} are available"
    )
    if failing:
        point, reason = next(iter(failing.items()))
        print(f"{len(failing)} would fail: the first is {point}: {reason}")
    if needed:
        greatest = max(needed, key=lambda point: needed[point][0])
        peak = needed[greatest][0]
        print(f"greatest predicted peak: {peak} bytes ({human_bytes(peak)}), {greatest}")


def say_start(points: int, to_measure: int) -> None:
    """Log how many points are there already."""
    log.info("%d points: %d found, %d to measure", points, points - to_measure, to_measure)


class Advance(Protocol):
    """Takes note of a point that is done; `quiet` where a line was logged for it already."""

    def __call__(self, point: Point, quiet: bool = False) -> None: ...


@contextmanager
def progress_of(total: int, show_bar: bool) -> Iterator[Advance]:
    """Show progress as a bar on a terminal, else as a log line every 100 points or 10 seconds."""
    on_terminal = show_bar and sys.stderr.isatty()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    done, said = 0, time.monotonic()
    with Progress(*columns, console=Console(stderr=True), disable=not on_terminal) as progress:
        bar = progress.add_task("measuring", total=total)

        def advance(point: Point, quiet: bool = False) -> None:
            nonlocal done, said
            done += 1
            progress.update(bar, advance=1)
            is_due = done % 100 == 0 or done == total or time.monotonic() - said >= SAY_EVERY_S
            if is_due and not on_terminal and not quiet:
                log.info("%d of %d: %s", done, total, point)
                said = time.monotonic()

        yield advance


def say_closing(rows: pd.DataFrame, directory: Path) -> None:
    """Print what became of the points of each mode, and where the report is.

    Residuals are the greatest distances from the theory, and "–" where there is no theory.
    """
    Console().print(closing_table(rows))
    statuses = Counter(rows["status"])
    if set(statuses) - {OK}:
        print("; ".join(f"{count} {status}" for status, count in sorted(statuses.items())))
        lost = rows[rows["status"].isin(LOST)]
        for row in lost.head(MOST_FAILURES_SHOWN).itertuples():
            print(f"  {row.status} n={row.n} d={row.d} b={row.b} {row.mode}: {row.reason}")
    ok = rows.loc[rows["status"] == OK, SOURCE].value_counts()
    for source in (MEASURED, PREDICTED):
        if source in ok:
            print(f"{counted(int(ok[source]), 'point')} {source}")
    seconds = seconds_words(seconds_that_count(rows), concurrent=False)
    if seconds:
        print(seconds.replace("python -m experiments.report DIR", report_command(directory)))
    print(f"report: {directory / 'report.html'}")


def closing_table(rows: pd.DataFrame) -> Table:
    """Return the table of what became of the points of each part and mode."""
    sources = [source for source in (MEASURED, PREDICTED) if (rows[SOURCE] == source).any()]
    title = f"{' and '.join(sources)}, compared with theory"
    # Narrow enough for 80 columns: headings wrap, names and numbers are never cut.
    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    headings = ("part", "mode", "points", *sources, "residual, ops", "residual, bytes", "peak")
    for heading in headings:
        is_name = heading in ("part", "mode")
        table.add_column(
            heading, justify="left" if is_name else "right", no_wrap=is_name or heading == "peak"
        )
    for (part, mode), group in rows.groupby(["part", "mode"], sort=False):
        ok = group[group["status"] == OK]
        table.add_row(
            str(part),
            str(mode),
            str(len(group)),
            *(str(int((ok[SOURCE] == source).sum())) for source in sources),
            greatest_residual(ok, "ops", "theory_ops"),
            greatest_residual(ok, "peak_bytes", "theory_peak_bytes"),
            human_bytes(ok["peak_bytes"].max()) if len(ok) else "–",
        )
    return table


def greatest_residual(rows: pd.DataFrame, column: str, theory: str) -> str:
    """Return the greatest distance of a column from the theory's, or "–" where no row has both."""
    both = rows[[column, theory]].dropna()
    return f"{int((both[column] - both[theory]).abs().max()):,}" if len(both) else "–"
