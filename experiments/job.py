"""One job of a sweep: its config checked, its points measured and kept one by one, its results published."""

from __future__ import annotations

import json
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
from experiments.outcome import FINE, INTERRUPTED, SOME_FAILED, WRONG_INPUT
from experiments.points import Point, points_of
from experiments.publish import MANIFEST, TIMELINES, publish, rows_below
from experiments.rows import Journal, frame_of
from experiments.timelines import timelines_of
from profiler.process import available_bytes
from profiler.units import human_bytes

log = logging.getLogger("tapemeasure")

POINTS = "points.json"


def run_job(given: dict[str, Any], directory: Path, sweep_directory: Path | None = None) -> tuple[int, float]:
    """Run one job into its directory; returns the exit code and the greatest value of the column that the config calls its objective.

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


def publish_sweep(directory: Path) -> int:
    """Merge and publish what the jobs of a multirun left in its directory; returns the exit code."""
    if not any(directory.rglob(POINTS)):
        return FINE  # a dry run, or jobs that were refused at the door and have said so
    expected = {key for path in directory.rglob(POINTS) for key in json.loads(path.read_text())}
    return _publish(directory, expected)


def _run(
    config: SweepConfig, given: dict[str, Any], points: list[Point], directory: Path, sweep_directory: Path | None
) -> tuple[int, float]:
    keys = {point.key for point in points}
    write_json(directory / MANIFEST, manifest_of(given))
    write_json(directory / POINTS, sorted(keys))
    known = frame_of(rows_below(sweep_directory or directory))
    found = set(known.loc[known["status"].isin([OK, SKIPPED]), "key"])
    to_measure = [point for point in points if point.key not in found]
    log.info("%d points: %d found, %d to measure", len(points), len(points) - len(to_measure), len(to_measure))
    code = FINE
    try:
        _measure_all(to_measure, directory, config.timeout_s)
        write_csv(directory / TIMELINES, timelines_of(config))
    except KeyboardInterrupt:
        code = INTERRUPTED
        log.warning("interrupted; what was measured is kept. To go on: %s", _resume_command(directory, sweep_directory))
    rows = frame_of(rows_below(directory))
    rows = rows[rows["key"].isin(keys)]
    if rows["status"].isin([FAILED, TIMEOUT]).any():
        code = max(code, SOME_FAILED)
    if sweep_directory is None and len(rows):
        code = max(code, _publish(directory, keys if code != INTERRUPTED else set()))
    return code, _objective(rows, config.objective)


def _publish(directory: Path, expected: set[str]) -> int:
    """Make the tables and the report of a directory and say what came of it; returns the exit code."""
    results = publish(directory)
    rows = pd.concat([results.results, results.scale], ignore_index=True)
    _say_closing(rows, directory)
    missing = len(expected - set(rows["key"]))
    if missing:
        log.error("%d rows of %d points: %d are missing; run the same command with the same directory again", len(rows), len(expected), missing)
    return SOME_FAILED if missing or rows["status"].isin([FAILED, TIMEOUT]).any() else FINE


def _objective(rows: pd.DataFrame, column: str) -> float:
    """The greatest value of a column over the points that were measured; NaN where there is none."""
    values = rows.loc[rows["status"] == OK, column].dropna()
    return float(values.max()) if len(values) else float("nan")


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
    made = {".hydra", "sweep.log", "multirun.yaml"}
    if directory.is_dir() and {path.name for path in directory.iterdir()} <= made:
        shutil.rmtree(directory)
        here = Path.cwd()
        for parent in directory.absolute().parents:
            if here not in parent.parents or any(parent.iterdir()):
                break
            parent.rmdir()  # the day's directory, say, where this was its first run
