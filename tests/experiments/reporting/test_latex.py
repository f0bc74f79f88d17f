"""The report's tables for LaTeX: what the page says, in characters that LaTeX can set."""

from __future__ import annotations

from pathlib import Path

from experiments.analysis.answers import answers_of
from experiments.analysis.capacity import capacities_of
from experiments.reporting.latex import write_tables
from experiments.results.tables import Results


def test_tables_hold_what_the_report_says(measured: Results, tmp_path: Path) -> None:
    """A line for each decided answer and each largest batch, between the rules of booktabs."""
    answers = [case for case in answers_of(measured.complexity) if case.decided]
    capacities = capacities_of(measured.capacity)
    write_tables(tmp_path, answers, [], [], capacities, [])
    decided = [one for case in answers for one in case.answers if one.agrees is not None]
    lines = [line for one in capacities for line in one.lines]
    counts = {"answers": len(decided), "capacity": len(lines)}
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == set(counts)
    for name, count in counts.items():
        text = (tmp_path / "tables" / f"{name}.tex").read_text()
        assert text.isascii()
        assert (text.count(r"\toprule"), text.count(r"\bottomrule")) == (1, 1)
        assert text.count(r" \\") == count + 1 > 4
    assert r"2nbd$^2$ + bd $-$ 1" in (tmp_path / "tables" / "answers.tex").read_text()


def test_text_is_escaped_and_old_tables_go(tmp_path: Path) -> None:
    """What LaTeX would run or refuse is escaped; a table that has no rows any more is removed."""
    row = dict.fromkeys(
        ("part", "mode", "points", "equal_ops", "equal_bytes", "most_ops", "peak"), r"\input{x}_%"
    )
    write_tables(tmp_path, [], [], [], [], [row])
    text = (tmp_path / "tables" / "theory.tex").read_text()
    assert r"\input" not in text
    assert r"\textbackslash input\{x\}\_\%" in text.replace(r"\textbackslash{}", r"\textbackslash ")
    write_tables(tmp_path, [], [], [], [], [])
    assert not list((tmp_path / "tables").iterdir())
