"""What a sweep prints when it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.grid.config import sweep_config
from experiments.grid.points import points_of
from experiments.measuring.point import measure
from experiments.results.frames import frame_of
from experiments.sweeping.console import greatest_residual, say_closing

TINY: dict[str, Any] = {
    "network": {"name": "chain", "activation": "tanh", "loss": "sum"},
    "grid": {"n": [1, 2], "d": [3], "b": [2]},
    "modes": ["full"],
    "measure_process": False,
}


def frame(execute: bool) -> pd.DataFrame:
    """The rows of the tiny sweep."""
    return frame_of(
        measure(point) for point in points_of(sweep_config({**TINY, "execute": execute}))
    )


def test_points_are_counted_by_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of both sources in one table have a column and a line each."""
    say_closing(frame(True), tmp_path)
    said = capsys.readouterr().out
    assert "2 points measured\n" in said
    assert "predicted" not in said
    say_closing(pd.concat([frame(True), frame(False).head(1)]), tmp_path)
    said = capsys.readouterr().out
    assert "2 points measured\n1 point predicted\n" in said


def test_a_residual_needs_a_theory() -> None:
    """The greatest distance is a number where a row has a theory, 0 or not, and a dash where none
    has.
    """
    rows = frame(False)
    assert greatest_residual(rows, "ops", "theory_ops") == "0"
    shifted = rows.assign(theory_ops=rows["theory_ops"] + [0, 7])
    assert greatest_residual(shifted, "ops", "theory_ops") == "7"
    assert greatest_residual(rows.assign(theory_ops=pd.NA), "ops", "theory_ops") == "–"


def test_the_closing_table_cuts_no_name_in_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest names of the default sweep and a size of nine characters are printed whole."""
    monkeypatch.setenv("COLUMNS", "80")
    rows = frame(True).assign(part="checkpointing", mode="checkpointed", peak_bytes=82_954)
    say_closing(rows, tmp_path)
    said = capsys.readouterr().out
    assert {"checkpointing", "checkpointed", "81.01 KiB"} <= {
        cell.strip() for line in said.splitlines() for cell in line.split("  ")
    }
    assert "…" not in said
    assert max(map(len, said.split("report:")[0].splitlines())) <= 80
