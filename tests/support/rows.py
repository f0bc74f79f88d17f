"""Rows with changed values, as somebody writes them who knows how keys are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.names import MEASURED
from experiments.results.journal import read_journal
from experiments.results.point import Point
from experiments.results.rows import Row

_ASKED = {"audit": "none", "measure_process": True}


def with_key(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a row with the key of the point that they describe."""
    execute = values["source"] == MEASURED
    names = {field.name for field in fields(Point)} - {*_ASKED, "execute"}
    point = Point(**{name: values[name] for name in names}, **_ASKED, execute=execute)
    return {**values, "key": point.key}


def with_keys(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of rows with the keys of the points that its rows describe."""
    columns = ["n", "d", "b", "micro_batches", "threads", "repeats"]
    rows = frame.astype(dict.fromkeys(columns, int)).to_dict("records")
    return frame.assign(key=[with_key(row)["key"] for row in rows])


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of a table, one by one."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [Row(**values) for values in plain.to_dict("records")]


def journal_rows(path: Path) -> list[Row]:
    """Return the valid rows of a journal, one by one."""
    return rows_of(read_journal(path))
