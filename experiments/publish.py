"""From a directory's journals to its tables, figures and report; can be done again at any time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.errors import ResultsError
from experiments.files import write_csv, write_json
from experiments.rows import JOURNAL, frame_of, read_journal, read_rows
from experiments.timelines import GROUP

RESULTS, SCALE, COMPLEXITY, TIMELINES, MANIFEST = "results.csv", "scale.csv", "complexity.csv", "timelines.csv", "manifest.json"


@dataclass(frozen=True, eq=False)
class Results:
    """What a report is made of: the tables of a sweep and its manifest."""

    directory: Path
    results: pd.DataFrame
    scale: pd.DataFrame
    complexity: pd.DataFrame
    timelines: pd.DataFrame
    manifest: dict[str, Any]


def rows_below(directory: Path) -> list[dict[str, Any]]:
    """The rows of every journal in a directory and below it."""
    return [row for path in sorted(directory.rglob(JOURNAL)) for row in read_journal(path)]


def publish(directory: Path) -> Results:
    """Merge the journals below a directory into its tables, and make its figures and its report.

    Raises ResultsError where there are no rows.
    """
    from experiments.fit import complexity_table
    from experiments.plots import draw_figures
    from experiments.report import write_report

    frame = frame_of(rows_below(directory))
    if frame.empty:
        raise ResultsError(f"{directory} holds no rows; expected a directory that a sweep wrote ({JOURNAL} in it or below it)")
    is_scale = frame["part"] == "scale"
    exact = frame[~is_scale].reset_index(drop=True)
    scale = frame[is_scale].reset_index(drop=True)
    complexity = complexity_table(exact[exact["micro_batches"] == 1])
    timelines = _merged_timelines(sorted({path.parent for path in directory.rglob(TIMELINES)} | {directory}))
    manifest = manifest_in(directory)
    results = Results(directory, exact, scale, complexity, timelines, manifest)
    write_csv(directory / RESULTS, exact)
    if len(scale):
        write_csv(directory / SCALE, scale)
    write_csv(directory / COMPLEXITY, complexity)
    write_csv(directory / TIMELINES, timelines)
    write_json(directory / MANIFEST, manifest)
    draw_figures(results)
    write_report(results)
    return results


def publish_again(directory: Path) -> Results:
    """Make a directory's report again: from its journals where it has any, else from the tables that lie in it.

    Raises ResultsError where there is neither.
    """
    from experiments.plots import draw_figures
    from experiments.report import write_report

    if rows_below(directory):
        return publish(directory)
    results = read_results(directory)
    draw_figures(results)
    write_report(results)
    return results


def read_results(directory: Path) -> Results:
    """The tables of a directory as a sweep left them; formulas are found again where they are missing.

    Raises ResultsError where the directory holds none.
    """
    from experiments.fit import COMPLEXITY_COLUMNS, complexity_table

    if not (directory / RESULTS).exists():
        raise ResultsError(f"{directory} holds no {RESULTS}; expected a directory that a sweep wrote")
    rows, path = _checked_rows(directory / RESULTS), directory / COMPLEXITY
    complexity = (
        _read_csv(path, COMPLEXITY_COLUMNS, keep_default_na=False) if path.exists() else complexity_table(rows[rows["micro_batches"] == 1])
    )
    scale = _checked_rows(directory / SCALE)
    return Results(directory, rows, scale, complexity, _merged_timelines([directory]), manifest_in(directory))


def rows_in(directory: Path) -> pd.DataFrame:
    """Every row of a directory, of its journals where it has any, else of its tables.

    Raises ResultsError where there is neither.
    """
    rows = rows_below(directory)
    if rows:
        return frame_of(rows)
    results = read_results(directory)
    return pd.concat([results.results, results.scale], ignore_index=True)


def _checked_rows(path: Path) -> pd.DataFrame:
    """A table of rows, each of which says what point it is of."""
    try:
        frame = read_rows(path)
    except (ValueError, TypeError) as error:
        raise _unreadable(path, error) from error
    named = frame[["key", "mode", "status"]].ne("").all(axis=1) & frame[["n", "d", "b", "micro_batches"]].notna().all(axis=1)
    if not named.all():
        lacking = f"{int((~named).sum())} of its {len(frame)} rows lack key, n, d, b, micro_batches, mode or status"
        raise ResultsError(f"{path} is no table of rows: {lacking}; expected one that a sweep wrote; run the sweep again")
    return frame


def _read_csv(path: Path, columns: Iterable[str], **options: Any) -> pd.DataFrame:
    """A table that has these columns."""
    try:
        frame = pd.read_csv(path, **options)
    except ValueError as error:
        raise _unreadable(path, error) from error
    lacking = [column for column in columns if column not in frame]
    if lacking:
        raise _unreadable(path, ResultsError(f"it has no column {lacking[0]}"))
    return frame


def _unreadable(path: Path, error: Exception) -> ResultsError:
    """The error for a file that is there and cannot be read, one line."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ResultsError(f"{path} cannot be read ({reason}); expected a file that a sweep wrote; remove it, or run the sweep again")


def _merged_timelines(directories: Iterable[Path]) -> pd.DataFrame:
    """The timelines of all directories, each mode of each shape once."""
    merged: dict[tuple[Any, ...], pd.DataFrame] = {}
    for directory in directories:
        path = directory / TIMELINES
        if path.exists() and path.stat().st_size > 1:
            for group, frame in _read_csv(path, GROUP).groupby(GROUP, sort=False, dropna=False):
                merged.setdefault(group, frame)
    return pd.concat(merged.values(), ignore_index=True) if merged else pd.DataFrame(columns=GROUP)


def manifest_in(directory: Path) -> dict[str, Any]:
    """The manifest of the directory, or the first one below it."""
    for path in [directory / MANIFEST, *sorted(directory.rglob(MANIFEST))]:
        if path.exists():
            try:
                found = json.loads(path.read_text())
            except ValueError as error:
                raise _unreadable(path, error) from error
            if isinstance(found, dict):
                return found
    return {}
