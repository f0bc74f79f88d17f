"""What a user's planner or module does costs its own row or is its own line; all else goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import profile_module
from experiments.measuring import isolated
from experiments.results.journal import JOURNAL
from experiments.sweeping import job
from tests.support.command_line import run_main
from tests.support.paths import ROOT
from tests.support.rows import journal_rows
from tests.support.running import TINY, ended, start

PLANNERS = {
    "exit": "SystemExit: 3",
    "end": "exited with code 0 before it gave a value",
    "abort": "killed by SIGABRT",
    "fork": "",
    "thread": "",
    "chdir": "",
    "close": "before it gave a value",
    "hoard": "MemoryError",
    "recurse": "RecursionError",
    "print": "",
    "read": "EOFError",
    "interrupt": "KeyboardInterrupt",
}


@pytest.mark.parametrize("execute", [True, False])
def test_whatever_a_planner_does_is_its_own_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, execute: bool
) -> None:
    """Of each planner there is one row, with its reason where it gave no plan; the built-in one is
    measured, and this process is as it was.
    """
    monkeypatch.setattr(isolated, "spare_bytes", lambda: 256 << 20)
    names = {f"tests.support.hostile:Planner('{act}')": said for act, said in PLANNERS.items()}
    given: dict[str, Any] = {**TINY, "modes": ["checkpointed"], "execute": execute}
    here = Path.cwd()
    code, _ = job.run_job({**given, "planners": [*names, "store_all"]}, tmp_path)
    rows = {row.planner: row for row in journal_rows(tmp_path / JOURNAL)}
    assert code == 1
    assert list(rows) == [*names, "store_all"]
    assert rows.pop("store_all").status == "ok"
    for planner, said in names.items():
        assert rows[planner].status == ("failed" if said else "ok"), rows[planner]
        assert said in rows[planner].reason
    assert Path.cwd() == here


def test_a_module_of_planners_that_ends_python_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Importing it is tried in a child: nothing has begun, and exit 2."""
    (tmp_path / "ending.py").write_text("import os\nos._exit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert job.run_job({**TINY, "planners": ["ending:plan"]}, tmp_path / "run")[0] == 2
    said = capsys.readouterr().err
    assert said.startswith("error: planners='ending:plan': making it failed (exited with code 0")
    assert said.count("\n") == 1


def profiled(act: str, directory: Path) -> tuple[int, str, str]:
    """`profile` of a module, in this process."""
    return run_main(
        "model.path=tests.support.hostile.Module",
        f"+model.arguments.act={act}",
        "input.shape=[3]",
        "plans=false",
        "hydra.run.dir=run",
        cwd=directory,
        command=profile_module,
    )


@pytest.mark.parametrize(
    ("act", "said"), [("exit", "SystemExit: 3"), ("recurse", "RecursionError")]
)
def test_what_a_module_raises_is_one_line(tmp_path: Path, act: str, said: str) -> None:
    """Exit 2, without a traceback."""
    code, _, err = profiled(act, tmp_path)
    assert code == 2
    assert err.startswith("error: tests.support.hostile.Module")
    assert said in err
    assert err.count("\n") == 1


def test_a_module_may_change_the_directory_and_print(tmp_path: Path) -> None:
    """The report is where it was asked for."""
    for act in ("chdir", "print"):
        assert profiled(act, tmp_path)[0] == 0
        assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "expected", "said"),
    [
        ("end", 1, "error: the command's process exited with code 0"),
        ("abort", 1, "error: the command's process was killed by SIGABRT"),
        ("close", 1, "error: the command's process exited with code"),
        ("interrupt", 2, "raised KeyboardInterrupt"),
        ("read", 2, "EOFError"),
        ("thread", 0, "report: "),
        ("fork", 0, "report: "),
    ],
)
def test_whatever_a_module_does_the_command_ends_with_a_line(
    tmp_path: Path, act: str, expected: int, said: str
) -> None:
    """In a process of its own: the exit code, one line, no traceback, one report at most."""
    arguments = (
        "model.path=tests.support.hostile.Module",
        *(f"+model.arguments.act={act}", "input.shape=[3]", "plans=false", "hydra.run.dir=run"),
    )
    done = subprocess.run(
        [sys.executable, "-m", "experiments.profile_module", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    whole = done.stdout + done.stderr
    assert done.returncode == expected, whole
    assert said in whole
    assert "Traceback" not in whole
    assert whole.count("report: ") == (expected == 0)


def test_a_graph_that_is_too_deep_is_given_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the time given it has a row with its reason; as deep ones after it are not tried."""
    monkeypatch.setattr(isolated, "DEEP_LAYERS", 2)
    monkeypatch.setattr(isolated, "DEEP_LIMIT_S", 0.05)
    tried = []
    in_child = isolated.in_child
    monkeypatch.setattr(
        "experiments.measuring.point.in_child",
        lambda *args, **named: (tried.append(args[1].n), in_child(*args, **named))[1],
    )
    grid = {"n": [2, 3000, 4000], "d": [2], "b": [2]}
    code, _ = job.run_job({**TINY, "grid": grid, "modes": ["full"]}, tmp_path)
    rows = {row.n: row for row in journal_rows(tmp_path / JOURNAL)}
    assert code == 1
    assert tried == [3000]
    assert [row.status for row in rows.values()] == ["ok", "timeout", "timeout"]
    assert "3,000 layers takes more than" in rows[3000].reason


@pytest.mark.parametrize("device", ["cuda:99", "abc"])
def test_a_device_that_is_not_there_is_one_line(tmp_path: Path, device: str) -> None:
    """Before the first point, exit 2, and no trace of a run."""
    for arguments in ((), ("--multirun",)):
        where = "hydra.sweep.dir=all" if arguments else "hydra.run.dir=run"
        code, _, err = run_main(
            *arguments, "experiment=quick", f"device={device}", where, cwd=tmp_path
        )
        assert code == 2
        assert err.startswith(f"error: device '{device}' cannot be used")
        assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_disk_that_fills_while_the_report_is_written_is_one_line(tmp_path: Path) -> None:
    """It names the file with its directory; rows and earlier tables are whole, and no part of a
    file is left.
    """
    import resource

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (24_000, 24_000))

    arguments = ("experiment=quick", "grid.n=[2]", "grid.d=[3]", "grid.b=[2]", "timeline=null")
    code, _, err = ended(start(tmp_path, *arguments, "hydra.run.dir=run", before=limited))
    run = tmp_path / "run"
    assert code == 1
    assert err.count("\n") == 1
    assert err.startswith(f"error: {run}/")
    assert ": File too large; completed rows are saved; free disk space, then rerun" in err
    assert "HYDRA_FULL_ERROR" not in err
    assert len(journal_rows(run / JOURNAL)) == 4
    assert (run / "results.csv").read_text().count("\n") == 5
    assert not list(run.rglob("*.partial"))
