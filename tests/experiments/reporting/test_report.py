"""The report and the comparison: what they claim is computed from the rows, they open offline, and
bad input gives one line.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments.analysis.answers import answers_of
from experiments.analysis.growth import formulas_of
from experiments.analysis.verdict import verdict_of
from experiments.figures import registry
from experiments.figures.registry import draw_figures
from experiments.figures.style import Drawing, svg_of
from experiments.fitting.result import UNDECIDED
from experiments.fitting.table import COMPLEXITY_COLUMNS
from experiments.report import main
from experiments.reporting import sweep as page
from experiments.reporting.page import indexed
from experiments.reporting.publishing import publish_again
from experiments.reporting.sweep import write_report
from experiments.results.files import write_csv, write_json
from experiments.results.tables import Results, read_results
from tests.support.pages import Page, page_of

RESTING = {"figures": ("residuals", "timelines")}


@pytest.fixture
def results(measured: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """The small sweep with a directory of its own; of the figures the quick ones."""
    few = {name: registry.FIGURES[name] for name in RESTING["figures"]}
    monkeypatch.setattr(registry, "FIGURES", few)
    monkeypatch.setattr(page, "FIGURES", few)
    return replace(measured, directory=tmp_path)


@pytest.fixture
def few(results: Results, no_figures: None) -> Results:
    """The first rows of the small sweep, which are reported without figures."""
    return replace(results, results=results.results[:40], scale=results.scale[:5])


def lines_of(results: Results, count: int) -> list[str]:
    """The first rows as lines of a journal."""
    rows = results.results.head(count).astype(object)
    return [
        json.dumps(
            {name: None if value is pd.NA else value for name, value in row.items()}, default=int
        )
        for row in rows.to_dict("records")
    ]


def written(results: Results) -> Path:
    """The results' tables in their directory, without a journal."""
    directory = results.directory
    write_csv(directory / "results.csv", results.results)
    write_csv(directory / "scale.csv", results.scale)
    write_csv(directory / "complexity.csv", results.complexity)
    write_csv(directory / "timelines.csv", results.timelines)
    write_json(directory / "manifest.json", results.manifest)
    return directory


def test_the_report_opens_offline(results: Results) -> None:
    """One file below 2 MB that loads nothing from anywhere, with its figures in it, in the order
    that a reader wants.
    """
    draw_figures(results)
    path = write_report(results)
    page = Page(path.read_text())
    assert path.stat().st_size < 2_000_000
    assert all(address.startswith("#") for address in page.addresses)
    assert not {"link", "img", "iframe", "object"} & set(page.tags)
    assert page.foreign_scripts == []
    assert "url(http" not in path.read_text()
    assert page.tags.count("svg") == page.tags.count("figure") == 2
    headings = [
        "equal theory exactly",
        "nine answers",
        "Why our constants",
        "row by row",
        "Formulas found",
        "How it was made",
    ]
    places = [page.words.rindex(heading) for heading in headings]
    assert places == sorted(places)


def test_the_headline_is_the_verdict(results: Results) -> None:
    """The first thing said is how many points ran and how many did not, and what was compared."""
    predicted, measured = len(results.results), len(results.scale)
    every = predicted + measured
    words = page_of(results).words
    assert (
        f"{measured} points measured and {predicted} predicted from shapes without running them; "
        "measurement and prediction equal theory exactly: operations equal in "
        f"{every} of {every} rows with a formula, bytes in {every} of {every}."
    ) in words
    assert f"Measured: operations equal in {measured} of {measured} rows with a formula" in words
    assert f"Predicted: operations equal in {predicted} of {predicted} rows with a formula" in words


def test_what_did_not_run_is_not_called_measured(results: Results) -> None:
    """Without a measured row nothing on the page says that anything was measured."""
    page = page_of(replace(results, scale=results.scale.iloc[:0]))
    rows = len(results.results)
    assert (
        f"{rows} points predicted from shapes without running them; prediction equals theory "
        f"exactly: operations equal in {rows} of {rows} rows with a formula, bytes in {rows} of "
        f"{rows}."
    ) in page.words
    assert "measurement" not in page.words
    ran = results.results.assign(source="measured")
    words = page_of(replace(results, results=ran, scale=results.scale.iloc[:0])).words
    assert f"{rows} points measured; measurement equals theory exactly" in words
    assert "prediction" not in words


def test_a_planted_residual_turns_the_verdict(results: Results) -> None:
    """Three bytes too many in one row: the report says so, in how many rows and by how much."""
    rows = results.results.copy()
    rows.loc[4, "peak_bytes"] += 3
    verdict = verdict_of(rows)
    assert (verdict.agrees, verdict.differing) == (False, 1)
    assert (verdict.operations.greatest, verdict.bytes.greatest) == (0, 3)
    assert verdict.bytes.equal == verdict.bytes.compared - 1
    words = page_of(replace(results, results=rows)).words
    assert "DIFFER from theory in 1 of " in words
    assert "by up to 0 operations and 3 bytes" in words
    assert "equal theory exactly" not in words


def test_without_a_theory_nothing_is_claimed(results: Results) -> None:
    """Rows without theory columns are neither right nor wrong."""
    rows = results.results.assign(theory_ops=pd.NA, theory_peak_bytes=pd.NA)
    assert verdict_of(rows).agrees is None
    words = page_of(replace(results, results=rows, scale=rows.iloc[:0])).words
    assert "none of the rows has a formula to compare with" in words
    assert "exactly" not in words[: words.index("nine answers")]


def test_lost_points_are_told_loudly(results: Results) -> None:
    """Failed, timed out and skipped rows are counted at the top and listed with their reasons; a
    point without a row is missed.
    """
    rows = results.results.copy()
    rows.loc[[0, 1, 2], "status"] = ["failed", "timeout", "skipped_memory"]
    rows.loc[[0, 1, 2], "reason"] = ["broke at z_1", "took longer", "needs more"]
    write_json(results.directory / "points.json", [*rows["key"], "never measured"])
    words = page_of(replace(results, results=rows)).words
    alarm = (
        "Not in these numbers: 2 points failed or timed out, 1 point skipped: not "
        "enough memory and 1 point of the sweep not run yet."
    )
    assert alarm in words
    assert words.index(alarm) < words.index("nine answers")
    assert all(reason in words for reason in ("broke at z_1", "took longer", "needs more"))


def test_text_of_a_private_config_is_escaped(results: Results) -> None:
    """Whatever stands in a config, a reason or a name is text on the page, never markup."""
    rows = results.results.copy()
    rows.loc[0, ["status", "reason"]] = ["failed", "<script>alert('reason')</script>"]
    manifest = {
        "commit": "<img src=x>",
        "config": {"note": "</pre><script>alert('config')</script>"},
        "versions": {"<b>": "1"},
    }
    page = page_of(replace(results, results=rows, manifest=manifest))
    assert page.foreign_scripts == []
    assert "img" not in page.tags
    assert "b>" in page.words
    assert "<script>alert('reason')</script>" in page.words
    assert "<script>alert('config')</script>" in page.words
    assert indexed("T_run <i>") == "T<sub>run</sub> &lt;i&gt;"


def test_an_order_that_is_not_the_sheets_is_told(measured: Results, results: Results) -> None:
    """A formula of another order differs from the sheet."""
    table = measured.complexity.copy()
    asked = (
        (table["activation"] == "tanh")
        & (table["mode"] == "full")
        & (table["quantity"] == "peak_bytes")
    )
    table.loc[asked, "big_o"] = "n*b*d + n*d**2"
    assert answers_of(table)[0].answers[7].agrees is True
    table.loc[asked, "big_o"] = "n*b*d"
    assert answers_of(table)[0].answers[7].agrees is False
    assert "✗ differs" in page_of(replace(results, complexity=table)).words


def test_what_is_undecided_stays_undecided(results: Results) -> None:
    """An undecided formula is shown with its reason and claims no agreement; a mode that was not
    measured says so.
    """
    row = dict.fromkeys(COMPLEXITY_COLUMNS, "")
    row |= {
        "network": "chain",
        "activation": "tanh",
        "loss": "sum",
        "dtype": "float32",
        "engine": "autodiff",
        "planner": "store_all",
    }
    row |= {
        "mode": "full",
        "quantity": "peak_bytes",
        "formula": UNDECIDED,
        "big_o": UNDECIDED,
        "pretty_formula": UNDECIDED,
        "pretty_order": UNDECIDED,
        "valid_from_n": 0,
        "exact": False,
        "rows": 7,
    }
    row |= {"reason": "the grid lacks rank: add d=<5>"}
    table = pd.DataFrame([row])
    answers = {
        answer.question.index: answer
        for answer in answers_of(table)[0].answers
        if answer.question.letter == "M"
    }
    assert (answers["backward"].formula, answers["backward"].agrees, answers["run"].formula) == (
        UNDECIDED,
        None,
        "no rows",
    )
    words = page_of(replace(results, complexity=table)).words
    assert "the grid lacks rank: add d=<5>" in words
    assert "✓ agrees" not in words


@pytest.mark.slow
def test_a_directory_without_a_journal_is_made_again(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the tables alone the report is the same; without complexity.csv the formulas are found
    again.
    """
    directory = written(results)
    assert main([str(directory)]) == 0
    first = (directory / "report.html").read_text()
    assert "equal theory exactly" in capsys.readouterr().out
    (directory / "complexity.csv").unlink()
    (directory / "report.html").unlink()
    assert main([str(directory)]) == 0
    assert (directory / "report.html").read_text() == first


def test_a_journal_comes_before_the_tables(results: Results) -> None:
    """Where there are journals, the tables are made again from them."""
    directory = written(results)
    (directory / "job").mkdir()
    (directory / "job" / "rows.jsonl").write_text("\n".join(lines_of(results, 30)) + "\n")
    assert main([str(directory)]) == 0
    assert len(read_results(directory).results) == 30


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.csv", b""),
        ("results.csv", b"a,b\n1,2\n"),
        ("results.csv", b"key,n\n\xff\xfe,\n"),
        ("results.csv", b'key,n\n"never closed'),
        ("results.csv", b"key,mode,status,n,d,b,micro_batches\nk,full,ok,half,2,3,1\n"),
        ("timelines.csv", b"mode\nfull\n"),
        ("manifest.json", b"{"),
    ],
)
def test_damaged_files_are_one_line(
    results: Results, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    """A file that cannot be read is named in one line, with exit code 2 and no traceback."""
    directory = written(results)
    (directory / name).write_bytes(content)
    assert main([str(directory)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert name in said


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1, 2]",
        b"null",
        b"-1",
        b"1e999",
        b'{"a": 1}',
        b"[" * 5000,
        b"\xff",
        b'["\\ud800"]',
    ],
)
def test_a_damaged_list_of_points_costs_no_row(
    few: Results,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    content: bytes,
) -> None:
    """A points.json that is none is skipped with one line in the log, and the report has every row
    and says that nothing is missing.
    """
    directory = written(few)
    (directory / "points.json").write_bytes(content)
    assert main([str(directory)]) == 0
    assert "5 points measured and 40 predicted" in capsys.readouterr().out
    said = [record.getMessage() for record in caplog.records]
    if content != b'["\\ud800"]':  # which is a list of texts
        assert said == [
            "skipped a damaged file, so missing points are not counted: "
            f"{directory / 'points.json'}"
        ]
        assert "not run yet" not in Page((directory / "report.html").read_text()).words


def test_damage_of_a_journal_is_told_once(
    results: Results, caplog: pytest.LogCaptureFixture
) -> None:
    """Damaged lines are counted in one line of the log, however often the rows are needed; the rows
    around them are all there.
    """
    (results.directory / "rows.jsonl").write_text(
        "\n".join(["torn {", *lines_of(results, 30), "[1]"]) + "\n"
    )
    assert main([str(results.directory)]) == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"{results.directory / 'rows.jsonl'}: skipped 2 damaged lines"
    ]
    assert len(read_results(results.directory).results) == 30


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    "content",
    [*(pytest.param(one, marks=pytest.mark.slow) for one in ("", "network\nchain\n")), "edited"],
)
def test_formulas_are_those_of_the_rows(results: Results, content: str) -> None:
    """Formulas come from the rows, never from complexity.csv, be it torn, old or edited."""
    directory = results.directory
    write_csv(directory / "results.csv", results.results)
    edited = results.complexity.assign(pretty_formula="1066")
    (directory / "complexity.csv").write_text(
        edited.to_csv(index=False) if content == "edited" else content
    )
    again = publish_again(directory)
    pd.testing.assert_frame_equal(again.complexity, formulas_of(results.results))
    assert len(again.complexity)
    assert "1066" not in (directory / "report.html").read_text()


def test_rows_of_before_a_column_was_there_are_read(results: Results) -> None:
    """A journal of a version without some columns, or with one that is no more, gives its rows;
    what it does not say is empty.
    """
    older = [json.loads(line) for line in lines_of(results, 30)]
    for row in older:
        for column in ("concurrent", "load_average", "frequency_mhz", "process_reason", "segments"):
            row.pop(column)
        row["gone"] = 1
    (results.directory / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in older))
    assert main([str(results.directory)]) == 0
    table = read_results(results.directory).results
    assert table["key"].tolist() == results.results["key"].head(30).tolist()
    assert not table["concurrent"].any()
    assert table["load_average"].isna().all()


def test_a_figure_that_cannot_be_drawn_costs_no_report(
    results: Results, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are drawn, the log names the one that is left out, and the exit code is 0."""

    def broken(results: Results) -> None:
        raise KeyError("a fault\nof two lines")

    monkeypatch.setitem(registry.FIGURES, "residuals", broken)
    directory = written(results)
    assert main([str(directory)]) == 0
    assert Page((directory / "report.html").read_text()).tags.count("svg") == 1
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("figure residuals was not drawn: KeyError")
    assert "\n" not in said


def test_letters_that_xml_cannot_carry_are_replaced() -> None:
    """A control character in a text of the rows does not make a figure that no page can hold."""
    drawing = Drawing("title \x1b", "caption \x00 \ufffe &", Figure(figsize=(1, 1)))
    (text,) = [
        element.text
        for element in ElementTree.fromstring(svg_of(drawing)).iter()
        if element.tag.endswith("}description")
    ]
    assert text == "caption \N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER} &"


def test_a_fault_of_ours_is_one_line(
    few: Results, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unexpected error is one line, its traceback goes to a file, and the exit code
    is 1; Ctrl-C is 130.
    """

    def broken(rows: pd.DataFrame) -> None:
        raise KeyError("nobody expected this")

    monkeypatch.setattr(page, "lessons_of", broken)
    directory = written(few)
    assert main([str(directory)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(directory / "fault.txt") in said
    assert "nobody expected this" in (directory / "fault.txt").read_text()

    def interrupted(rows: pd.DataFrame) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(page, "lessons_of", interrupted)
    assert main([str(directory)]) == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_a_directory_without_a_sweep_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A directory that is not there, holds no sweep, or is a file gives one line; nothing is
    written.
    """
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for path in ("nothing", "empty", "file"):
        assert main([str(tmp_path / path)]) == 2
        assert main([str(tmp_path / path), str(tmp_path)]) == 2
        assert capsys.readouterr().err.count("\n") == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "file"]
