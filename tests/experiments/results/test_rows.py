"""Rows: what they hold, what is no row, and that files and tables give back what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.grid.config import sweep_config
from experiments.grid.points import points_of
from experiments.measuring.point import measure
from experiments.names import MEASURED, PREDICTED
from experiments.results.journal import JOURNAL, read_journal
from experiments.results.rows import frame_of, read_rows
from experiments.results.tables import RESULTS

TINY: dict[str, Any] = {
    "network": {"name": "chain", "activation": "tanh", "loss": "sum"},
    "grid": {"n": [2], "d": [3], "b": [2]},
    "modes": ["full"],
    "engine": ["autodiff", "pytorch"],
    "measure_process": False,
}


@pytest.mark.parametrize(("execute", "source"), [(True, MEASURED), (False, PREDICTED)])
def test_a_row_says_whether_it_was_measured(execute: bool, source: str, tmp_path: Path) -> None:
    """Rows of both engines say measured where the step ran, else predicted, and files keep it."""
    config = sweep_config({**TINY, "execute": execute})
    rows = [measure(point) for point in points_of(config)]
    frame = frame_of(rows)
    assert frame["source"].tolist() == [source, source]
    frame.to_csv(tmp_path / RESULTS, index=False)
    assert read_rows(tmp_path / RESULTS)["source"].tolist() == [source, source]


def test_a_row_without_a_source_was_measured(tmp_path: Path) -> None:
    """Rows that an older version wrote, whose files have no column for it, read as measured."""
    row = measure(points_of(sweep_config(TINY))[0])
    row.pop("source")
    (tmp_path / JOURNAL).write_text(json.dumps(row) + "\n")
    (read,) = read_journal(tmp_path / JOURNAL)
    assert read["source"] == MEASURED
    frame_of([read]).drop(columns="source").to_csv(tmp_path / RESULTS, index=False)
    assert read_rows(tmp_path / RESULTS)["source"].tolist() == [MEASURED]
