"""The tables of a report for LaTeX, one file each, to be set by the package booktabs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.analysis.advice import Advice
from experiments.analysis.answers import CaseAnswers
from experiments.analysis.capacity import Capacity
from experiments.results.files import write_text
from profiler.table import latex_of

FOLDER = "tables"
NAMES = ("answers", "formulas", "plans", "capacity", "theory")
"""Each is a file `NAME.tex`, where the report has that table."""


def write_tables(
    directory: Path,
    answers: Sequence[CaseAnswers],
    complexity: Sequence[Mapping[str, Any]],
    advice: Sequence[Advice],
    capacities: Sequence[Capacity],
    summary: Sequence[Mapping[str, str]],
) -> None:
    """Write the tables that hold anything into a directory's folder; take earlier ones away."""
    columns: dict[str, tuple[str, list[dict[str, str]]]] = {
        "answers": ("llllr", list(_answers(answers))),
        "formulas": ("llllrr", list(_formulas(complexity))),
        "plans": ("llrrr", list(_plans(advice))),
        "capacity": ("llrrr", list(_capacity(capacities))),
        "theory": ("llrllrr", list(_theory(summary))),
    }
    for name, (alignment, rows) in columns.items():
        path = directory / FOLDER / f"{name}.tex"
        if rows:
            write_text(path, latex_of(pd.DataFrame(rows), alignment))
        else:
            path.unlink(missing_ok=True)


def _answers(cases: Sequence[CaseAnswers]) -> Iterator[dict[str, str]]:
    for case in cases:
        for answer in case.answers:
            if answer.agrees is not None:
                yield {
                    "network": case.words,
                    "quantity": f"{answer.question.letter} {answer.question.index}",
                    "order": answer.order,
                    "formula": answer.formula,
                    "rows": f"{answer.rows:,}",
                }


def _formulas(cases: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for case in cases:
        for row in case["decided"]:
            names = ("quantity", "formula", "valid_from_n", "rows")
            found = {name.replace("valid_from_n", "from n"): str(row[name]) for name in names}
            yield {"network": case["words"], "mode": row["mode"], **found}


def _plans(advice: Sequence[Advice]) -> Iterator[dict[str, str]]:
    for one in advice:
        for line in one.lines:
            yield {
                "shape": one.heading,
                "plan": line.planner,
                "peak": line.peak,
                "saved": line.saved,
                "more operations": line.more,
            }


def _capacity(capacities: Sequence[Capacity]) -> Iterator[dict[str, str]]:
    for one in capacities:
        for line in one.lines:
            yield {
                "memory": one.heading,
                "step": line.words,
                "largest batch": line.batch,
                "over full’s": line.times,
                "more operations": line.more,
            }


def _theory(summary: Sequence[Mapping[str, str]]) -> Iterator[dict[str, str]]:
    for row in summary:
        yield {
            "part": row["part"],
            "mode": row["mode"],
            "points": row["points"],
            "operations equal": row["equal_ops"],
            "bytes equal": row["equal_bytes"],
            "most operations": row["most_ops"],
            "highest peak": row["peak"],
        }
