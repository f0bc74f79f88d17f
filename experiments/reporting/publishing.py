"""From a directory's journals to its tables, figures and report, as often as wanted."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pandas as pd

from experiments.analysis.growth import formulas_of
from experiments.errors import ResultsError
from experiments.figures.registry import draw_figures
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
    frame = latest(rows_below(directory) if rows is None else rows)
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
    complexity = formulas_of(exact)
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
    write_csv(directory / RESULTS, exact)
    if len(scale):
        write_csv(directory / SCALE, scale)
    write_csv(directory / COMPLEXITY, complexity)
    write_csv(directory / TIMELINES, timelines)
    if len(capacity):
        write_csv(directory / CAPACITY, capacity)
    if len(best_plans):
        write_csv(directory / BEST_PLANS, best_plans)
    write_json(directory / MANIFEST, {**manifest, DIGESTS: digests_of(directory, TABLES)})
    draw_figures(results)
    write_report(results)
    return results


def publish_again(directory: Path, concurrent: bool = False) -> Results:
    """Write a directory's report again, from its journals if it has any, else from its tables.

    Raises ResultsError where there is neither.
    """
    rows = rows_below(directory)
    if len(rows):
        return publish(directory, rows, concurrent)
    read = read_results(directory)
    results = replace(read, complexity=formulas_of(read.results), concurrent=concurrent)
    draw_figures(results)
    write_report(results)
    return results
