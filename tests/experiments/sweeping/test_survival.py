"""Sweeps that are killed, stopped, starved and locked out: what was measured stays, what is missing
is measured, and it is said.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given, settings, strategies as st

from experiments.cli.exit import outcome, resume_command
from experiments.errors import ResultsError
from experiments.grid.config import sweep_config
from experiments.grid.points import points_of
from experiments.measuring import point as measure, timelines
from experiments.measuring.shapes import needed_bytes
from experiments.results import files
from experiments.results.expected import write_expected
from experiments.results.journal import JOURNAL, Journal
from experiments.results.rows import Row, row_of
from experiments.results.tables import read_results
from experiments.sweeping import job
from experiments.sweeping.launchers import runs_side_by_side
from tests.support.command_line import run_main
from tests.support.paths import ROOT
from tests.support.rows import journal_rows
from tests.support.running import SMALL, TINY, ended, lines_of, start, until


def kills(directory: Path, number: int, seed: int) -> dict[str, int]:
    """What `tests.support.survivor` came to."""
    command = [
        sys.executable,
        "-m",
        "tests.support.survivor",
        str(directory),
        str(number),
        str(seed),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return counts


# Killed


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    """After each of 15 kills every whole row is there to the byte; at the end each point has one
    row, and the table is those rows.
    """
    counts = kills(tmp_path, 15, seed=5)
    assert counts["kills"] == 15
    assert counts["kills_with_rows"] > 0
    assert counts["finished"] > 0


@pytest.mark.soak
def test_two_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    """The same, 200 times, with other moments."""
    assert kills(tmp_path, 200, seed=7)["kills"] == 200


@pytest.mark.slow
def test_the_command_that_the_log_names_resumes_a_killed_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log of a sweep that was killed names the command that goes on with it, which says what it
    found and measures the rest.
    """
    run, go = tmp_path / "a run, mine" / "x=1", tmp_path / "go"
    arguments = (*SMALL, "planners=['tests.support.deadly:waiting']", f"hydra.run.dir='{run}'")
    process = start(tmp_path, *arguments, DEADLY_GO=str(go))
    until(lambda: lines_of(run) == 1, process)
    process.kill()
    process.communicate()
    log = (run / "sweep.log").read_text()
    assert "4 points: 0 found, 4 to measure" in log
    command = shlex.split(log.split("to resume after an interruption: ")[1].splitlines()[0])
    assert command[:3] == ["python", "-m", "experiments.sweep"]
    go.touch()
    monkeypatch.setenv("DEADLY_GO", str(go))
    code, out, _ = run_main(*command[3:], cwd=tmp_path)
    assert code == 0
    assert "4 points: 1 found, 3 to measure" in out
    assert lines_of(run) == len(read_results(run).results) == 4


def test_ctrl_c_ends_with_the_rows_so_far_reported(tmp_path: Path) -> None:
    """Ctrl-C ends a sweep with code 130, its rows merged and reported, and the command that goes
    on.
    """
    process = start(
        tmp_path, *SMALL, "planners=['tests.support.deadly:endless']", "hydra.run.dir=run"
    )
    until(lambda: lines_of(tmp_path / "run") == 1, process)
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert code == 130
    assert "interrupted; saved 1 of 4 points; resume with: python -m experiments.sweep" in out + err
    assert len(read_results(tmp_path / "run").results) == 1
    assert (tmp_path / "run" / "report.html").exists()


def test_ctrl_c_right_after_a_row_was_written_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A row that was written when Ctrl-C came is counted, merged and reported, though the sweep had
    not gone on to the next.
    """
    append = Journal.append

    def interrupted(journal: Journal, row: Row) -> None:
        append(journal, row)
        raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "append", interrupted)
    code, _ = job.run_job(TINY, tmp_path)
    assert code == 130
    assert "interrupted; saved 1 of 2 points" in caplog.text
    assert len(read_results(tmp_path).results) == 1


def test_ctrl_c_while_the_report_is_made_says_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ctrl-C while the report is made ends with code 130, every row kept, and the commands that
    make it and go on.
    """

    def interrupted(*given: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "publish", interrupted)
    code, _ = job.run_job(TINY, tmp_path)
    assert code == 130
    assert (
        f"the report was not made; to make it: python -m experiments.report {tmp_path}"
        in caplog.text
    )
    assert (
        "interrupted; saved 2 of 2 points; resume with: python -m experiments.sweep" in caplog.text
    )
    assert lines_of(tmp_path) == 2


@pytest.mark.slow
def test_ctrl_c_ends_a_multirun_with_the_rows_so_far_reported(tmp_path: Path) -> None:
    """Ctrl-C ends all jobs of a multirun, and what the first ones measured is merged, reported, and
    said to be less than expected.
    """
    process = start(
        tmp_path,
        "--multirun",
        *SMALL,
        "grid.n=1,2,3",
        "planners=['tests.support.deadly:endless_from_two']",
        "hydra.sweep.dir=all",
    )
    until(
        lambda: lines_of(tmp_path / "all" / "0") == 4 and lines_of(tmp_path / "all" / "1") == 1,
        process,
    )
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert code == 130
    assert "7 OF 12 POINTS ARE MISSING" in out + err
    assert sorted(read_results(tmp_path / "all").results["n"]) == [1, 1, 1, 1, 2]
    assert not (tmp_path / "all" / "2").exists()


# Points that go wrong


def test_points_whose_process_dies_become_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A point that is killed, crashes, runs out of memory or has a fault becomes a row with its
    reason; the others are measured; exit 1.
    """
    planners = [
        f"tests.support.deadly:{name}" for name in ("killed", "crashing", "hoarding", "faulty")
    ]
    code, _ = job.run_job(
        {**TINY, "planners": [*planners, "recompute_all"], "timeout_s": 300}, tmp_path
    )
    rows = {
        row.planner: row for row in journal_rows(tmp_path / JOURNAL) if row.mode == "checkpointed"
    }
    assert code == 1
    assert rows["recompute_all"].status == "ok"
    assert {rows[planner].status for planner in planners} == {"failed"}
    assert "killed by SIGKILL" in rows[planners[0]].reason
    assert rows[planners[1]].reason == "exited with code 3 before it gave a value"
    assert "MemoryError" in rows[planners[2]].reason
    assert "KeyError" in rows[planners[3]].reason
    assert "4 failed; 2 ok" in capsys.readouterr().out


def test_a_point_over_its_time_becomes_a_row(tmp_path: Path) -> None:
    """A point that exceeds timeout_s is ended, and its row says so."""
    given = {
        **TINY,
        "modes": ["checkpointed"],
        "planners": ["tests.support.deadly:endless"],
        "timeout_s": 0.5,
    }
    code, _ = job.run_job(given, tmp_path)
    (row,) = journal_rows(tmp_path / JOURNAL)
    assert code == 1
    assert (row.status, row.reason) == (
        "timeout",
        "not finished after timeout_s=0.5 seconds, and killed",
    )


def test_a_fault_in_the_same_process_is_a_row_too(tmp_path: Path) -> None:
    """An unexpected exception of a planner, in the sweep's own process, costs its point alone."""
    code, _ = job.run_job(
        {**TINY, "planners": ["tests.support.deadly:faulty", "store_all"]}, tmp_path
    )
    assert code == 1
    assert [row.status for row in journal_rows(tmp_path / JOURNAL)] == ["ok", "failed", "ok"]


def test_a_planner_that_leaves_costs_its_point_alone(tmp_path: Path) -> None:
    """sys.exit in a planner, which is no Exception, is its point's failure and not the end of the
    sweep.
    """
    code, _ = job.run_job(
        {**TINY, "planners": ["tests.support.deadly:leaving", "store_all"]}, tmp_path
    )
    assert code == 1
    assert [(row.status, row.reason) for row in journal_rows(tmp_path / JOURNAL)] == [
        ("ok", ""),
        ("failed", "SystemExit: 3"),
        ("ok", ""),
    ]


def test_a_module_that_leaves_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A planner whose module ends the program when it is imported, or whose making fails, is
    refused in one line that names it.
    """
    (tmp_path / "leaving_module.py").write_text("import sys\nsys.exit(4)\n")
    (tmp_path / "failing_module.py").write_text(
        "class Plan:\n    def __init__(self):\n        raise KeyError('no')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for planner, said in (
        ("leaving_module:plan", "SystemExit: 4"),
        ("failing_module:Plan()", "KeyError: 'no'"),
    ):
        code, _ = job.run_job({**TINY, "planners": [planner]}, tmp_path / "run")
        assert code == 2
        assert (
            capsys.readouterr().err
            == f"error: planners='{planner}': making it failed ({said}); expected a planner "
            f"that can be made\n"
        )


def test_a_dry_run_counts_points_that_would_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A planner that fails is counted by a dry run as it would be by the sweep, and is no fault of
    this program.
    """
    code, _ = job.run_job(
        {**TINY, "planners": ["tests.support.deadly:faulty"], "dry_run": True}, tmp_path / "run"
    )
    assert code == 0
    assert (
        "1 would fail: the first is autodiff tanh+sum n=2 d=3 b=2 checkpointed "
        "tests.support.deadly:faulty: KeyError" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "shape",
    [
        {"n": 1000, "d": 16, "b": 10_000},
        {"n": 4, "d": 6000, "b": 1},
        {"n": 2, "d": 64, "b": 800_000},
    ],
)
def test_what_may_hold_much_has_its_own_process(shape: dict[str, int]) -> None:
    """A deep, a wide and a broad shape of which `full` holds 256 MiB have processes of their own in
    every mode; small ones do not.
    """
    every = ["no_grad", "forward", "full", "w1_only"]
    points = points_of(sweep_config({**TINY, "grid": shape, "modes": every}))
    full = next(point for point in points if point.mode == "full")
    assert needed_bytes([full])[0][full][1] >= measure.LARGE_BYTES
    assert all(measure.has_own_process(point, None) for point in points)
    small = points_of(sweep_config({**TINY, "modes": every}))
    assert not any(measure.has_own_process(point, None) for point in small)
    assert all(measure.has_own_process(point, 5.0) for point in small)


# Timelines are steps too


@pytest.mark.slow
def test_a_timeline_that_never_ends_costs_itself_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Under timeout_s a planner that kills its process, never returns or fails costs its timeline;
    the others are there, and the exit is 0.
    """
    planners = [
        "tests.support.deadly:killed",
        "tests.support.deadly:endless",
        "tests.support.deadly:leaving",
        "tests.support.deadly:faulty",
        "store_all",
    ]
    timeline = {"n": 2, "d": 3, "b": 2, "modes": ["full", "checkpointed"], "planners": planners}
    code, _ = job.run_job(
        {**TINY, "modes": ["full"], "timeline": timeline, "timeout_s": 10.0}, tmp_path
    )
    assert code == 0
    found = read_results(tmp_path).timelines
    assert sorted(set(zip(found["mode"], found["planner"], strict=True))) == [
        ("checkpointed", "store_all"),
        ("full", "store_all"),
    ]
    said = [
        record.message
        for record in caplog.records
        if record.message.startswith("the timeline lacks")
    ]
    assert [
        planner for planner, words in zip(planners, said, strict=False) if planner in words
    ] == planners[:4]
    assert [
        "SIGKILL" in said[0],
        "timeout_s=10" in said[1],
        "SystemExit: 3" in said[2],
        "KeyError" in said[3],
    ] == [True] * 4


def test_a_timeline_that_does_not_fit_is_made_from_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of a timeline is compared with the available memory like a point: the same bytes, from
    shapes.
    """
    config = sweep_config({**TINY, "timeline": {"n": 3, "d": 4, "b": 2, "modes": ["full"]}})
    ran = timelines.timelines_of(config)
    monkeypatch.setattr(timelines, "available_bytes", lambda: 100)
    told = timelines.timelines_of(config)
    assert ran["time_ns"].notna().all()
    assert "time_ns" not in told or told["time_ns"].isna().all()
    assert told["live_bytes"].tolist() == ran["live_bytes"].tolist()


def test_numbers_that_no_table_holds_are_a_failed_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number beyond what a table of whole numbers can hold makes a failed row that says so, and
    the row can be read again.
    """
    monkeypatch.setattr(
        measure,
        "_measured",
        lambda point: {"status": "ok", "reason": "", "ops": 2**63, "peak_bytes": 4},
    )
    code, _ = job.run_job(TINY, tmp_path)
    rows = journal_rows(tmp_path / JOURNAL)
    assert code == 1
    assert [row.status for row in rows] == ["failed", "failed"]
    assert (
        rows[0].reason
        == f"ops={2**63}; expected a whole number from 0 to {2**63 - 1}, the most that a "
        f"table can hold"
    )


# Disks


def limited_files() -> None:
    """No file may grow beyond 6000 bytes: the system then refuses as it does on a full disk, the
    first time with a part written.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))


def without_privilege() -> None:
    """Permissions bind this process also where it is root: what it executes lacks the capability to
    pass over them.
    """
    cap_dac_override, drop_from_bounding_set = 1, 24
    if os.geteuid() == 0:
        assert ctypes.CDLL(None).prctl(drop_from_bounding_set, cap_dac_override, 0, 0, 0) == 0


def test_a_full_disk_is_one_line_and_loses_no_row(tmp_path: Path) -> None:
    """Where a row does not fit any more the sweep ends with one line and the command that goes on;
    then nothing is lost or doubled.
    """
    arguments = (
        "experiment=quick",
        "grid.n=[1,2]",
        "grid.d=[3]",
        "grid.b=[2,3]",
        "timeline=null",
        "hydra.run.dir=run",
    )
    code, _, err = ended(start(tmp_path, *arguments, before=limited_files))
    assert code == 1
    assert err.count("\n") == 1
    assert err.startswith(
        f"error: {tmp_path / 'run' / JOURNAL}: File too large; completed rows are saved; "
        "free disk space, then rerun the same command: python -m experiments.sweep"
    )
    before = (tmp_path / "run" / JOURNAL).read_bytes()
    found = len(journal_rows(tmp_path / "run" / JOURNAL))
    assert 0 < found < 16
    assert before.count(b"\n") == found
    assert before.endswith(b"\n")
    code, out, _ = run_main(*arguments, cwd=tmp_path)
    assert code == 0
    assert f"16 points: {found} found, {16 - found} to measure" in out
    assert (tmp_path / "run" / JOURNAL).read_bytes().startswith(before)
    assert len(journal_rows(tmp_path / "run" / JOURNAL)) == 16


@pytest.mark.slow
def test_a_directory_that_turns_read_only_is_one_line(tmp_path: Path) -> None:
    """Where tables cannot be written any more the sweep ends with one line; every row is kept, and
    once it is writable again it is finished.
    """
    run, go = tmp_path / "run", tmp_path / "go"
    arguments = (*SMALL, "planners=['tests.support.deadly:waiting']", "hydra.run.dir=run")
    process = start(tmp_path, *arguments, before=without_privilege, DEADLY_GO=str(go))
    until(lambda: lines_of(run) == 1, process)
    run.chmod(0o555)
    go.touch()
    code, _, err = ended(process)
    run.chmod(0o755)
    assert code == 1
    assert err.count("\n") == 1
    assert "Permission denied; completed rows are saved; make the directory writable, then" in err
    assert lines_of(run) == 4
    code, out, _ = run_main(*arguments, cwd=tmp_path)
    assert code == 0
    assert "4 points: 4 found, 0 to measure" in out


@pytest.mark.slow
def test_a_directory_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A directory that is read-only from the start, or a file in its place, is one line on stderr
    and a non-zero exit.
    """
    (tmp_path / "locked").mkdir(mode=0o555)
    (tmp_path / "file").write_text("in the way")
    for arguments, said in (
        (("hydra.run.dir=locked",), "Permission denied"),
        (("--multirun", "hydra.sweep.dir=file"), "File exists"),
    ):
        code, _, err = ended(start(tmp_path, *arguments, *SMALL, before=without_privilege))
        assert code == 1, err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert said in err


@pytest.mark.slow
def test_a_directory_that_vanishes_is_one_line(tmp_path: Path) -> None:
    """Rows are not written into a journal that was removed meanwhile: the sweep stops
    and says so.
    """
    run, go = tmp_path / "run", tmp_path / "go"
    process = start(
        tmp_path,
        *SMALL,
        "planners=['tests.support.deadly:waiting']",
        "hydra.run.dir=run",
        DEADLY_GO=str(go),
    )
    until(lambda: lines_of(run) == 1, process)
    shutil.rmtree(run)
    go.touch()
    code, _, err = ended(process)
    assert code != 0
    assert "was removed while the sweep wrote it" in err


def test_a_second_sweep_in_the_same_directory_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While one sweep writes a directory another one into it is refused in one line, and changes
    nothing; afterwards it is free.
    """
    with Journal(tmp_path) as journal:
        journal.append(row_of(points_of(sweep_config(TINY))[0], status="failed", reason="planted"))
        before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
        with pytest.raises(ResultsError, match="is being written by another sweep"):
            Journal(tmp_path)
        code, _ = job.run_job(TINY, tmp_path)
        assert code == 2
        assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before
    assert capsys.readouterr().err.count("\n") == 1
    with Journal(tmp_path):
        assert len(journal_rows(tmp_path / JOURNAL)) == 1


@pytest.mark.slow
def test_a_second_multirun_into_the_same_directory_is_refused(tmp_path: Path) -> None:
    """While one multirun has a directory another one is refused in one line, exit 2, and leaves
    what the first expects; then it is free.
    """
    go = tmp_path / "go"
    arguments = (
        "--multirun",
        *SMALL,
        "planners=['tests.support.deadly:waiting']",
        "hydra.sweep.dir=all",
    )
    first = start(tmp_path, *arguments, "grid.n=2,3", DEADLY_GO=str(go))
    until(lambda: lines_of(tmp_path / "all" / "0") == 1, first)
    before = {path: path.read_bytes() for path in (tmp_path / "all").rglob("*") if path.is_file()}
    code, _, err = run_main(*arguments, "grid.n=7", cwd=tmp_path)
    assert code == 2
    assert (
        err == f"error: {tmp_path / 'all'} is being written by another sweep; expected one "
        f"sweep at a time; wait for the other or use another directory\n"
    )
    assert {
        path: path.read_bytes() for path in (tmp_path / "all").rglob("*") if path.is_file()
    } == before
    first.kill()
    first.communicate()
    code, out, _ = run_main(
        "--multirun", *SMALL, "modes=[full]", "grid.n=2,3", "hydra.sweep.dir=all", cwd=tmp_path
    )
    assert code == 0, out
    assert "4 points: 1 found, 3 to measure" in out


def test_what_a_dead_process_was_writing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part of a file that a process of this machine left is removed when it is dead; a living
    one's, and another machine's, stay.
    """
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda partial, path: names.append(Path(partial).name))
        names: list[str] = []
        files.write_text(tmp_path / "points.json", "x")
    (mine,) = names
    others = mine.replace(f".{os.getpid()}.", f".{dead}.")
    assert others != mine
    elsewhere = f".points.json.another-machine.{dead}.partial"
    for name in (mine, others, elsewhere, ".x.partial"):
        (tmp_path / name).write_text("a part")
    files.clear_partials(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {mine, elsewhere, ".x.partial"}


@pytest.mark.parametrize(
    ("program", "argument", "progress"),
    [
        ("sweep", "experiment=quick", ""),
        ("report", ".", ""),
        ("profile_module", "model=mlp", "loading PyTorch and the module ...\n"),
    ],
)
def test_ctrl_c_while_it_is_loading_is_quiet(
    tmp_path: Path, program: str, argument: str, progress: str
) -> None:
    """Ctrl-C while PyTorch loads ends a command at once: one line, exit 130, no traceback."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(
        "import pathlib, time\npathlib.Path('loading').touch()\ntime.sleep(60)\n"
    )
    command = [sys.executable, "-m", f"experiments.{program}", argument]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until((tmp_path / "loading").exists, process)
    process.send_signal(signal.SIGINT)
    assert process.communicate() == (progress, "interrupted; nothing was measured\n")
    assert process.returncode == 130


# Expected and found


def test_a_whole_row_without_its_end_is_kept(tmp_path: Path) -> None:
    """A last line that lacks nothing but the end of a line is a row: it is neither measured again
    nor cut off.
    """
    code, _ = job.run_job(TINY, tmp_path / "first")
    whole = (tmp_path / "first" / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole.rstrip(b"\n"))
    with Journal(tmp_path) as journal:
        journal.append(row_of(points_of(sweep_config(TINY))[0], status="failed", reason="planted"))
    assert code == 0
    assert (tmp_path / JOURNAL).read_bytes().startswith(whole)
    assert len(journal_rows(tmp_path / JOURNAL)) == whole.count(b"\n") + 1


def test_rows_that_are_missing_are_said_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fewer rows than a multirun expects, or none at all, end in an error that counts them and a
    non-zero exit.
    """
    with caplog.at_level(logging.ERROR):
        write_expected(tmp_path, ["0123456789abcdef"])
        assert job.publish_sweep(tmp_path) == 1
        assert "1 OF 1 POINTS ARE MISSING" in caplog.text
        job.run_job(TINY, tmp_path / "0", sweep_directory=tmp_path)
        keys = {row.key for row in journal_rows(tmp_path / "0" / JOURNAL)}
        write_expected(tmp_path, [*keys, "0123456789abcdef"])
        assert job.publish_sweep(tmp_path) == 1
        assert "1 OF 3 POINTS ARE MISSING" in caplog.text
        write_expected(tmp_path, keys)
        assert job.publish_sweep(tmp_path) == 0


def test_another_sweep_with_the_same_job_numbers_loses_no_row(tmp_path: Path) -> None:
    """A job of another sweep into the same directory appends to the rows of the job that had its
    number, and both are merged.
    """
    for depth in (1, 2):
        given = {**TINY, "grid": {"n": depth, "d": 3, "b": 2}}
        code, _ = job.run_job(given, tmp_path / "0", sweep_directory=tmp_path)
        assert code == 0
    assert job.publish_sweep(tmp_path) == 0
    assert sorted(read_results(tmp_path).results["n"]) == [1, 1, 2, 2]


def test_a_point_of_two_jobs_is_measured_once(tmp_path: Path) -> None:
    """A job finds what another job of the same multirun measured, and the merged table has one row
    a key.
    """
    for number in ("0", "1"):
        job.run_job(TINY, tmp_path / number, sweep_directory=tmp_path)
    assert (lines_of(tmp_path / "0"), lines_of(tmp_path / "1")) == (2, 0)
    (tmp_path / "2").mkdir()
    shutil.copy(tmp_path / "0" / JOURNAL, tmp_path / "2" / JOURNAL)
    assert job.publish_sweep(tmp_path) == 0
    assert len(read_results(tmp_path).results) == 2


def test_rows_say_whether_others_ran_beside_them(tmp_path: Path) -> None:
    """Rows carry whether jobs ran side by side, the load, the threads and the frequency where the
    system tells it.
    """
    for concurrent in (False, True):
        job.run_job(TINY, tmp_path / str(concurrent), concurrent=concurrent)
        frame = read_results(tmp_path / str(concurrent)).results
        assert (frame["concurrent"] == concurrent).all()
        assert (frame["threads"] == 1).all()
        assert frame["load_average"].notna().all()
        assert frame["frequency_mhz"].dropna().gt(0).all()


@pytest.mark.parametrize(
    ("launcher", "side_by_side"),
    [
        ({"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}, False),
        ({"_target_": "x.JoblibLauncher", "n_jobs": 1}, False),
        ({"_target_": "x.JoblibLauncher", "n_jobs": -1}, True),
        ({"_target_": "x.LocalLauncher"}, True),
        (
            {"_target_": "x.SlurmLauncher", "array_parallelism": 256, "additional_parameters": {}},
            True,
        ),
        ({"_target_": "x.SlurmLauncher", "array_parallelism": 1}, False),
        ({"_target_": "x.SlurmLauncher", "additional_parameters": {"exclusive": True}}, False),
        ({"_target_": "x.RayLauncher"}, True),
        ({"_target_": "somebody.elses"}, True),
    ],
)
def test_launchers_that_run_jobs_side_by_side_are_known(
    launcher: dict[str, Any], side_by_side: bool
) -> None:
    """Only a launcher that is known to run jobs alone is trusted to."""
    assert runs_side_by_side(launcher) is side_by_side


def test_a_wrong_key_of_the_last_job_launches_none(tmp_path: Path) -> None:
    """Every job's config is checked before the first one is launched; a wrong value is one line,
    exit 2, and not a file.
    """
    code, out, err = run_main(
        "--multirun", *SMALL, "grid.n=1,2,0", "hydra.sweep.dir=all", cwd=tmp_path
    )
    assert (code, out, err) == (2, "", "error: grid.n=0; expected an integer of at least 1\n")
    assert list(tmp_path.iterdir()) == []


def test_the_resuming_command_survives_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quotes, brackets and blanks of the arguments come through, and the directory is named once,
    absolute.
    """
    given = [
        "--multirun",
        'planners=["store_all","revolve(snapshots=3)"]',
        "a='b c'",
        "hydra.sweep.dir=old",
        "+hydra.run.dir=older",
    ]
    monkeypatch.setattr(sys, "argv", ["sweep.py", *given])
    words = shlex.split(resume_command(Path("/x/it's y"), is_multirun=True))
    assert words == [
        "python",
        "-m",
        "experiments.sweep",
        *given[:3],
        r"hydra.sweep.dir='/x/it\'s y'",
    ]
    monkeypatch.setattr(sys, "argv", ["tapemeasure sweep", "a=b", "--multirun"])
    assert (
        resume_command(Path("/x/y"), is_multirun=True)
        == "tapemeasure sweep a=b hydra.sweep.dir=/x/y --multirun"
    )


@settings(max_examples=200)
@given(name=st.text(st.sampled_from("a1 '\"\\\n$%,=[]{}()#*?~:;&|<>!σ`"), min_size=1, max_size=8))
def test_the_resuming_command_names_any_directory(name: str) -> None:
    """Through the shell's and through Hydra's grammar the directory comes out as it went in,
    whatever its name; Hydra reads `${` itself.
    """
    assume("${" not in name)
    with mock.patch.object(sys, "argv", ["sweep.py", "--multirun"]):
        words = shlex.split(resume_command(Path("/x") / f"{name}", is_multirun=True))
    (override,) = OverridesParser.create().parse_overrides(
        [words[-2] if words[-1] == "--multirun" else words[-1]]
    )
    value = override.value()
    assert str(value) == str(Path("/x") / name)


def test_the_worst_outcome_counts() -> None:
    """The exit code of a command line is the worst of what its jobs came to."""
    codes = outcome.exit_codes
    outcome.exit_codes = [0, 2, 1]
    try:
        assert outcome.exit_code() == 2
    finally:
        outcome.exit_codes = codes
