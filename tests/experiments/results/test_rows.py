"""Rows: what they hold, what is no row, and that files and tables give back what was written."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import ResultsError
from experiments.grid.config import sweep_config
from experiments.grid.points import points_of
from experiments.measuring.point import measure
from experiments.names import AUDITS, MEASURED, PREDICTED
from experiments.results.best_plans import BEST_PLANS, read_best_plans
from experiments.results.capacity import CAPACITY, read_capacity
from experiments.results.files import read_csv, write_csv
from experiments.results.frames import frame_of, read_rows
from experiments.results.journal import JOURNAL, Journal, line_of
from experiments.results.rows import (
    COLUMNS,
    COUNTED,
    PEAK_ROLES,
    REAL_COLUMNS,
    TEXT_COLUMNS,
    WHOLE_COLUMNS,
    RowError,
    row_of,
    row_of_fields,
)
from experiments.results.tables import (
    MANIFEST,
    RESULTS,
    SCALE,
    TIMELINES,
    read_results,
    rows_in,
)
from tests.support.rows import journal_rows

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
    write_csv(tmp_path / RESULTS, frame)
    assert read_rows(tmp_path / RESULTS)["source"].tolist() == [source, source]


@pytest.mark.parametrize(("execute", "source"), [(True, MEASURED), (False, PREDICTED)])
def test_a_row_of_an_older_version_has_its_source_by_its_key(
    execute: bool, source: str, tmp_path: Path
) -> None:
    """Older files have no column for the source; the key says whether the step was run."""
    row = measure(points_of(sweep_config({**TINY, "execute": execute}))[0])
    older = {name: value for name, value in vars(row).items() if name != "source"}
    (tmp_path / JOURNAL).write_text(json.dumps(older) + "\n")
    (read,) = journal_rows(tmp_path / JOURNAL)
    assert read == row
    assert read.source == source
    write_csv(tmp_path / RESULTS, frame_of([read]).drop(columns="source"))
    assert read_rows(tmp_path / RESULTS)["source"].tolist() == [source]


def test_no_digit_of_a_journal_can_change(tmp_path: Path) -> None:
    """Of each digit in a line, another one in its place makes the line no row."""
    row = measure(points_of(sweep_config(TINY))[0])
    line = line_of(row).decode()
    path = tmp_path / JOURNAL
    path.write_text(line)
    assert journal_rows(path) == [row]
    for place in [place for place, letter in enumerate(line) if letter.isdigit()]:
        if line[place - 3 : place + 1] in ("crc3", "rc32"):
            continue  # without a checksum's name the line is one of an older version
        other = str((int(line[place]) + 1) % 10)
        path.write_text(line[:place] + other + line[place + 1 :] + "\n")
        assert journal_rows(path) == [], line[place - 20 : place + 1]


@pytest.mark.parametrize(
    "change",
    [{"n": 3}, {"planner": "uniform"}, {"source": PREDICTED}, {"key": "0" * 16}, {"repeats": 2}],
)
def test_a_row_with_another_points_key_is_none(change: dict[str, Any]) -> None:
    """Where any field of the point differs from what the key was made of, it is no row."""
    values = vars(measure(points_of(sweep_config(TINY))[0]))
    assert row_of_fields(values).key == values["key"]
    with pytest.raises(RowError, match="expected the key of the point"):
        row_of_fields({**values, **change})


@pytest.mark.parametrize("audit", AUDITS)
@pytest.mark.parametrize("measure_process", [True, False])
def test_what_a_row_does_not_say_of_its_point_is_found(audit: str, measure_process: bool) -> None:
    """The key fits whichever audits were asked for and wherever process memory was."""
    given = {**TINY, "audit": audit, "measure_process": measure_process}
    row = row_of(points_of(sweep_config(given))[0], status="timeout")
    assert row_of_fields(vars(row)) == row


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'=1", "''-1", "'", "'x", "x=1", ""]
)
def test_a_spreadsheet_runs_no_cell(text: str, tmp_path: Path) -> None:
    """No cell of a file begins like a formula, and reading gives back the text as it was."""
    row = row_of(points_of(sweep_config(TINY))[0], status="failed", device=text or "cpu")
    row = replace(row, reason=text)
    write_csv(tmp_path / RESULTS, frame_of([row]))
    with (tmp_path / RESULTS).open(newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t"))]
    assert read_csv(tmp_path / RESULTS, ["reason"])["reason"].tolist() == [text]


def test_a_formula_as_a_cell_would_be_seen(tmp_path: Path) -> None:
    """Written without care, the cell of the test above begins like a formula."""
    row = row_of(points_of(sweep_config(TINY))[0], status="failed", reason="=1+1")
    frame_of([row]).to_csv(tmp_path / RESULTS, index=False)
    assert ",=1+1," in (tmp_path / RESULTS).read_text()


FILES = (JOURNAL, RESULTS, SCALE, TIMELINES, CAPACITY, BEST_PLANS, MANIFEST)


@pytest.mark.parametrize("kind", ["named pipe", "device", "directory"])
@pytest.mark.parametrize("name", FILES)
def test_only_regular_files_are_read(name: str, kind: str, tmp_path: Path) -> None:
    """A pipe, a link to a device or a directory in the place of a file is one line, at once."""
    write_csv(
        tmp_path / RESULTS,
        frame_of(
            [row_of(points_of(sweep_config(TINY))[0], status="ok", **dict.fromkeys(COUNTED, 1))]
        ),
    )
    path = tmp_path / name
    path.unlink(missing_ok=True)
    if kind == "named pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/full")
    else:
        path.mkdir()
    optional = {CAPACITY: read_capacity, BEST_PLANS: read_best_plans}
    if name in optional:
        assert optional[name]([tmp_path]).empty
        return
    with pytest.raises(ResultsError, match=f"is a {kind}; expected a regular file") as caught:
        rows_in(tmp_path) if name in (JOURNAL, RESULTS) else read_results(tmp_path)
    assert "\n" not in str(caught.value)
    if name == JOURNAL:
        with pytest.raises(ResultsError, match="expected a regular file"):
            Journal(tmp_path)


def test_the_columns_are_the_fields() -> None:
    """Rows, tables and the roles of the engine have the same names."""
    assert set(PEAK_ROLES) <= set(COLUMNS)
    assert len(COLUMNS) == len(TEXT_COLUMNS) + len(WHOLE_COLUMNS) + len(REAL_COLUMNS) + 1
    assert COUNTED[0] == "ops"
    assert COUNTED[-1] == "input_bytes"
