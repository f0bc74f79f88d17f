"""One job of a sweep: its config checked, its points measured and kept one by one, its results published."""

from __future__ import annotations

import logging
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from autodiff.errors import TapemeasureError
from experiments.config import SweepConfig, sweep_config
from experiments.files import write_csv, write_json
from experiments.manifest import manifest_of
from experiments.measure import FAILED, OK, SKIPPED, TIMEOUT, measure, predicted_bytes
from experiments.points import Point, points_of
from experiments.publish import MANIFEST, TIMELINES, publish, rows_below
from experiments.rows import Journal, frame_of
from experiments.timelines import timelines_of
from profiler.process import available_bytes
from profiler.units import human_bytes

log = logging.getLogger("tapemeasure")

FINE, SOME_FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


def run_job(given: dict[str, Any], directory: Path, sweep_directory: Path | None = None) -> tuple[int, float]:
    """Run one job into its directory; returns the exit code and the greatest residual of peak bytes against the theory.

    Within a multirun, rows of other jobs are found and not measured again, and the report is made once, at the end of all jobs.
    """
    try:
        config = sweep_config(given)
        points = points_of(config)
        if config.dry_run:
            _say_plan(points)
            _leave_no_trace(directory)
            return FINE, 0.0
        return _run(config, given, points, directory, sweep_directory)
    except TapemeasureError as error:
        print(f"error: {error}", file=sys.stderr)
        _leave_no_trace(directory)
        return WRONG_INPUT, float("nan")


def _run(
    config: SweepConfig, given: dict[str, Any], points: list[Point], directory: Path, sweep_directory: Path | None
) -> tuple[int, float]:
    write_json(directory / MANIFEST, manifest_of(given))
    known = frame_of(rows_below(sweep_directory or directory))
    found = set(known.loc[known["status"].isin([OK, SKIPPED]), "key"])
    to_measure = [point for point in points if point.key not in found]
    log.info("%d points: %d found, %d to measure", len(points), len(points) - len(to_measure), len(to_measure))
    interrupted = False
    try:
        _measure_all(to_measure, directory, config.timeout_s)
        write_csv(directory / TIMELINES, timelines_of(config))
    except KeyboardInterrupt:
        interrupted = True
        log.warning("interrupted; what was measured is kept. To go on: %s", _resume_command(directory, sweep_directory))
    rows = frame_of(rows_below(sweep_directory or directory))
    mine = rows[rows["key"].isin({point.key for point in points})]
    if sweep_directory is None and len(mine):
        results = publish(directory)
        _say_closing(mine, directory)
        if not interrupted and len(results.results) + len(results.scale) < len(points):
            log.error("%d rows of %d points; the missing ones were lost; run the same command again", len(rows), len(points))
            return SOME_FAILED, float("nan")
    code = INTERRUPTED if interrupted else SOME_FAILED if mine["status"].isin([FAILED, TIMEOUT]).any() else FINE
    return code, _greatest_residual(mine)


def _measure_all(points: list[Point], directory: Path, timeout_s: float | None) -> None:
    """Measure points one by one, each row on the disk before the next begins; a bar on a terminal, else a line now and then."""
    on_terminal = sys.stderr.isatty()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Journal(directory) as journal, Progress(*columns, console=Console(stderr=True), disable=not on_terminal) as progress:
        bar = progress.add_task("measuring", total=len(points))
        for done, point in enumerate(points, 1):
            row = measure(point, timeout_s)
            journal.append(row)
            progress.update(bar, advance=1)
            if row["status"] in (FAILED, TIMEOUT):
                log.error("%s: %s: %s", point, row["status"], row["reason"])
            elif not on_terminal and (done % 100 == 0 or done == len(points) or point.part == "scale"):
                log.info("%d of %d: %s", done, len(points), point)


def _say_plan(points: list[Point]) -> None:
    """What a sweep would measure: how many points, how many of them would not fit, and the greatest predicted peak."""
    available = available_bytes()
    peaks = {}
    skipped = 0
    for point in points:
        peaks[point], needed = predicted_bytes(point)
        skipped += point.execute and needed > available
    greatest = max(peaks, key=lambda point: peaks[point])
    print(f"{len(points)} points, {skipped} of which would be skipped: {human_bytes(available)} are available")
    print(f"greatest predicted peak: {peaks[greatest]} bytes ({human_bytes(peaks[greatest])}), {greatest}")


def _say_closing(rows: pd.DataFrame, directory: Path) -> None:
    """The closing table: what became of the points of each mode, whether theory and measurement agree, and where the report lies."""
    table = Table(title="measured against theory")
    for column in ("part", "mode", "points", "ok", "greatest residual, operations", "greatest residual, bytes", "greatest peak"):
        table.add_column(column, justify="left" if column in ("part", "mode") else "right")
    for (part, mode), group in rows.groupby(["part", "mode"], sort=False):
        ok = group[group["status"] == OK]
        residuals = [_residual(ok, "ops", "theory_ops"), _residual(ok, "peak_bytes", "theory_peak_bytes")]
        peak = human_bytes(ok["peak_bytes"].max()) if len(ok) else "–"
        table.add_row(part, mode, str(len(group)), str(len(ok)), *(f"{residual:g}" for residual in residuals), peak)
    Console().print(table)
    statuses = Counter(rows["status"])
    if set(statuses) - {OK}:
        print("; ".join(f"{count} {status}" for status, count in sorted(statuses.items())))
        for row in rows[rows["status"].isin([FAILED, TIMEOUT])].head(5).itertuples():
            print(f"  {row.status} n={row.n} d={row.d} b={row.b} {row.mode}: {row.reason}")
    print(f"report: {directory / 'report.html'}")


def _greatest_residual(rows: pd.DataFrame) -> float:
    return _residual(rows[rows["status"] == OK], "peak_bytes", "theory_peak_bytes")


def _residual(rows: pd.DataFrame, measured: str, expected: str) -> float:
    """The greatest distance of a measured column from the theory's; 0 where they agree everywhere."""
    both = rows[[measured, expected]].dropna()
    return float((both[measured] - both[expected]).abs().max()) if len(both) else 0.0


def _resume_command(directory: Path, sweep_directory: Path | None) -> str:
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
    where = f"hydra.run.dir={directory}" if sweep_directory is None else f"hydra.sweep.dir={sweep_directory}"
    return " ".join(["python -m experiments.sweep", *(f"'{argument}'" for argument in arguments), where])


def _leave_no_trace(directory: Path) -> None:
    """Remove what Hydra made for a job that measured nothing; a directory that holds anything else stays."""
    made = {".hydra", "sweep.log"}
    if directory.is_dir() and {path.name for path in directory.iterdir()} <= made:
        shutil.rmtree(directory)
