"""Report the comparison of two directories: on the terminal, as CSV and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.analysis.comparison import EXACT, Comparison, compare_rows, summary_of
from experiments.names import HOME_ENGINE
from experiments.reporting.page import render
from experiments.reporting.sweep import made_with
from experiments.results.files import write_csv, write_text
from experiments.results.tables import manifest_in, rows_in

COMPARISON, PAGE = "comparison.csv", "comparison.html"
MOST_SHOWN = 200


def compare_directories(directory: Path, other: Path, concurrent: bool = False) -> Comparison:
    """Compare two directories: on the terminal, and as CSV and page in the first of them.

    Raises ResultsError where one of them holds no rows.
    """
    comparison = compare_rows(
        rows_in(directory), rows_in(other), (str(directory), str(other)), concurrent
    )
    write_csv(directory / COMPARISON, comparison.table)
    write_text(directory / PAGE, _page(comparison, manifest_in(directory), manifest_in(other)))
    _say(comparison)
    print(f"comparison: {directory / PAGE}")
    return comparison


def _page(comparison: Comparison, here: dict[str, Any], there: dict[str, Any]) -> str:
    ours, theirs = dict(made_with(here)), dict(made_with(there))
    return render(
        "comparison.html.jinja",
        comparison=comparison,
        tone="open" if comparison.table.empty else "bad" if len(comparison.differing) else "good",
        summary=summary_of(comparison),
        differing=comparison.differing.head(MOST_SHOWN).to_dict("records"),
        more=max(0, len(comparison.differing) - MOST_SHOWN),
        made=[
            (name, ours.get(name, "–"), theirs.get(name, "–"))
            for name in dict.fromkeys([*ours, *theirs])
        ],
    )


def _say(comparison: Comparison) -> None:
    """Print the verdict and the table on the terminal."""
    print(comparison.verdict)
    table = Table()
    for column in (
        "mode",
        "points",
        "operations differ",
        "peaks differ",
        "time ratio",
        "its quartiles",
    ):
        table.add_column(column, justify="left" if column == "mode" else "right")
    for line in summary_of(comparison):
        name = line["planner"] if line["mode"] == "checkpointed" else line["mode"]
        apart = [
            f"in {line[f'{quantity}_differing']}, by ≤ {line[f'{quantity}_greatest']}"
            for quantity in EXACT
        ]
        table.add_row(
            name if line["engine"] == HOME_ENGINE else f"{line['engine']} {name}",
            line["points"],
            *apart,
            line["time"],
            line["spread"],
        )
    Console().print(table)
    if comparison.times:
        print(comparison.times)
    print(
        f"only in {comparison.here}: {comparison.only_here}; "
        f"only in {comparison.there}: {comparison.only_there}"
    )
