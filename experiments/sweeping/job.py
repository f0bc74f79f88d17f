"""One job of a sweep: check its config, measure and save its points one by one, publish them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from autodiff.devices import usable_device
from autodiff.errors import TapemeasureError
from experiments.cli.exit import (
    FINE,
    SOME_FAILED,
    WRONG_INPUT,
    outcome,
    report_command,
    resume_command,
    say_fault,
)
from experiments.cli.interrupts import SIGNALLED, exit_code_of
from experiments.cli.traces import leave_no_trace
from experiments.errors import disk_advice, is_the_launchers, one_line
from experiments.grid.config import SweepConfig, sweep_config
from experiments.grid.points import points_of
from experiments.measuring.best_plans import best_plans_of
from experiments.measuring.capacity import capacity_of
from experiments.measuring.isolated import is_too_deep
from experiments.measuring.point import measure
from experiments.measuring.shapes import rows_from_shapes, serves_shapes
from experiments.measuring.timelines import timelines_of
from experiments.names import LOST, OK, SKIPPED, TIMEOUT
from experiments.progress import working
from experiments.reporting.publishing import publish
from experiments.results.best_plans import BEST_PLANS
from experiments.results.capacity import CAPACITY
from experiments.results.expected import expected_below, write_expected
from experiments.results.files import clear_partials, write_csv, write_json
from experiments.results.frames import frame_of, latest
from experiments.results.journal import Journal, rows_below
from experiments.results.manifest import manifest_of
from experiments.results.point import Point
from experiments.results.rows import Row, row_of
from experiments.results.tables import MANIFEST, TIMELINES
from experiments.sweeping.console import progress_of, say_closing, say_plan, say_start
from experiments.sweeping.launchers import end_with_parent, let_children_start, runs_side_by_side

log = logging.getLogger("tapemeasure")


def run_task(cfg: DictConfig) -> float:
    """Run the job of a config that Hydra composed; return its objective, for sweepers to minimize.

    Its exit code goes into `outcome`.
    """
    end_with_parent()
    let_children_start()
    torch_log = logging.getLogger("torch")
    torch_log.setLevel(logging.WARNING)  # it logs the state of its caches when interrupted
    logging.raiseExceptions = False  # a log on a full disk must not bury the line that says so
    here = HydraConfig.get()
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    is_multirun = here.mode is RunMode.MULTIRUN
    code, value = run_job(
        plain,
        directory=Path(here.runtime.output_dir),
        sweep_directory=Path(here.sweep.dir).absolute() if is_multirun else None,
        concurrent=is_multirun and runs_side_by_side(here.launcher),
    )
    outcome.exit_codes.append(code)
    return value


def run_job(
    given: dict[str, Any],
    directory: Path,
    sweep_directory: Path | None = None,
    concurrent: bool = False,
) -> tuple[int, float]:
    """Run one job into its directory; return the exit code and the greatest value of its objective.

    Within a multirun, rows of other jobs are found and not measured again, and the report is made
    once, at the end of all jobs; there KeyboardInterrupt leaves the job, to end the other jobs as
    well, and so does a launcher's error that a job's time is over. No other exception leaves a job:
    what is wrong with a point becomes its row, and the rest one line on stderr. `concurrent` says
    that other jobs run at the same time.
    """
    try:
        config = sweep_config(given)
        points = points_of(config)
        if config.dry_run:
            say_plan(points)
            leave_no_trace(directory)
            return FINE, 0.0
        if config.execute:
            usable_device(config.device)
        return _run(config, given, points, directory, sweep_directory, concurrent)
    except TapemeasureError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        leave_no_trace(directory)
        return WRONG_INPUT, float("nan")
    except BrokenPipeError:
        print(
            "error: output closed; completed rows are saved; resume with: "
            f"{resume_command(directory)}",
            file=sys.stderr,
        )
        return SOME_FAILED, float("nan")
    except OSError as error:
        print(
            f"error: {one_line(error)}; {_how_to_resume(error, directory, sweep_directory)}",
            file=sys.stderr,
        )
        return SOME_FAILED, float("nan")
    except Exception as error:
        if is_the_launchers(error):
            raise
        say_fault(error, directory)
        return SOME_FAILED, float("nan")


def publish_sweep(directory: Path) -> int:
    """Merge and publish the rows of a multirun's jobs; return the exit code, print errors."""
    try:
        expected, rows = expected_below(directory), rows_below(directory)
        if not expected and rows.empty:
            return FINE  # a dry run, or jobs whose config was refused, which they have said
        return _publish(directory, rows, expected, is_multirun=True)
    except (TapemeasureError, OSError) as error:
        first = _first(error) if isinstance(error, OSError) else ""
        print(
            f"error: {one_line(error)}; completed rows are saved; {first}to make the report: "
            f"{report_command(directory)}",
            file=sys.stderr,
        )
        return SOME_FAILED
    except Exception as error:
        say_fault(error, directory)
        return SOME_FAILED


def _run(
    config: SweepConfig,
    given: dict[str, Any],
    points: list[Point],
    directory: Path,
    sweep_directory: Path | None,
    concurrent: bool,
) -> tuple[int, float]:
    """Measure what is missing and publish it; return the exit code and the objective."""
    keys = {point.key for point in points}
    code, is_interrupted = FINE, False
    # The journal comes first, since it refuses a directory that another sweep is writing.
    with Journal(directory) as journal:
        clear_partials(directory)
        write_json(directory / MANIFEST, manifest_of(given))
        write_expected(directory, keys)
        rows = _rows_of(keys, sweep_directory or directory)
        new: list[Row] = []
        found = set(rows.loc[rows["status"].isin([OK, SKIPPED]), "key"])
        to_measure = [point for point in points if point.key not in found]
        say_start(len(points), len(to_measure))
        if sweep_directory is None:
            log.info("to resume after an interruption: %s", resume_command(directory))
        try:
            for row in _measured(to_measure, config.timeout_s, sweep_directory is None):
                row = replace(row, concurrent=concurrent)
                journal.append(row)
                new.append(row)
            rows = pd.concat([rows, frame_of(new)])
            _write_tables(config, directory)
        except KeyboardInterrupt as error:
            if sweep_directory is not None:
                raise
            code, is_interrupted = exit_code_of(error), True
            # It may have come after a row was written and before it was counted: read them again.
            rows = _rows_of(keys, directory)
        rows = latest(rows)
        if rows["status"].isin(LOST).any():
            code = max(code, SOME_FAILED)
        if sweep_directory is None and len(rows):
            code = max(code, _published(directory, set() if is_interrupted else keys))
    if code > SIGNALLED:
        log.warning(
            "interrupted; saved %d of %d points; resume with: %s",
            len(rows),
            len(points),
            resume_command(directory),
        )
    return code, _objective(rows, config.objective)


def _rows_of(keys: set[str], directory: Path) -> pd.DataFrame:
    """Return the rows of some points from every journal below a directory."""
    with working("reading the rows"):
        rows = rows_below(directory)
    return rows[rows["key"].isin(keys)]


def _write_tables(config: SweepConfig, directory: Path) -> None:
    """Write the tables that are no rows of points: timelines, and those that are asked for."""
    with working("measuring timelines"):
        write_csv(directory / TIMELINES, timelines_of(config))
    if config.memory:
        with working("searching what fits"):
            write_csv(directory / CAPACITY, capacity_of(config))
    if config.best_plans is not None:
        with working("planning"):
            write_csv(directory / BEST_PLANS, best_plans_of(config.best_plans, config.execute))


def _published(directory: Path, expected: set[str]) -> int:
    """Publish the rows of a single job; return its exit code, also if that is interrupted."""
    try:
        return _publish(directory, rows_below(directory), expected)
    except KeyboardInterrupt as error:
        log.warning("the report was not made; to make it: %s", report_command(directory))
        return exit_code_of(error)


def _publish(
    directory: Path, rows: pd.DataFrame, expected: set[str], is_multirun: bool = False
) -> int:
    """Make the tables and the report of a directory's rows and print a summary; return the code."""
    keys: set[str] = set()
    lost = False
    if len(rows):
        results = publish(directory, rows)
        table = pd.concat([results.results, results.scale], ignore_index=True)
        say_closing(table, directory)
        keys, lost = set(table["key"]), bool(table["status"].isin(LOST).any())
    missing = len(expected - keys)
    if missing:
        say = "%d OF %d POINTS ARE MISSING: they were not measured; resume with: %s"
        log.error(say, missing, len(expected), resume_command(directory, is_multirun))
    return SOME_FAILED if missing or lost else FINE


def _how_to_resume(error: OSError, directory: Path, sweep_directory: Path | None) -> str:
    """Return the end of a line about a disk: what is safe, and how to go on."""
    how = (
        f"rerun the same command: {resume_command(directory)}"
        if sweep_directory is None
        else "rerun the same command with the same hydra.sweep.dir"
    )
    return f"completed rows are saved; {_first(error)}{how}"


def _first(error: OSError) -> str:
    advice = disk_advice(error)
    return f"{advice}, then " if advice else ""


def _objective(rows: pd.DataFrame, column: str) -> float:
    """Return the greatest value of a column over the points that are ok; NaN if there is none."""
    values = rows.loc[rows["status"] == OK, column].dropna()
    return float(values.max()) if len(values) else float("nan")


def _measured(points: list[Point], timeout_s: float | None, show_progress: bool) -> Iterator[Row]:
    """Yield the row of each point, made when it is asked for."""
    # A planner that never ends can be stopped only in a process of its own.
    together = [point for point in points if timeout_s is None and serves_shapes(point)]
    from_shapes = rows_from_shapes(together)
    too_deep: dict[tuple[str, ...], Row] = {}
    with progress_of(len(points), show_progress) as advance:
        for point in points:
            kind = (point.mode, point.engine, point.planner)
            if together and serves_shapes(point):
                row = next(from_shapes)
            elif kind in too_deep and point.n >= too_deep[kind].n:
                row = row_of(point, status=TIMEOUT, reason=too_deep[kind].reason)
            else:
                row = measure(point, timeout_s)
            if is_too_deep(row):
                too_deep[kind] = row
            yield row
            if row.status in LOST:
                log.error("%s: %s: %s", point, row.status, row.reason)
            advance(point, quiet=row.status in LOST)
