"""From a directory's journals to its tables, figures and report, as often as wanted."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pandas as pd

from experiments.analysis.growth import formulas_of
from experiments.errors import ResultsError
from experiments.figures.registry import draw_figures
from experiments.progress import working
from experiments.reporting.sweep import write_report
from experiments.results.best_plans import BEST_PLANS, read_best_plans
from experiments.results.capacity import CAPACITY, read_capacity
from experiments.results.digests import DIGESTS, digests_of, warn_of_edits
from experiments.results.files import clear_partials, write_csv, write_json
from experiments.results.frames import latest
from experiments.results.journal import JOURNAL, rows_below
from experiments.results.tables import (
    COMPLEXITY,
    MANIFEST,
    RESULTS,
    SCALE,
    TABLES,
    TIMELINES,
    Results,
    manifest_in,
    merged_timelines,
    read_results,
)

log = logging.getLogger("tapemeasure")


def publish(directory: Path, rows: pd.DataFrame | None = None, concurrent: bool = False) -> Results:
    """Merge the journals below a directory into its tables; write its figures and its report.

    `rows` are those of the journals, if they were read already; `concurrent` includes the timings
    of rows measured while other jobs ran. Raises ResultsError where there are no rows.
    """
    frame = latest(_rows_below(directory) if rows is None else rows)
    if frame.empty:
        raise ResultsError(
            f"{directory} holds no rows; expected a directory that a sweep wrote, with {JOURNAL} "
            "in it or below it; run a sweep, or give its directory"
        )
    clear_partials(directory)
    warn_of_edits(directory, directory / MANIFEST, TABLES)
    is_scale = frame["part"] == "scale"
    exact = frame[~is_scale].reset_index(drop=True)
    scale = frame[is_scale].reset_index(drop=True)
    complexity = _formulas_of(exact)
    timelines = merged_timelines(
        sorted({path.parent for path in directory.rglob(TIMELINES)} | {directory}),
        can_do_without=True,
    )
    manifest = manifest_in(directory, can_do_without=True)
    capacity = read_capacity(
        sorted({path.parent for path in directory.rglob(CAPACITY)} | {directory})
    )
    best_plans = read_best_plans(
        sorted({path.parent for path in directory.rglob(BEST_PLANS)} | {directory})
    )
    results = Results(
        directory, exact, scale, complexity, timelines, manifest, capacity, concurrent, best_plans
    )
    with working("writing the tables"):
        _write_tables(results)
    _show(results)
    return results


def _write_tables(results: Results) -> None:
    directory = results.directory
    write_csv(directory / RESULTS, results.results)
    write_csv(directory / COMPLEXITY, results.complexity)
    write_csv(directory / TIMELINES, results.timelines)
    for name, table in (
        (SCALE, results.scale),
        (CAPACITY, results.capacity),
        (BEST_PLANS, results.best_plans),
    ):
        if len(table):
            write_csv(directory / name, table)
    write_json(directory / MANIFEST, {**results.manifest, DIGESTS: digests_of(directory, TABLES)})


def _show(results: Results) -> None:
    draw_figures(results)
    with working("writing the report"):
        write_report(results)


def _rows_below(directory: Path) -> pd.DataFrame:
    with working("reading the rows"):
        return rows_below(directory)


def _formulas_of(rows: pd.DataFrame) -> pd.DataFrame:
    with working("fitting formulas"):
        return formulas_of(rows)


def publish_again(directory: Path, concurrent: bool = False) -> Results:
    """Write a directory's report again, from its journals if it has any, else from its tables.

    Raises ResultsError where there is neither.
    """
    rows = _rows_below(directory)
    if len(rows):
        return publish(directory, rows, concurrent)
    read = read_results(directory)
    results = replace(read, complexity=_formulas_of(read.results), concurrent=concurrent)
    _show(results)
    return results
