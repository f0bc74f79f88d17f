"""Runs next to one another: a column for each, what differs marked; page, terminal and CSV."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.analysis.comparison import compare_rows
from experiments.compare import main
from experiments.report import main as report
from experiments.reporting.columns import Cell, columns_of_sweeps, line_of
from experiments.results.files import write_csv, write_json
from experiments.results.tables import Results
from tests.support.pages import Page


def written(results: Results, directory: Path) -> Path:
    """A directory with the tables that a comparison reads."""
    directory.mkdir(parents=True)
    write_csv(directory / "results.csv", results.results)
    write_csv(directory / "scale.csv", results.scale)
    write_csv(directory / "timelines.csv", results.timelines)
    write_json(directory / "manifest.json", results.manifest)
    return directory


def module_run(directory: Path, **numbers: Any) -> Path:
    """The directory of a module's step with these numbers."""
    directory.mkdir()
    made = {"config": {"batch": numbers.get("batch")}, "commit": "abc"}
    (directory / "summary.json").write_text(json.dumps({**numbers, "made": made}))
    return directory


@pytest.mark.parametrize(
    "runs", [2, *(pytest.param(runs, marks=pytest.mark.slow) for runs in (3, 10))]
)
def test_sweeps_have_a_column_each(
    measured: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: int
) -> None:
    """CSV and page are in the output folder only, names are text, the planted difference shows."""
    small = replace(measured, results=measured.results.head(40), manifest={"config": {"a": "<b>"}})
    rows = small.results.copy()
    rows.loc[2, "ops"] += 1
    directories = [written(small, tmp_path / str(number)) for number in range(runs - 1)]
    directories.append(written(replace(small, results=rows), tmp_path / "there <i>"))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    (tmp_path / "out").mkdir()
    assert main([*map(str, directories), "--output", str(tmp_path / "out")]) == 0
    assert "DIFFER in 1: " in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert (table[f"ops_{runs}"] - table["ops_1"]).sum() == table["differs"].sum() == 1
    text = (tmp_path / "out" / "comparison.html").read_text()
    page = Page(text)
    assert "DIFFER in 1: " in page.words
    assert "there <i>" in page.words
    assert not {"i", "b"} & set(page.tags)
    assert len(re.findall(r"<tr>.*differs", text)) == 2  # the mode's line and the point's
    after = {path.name for path in tmp_path.rglob("*")} - set(before)
    assert after == {"out", "comparison.csv", "comparison.html"}


def test_report_compares_too(measured: Results, tmp_path: Path) -> None:
    """`report DIR OTHER_DIR` writes the same page into the first of them."""
    here, there = (written(measured, tmp_path / name) for name in "ab")
    assert report([str(here), str(there)]) == 0
    assert (here / "comparison.html").exists()
    assert not (there / "comparison.html").exists()


def test_times_are_of_steps_that_take_long_enough(measured: Results) -> None:
    """Steps below 20 ms have no times, and the page says why; longer ones have ratios."""
    short = measured.scale
    assert any("No times" in line for line in columns_of_sweeps(compare_rows([short] * 2)).remarks)
    long = short.copy()
    for name in ("wall_ns_forward", "wall_ns_backward"):
        long[name] = 20_000_000 * (1 + long.index)
    twice = long.assign(**{name: 2 * long[name] for name in long if name.startswith("wall_ns")})
    columns = columns_of_sweeps(compare_rows([long, twice]))
    assert columns.times
    assert all(line.cells[1].note == "×2.00 (2.00 … 2.00)" for line in columns.times)
    assert not any("No times" in line for line in columns.remarks)


def test_steps_of_modules_have_a_column_each(tmp_path: Path) -> None:
    """Every number of the steps is compared; a missing one is a dash, and no difference."""
    first = module_run(
        tmp_path / "a", batch=8, fits=True, operations={"forward": 10}, peak_bytes=2048
    )
    other = module_run(tmp_path / "b", batch=8, fits=False, operations={"forward": 11})
    assert main([str(first), str(other)]) == 0
    table = pd.read_csv(first / "comparison.csv", dtype=str, keep_default_na=False)
    assert table.to_numpy().tolist() == [
        ["batch", "8", "8", "False"],
        ["fits", "yes", "no", "True"],
        ["operations.forward", "10", "11", "True"],
        ["peak_bytes", "2048", "", "False"],
    ]
    words = Page((first / "comparison.html").read_text()).words
    assert "2 steps: 2 of 4 numbers differ." in words
    assert "≠ 11" in words


def test_what_cannot_be_compared_is_one_line(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run, an empty one, and runs of two kinds: exit code 2, one line, nothing written."""
    step = module_run(tmp_path / "step", batch=1)
    (tmp_path / "empty").mkdir()
    before = sorted(finished.iterdir())
    for arguments, expected in (
        ([finished], "1 run given"),
        ([finished, tmp_path / "empty"], "expected a directory that a sweep wrote"),
        ([finished, step], "expected runs of one kind"),
    ):
        assert main(list(map(str, arguments))) == 2
        said = capsys.readouterr().err
        assert (said.count("\n"), expected in said) == (1, True)
    assert sorted(finished.iterdir()) == before


def test_marks_are_against_the_first_that_is_there() -> None:
    """A line marks what is not as in the first run that has it."""
    assert line_of("x", [None, 1, 2, 1]).cells == (
        Cell("–"), Cell("1"), Cell("2", True), Cell("1"),
    )  # fmt: skip
