"""Rows of results: one frozen record, from which journals, tables and frames are made.

A `Row` cannot be made with a value that is not of its column's kind, so rows are the same wherever
they come from. Reading makes numbers and texts of a file and nothing else: no text of a file is
imported, called or evaluated.
"""

from __future__ import annotations

import csv
import itertools
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from autodiff.instructions import ROLES
from experiments.errors import ResultsError, one_line
from experiments.names import (
    AUDITS,
    AUDITS_RUN,
    DTYPES,
    ENGINES,
    GREATEST_WHOLE,
    MEASURED,
    MODES,
    NETWORKS,
    OK,
    PREDICTED,
    SOURCES,
    STATUSES,
)
from experiments.results.files import read_bytes, without_defusal
from experiments.results.point import Point
from experiments.text import counted, in_one_line
from experiments.theory.case import ACTIVATIONS, LOSSES

log = logging.getLogger("tapemeasure")

Value = str | int | float | bool | None
"""What a column can hold."""

KNOWN = {
    "status": STATUSES, "mode": MODES, "network": NETWORKS, "activation": ACTIVATIONS,
    "loss": LOSSES, "dtype": DTYPES, "engine": ENGINES, "source": SOURCES,
}  # fmt: skip


class RowError(ResultsError):
    """A row has a value that its column cannot hold, or a key that is not its point's."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of results; the fields are the columns, in order.

    Text that is not there is empty, any other value None. Counts are operations or bytes; `wall_ns`
    are nanoseconds, `frequency_mhz` is in MHz. `source` says whether the step was run.
    Raises RowError if a value is not of its column's kind.
    """

    key: str
    part: str
    network: str
    activation: str
    loss: str
    dtype: str
    n: int
    d: int
    b: int
    mode: str
    wrt: str = ""
    planner: str
    snapshots: int | None = None
    segments: int | None = None
    planner_code: str = ""
    engine: str
    micro_batches: int
    source: str
    status: str
    reason: str = ""
    device: str
    threads: int
    ops: int | None = None
    ops_forward: int | None = None
    ops_recompute: int | None = None
    ops_backward: int | None = None
    multiplications: int | None = None
    additions: int | None = None
    comparisons: int | None = None
    elementary: int | None = None
    matmul_flops: int | None = None
    peak_bytes: int | None = None
    peak_activation_bytes: int | None = None
    peak_gradient_bytes: int | None = None
    peak_parameter_gradient_bytes: int | None = None
    peak_temporary_bytes: int | None = None
    live_after_bytes: int | None = None
    parameter_bytes: int | None = None
    input_bytes: int | None = None
    predicted_peak_bytes: int | None = None
    theory_ops: int | None = None
    theory_peak_bytes: int | None = None
    wall_ns_forward: float | None = None
    wall_ns_recompute: float | None = None
    wall_ns_backward: float | None = None
    wall_ns_forward_spread: float | None = None
    wall_ns_recompute_spread: float | None = None
    wall_ns_backward_spread: float | None = None
    repeats: int
    peak_rss_bytes: int | None = None
    baseline_rss_bytes: int | None = None
    process_reason: str = ""
    audit: str = ""
    load_average: float | None = None
    frequency_mhz: float | None = None
    concurrent: bool = False

    def __post_init__(self) -> None:
        """Check every column."""
        values = vars(self)
        for column, (is_fine, expected) in _CHECKS.items():
            if not is_fine(values[column]):
                raise RowError(f"{column}={values[column]!r}; expected {expected}")
        for column, known in KNOWN.items():
            if values[column] not in known:
                raise RowError(f"{column}={values[column]!r}; expected one of {', '.join(known)}")
        for column in (*_NOT_EMPTY, *(COUNTED if self.status == OK else ())):
            if values[column] in (None, ""):
                raise RowError(f"{column} is empty; expected a value")


def _is_text(value: object) -> bool:
    """Return whether a value can stand in one line of a file: no zero, no half a surrogate pair."""
    if not isinstance(value, str) or "\0" in value or "\n" in value or "\r" in value:
        return False
    return value.isascii() or value.encode(errors="ignore").decode() == value


def _is_whole(value: object) -> bool:
    return value is None or (type(value) is int and 0 <= value <= GREATEST_WHOLE)


def _is_positive(value: object) -> bool:
    return type(value) is int and 0 < value <= GREATEST_WHOLE


def _is_real(value: object) -> bool:
    return value is None or (isinstance(value, float | int) and 0 <= value <= sys.float_info.max)


_MOST = f"{GREATEST_WHOLE}, the most that a table can hold"
_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "str": (_is_text, "one line of text"),
    "int": (_is_positive, f"a whole number from 1 to {_MOST}"),
    "int | None": (_is_whole, f"a whole number from 0 to {_MOST}"),
    "float | None": (_is_real, "a number from 0"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
}
_COLUMNS = {field.name: str(field.type) for field in fields(Row)}
COLUMNS = tuple(_COLUMNS)
TEXT_COLUMNS = tuple(column for column, kind in _COLUMNS.items() if kind == "str")
WHOLE_COLUMNS = tuple(column for column, kind in _COLUMNS.items() if kind.startswith("int"))
REAL_COLUMNS = tuple(column for column, kind in _COLUMNS.items() if kind.startswith("float"))
_CHECKS = {column: _KINDS[kind] for column, kind in _COLUMNS.items()}
PEAK_ROLES = tuple(f"peak_{role}_bytes" for role in ROLES[2:])
"""The columns of what the peak consists of, caller-owned buffers aside."""
COUNTED = COLUMNS[COLUMNS.index("ops") : COLUMNS.index("input_bytes") + 1]
"""What every row has whose status is ok, whichever engine ran the step."""
_NOT_EMPTY = ("key", "part", "planner")
_OF_POINT = tuple(field.name for field in fields(Point) if field.name in COLUMNS)


def row_of(point: Point, **columns: Value) -> Row:
    """Return the row of a point with the columns that are given; reasons are put into one line."""
    given: dict[str, Any] = {name: getattr(point, name) for name in _OF_POINT if name != "audit"}
    given |= columns
    for name in ("reason", "process_reason"):
        given[name] = in_one_line(str(given.get(name) or ""))
    return Row(**given, key=point.key, source=MEASURED if point.execute else PREDICTED)


def row_of_fields(given: Mapping[str, Any]) -> Row:
    """Return the row that a file holds as plain values; unknown fields are ignored.

    Files of older versions have no column `source`: there the key says whether the step was run.
    Raises RowError if a value is not of its column's kind or the key is not that of the point.
    """
    known = {
        column: given[column]
        for column in COLUMNS
        if column in given and (given[column] is not None or _COLUMNS[column].endswith("None"))
    }
    try:
        row = Row(**{"source": MEASURED, **known})
    except TypeError as error:
        raise RowError(f"a column is missing: {one_line(error)}") from None
    source = _source_by_key(row, (row.source,) if "source" in known else SOURCES)
    if source is None:
        raise RowError(f"key={row.key!r}; expected the key of the point that the row describes")
    return row if source == row.source else replace(row, source=source)


def _source_by_key(row: Row, sources: Iterable[str]) -> str | None:
    """Return the source with which a row's point has the row's key; None where it has with none.

    What a row does not say of its point is tried: which audits were asked for, and whether process
    memory was.
    """
    shared = {name: getattr(row, name) for name in _OF_POINT if name != "audit"}
    asked = sorted(AUDITS, key=lambda audit: audit != AUDITS_RUN.get(row.audit))
    for source, audit, measures in itertools.product(sources, asked, (True, False)):
        point = Point(**shared, audit=audit, execute=source == MEASURED, measure_process=measures)
        if point.key == row.key:
            return source
    return None


def latest(rows: Iterable[Row]) -> list[Row]:
    """Return one row a key: the last that is ok, or else the last."""
    found: dict[str, Row] = {}
    for row in rows:
        known = found.get(row.key)
        if known is None or row.status == OK or known.status != OK:
            found[row.key] = row
    return list(found.values())


def frame_of(rows: Iterable[Row]) -> pd.DataFrame:
    """Return the latest rows as a table with typed columns."""
    frame = pd.DataFrame([vars(row) for row in latest(rows)], columns=list(COLUMNS))
    kinds = {"str": object, "bool": bool, "int": "Int64", "int | None": "Int64"}
    return frame.astype({name: kinds.get(kind, "Float64") for name, kind in _COLUMNS.items()})


def read_rows(path: Path) -> pd.DataFrame:
    """Return a table of rows as it was written; one without rows if there is no file.

    A damaged row is skipped and counted in the log.
    Raises ResultsError if the file is no table of rows at all.
    """
    if not path.exists():
        return frame_of([])
    # Line by line: no cell of ours has the end of a line, so a stray quote costs one row only.
    first, *lines = read_bytes(path).decode(errors="replace").split("\n")
    header = _cells(first)
    unknown = [name for name in header if name not in COLUMNS]
    if unknown or not {"key", "status"} <= set(header):
        reason = f"it has a column {unknown[0]!r}" if unknown else "it has no column key or status"
        raise ResultsError(
            f"{path} is no table of rows: {reason}; expected one that a sweep wrote; "
            "make it again from the journals"
        )
    rows = [_row_of_cells(header, _cells(line)) for line in lines if line.strip()]
    damaged = rows.count(None)
    if damaged and damaged == len(rows):
        raise ResultsError(
            f"{path} holds no row that is whole; expected a table that a sweep wrote; "
            "make it again from the journals"
        )
    if damaged:
        log.warning("%s: skipped %s", path, counted(damaged, "damaged line"))
    return frame_of(row for row in rows if row is not None)


def _cells(line: str) -> list[str]:
    """Return the cells of one line; none if it cannot be cut into cells."""
    try:
        return next(csv.reader([line.rstrip("\r")], strict=True), [])
    except csv.Error:
        return []


def _row_of_cells(header: list[str], cells: list[str]) -> Row | None:
    """Return the row in the cells of one line, or None if it is damaged."""
    if len(cells) != len(header):
        return None
    try:
        return row_of_fields(
            {name: _value_of(name, cell) for name, cell in zip(header, cells, strict=True)}
        )
    except (ValueError, ResultsError):
        return None


def _value_of(column: str, cell: str) -> Value:
    """Return the value of a cell; raise ValueError if it is not of its column's kind."""
    if column in TEXT_COLUMNS:
        return str(without_defusal(cell))
    if not cell:
        return None
    if column in WHOLE_COLUMNS:
        return int(cell)
    if column in REAL_COLUMNS:
        return float(cell)
    return {"True": True, "False": False}.get(cell, cell)
