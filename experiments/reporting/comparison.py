"""Runs compared, a column each: on the terminal, as CSV and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.analysis.comparison import compare_rows
from experiments.errors import ResultsError
from experiments.reporting.columns import (
    Columns,
    columns_of_modules,
    columns_of_sweeps,
    lines_of,
)
from experiments.reporting.page import render
from experiments.reporting.runs import MODULE, flat_keys, made_of, recorded
from experiments.reporting.sweep import made_with
from experiments.results.files import write_csv, write_text
from experiments.results.tables import manifest_in, rows_in
from experiments.text import counted

COMPARISON, PAGE = "comparison.csv", "comparison.html"
MOST_SHOWN = 4
"""How many runs a terminal has room for."""


def compare_directories(
    directories: Sequence[Path], output: Path | None = None, concurrent: bool = False
) -> Columns:
    """Compare runs, sweeps or steps of modules, and write CSV and page into `output`.

    By default that is the first of them. Raises ResultsError where there are fewer than two, one
    holds no numbers, or they are of both kinds.
    """
    if len(directories) < 2:
        raise ResultsError(
            f"{counted(len(directories), 'run')} given; expected two or more to compare"
        )
    found = [recorded(directory) for directory in directories]
    modules = [kind == MODULE for kind, _ in found]
    if all(modules):
        manifests = [made_of(numbers or {}) for _, numbers in found]
        columns = columns_of_modules(
            [{k: v for k, v in (numbers or {}).items() if k != "made"} for _, numbers in found]
        )
    elif any(modules):
        raise ResultsError(
            f"{directories[modules.index(True)]} is a step of a module and "
            f"{directories[modules.index(False)]} is none; expected runs of one kind"
        )
    else:
        rows = [rows_in(directory) for directory in directories]
        manifests = [manifest_in(directory) for directory in directories]
        columns = columns_of_sweeps(compare_rows(rows, list(map(str, directories)), concurrent))
    folder = output or directories[0]
    write_csv(folder / COMPARISON, columns.table)
    page = render(
        "comparison.html.jinja",
        runs=[str(directory) for directory in directories],
        columns=columns,
        keys=lines_of([dict(flat_keys(manifest)) for manifest in manifests]),
        made=lines_of([dict(made_with(manifest)) for manifest in manifests]),
    )
    write_text(folder / PAGE, page)
    _say(directories, columns)
    print(f"comparison: {folder / PAGE}")
    return columns


def _say(directories: Sequence[Path], columns: Columns) -> None:
    """Print the verdict on the terminal, and what differs of as many runs as it has room for."""
    for number, directory in enumerate(directories, 1):
        print(f"{number}: {directory}")
    print("\n".join([columns.verdict, *columns.remarks]))
    lines = [*(line for line in columns.numbers if line.differs), *columns.times]
    if not lines or len(directories) > MOST_SHOWN:
        return
    table = Table()
    table.add_column("", overflow="fold")
    for number in range(len(directories)):
        table.add_column(str(number + 1), justify="right", overflow="fold")
    for line in lines:
        marked = [("≠ " if cell.differs else "") + cell.text for cell in line.cells]
        table.add_row(*map(Text, (line.words, *marked)))
    Console().print(table)
