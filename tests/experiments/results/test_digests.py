"""Numbers that were edited after publication are named, once a file, and nothing else is."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.report import main
from experiments.results.files import read_csv, without_defusal, write_csv
from experiments.results.journal import JOURNAL
from experiments.results.tables import MANIFEST, RESULTS, read_results
from experiments.sweeping import job

SWEEP: dict[str, Any] = {
    "network": {"name": "chain", "activation": "tanh", "loss": "sum"},
    "grid": {"n": [2], "d": [3], "b": [2]},
    "modes": ["full"],
    "execute": False,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished sweep."""
    directory = tmp_path_factory.mktemp("digests") / "run"
    assert job.run_job(SWEEP, directory)[0] == 0
    return directory


def edited(path: Path) -> None:
    """Change one digit of a measured number, which no key protects."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[0, "peak_bytes"] = str(int(frame.loc[0, "peak_bytes"]) + 4)
    frame.to_csv(path, index=False)


def test_the_manifest_has_the_digests_that_sha256sum_prints(finished: Path) -> None:
    """A reader needs no tool of ours."""
    digests = json.loads((finished / MANIFEST).read_text())["sha256"]
    assert digests[RESULTS] == hashlib.sha256((finished / RESULTS).read_bytes()).hexdigest()


@pytest.mark.parametrize("has_journal", [True, False])
def test_an_edited_number_is_one_warning(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, has_journal: bool
) -> None:
    """It names the file, whether the report is made from the table or replaces it."""
    directory = tmp_path / "run"
    shutil.copytree(finished, directory)
    edited(directory / RESULTS)
    if not has_journal:
        (directory / JOURNAL).unlink()
    assert main([str(directory)]) == 0
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"{directory / RESULTS}: its numbers were edited after publication")
    caplog.clear()
    assert main([str(directory)]) == 0
    assert bool(caplog.records) is not has_journal  # from a journal the table is made again


def test_an_untouched_directory_has_no_warning(
    finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither when it is read nor when it is published or resumed."""
    read_results(finished)
    assert main([str(finished)]) == 0
    assert job.run_job(SWEEP, finished)[0] == 0
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


@pytest.mark.parametrize("digests", [[], "x", {"../outside": "0"}, {RESULTS: 3}])
def test_a_manifest_with_other_digests_is_no_error(
    finished: Path, tmp_path: Path, digests: Any
) -> None:
    """Only digests of our own tables are looked at, and a wrong one is a warning."""
    directory = tmp_path / "run"
    shutil.copytree(finished, directory)
    manifest = json.loads((directory / MANIFEST).read_text())
    (directory / MANIFEST).write_text(json.dumps({**manifest, "sha256": digests}))
    assert len(read_results(directory).results) == 1


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠"])
def test_a_formula_is_text_and_comes_back(tmp_path: Path, sign: str) -> None:
    """No cell of text begins as a formula does; numbers are numbers, and all is read back."""
    texts = [f"{sign}1+1", f"'{sign}1", f"''{sign}", "'", "plain", f"a{sign}1"]
    frame = pd.DataFrame({"text": texts, "number": [-1, 2, -3, 4, -5, 6]})
    write_csv(tmp_path / "t.csv", frame)
    raw = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert not raw["text"].str.startswith(sign).any()
    assert raw["number"].tolist() == frame["number"].tolist()
    assert read_csv(tmp_path / "t.csv", ["text"])["text"].tolist() == texts


BREAKS = ("a\rb", "\r", "a\nb", "a\r\nb", "é\r,", 'a"b', '"', "a,b", "a\0b", "'\r", "")


@pytest.mark.parametrize("text", BREAKS)
def test_no_text_breaks_a_row(tmp_path: Path, text: str) -> None:
    """A cell with an end of line, a quote or NUL is read back by our reader, pandas and csv."""
    frame = pd.DataFrame({"text": [text, "next"], "number": [0.1, None], "whole": [1, 2]})
    path = tmp_path / "t.csv"
    write_csv(path, frame)
    assert read_csv(path, ["text"])["text"].tolist() == [text, "next"]
    raw = pd.read_csv(path, keep_default_na=False, na_values={"number": [""]})
    assert raw["text"].map(without_defusal).tolist() == [text, "next"]
    pd.testing.assert_frame_equal(raw[["number", "whole"]], frame[["number", "whole"]])
    with path.open(newline="", encoding="utf-8") as file:
        cells = [line[0] for line in csv.reader(file)]
    assert [without_defusal(cell) for cell in cells] == ["text", text, "next"]


def test_a_bare_carriage_return_would_be_seen() -> None:
    """Written by pandas as it is, a carriage return ends the row: the test above can fail."""
    content = pd.DataFrame({"text": ["a\rb", "next"], "number": [1, 2]}).to_csv(index=False)
    read = pd.read_csv(io.StringIO(content, newline=""), keep_default_na=False)
    assert read["text"].tolist() == ["a", "b", "next"]


def test_half_a_surrogate_pair_is_escaped(tmp_path: Path) -> None:
    """A text that UTF-8 cannot hold is written as an escape, and the rest of the table is whole."""
    write_csv(tmp_path / "t.csv", pd.DataFrame({"text": ["a\udc80", "next"]}))
    assert read_csv(tmp_path / "t.csv", ["text"])["text"].tolist() == ["a\\udc80", "next"]
