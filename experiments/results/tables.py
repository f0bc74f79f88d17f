"""The tables of a directory, which a report is made of, from journals or from earlier tables."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.errors import ResultsError, one_line
from experiments.fitting.table import COMPLEXITY_COLUMNS
from experiments.names import AXES, MODES, TIMELINE
from experiments.results.best_plans import BEST_PLANS, BEST_PLANS_COLUMNS, read_best_plans
from experiments.results.capacity import CAPACITY, CAPACITY_COLUMNS, read_capacity
from experiments.results.digests import warn_of_edits
from experiments.results.files import read_bytes, read_csv, unreadable, whole_numbers
from experiments.results.frames import latest, read_rows
from experiments.results.journal import rows_below
from experiments.results.manifest import sound
from experiments.results.timings import seconds_that_count
from experiments.text import counted

RESULTS, SCALE, COMPLEXITY, TIMELINES, MANIFEST = (
    "results.csv",
    "scale.csv",
    "complexity.csv",
    "timelines.csv",
    "manifest.json",
)
TABLES = (RESULTS, SCALE, COMPLEXITY, TIMELINES, CAPACITY, BEST_PLANS)
"""The files whose digests the manifest holds."""
log = logging.getLogger("tapemeasure")

EVENT = ("step", "event", "node", "phase", "live_bytes")


@dataclass(frozen=True, eq=False)
class Results:
    """What a report is made of: the tables of a sweep and its manifest.

    `concurrent` says whether seconds of rows count that were measured while other jobs ran.
    """

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
    best_plans: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(BEST_PLANS_COLUMNS))
    )

    def shown(self) -> Results:
        """Return the same results with the seconds that count, for figures and report."""
        parts = {
            name: seconds_that_count(frame, self.concurrent)
            for name, frame in (("results", self.results), ("scale", self.scale))
        }
        return replace(self, **parts)


def read_results(directory: Path) -> Results:
    """Return the measured tables of a directory; `complexity` is empty.

    Formulas follow from the rows: whoever shows them fits them again, so that no damaged, old or
    edited complexity.csv can contradict the rows. Raises ResultsError if the directory holds no
    tables, or one that cannot be read.
    """
    if not (directory / RESULTS).exists():
        raise ResultsError(
            f"{directory} holds no {RESULTS}; expected a directory that a sweep wrote"
        )
    warn_of_edits(directory, directory / MANIFEST, TABLES)
    rows, scale = read_rows(directory / RESULTS), read_rows(directory / SCALE)
    complexity = pd.DataFrame(columns=list(COMPLEXITY_COLUMNS))
    timelines, capacity = merged_timelines([directory]), read_capacity([directory])
    best_plans = read_best_plans([directory])
    return Results(
        directory, rows, scale, complexity, timelines, manifest_in(directory), capacity,
        best_plans=best_plans,
    )  # fmt: skip


def rows_in(directory: Path) -> pd.DataFrame:
    """Return every row of a directory, from its journals if it has any, else from its tables.

    Raises ResultsError if there is neither.
    """
    rows = rows_below(directory)
    if len(rows):
        return latest(rows)
    results = read_results(directory)
    return pd.concat([results.results, results.scale], ignore_index=True)


def merged_timelines(directories: Iterable[Path], can_do_without: bool = False) -> pd.DataFrame:
    """Return the timelines of all directories, each mode of each shape once.

    A damaged file is skipped if `can_do_without`, and else raises ResultsError.
    """
    merged: dict[tuple[Any, ...], pd.DataFrame] = {}
    for directory in directories:
        try:
            found = _timelines(directory / TIMELINES)
        except ResultsError as error:
            if not can_do_without:
                raise
            log.warning("skipped a damaged file: %s", error)
            continue
        for group, frame in found.groupby(list(TIMELINE), sort=False):
            merged.setdefault(group, frame)
    return (
        pd.concat(merged.values(), ignore_index=True)
        if merged
        else pd.DataFrame(columns=list(TIMELINE))
    )


def _timelines(path: Path) -> pd.DataFrame:
    """Return the timelines of a file, less those with damaged lines: half a step is no step.

    Raises ResultsError if the file holds no timelines.
    """
    none = pd.DataFrame(columns=list(TIMELINE))
    if not path.exists() or len(read_bytes(path)) <= 1:
        return none
    read = read_csv(path, TIMELINE)
    if read.empty:
        return none
    missing = [column for column in EVENT if column not in read]
    if missing:
        raise unreadable(path, f"it has no column {missing[0]}")
    numbers = [
        name
        for name in read.columns
        if name in (*AXES, "step", "bytes") or name.startswith("live_")
    ]
    values = read[numbers].apply(whole_numbers)
    is_whole = values.notna().all(axis=1) & read["mode"].isin(MODES)
    by_step = is_whole.groupby([read[name] for name in TIMELINE], sort=False)
    is_sound = by_step.transform("all")
    if not is_sound.all():
        lost = counted(int((~is_sound).sum()), "damaged or incomplete line")
        log.warning("%s: skipped %s", path, lost)
    columns = {name: values.loc[is_sound, name].astype("int64") for name in numbers}
    if "time_ns" in read:
        columns["time_ns"] = pd.to_numeric(read.loc[is_sound, "time_ns"], errors="coerce")
    return read[is_sound].assign(**columns)


def manifest_in(directory: Path, can_do_without: bool = False) -> dict[str, Any]:
    """Return the manifest of a directory, or else the first one below it.

    A damaged file is skipped if `can_do_without`, and else raises ResultsError.
    """
    for path in [directory / MANIFEST, *sorted(directory.rglob(MANIFEST))]:
        try:
            found = json.loads(read_bytes(path))
            if not isinstance(found, dict):
                raise ValueError(f"it holds a {type(found).__name__}")
            return sound(found)
        except FileNotFoundError:
            continue
        except (ValueError, RecursionError, ResultsError) as error:
            if not can_do_without:
                raise unreadable(path, one_line(error)) from error
            log.warning("skipped a damaged file: %s", unreadable(path, one_line(error)))
    return {}
