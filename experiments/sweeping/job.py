"""One job of a sweep: its config checked, its points measured and kept one by one, its results published."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from autodiff.errors import TapemeasureError
from experiments.cli.exit import (
    FINE,
    INTERRUPTED,
    SOME_FAILED,
    WRONG_INPUT,
    outcome,
    report_command,
    resume_command,
    say_fault,
)
from experiments.errors import is_the_launchers, one_line
from experiments.grid.config import SweepConfig, sweep_config
from experiments.grid.points import points_of
from experiments.measuring.capacity import capacity_of
from experiments.measuring.point import measure
from experiments.measuring.shapes import rows_from_shapes, serves_shapes
from experiments.measuring.timelines import timelines_of
from experiments.names import FAILED, OK, SKIPPED, TIMEOUT
from experiments.reporting.publishing import publish
from experiments.results.capacity import CAPACITY
from experiments.results.expected import expected_below, write_expected
from experiments.results.files import clear_partials, write_csv, write_json
from experiments.results.journal import Journal, rows_below
from experiments.results.manifest import manifest_of
from experiments.results.point import Point
from experiments.results.rows import frame_of
from experiments.results.tables import MANIFEST, TIMELINES
from experiments.sweeping.console import progress_of, say_closing, say_plan
from experiments.sweeping.launchers import let_children_start, runs_side_by_side

log = logging.getLogger("tapemeasure")


def run_task(cfg: DictConfig) -> float:
    """Run the job of a config that Hydra composed; return its objective, for sweepers to minimize.

    Its exit code goes into `outcome`.
    """
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
    """Run one job into its directory; returns the exit code and the greatest value of the column that the config calls its objective.

    Within a multirun, rows of other jobs are found and not measured again, and the report is made once, at the end of all jobs; there
    KeyboardInterrupt is passed on, to end the other jobs as well, and so is a launcher's word that a job's time is over. No other exception
    leaves a job: what is wrong with a point becomes its row, and the rest one line on stderr. `concurrent` says that other jobs run at the
    same time.
    """
    try:
        config = sweep_config(given)
        points = points_of(config)
        if config.dry_run:
            say_plan(points)
            _leave_no_trace(directory)
            return FINE, 0.0
        return _run(config, given, points, directory, sweep_directory, concurrent)
    except TapemeasureError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        _leave_no_trace(directory)
        return WRONG_INPUT, float("nan")
    except BrokenPipeError:
        print(
            f"error: nobody reads the output any more; rows are kept; to go on: {resume_command(directory, is_multirun=False)}",
            file=sys.stderr,
        )
        return SOME_FAILED, float("nan")
    except OSError as error:
        print(
            f"error: {one_line(error)}; {_how_to_go_on(directory, sweep_directory)}",
            file=sys.stderr,
        )
        return SOME_FAILED, float("nan")
    except Exception as error:
        if is_the_launchers(error):
            raise
        say_fault(error, directory)
        return SOME_FAILED, float("nan")


def publish_sweep(directory: Path) -> int:
    """Merge and publish what the jobs of a multirun left in its directory; returns the exit code, and says in one line what is wrong."""
    try:
        expected, rows = expected_below(directory), rows_below(directory)
        if not expected and not rows:
            return FINE  # a dry run, or jobs that were refused at the door and have said so
        return _publish(directory, rows, expected, is_multirun=True)
    except (TapemeasureError, OSError) as error:
        print(
            f"error: {one_line(error)}; the rows are kept: {report_command(directory)}",
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
    keys = {point.key for point in points}
    code = FINE
    with Journal(
        directory
    ) as journal:  # first, since it refuses a directory that another sweep is writing
        clear_partials(directory)
        write_json(directory / MANIFEST, manifest_of(given))
        write_expected(directory, keys)
        rows = [row for row in rows_below(sweep_directory or directory) if row["key"] in keys]
        found = {row["key"] for row in rows if row["status"] in (OK, SKIPPED)}
        to_measure = [point for point in points if point.key not in found]
        log.info(
            "%d points: %d found, %d to measure",
            len(points),
            len(points) - len(to_measure),
            len(to_measure),
        )
        if sweep_directory is None:
            log.info(
                "if it is stopped, this goes on with it: %s",
                resume_command(directory, is_multirun=False),
            )
        try:
            for row in _measured(
                to_measure, config.timeout_s, show_progress=sweep_directory is None
            ):
                row["concurrent"] = concurrent
                journal.append(row)
                rows.append(row)
            write_csv(directory / TIMELINES, timelines_of(config))
            if config.memory:
                write_csv(directory / CAPACITY, capacity_of(config))
        except KeyboardInterrupt:
            if sweep_directory is not None:
                raise
            code = INTERRUPTED
            # It may have come between a row's writing and its counting: what the journal holds is what is kept.
            rows = [row for row in rows_below(directory) if row["key"] in keys]
        frame = frame_of(rows)
        if frame["status"].isin([FAILED, TIMEOUT]).any():
            code = max(code, SOME_FAILED)
        if sweep_directory is None and len(frame):
            try:
                code = max(
                    code,
                    _publish(
                        directory, rows_below(directory), keys if code != INTERRUPTED else set()
                    ),
                )
            except KeyboardInterrupt:
                code = INTERRUPTED
                log.warning("the report was not made; to make it: %s", report_command(directory))
    if code == INTERRUPTED:
        log.warning(
            "interrupted; %d of %d points are kept. To go on: %s",
            len(frame),
            len(points),
            resume_command(directory, is_multirun=False),
        )
    return code, _objective(frame, config.objective)


def _publish(
    directory: Path, rows: list[dict[str, Any]], expected: set[str], is_multirun: bool = False
) -> int:
    """Make the tables and the report of a directory's rows and say what came of it; returns the exit code."""
    keys: set[str] = set()
    lost = False
    if rows:
        results = publish(directory, rows)
        table = pd.concat([results.results, results.scale], ignore_index=True)
        say_closing(table, directory)
        keys, lost = set(table["key"]), bool(table["status"].isin([FAILED, TIMEOUT]).any())
    missing = len(expected - keys)
    if missing:
        say = "%d OF %d POINTS ARE MISSING: they were not measured. To go on: %s"
        log.error(say, missing, len(expected), resume_command(directory, is_multirun))
    return SOME_FAILED if missing or lost else FINE


def _how_to_go_on(directory: Path, sweep_directory: Path | None) -> str:
    """The end of a line about a disk: what is safe, and the command that goes on."""
    if sweep_directory is not None:
        return "rows that were written are kept; free or mend the disk and run the same command with the same hydra.sweep.dir again"
    return f"rows that were written are kept; free or mend the disk, then: {resume_command(directory, is_multirun=False)}"


def _objective(rows: pd.DataFrame, column: str) -> float:
    """The greatest value of a column over the points that were measured; NaN where there is none."""
    values = rows.loc[rows["status"] == OK, column].dropna()
    return float(values.max()) if len(values) else float("nan")


def _measured(
    points: list[Point], timeout_s: float | None, show_progress: bool
) -> Iterator[dict[str, Any]]:
    """Yield the row of each point, made when it is asked for."""
    # Only in a process of its own can a user's planner that never ends be stopped by the time limit.
    together = [point for point in points if timeout_s is None and serves_shapes(point)]
    from_shapes = rows_from_shapes(together)
    with progress_of(len(points), show_progress) as advance:
        for point in points:
            row = (
                next(from_shapes)
                if together and serves_shapes(point)
                else measure(point, timeout_s)
            )
            yield row
            if row["status"] in (FAILED, TIMEOUT):
                log.error("%s: %s: %s", point, row["status"], row["reason"])
            advance(point, quiet=row["status"] in (FAILED, TIMEOUT))


def _leave_no_trace(directory: Path) -> None:
    """Remove what Hydra made for a job that measured nothing; a directory that holds anything else stays."""
    made = {".hydra", "sweep.log", "multirun.yaml"}
    with suppress(OSError):  # it is only tidying
        if directory.is_dir() and {path.name for path in directory.iterdir()} <= made:
            shutil.rmtree(directory)
            here = Path.cwd()
            for parent in directory.absolute().parents:
                if here not in parent.parents or any(parent.iterdir()):
                    break
                parent.rmdir()  # the day's directory, say, where this was its first run
