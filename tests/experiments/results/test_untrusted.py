"""Text of files is data: a report of a hostile directory imports, calls and unpickles nothing."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from autodiff.checkpointing.parse import parse_planner
from experiments.grid.planners import described, serves, theory_of
from experiments.report import main
from experiments.results.capacity import CAPACITY
from experiments.results.expected import POINTS
from experiments.results.files import write_csv
from experiments.results.journal import JOURNAL, rows_below
from experiments.results.rows import TEXT_COLUMNS
from experiments.results.tables import COMPLEXITY, MANIFEST, RESULTS, SCALE, TIMELINES
from experiments.sweeping import job
from tests.support.pages import Page
from tests.support.rows import journal_rows, with_key

SWEEP: dict[str, Any] = {
    "network": {"name": "chain", "activation": "tanh", "loss": "sum"},
    "grid": {"n": [2, 4], "d": [2, 3], "b": [2, 3]},
    "modes": ["full", "checkpointed"],
    "planners": ["recompute_all", "uniform(segments=2)"],
    "execute": False,
    "memory": ["64KiB"],
    "timeline": {"n": 4, "d": 3, "b": 2},
}
HOSTILE = (
    "os:system('touch OWNED')",
    "hostile_planner:plan",
    "hostile_planner.plan",
    "__import__('os').system('touch OWNED')",
    '{"_target_": "os.system", "_args_": ["touch OWNED"]}',
    pickle.dumps(os.getcwd, protocol=0).decode(),
    "!!python/object/apply:os.system ['touch OWNED']",
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>",
    "]]></title></svg><svg onload=alert(3)><iframe src=javascript:alert(4)>",
    "\" onmouseover=alert(5) data-x='",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished sweep with a row in every file."""
    directory = tmp_path_factory.mktemp("untrusted") / "run"
    code, _ = job.run_job(SWEEP, directory)
    assert code == 0
    return directory


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A place of hostile modules on the path; the commands that `os.system` is called with."""
    (tmp_path / "hostile_planner.py").write_text("plan = print\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    commands: list[str] = []
    monkeypatch.setattr(os, "system", commands.append)
    monkeypatch.delitem(sys.modules, "hostile_planner", raising=False)
    return commands


def poisoned(path: Path) -> pd.DataFrame:
    """A table with each text of `HOSTILE` in each text column, the other columns as they were."""
    frame = pd.read_csv(path, keep_default_na=False)
    texts = [name for name in frame if frame[name].map(lambda cell: isinstance(cell, str)).any()]
    assert texts
    changed = [frame.assign(**{name: text}) for name in texts for text in HOSTILE]
    return pd.concat([frame, *changed], ignore_index=True)


@pytest.mark.slow
@pytest.mark.parametrize("from_journal", [True, False])
def test_no_text_of_a_file_is_run(
    finished: Path, tmp_path: Path, called: list[str], from_journal: bool
) -> None:
    """With import paths, pickles, `_target_` and markup in every text column, the report and a
    comparison run nothing, and markup is shown as text.
    """
    directory = tmp_path / "run"
    shutil.copytree(finished, directory)
    rows = [vars(row) for row in journal_rows(finished / JOURNAL)]
    hostile = [
        with_key({**row, name: text}) for row in rows[-1:] for name in TEXT_COLUMNS[1:]
        for text in HOSTILE
    ]  # fmt: skip
    if from_journal:
        lines = [json.dumps(row) + "\n" for row in (*rows, *hostile)]
        (directory / JOURNAL).write_text("".join(lines))
    else:
        (directory / JOURNAL).unlink()
        table = pd.concat([rows_below(finished), pd.DataFrame(hostile)])
        write_csv(directory / RESULTS, table)
        write_csv(directory / SCALE, table.assign(part="scale"))
    for name in (TIMELINES, CAPACITY, COMPLEXITY):
        write_csv(directory / name, poisoned(directory / name))
    (directory / POINTS).write_text(json.dumps(HOSTILE))
    manifest = json.loads((directory / MANIFEST).read_text())
    config = {**manifest["config"], "planners": HOSTILE, "_target_": "os.system"}
    texts = dict.fromkeys(("python", "system", "cpu", "commit"), HOSTILE[0])
    (directory / MANIFEST).write_text(json.dumps({**manifest, **texts, "config": config}))
    assert main([str(directory)]) == 0
    assert main([str(directory), str(finished)]) == 0
    for name in ("report.html", "comparison.html"):
        page = Page((directory / name).read_text())
        assert page.foreign_scripts == []
        assert not {"img", "iframe", "object", "link"} & set(page.tags)
        assert all(address.startswith("#") for address in page.addresses)
    shown = Page((directory / "report.html").read_text()).words
    assert "<img src=x onerror=alert(2)>" in shown
    assert called == []
    assert "hostile_planner" not in sys.modules
    assert not list(tmp_path.rglob("OWNED"))


@pytest.mark.parametrize("text", HOSTILE[-3:])
def test_markup_that_is_not_escaped_is_seen(text: str) -> None:
    """Each of the markup texts would run a script on a page that does not escape it."""
    assert Page(f'<p title="{text}">{text}</p>').foreign_scripts


def test_the_traps_are_traps(called: list[str]) -> None:
    """Text that a user typed is imported and called: what the test above looks for does happen."""
    with pytest.raises(Exception, match="planner"):
        parse_planner(HOSTILE[0])
    assert called == ["touch OWNED"]
    parse_planner(HOSTILE[1])
    assert "hostile_planner" in sys.modules


@pytest.mark.parametrize("text", [*HOSTILE, "", "uniform(segments='x')", "revolve(", "(" * 5000])
def test_a_planner_from_a_file_has_no_theory(text: str, called: list[str]) -> None:
    """What is no built-in planner's name has no formula; nothing is imported to find out."""
    assert theory_of(text, 4, 3, 2, "tanh", "sum") is None
    assert serves(text, 4)
    found = described(text)
    assert found is None or not found.is_builtin
    assert called == []
    assert "hostile_planner" not in sys.modules
