"""Rows as tables: thousands are checked column by column, and only where one is wrong in parts.

Whatever is stored of rows as plain values, a journal's lines or a table's cells, is read here, in
blocks, so that memory holds the table and not its text.
"""

from __future__ import annotations

import csv
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.errors import ResultsError
from experiments.names import OK
from experiments.results.files import check_regular, without_defusal
from experiments.results.rows import (
    COLUMNS,
    REAL_COLUMNS,
    TEXT_COLUMNS,
    WHOLE_COLUMNS,
    Row,
    RowError,
    Value,
    columns_of_fields,
)
from experiments.text import counted

log = logging.getLogger("tapemeasure")

BLOCK = 4096
"""How many rows are checked at once."""

Fields = Mapping[str, Any]


def frame_of(rows: Iterable[Row]) -> pd.DataFrame:
    """Return rows as a table with typed columns, in the order of the rows."""
    values = [list(vars(row).values()) for row in rows]
    columns = zip(*values, strict=True) if values else itertools.repeat((), len(COLUMNS))
    return _typed(dict(zip(COLUMNS, columns, strict=True)))


def latest(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row a key: the last that is ok, or else the last, at the place of the first."""
    if not rows["key"].duplicated().any():
        return rows.reset_index(drop=True)
    rank = np.arange(len(rows)) + len(rows) * (rows["status"] == OK).to_numpy()
    best = pd.Series(rank).groupby(rows["key"].to_numpy(), sort=False).idxmax()
    return rows.iloc[best.to_numpy()].reset_index(drop=True)


def frame_of_fields(given: Iterable[Fields | None]) -> tuple[pd.DataFrame, int]:
    """Return the table of the rows that a file holds as plain values, and how many are no rows.

    None stands for what could not even be taken apart.
    """
    rest, read, parts = iter(given), 0, [frame_of([])]
    while block := list(itertools.islice(rest, BLOCK)):
        read += len(block)
        parts += _checked([fields for fields in block if fields is not None])
    frame = pd.concat(parts[1:] or parts, ignore_index=True)
    return frame, read - len(frame)


def _checked(given: Sequence[Fields]) -> Iterator[pd.DataFrame]:
    """Yield tables of the rows among these fields; where one is none, each half is checked."""
    if not given:
        return
    try:
        yield _typed(columns_of_fields(given))
    except RowError:
        if len(given) > 1:
            half = len(given) // 2
            yield from _checked(given[:half])
            yield from _checked(given[half:])


def _typed(columns: Mapping[str, Sequence[Value]]) -> pd.DataFrame:
    """Return columns as a table with the dtypes of their kinds; equal texts share their memory."""
    typed: dict[str, Any] = {}
    for column, values in columns.items():
        if column in TEXT_COLUMNS:
            shared = {value: value for value in values}
            typed[column] = pd.Series([shared[value] for value in values], dtype=object)
        elif column in WHOLE_COLUMNS:
            typed[column] = pd.arrays.IntegerArray(*_with_mask(values, np.int64))
        elif column in REAL_COLUMNS:
            typed[column] = pd.arrays.FloatingArray(*_with_mask(values, np.float64))
        else:
            typed[column] = np.array(values, dtype=bool)
    return pd.DataFrame(typed, columns=list(COLUMNS))


def _with_mask(values: Sequence[Any], dtype: type) -> tuple[np.ndarray[Any, Any], ...]:
    """Return the values, with zeros for None, and where None is."""
    if None not in values:
        return np.array(values, dtype), np.zeros(len(values), bool)
    missing = [value is None for value in values]
    return np.array([value or 0 for value in values], dtype), np.array(missing)


def read_rows(path: Path) -> pd.DataFrame:
    """Return a table of rows as it was written; one without rows if there is no file.

    A damaged row is skipped and counted in the log.
    Raises ResultsError if the file is no table of rows at all.
    """
    if not path.exists():
        return frame_of([])
    check_regular(path, path.stat().st_mode)
    # Line by line: no cell of ours has the end of a line, so a stray quote costs one row only.
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        header = _cells(file.readline())
        unknown = [name for name in header if name not in COLUMNS]
        if unknown or not {"key", "status"} <= set(header):
            reason = (
                f"it has a column {unknown[0]!r}" if unknown else "it has no column key or status"
            )
            raise ResultsError(
                f"{path} is no table of rows: {reason}; expected one that a sweep wrote; "
                "make it again from the journals"
            )
        rows, damaged = frame_of_fields(
            _fields_of(header, _cells(line)) for line in file if line.strip()
        )
    if damaged and rows.empty:
        raise ResultsError(
            f"{path} holds no row that is whole; expected a table that a sweep wrote; "
            "make it again from the journals"
        )
    if damaged:
        log.warning("%s: skipped %s", path, counted(damaged, "damaged line"))
    return latest(rows)


def _cells(line: str) -> list[str]:
    """Return the cells of one line; none if it cannot be cut into cells."""
    try:
        return next(csv.reader([line.rstrip("\r\n")], strict=True), [])
    except csv.Error:
        return []


def _fields_of(header: list[str], cells: list[str]) -> Fields | None:
    """Return the values in the cells of one line, or None if it is damaged."""
    if len(cells) != len(header):
        return None
    try:
        return {name: _value_of(name, cell) for name, cell in zip(header, cells, strict=True)}
    except ValueError:
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
