"""Rows of results: their columns, what each may hold, and the tables made of them.

A row is valid if each of its columns is empty or of its kind; the same test is made of a row before it is written and of every row that
is read, whoever wrote the file. Reading makes plain numbers and texts of a file and nothing else, so it cannot run code.
"""

from __future__ import annotations

import csv
import logging
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from autodiff.instructions import ROLES
from experiments.errors import ResultsError
from experiments.names import (
    DTYPES,
    ENGINES,
    MEASURED,
    MODES,
    NETWORKS,
    OK,
    PREDICTED,
    SOURCE,
    SOURCES,
    STATUSES,
)
from experiments.results.point import Point
from experiments.theory.case import ACTIVATIONS, LOSSES

log = logging.getLogger("tapemeasure")
PEAK_ROLES = tuple(f"peak_{role}_bytes" for role in ROLES[2:])
COLUMNS = (
    "key", "part", "network", "activation", "loss", "dtype", "n", "d", "b", "mode", "wrt", "planner", "snapshots", "segments", "engine",
    "micro_batches", SOURCE, "status", "reason", "device", "threads",
    "ops", "ops_forward", "ops_recompute", "ops_backward", "multiplications", "additions", "comparisons", "elementary", "matmul_flops",
    "peak_bytes", *PEAK_ROLES, "live_after_bytes", "parameter_bytes", "input_bytes", "predicted_peak_bytes",
    "theory_ops", "theory_peak_bytes",
    "wall_ns_forward", "wall_ns_recompute", "wall_ns_backward",
    "wall_ns_forward_spread", "wall_ns_recompute_spread", "wall_ns_backward_spread", "repeats",
    "peak_rss_bytes", "baseline_rss_bytes", "process_reason", "audit", "load_average", "frequency_mhz", "concurrent",
)  # fmt: skip
TEXT_COLUMNS = (
    "key", "part", "network", "activation", "loss", "dtype", "mode", "wrt", "planner", "engine", SOURCE, "status", "reason", "device",
    "process_reason", "audit",
)  # fmt: skip
REAL_COLUMNS = (
    *(column for column in COLUMNS if column.startswith("wall_ns")),
    "load_average",
    "frequency_mhz",
)
WHOLE_COLUMNS = tuple(
    column for column in COLUMNS if column not in (*TEXT_COLUMNS, *REAL_COLUMNS, "concurrent")
)
KNOWN = {
    "status": STATUSES, "mode": MODES, "network": NETWORKS, "activation": ACTIVATIONS, "loss": LOSSES, "dtype": DTYPES, "engine": ENGINES, SOURCE: SOURCES,
}  # fmt: skip
REQUIRED = ("part", "planner", "n", "d", "b", "micro_batches")
# What every point has whose status is ok, whichever engine ran it: from `ops` to `input_bytes`.
COUNTED = COLUMNS[COLUMNS.index("ops") : COLUMNS.index("input_bytes") + 1]
# What a table of whole numbers, and of real ones, can hold.
GREATEST_WHOLE = 2**63 - 1
GREATEST_REAL = sys.float_info.max


def row_of(point: Point, **measured: Any) -> dict[str, Any]:
    """A row for a point: what it is, and what was measured of it; columns that are not given stay empty."""
    fields = vars(point)
    row = dict.fromkeys(COLUMNS)
    row.update(
        {
            column: fields[column]
            for column in COLUMNS
            if column in fields and column not in ("audit", "measure_process")
        }
    )
    row[SOURCE] = MEASURED if point.execute else PREDICTED
    row.update(key=point.key, **measured)
    return row


def problem_of(row: Mapping[str, Any]) -> str | None:
    """Why a row is none, in one line; None for a valid one: what the point is, a status, and in each column nothing or a value of its kind."""
    if not row.get("key"):
        return "expected a key"
    for column, known in KNOWN.items():
        if row.get(column) not in known:
            return f"{column}={row.get(column)!r}; expected one of {', '.join(known)}"
    for column in REQUIRED:
        if not row.get(column):
            return f"{column} is empty; expected a value"
    for column in TEXT_COLUMNS:
        value = row.get(column)
        if value is not None and not (isinstance(value, str) and _is_writable(value)):
            return f"{column}={value!r}; expected a text"
    for column in WHOLE_COLUMNS:
        value = row.get(column)
        if value is not None and not (type(value) is int and 0 <= value <= GREATEST_WHOLE):
            return f"{column}={value!r}; expected a whole number from 0 to {GREATEST_WHOLE}, the most that a table can hold"
    for column in REAL_COLUMNS:
        value = row.get(column)
        if value is not None and not (type(value) in (int, float) and 0 <= value <= GREATEST_REAL):
            return f"{column}={value!r}; expected a number from 0"
    for column in COUNTED if row["status"] == OK else ():
        if row.get(column) is None:
            return f"{column} is empty; expected a value where the status is ok"
    value = row.get("concurrent")
    return (
        None
        if value is None or isinstance(value, bool)
        else f"concurrent={value!r}; expected true or false"
    )


def _is_writable(text: str) -> bool:
    """Whether a text can stand in a file: half a surrogate pair, which JSON can spell, cannot, and a zero would end it for some readers."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def frame_of(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table: one row a key (the last that is ok, else the last), whole numbers as whole numbers, columns in order."""
    latest: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = latest.get(row["key"])
        if known is None or row["status"] == "ok" or known["status"] != "ok":
            latest[row["key"]] = row
    frame = pd.DataFrame(list(latest.values()), columns=list(COLUMNS))
    return typed(frame)


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """The same table with each column of its kind, empty where it is empty."""
    frame = frame.reindex(columns=list(COLUMNS))
    frame[SOURCE] = frame[SOURCE].fillna(MEASURED)
    for column in TEXT_COLUMNS:
        frame[column] = frame[column].astype(object).where(frame[column].notna(), "").astype(str)
    for column in WHOLE_COLUMNS:
        frame[column] = frame[column].astype("Int64")
    for column in REAL_COLUMNS:
        frame[column] = frame[column].astype("Float64")
    frame["concurrent"] = frame["concurrent"].astype("boolean").fillna(False).astype(bool)
    return frame


def read_rows(path: Path) -> pd.DataFrame:
    """A table of rows as it was written; one without rows where the file is not there.

    A damaged row is passed over and counted in the log. Raises ResultsError where the file is no table of rows at all.
    """
    if not path.exists():
        return typed(pd.DataFrame())
    # Line by line, though a cell of a table could hold the end of a line: ours never do, and so a stray quote costs one row and no more.
    first, *lines = path.read_bytes().decode(errors="replace").split("\n")
    header = _cells(first)
    unknown = [name for name in header if name not in COLUMNS]
    if unknown or not {"key", "status"} <= set(header):
        told = f"it has a column {unknown[0]!r}" if unknown else "it has no column key or status"
        raise ResultsError(
            f"{path} is no table of rows: {told}; expected one that a sweep wrote; make it again from the journals"
        )
    rows = [_row_of_cells(header, _cells(line)) for line in lines if line.strip()]
    damaged = rows.count(None)
    if damaged and damaged == len(rows):
        raise ResultsError(
            f"{path} holds no row that is whole; expected a table that a sweep wrote; make it again from the journals"
        )
    if damaged:
        log.warning("%s: %d damaged rows are passed over", path, damaged)
    return frame_of(row for row in rows if row is not None)


def _cells(line: str) -> list[str]:
    """The cells of one line; none where it cannot be cut into cells."""
    try:
        return next(csv.reader([line.rstrip("\r")], strict=True), [])
    except csv.Error:
        return []


def _row_of_cells(header: list[str], cells: list[str]) -> dict[str, Any] | None:
    """A row from the cells of one line; None where it is not valid."""
    if len(cells) != len(header):
        return None
    given = {SOURCE: MEASURED, **dict(zip(header, cells, strict=True))}
    row: dict[str, Any] = {column: given.get(column) or None for column in TEXT_COLUMNS}
    try:
        row.update(
            {column: int(given[column]) if given.get(column) else None for column in WHOLE_COLUMNS}
        )
        row.update(
            {column: float(given[column]) if given.get(column) else None for column in REAL_COLUMNS}
        )
    except ValueError:
        return None
    row["concurrent"] = {"True": True, "False": False, "": None}.get(
        given.get("concurrent", ""), "neither"
    )
    return None if problem_of(row) else row
