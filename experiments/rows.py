"""Rows of results: their columns, and the journal that keeps each one as soon as it is measured.

A journal is a file of one JSON object a line, written a whole line at a time. A run that is killed can at worst leave its last line torn;
reading passes over a torn line and `Journal` cuts it off before it appends, so nothing measured is lost and nothing is doubled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd

from autodiff.program import ROLES
from experiments.points import Point

JOURNAL = "rows.jsonl"
PEAK_ROLES = tuple(f"peak_{role}_bytes" for role in ROLES[2:])

COLUMNS = (
    "key", "part", "network", "activation", "loss", "dtype", "n", "d", "b", "mode", "wrt", "planner", "snapshots", "segments", "engine",
    "micro_batches", "status", "reason", "device", "threads",
    "ops", "ops_forward", "ops_recompute", "ops_backward", "multiplications", "additions", "comparisons", "elementary", "matmul_flops",
    "peak_bytes", *PEAK_ROLES, "live_after_bytes", "parameter_bytes", "input_bytes", "predicted_peak_bytes",
    "theory_ops", "theory_peak_bytes",
    "wall_ns_forward", "wall_ns_recompute", "wall_ns_backward",
    "wall_ns_forward_spread", "wall_ns_recompute_spread", "wall_ns_backward_spread", "repeats",
    "peak_rss_bytes", "baseline_rss_bytes", "process_reason", "audit", "load_average", "concurrent",
)  # fmt: skip

TEXT_COLUMNS = (
    "key", "part", "network", "activation", "loss", "dtype", "mode", "wrt", "planner", "engine", "status", "reason", "device",
    "process_reason", "audit",
)  # fmt: skip
WHOLE_COLUMNS = tuple(
    column for column in COLUMNS if column not in (*TEXT_COLUMNS, "load_average", "concurrent") and not column.startswith("wall_ns")
)


def row_of(point: Point, **measured: Any) -> dict[str, Any]:
    """A row for a point: what it is, and what was measured of it; columns that are not given stay empty."""
    fields = asdict(point)
    row = dict.fromkeys(COLUMNS)
    row.update({column: fields[column] for column in COLUMNS if column in fields and column not in ("audit", "measure_process")})
    row.update(key=point.key, **measured)
    return row


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
    for column in TEXT_COLUMNS:
        frame[column] = frame[column].astype(object).where(frame[column].notna(), "").astype(str)
    for column in WHOLE_COLUMNS:
        frame[column] = frame[column].astype("Int64")
    for column in COLUMNS:
        if column.startswith("wall_ns") or column == "load_average":
            frame[column] = frame[column].astype("Float64")
    frame["concurrent"] = frame["concurrent"].astype("boolean").fillna(False).astype(bool)
    return frame


def read_rows(path: Path) -> pd.DataFrame:
    """A table of rows as it was written; one without rows where the file is not there."""
    if not path.exists():
        return typed(pd.DataFrame())
    # A key of digits alone is still a text.
    return typed(pd.read_csv(path, dtype=dict.fromkeys(TEXT_COLUMNS, str)))


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The rows of a journal; a torn or damaged line is passed over."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_bytes().split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("key"), str) and isinstance(row.get("status"), str):
            rows.append({column: row.get(column) for column in COLUMNS})
    return rows


class Journal:
    """Appends rows to a directory's journal, each whole and on the disk before the next point is run."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / JOURNAL
        directory.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        self._cut_torn_line()

    def _cut_torn_line(self) -> None:
        whole = self.path.read_bytes()
        os.ftruncate(self._file, whole.rfind(b"\n") + 1)
        os.lseek(self._file, 0, os.SEEK_END)

    def append(self, row: dict[str, Any]) -> None:
        """Write one row; raises OSError where the disk is full or not writable, and then leaves no part of the row behind."""
        line = (json.dumps(row, allow_nan=False) + "\n").encode()
        start = os.lseek(self._file, 0, os.SEEK_END)
        try:
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError(f"only {written} of {len(line)} bytes could be written")
        except OSError:
            os.ftruncate(self._file, start)
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._file)
