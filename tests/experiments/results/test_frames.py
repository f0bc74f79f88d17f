"""Many rows at once: as sound as one by one, whatever is planted between them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from experiments.grid.config import sweep_config
from experiments.grid.points import points_of
from experiments.names import OK, TIMEOUT
from experiments.results import frames, journal
from experiments.results.frames import frame_of, frame_of_fields, latest
from experiments.results.journal import JOURNAL, Journal, line_of
from experiments.results.point import Point
from experiments.results.rows import COUNTED, Row, RowError, row_of, row_of_fields
from tests.support.rows import journal_rows, rows_of

POINTS = points_of(
    sweep_config(
        {
            "network": {"name": "chain", "activation": "tanh", "loss": "sum"},
            "grid": {"n": [1, 2, 3], "d": [2, 10**9], "b": [1]},
            "modes": ["full", "only"],
            "engine": ["autodiff"],
            "measure_process": False,
        }
    )
)
ROWS = [row_of(point, status=OK, **dict.fromkeys(COUNTED, 1)) for point in POINTS]

TRICKY = 'x"n": null, "d": null, %d %(n)s "b": null'
PLANTED: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
    "nothing": lambda row: row,
    "no fields": lambda row: None,
    "no field": lambda row: {},
    "a real number for a whole one": lambda row: {**row, "ops": 1.0},
    "true for one": lambda row: {**row, "ops": True},
    "one for false": lambda row: {**row, "concurrent": 0},
    "below zero": lambda row: {**row, "ops": -1},
    "above the greatest": lambda row: {**row, "ops": 2**63},
    "no real number": lambda row: {**row, "load_average": float("nan")},
    "a list": lambda row: {**row, "reason": []},
    "no count": lambda row: {**row, "ops": None},
    "no planner": lambda row: {**row, "planner": ""},
    "an unknown mode": lambda row: {**row, "mode": "half"},
    "half a pair": lambda row: {**row, "reason": "\ud800"},
    "another shape": lambda row: {**row, "n": row["n"] + 1},
    "another planner": lambda row: {**row, "planner": "uniform"},
    "no source, which is found": lambda row: {k: v for k, v in row.items() if k != "source"},
    "an unknown field, which is ignored": lambda row: {**row, "more": 1},
    "an empty optional field": lambda row: {**row, "frequency_mhz": None, "process_reason": None},
}
FINE = ("nothing", "no source, which is found", "an unknown field, which is ignored")


def sound(given: Mapping[str, Any] | None) -> list[Row]:
    """The row of some fields, if they are one."""
    with suppress(RowError):
        return [] if given is None else [row_of_fields(given)]
    return []


@pytest.mark.parametrize("name", PLANTED)
def test_one_wrong_row_among_many_is_found(name: str) -> None:
    """What is planted in the middle of a block is left out, and nothing else is."""
    many = [dict(vars(row)) for row in ROWS]
    many[4] = PLANTED[name](many[4])  # type: ignore[call-overload]
    frame, damaged = frame_of_fields(many)
    is_fine = name in FINE or name == "an empty optional field"
    assert damaged == (not is_fine)
    assert rows_of(frame) == [row for place, row in enumerate(ROWS) if is_fine or place != 4]


@given(names=st.lists(st.sampled_from(list(PLANTED)), max_size=12), size=st.integers(1, 5))
def test_blocks_are_checked_as_single_rows_are(names: list[str], size: int) -> None:
    """Whatever is planted where, and however large blocks are, the rows are those found singly."""
    many = [PLANTED[name](dict(vars(row))) for name, row in zip(names, ROWS * 4, strict=False)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "BLOCK", size)
        frame, damaged = frame_of_fields(many)
    expected = [row for fields in many for row in sound(fields)]
    assert rows_of(frame) == expected
    assert damaged == len(many) - len(expected)


def test_a_table_gives_back_its_rows() -> None:
    """Numbers up to the greatest are exact where others are missing."""
    rows = [
        replace(ROWS[0], ops=2**63 - 1, theory_ops=None, load_average=0.1),
        replace(ROWS[1], ops=2**53 + 1, theory_ops=2**62 + 1, reason="'=1"),
    ]
    assert rows_of(frame_of(rows)) == rows
    assert rows_of(frame_of([])) == []


def test_the_latest_row_that_is_ok_counts() -> None:
    """One row a key: the last that is ok, or else the last, where the first of them was."""
    first, second = ROWS[:2]
    lost = [replace(row, status=TIMEOUT, reason=str(place)) for place, row in enumerate(ROWS[:3])]
    again = replace(first, ops=2)
    given = [lost[0], second, first, lost[2], again, lost[1], replace(lost[2], reason="last")]
    assert rows_of(latest(frame_of(given))) == [again, second, replace(lost[2], reason="last")]
    assert rows_of(latest(frame_of([second, first]))) == [second, first]


@pytest.mark.parametrize(
    "planner", ["store_all", 'x"n": null, "d": null, %d %(n)s "b": null', "%%"]
)
def test_the_key_at_a_shape_is_the_hash_of_the_fields(planner: str) -> None:
    """The key is the SHA-256 of the fields as sorted JSON, for each shape and any text."""
    for code in ("", "0" * 8):
        point = replace(POINTS[0], planner=planner, planner_code=code)
        for n, d, b in ((1, 1, 1), (3, 10**12, 2), (2**63 - 1, 7, 5)):
            there = replace(point, n=n, d=d, b=b)
            assert point.key_of_shape(n, d, b) == there.key == hashed(there)


def hashed(point: Point) -> str:
    """The key as the documentation has it."""
    fields = {name: value for name, value in vars(point).items() if name != "part"}
    if not point.planner_code:
        del fields["planner_code"]
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@pytest.mark.parametrize("end", ["whole", "torn", "no end", "blank"])
def test_the_end_of_a_journal_is_found_from_behind(
    end: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little of a file is read at once, its last line is whole, completed or cut off."""
    monkeypatch.setattr(journal, "LINE_BYTES", size)
    lines = [line_of(row) for row in ROWS[:3]]
    last = {"whole": lines[2], "torn": lines[2][:-9], "no end": lines[2][:-1], "blank": b"  "}[end]
    path = tmp_path / JOURNAL
    path.write_bytes(lines[0] + lines[1] + last)
    expected = ROWS[:3] if end in ("whole", "no end") else ROWS[:2]
    assert journal_rows(path) == expected
    with Journal(tmp_path) as written:
        written.append(ROWS[3])
    assert path.read_bytes() == b"".join(line_of(row) for row in [*expected, ROWS[3]])
