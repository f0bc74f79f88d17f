"""The index of runs links every report, says how each differs, and escapes what files hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.report import main
from tests.support.pages import Page


def run_in(folder: Path, config: dict[str, Any], module: bool = False) -> None:
    """A report with the manifest of a sweep, or of a module's step."""
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("a report")
    made = {"config": config, "commit": "abc"}
    name, content = ("summary.json", {"made": made}) if module else ("manifest.json", made)
    (folder / name).write_text(json.dumps(content))


def test_every_report_is_linked_with_its_keys(tmp_path: Path) -> None:
    """Runs of two kinds; what is alike is left out, what differs is named; odd names are links."""
    for name, n in (("a", [1, 2]), ("b #1", [1, 2]), ("c", [4])):
        run_in(tmp_path / name, {"grid": {"n": n}, "dtype": "float32"})
    run_in(tmp_path / "deep" / "d", {"model": {"path": "x.Y"}}, module=True)
    assert main([str(tmp_path), "--index"]) == 0
    page = Page((tmp_path / "index.html").read_text())
    assert sorted(page.addresses) == [
        "a/report.html", "b%20%231/report.html", "c/report.html", "deep/d/report.html",
    ]  # fmt: skip
    assert page.words.count("as usual") == 3
    assert "grid.n=[4]" in page.words
    assert "dtype" not in page.words
    assert "module" in page.words


def test_what_files_hold_is_text(tmp_path: Path) -> None:
    """Markup in a manifest is shown, damage is unknown, and nothing fails."""
    run_in(tmp_path / "x", {"<script>alert(1)</script>": "<img src=y>"})
    run_in(tmp_path / "y", {"a": 1})
    run_in(tmp_path / "z", {"a": 1})
    (tmp_path / "y" / "manifest.json").write_text("[1")
    (tmp_path / "z" / "manifest.json").unlink()
    assert main([str(tmp_path), "--index"]) == 0
    page = Page((tmp_path / "index.html").read_text())
    assert page.foreign_scripts == []
    assert "img" not in page.tags
    assert "<script>alert(1)</script>" in page.words


def test_a_folder_without_reports_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing to list: exit code 2, one line, no file."""
    assert main([str(tmp_path), "--index"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
