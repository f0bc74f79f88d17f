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
    manifest = _merged_manifest(directory)
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


def read_results(directory: Path) -> Results:
    """The tables of a directory as a sweep left them.

    Raises ResultsError where the directory holds none.
    """
    if not (directory / RESULTS).exists():
        raise ResultsError(f"{directory} holds no {RESULTS}; expected a directory that a sweep wrote")
    complexity = directory / COMPLEXITY
    return Results(
        directory,
        read_rows(directory / RESULTS),
        read_rows(directory / SCALE),
        pd.read_csv(complexity, keep_default_na=False) if complexity.exists() else pd.DataFrame(),
        _merged_timelines([directory]),
        _merged_manifest(directory),
    )


def _merged_timelines(directories: Iterable[Path]) -> pd.DataFrame:
    """The timelines of all directories, each mode of each shape once."""
    merged: dict[tuple[Any, ...], pd.DataFrame] = {}
    for directory in directories:
        path = directory / TIMELINES
        if path.exists() and path.stat().st_size > 1:
            for group, frame in pd.read_csv(path).groupby(GROUP, sort=False, dropna=False):
                merged.setdefault(group, frame)
    return pd.concat(merged.values(), ignore_index=True) if merged else pd.DataFrame(columns=GROUP)


def _merged_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of the directory, or the first one below it."""
    for path in [directory / MANIFEST, *sorted(directory.rglob(MANIFEST))]:
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text())
            return found
    return {}
