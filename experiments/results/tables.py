"""The tables of a directory: what a report is made of, read from journals or from the files of an earlier report."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.errors import ResultsError
from experiments.fitting.table import COMPLEXITY_COLUMNS
from experiments.names import MODES, TIMELINE
from experiments.results.capacity import CAPACITY_COLUMNS, read_capacity
from experiments.results.journal import rows_below
from experiments.results.manifest import sound
from experiments.results.rows import GREATEST_WHOLE, frame_of, read_rows
from experiments.results.timings import seconds_that_count

RESULTS, SCALE, COMPLEXITY, TIMELINES, MANIFEST = (
    "results.csv",
    "scale.csv",
    "complexity.csv",
    "timelines.csv",
    "manifest.json",
)
log = logging.getLogger("tapemeasure")

EVENT = ("step", "event", "node", "phase", "live_bytes")


@dataclass(frozen=True, eq=False)
class Results:
    """What a report is made of: the tables of a sweep and its manifest; `concurrent`, whether seconds of rows that did not run alone count."""

    directory: Path
    results: pd.DataFrame
    scale: pd.DataFrame
    complexity: pd.DataFrame
    timelines: pd.DataFrame
    manifest: dict[str, Any]
    capacity: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(CAPACITY_COLUMNS))
    )
    concurrent: bool = False

    def shown(self) -> Results:
        """The same results with the seconds that count: what figures and report are made of."""
        parts = {
            name: seconds_that_count(frame, self.concurrent)
            for name, frame in (("results", self.results), ("scale", self.scale))
        }
        return replace(self, **parts)


def read_results(directory: Path) -> Results:
    """The tables of a directory as a sweep left them; `complexity` is empty where its file is missing.

    Raises ResultsError where the directory holds none.
    """

    if not (directory / RESULTS).exists():
        raise ResultsError(
            f"{directory} holds no {RESULTS}; expected a directory that a sweep wrote"
        )
    rows, path = read_rows(directory / RESULTS), directory / COMPLEXITY
    complexity = (
        _read_csv(path, COMPLEXITY_COLUMNS, keep_default_na=False)
        if path.exists()
        else pd.DataFrame(columns=list(COMPLEXITY_COLUMNS))
    )
    scale = read_rows(directory / SCALE)
    timelines, capacity = merged_timelines([directory]), read_capacity([directory])
    return Results(directory, rows, scale, complexity, timelines, manifest_in(directory), capacity)


def rows_in(directory: Path) -> pd.DataFrame:
    """Every row of a directory, of its journals where it has any, else of its tables.

    Raises ResultsError where there is neither.
    """
    rows = rows_below(directory)
    if rows:
        return frame_of(rows)
    results = read_results(directory)
    return pd.concat([results.results, results.scale], ignore_index=True)


def _read_csv(path: Path, columns: Iterable[str], **options: Any) -> pd.DataFrame:
    """A table that has these columns."""
    try:
        frame: pd.DataFrame = pd.read_csv(path, **options)
    except ValueError as error:
        raise _unreadable(path, error) from error
    lacking = [column for column in columns if column not in frame]
    if lacking:
        raise _unreadable(path, ResultsError(f"it has no column {lacking[0]}"))
    return frame


def _unreadable(path: Path, error: Exception) -> ResultsError:
    """The error for a file that is there and cannot be read, one line."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ResultsError(
        f"{path} cannot be read ({reason}); expected a file that a sweep wrote; remove it, or run the sweep again"
    )


def merged_timelines(directories: Iterable[Path], can_do_without: bool = False) -> pd.DataFrame:
    """The timelines of all directories, each mode of each shape once; one that is damaged is passed over where one can do without."""
    merged: dict[tuple[Any, ...], pd.DataFrame] = {}
    for directory in directories:
        try:
            found = _timelines(directory / TIMELINES)
        except ResultsError as error:
            if not can_do_without:
                raise
            log.warning("passed over: %s", error)
            continue
        for group, frame in found.groupby(list(TIMELINE), sort=False):
            merged.setdefault(group, frame)
    return (
        pd.concat(merged.values(), ignore_index=True)
        if merged
        else pd.DataFrame(columns=list(TIMELINE))
    )


def _timelines(path: Path) -> pd.DataFrame:
    """The timelines of a file; one that is damaged anywhere is left out whole, since half a step would look like a step.

    Raises ResultsError where the file holds no timelines.
    """
    none = pd.DataFrame(columns=list(TIMELINE))
    if not path.exists() or path.stat().st_size <= 1:
        return none
    try:
        read = pd.read_csv(path, dtype=str, keep_default_na=False)
        columns = [*TIMELINE, *EVENT]
        if read.empty:
            return none
        if not set(columns) <= set(read.columns):
            raise ValueError(f"expected the columns {', '.join(columns)}")
        numbers = [
            name
            for name in read.columns
            if name in ("n", "d", "b", "step", "bytes") or name.startswith("live_")
        ]
        values = read[numbers].apply(pd.to_numeric, errors="coerce")
        read["whole"] = ((values >= 0) & (values <= GREATEST_WHOLE) & (values % 1 == 0)).all(
            axis=1
        ) & read["mode"].isin(MODES)
        sound = read[read.groupby(list(TIMELINE), sort=False)["whole"].transform("all")].drop(
            columns="whole"
        )
        if len(sound) < len(read):
            log.warning(
                "%s: %d damaged or incomplete lines are passed over", path, len(read) - len(sound)
            )
        times = [name for name in sound.columns if name == "time_ns"]
        return sound.assign(
            **{name: pd.to_numeric(sound[name], errors="coerce") for name in [*numbers, *times]}
        )
    except ValueError as error:
        raise _unreadable(path, error) from error


def manifest_in(directory: Path, can_do_without: bool = False) -> dict[str, Any]:
    """The manifest of the directory, or the first one below it; one that is damaged is passed over where one can do without.

    Raises ResultsError, else.
    """
    for path in [directory / MANIFEST, *sorted(directory.rglob(MANIFEST))]:
        try:
            found = json.loads(path.read_bytes())
            if not isinstance(found, dict):
                raise ValueError(f"it holds a {type(found).__name__}")
            return sound(found)
        except FileNotFoundError:
            continue
        except (ValueError, RecursionError) as error:
            if not can_do_without:
                raise _unreadable(path, error) from error
            log.warning("passed over: %s", _unreadable(path, error))
    return {}
