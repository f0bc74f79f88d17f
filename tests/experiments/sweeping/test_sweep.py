"""The sweep as it is run: from the command line to the files, what goes wrong is one line, and
nothing is lost.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from autodiff import Tanh
from experiments.grid.config import sweep_config
from experiments.grid.points import points_of
from experiments.measuring import point as measure
from experiments.results.frames import latest
from experiments.results.journal import JOURNAL, Journal, read_journal
from experiments.results.point import Point
from experiments.results.rows import COLUMNS, row_of
from experiments.results.tables import read_results
from experiments.sweeping import job
from tests.support.command_line import run_main
from tests.support.paths import ROOT
from tests.support.rows import journal_rows
from tests.support.sweeps import TINY


def test_every_point_is_measured_and_equals_the_theory(finished: Path) -> None:
    """One row a point, all ok, audited, with residual 0 in operations and bytes."""
    frame = read_results(finished).results
    assert len(frame) == len(points_of(sweep_config(TINY))) == 16
    assert (frame["status"] == "ok").all()
    assert (frame["audit"] == "storages+scalars").all()
    assert (frame["ops"] == frame["theory_ops"]).all()
    assert (frame["peak_bytes"] == frame["theory_peak_bytes"]).all()
    assert (frame["peak_bytes"] == frame["predicted_peak_bytes"]).all()
    assert (
        frame["ops"] == frame["ops_forward"] + frame["ops_recompute"] + frame["ops_backward"]
    ).all()


def test_all_files_are_there(finished: Path) -> None:
    """Tables, manifest, figures and report are whole, and no part of a file is left."""
    for name in ("results.csv", "complexity.csv", "timelines.csv", "manifest.json", "report.html"):
        assert (finished / name).stat().st_size > 0
    assert list((finished / "figures").glob("*.png"))
    assert list(finished.rglob("*.partial")) == []
    assert tuple(pd.read_csv(finished / "results.csv").columns) == COLUMNS
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["config"] == TINY
    assert manifest["versions"]["torch"]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("grid.k=3", "unknown key grid.k; expected one of n, d, b; remove it"),
        ("hydra.run.dri=3", "unknown key hydra.run.dri; expected one of dir; did you mean dir?"),
        (
            "network=gell",
            "network='gell'; expected one of gelu, identity, relu, sigmoid, tanh; "
            "did you mean gelu?",
        ),
        ("~grid.k", "~grid.k: there is no such key to remove; expected a key of --help"),
        ("+grid.n=3", "+grid.n=3: the key is there already; expected no +; write grid.n=3"),
        (
            "grid.n=1,2",
            "grid.n=1,2: a value with commas; expected a list; write 'grid.n=[1,2]', or add "
            "--multirun for a job each",
        ),
        (
            "grid=3",
            "grid=3: expected the name of a preset: exact, small; or set a key below grid",
        ),
        *(
            (
                argument,
                f"{argument}: the key takes no value of that shape; expected one like the default",
            )
            for argument in ("grid.n.x=3", "grid.n={a:3}", "hydra.run.dir.x=3", "=3")
        ),
        *(
            (
                argument,
                f"{argument!r} is no KEY=VALUE; expected one, in quotes where it has brackets, "
                "commas or spaces, such as 'grid.n=[1,2,4]'",
            )
            for argument in ("grid.n=[", "foo", "a b=3")
        ),
        (
            "planners=[revolve(snapshots=3),mine:Own(1)]",
            "'planners=[revolve(snapshots=3),mine:Own(1)]' is no KEY=VALUE; expected one, with "
            """calls in quotes: 'planners=["revolve(snapshots=3)","mine:Own(1)"]'""",
        ),
    ],
)
def test_a_config_that_hydra_refuses_is_one_line(argument: str, said: str, tmp_path: Path) -> None:
    """What Hydra cannot compose is said in our words where the keys are known, and in one line."""
    code, _, err = run_main(argument, cwd=tmp_path)
    assert (code, err) == (2, f"error: {said}; --help lists the keys\n")


@pytest.mark.usefixtures("no_figures")
def test_a_second_run_finds_every_row(finished: Path, tmp_path: Path) -> None:
    """The same sweep into the same directory measures nothing again and doubles nothing."""
    directory = shutil.copytree(finished, tmp_path / "run")
    code, value = job.run_job(TINY, directory)
    assert code == 0
    assert (directory / JOURNAL).read_bytes() == (finished / JOURNAL).read_bytes()
    assert value == read_results(finished).results["peak_bytes"].max()


@pytest.mark.usefixtures("no_figures")
def test_a_torn_line_is_measured_again(finished: Path, tmp_path: Path) -> None:
    """After a kill in the middle of a write, the whole rows stay, the torn one is measured again,
    and none is doubled.
    """
    whole = (finished / JOURNAL).read_bytes()
    lines = whole.splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join(lines[:5]) + lines[5][:40])
    code, _ = job.run_job(TINY, tmp_path)
    keys = [row.key for row in journal_rows(tmp_path / JOURNAL)]
    assert code == 0
    assert len(keys) == len(set(keys)) == 16
    assert (tmp_path / JOURNAL).read_bytes().startswith(b"".join(lines[:5]))


def test_a_witness_that_disagrees_fails_the_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an op's declared cost is wrong, its row says that the scalar audit failed."""
    from autodiff import Cost, Tanh

    monkeypatch.setattr(Tanh, "cost", lambda self, x: Cost(elementary=x.numel + 1))
    row = measure.measure(points_of(sweep_config(TINY))[0])
    assert row.status == "failed"
    assert row.reason.startswith("scalar audit failed: ")


def test_a_wrong_ledger_is_seen_by_the_storages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a kernel holds more than the ledger counts, the row says that the storages disagree.

    What it returns is right in value and bytes, so nothing else could find it.
    """

    def hoarding(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh((x + x).mul_(0.5))

    point = points_of(sweep_config(TINY))[2]
    assert measure.measure(point).status == "ok"
    monkeypatch.setattr(Tanh, "kernel", staticmethod(hoarding))
    row = measure.measure(point)
    assert row.status == "failed"
    assert row.audit == "storages"
    assert row.reason.startswith("storage audit failed: ")
    assert "0 bytes of workspace are declared" in row.reason


def test_a_point_that_does_not_fit_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """With too little memory available a point is not run; its row says how many bytes it would
    need.
    """
    monkeypatch.setattr(measure, "available_bytes", lambda: 10)
    row = measure.measure(points_of(sweep_config(TINY))[2])
    assert row.status == "skipped_memory"
    assert str(row.predicted_peak_bytes + 4 * (4 + 4)) in row.reason
    assert row.ops is None


@pytest.mark.usefixtures("no_figures")
def test_a_failed_point_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A point that fails has a row with its reason; the others are measured, and the exit code is
    not zero.
    """
    real = measure._measured

    def sometimes(point: Point) -> dict[str, Any]:
        if point.mode == "full":
            raise RuntimeError("planted\nwith details")
        return real(point)

    monkeypatch.setattr(measure, "_measured", sometimes)
    code, _ = job.run_job(TINY, tmp_path)
    frame = read_results(tmp_path).results
    assert code == 1
    assert frame.groupby("status").size().to_dict() == {"failed": 4, "ok": 12}
    assert set(frame.loc[frame["status"] == "failed", "reason"]) == {"RuntimeError: planted"}
    assert "4 failed" in capsys.readouterr().out


@pytest.mark.usefixtures("no_figures")
def test_failed_points_are_measured_again(tmp_path: Path) -> None:
    """A resumed sweep runs failed points again, and the row that is ok then counts."""
    point = points_of(sweep_config(TINY))[0]
    with Journal(tmp_path) as journal:
        journal.append(row_of(point, status="failed", reason="killed by SIGKILL"))
    code, _ = job.run_job(TINY, tmp_path)
    frame = latest(read_journal(tmp_path / JOURNAL))
    assert code == 0
    assert len(frame) == 16
    assert (frame["status"] == "ok").all()


def test_bad_input_leaves_no_trace(tmp_path: Path) -> None:
    """A wrong value is one line on stderr, exit 2, and not a file."""
    command = [sys.executable, "-m", "experiments.sweep", "grid.n=0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: grid.n=0; expected an integer of at least 1\n"
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_would_be_measured(tmp_path: Path) -> None:
    """It prints the number of points, those that would be skipped and the greatest predicted peak,
    and measures nothing.
    """
    code, out, _ = run_main("experiment=quick", "dry_run=true", cwd=tmp_path)
    assert code == 0
    assert out.startswith("144 points, 0 of which would be skipped")
    assert "greatest predicted peak: " in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_multirun_ends_in_one_report(tmp_path: Path) -> None:
    """`--multirun` with a bare number each, by a private preset, merges its jobs' rows into one
    report.
    """
    private = tmp_path / "presets" / "experiment"
    private.mkdir(parents=True)
    (private / "mine.yaml").write_text(
        "# @package _global_\ngrid: {d: [2], b: [3]}\nmodes: [full]\nstudies: null\nscale: "
        "null\ntimeline: null\n"
    )
    code, _, err = run_main(
        "--multirun",
        "--config-dir",
        str(tmp_path / "presets"),
        "experiment=mine",
        "grid.n=1,2,3",
        "hydra.sweep.dir=all",
        cwd=tmp_path,
    )
    assert code == 0, err
    results = read_results(tmp_path / "all")
    assert sorted(results.results["n"]) == [1, 2, 3]
    assert (tmp_path / "all" / "report.html").exists()
    assert not (tmp_path / "all" / "0" / "report.html").exists()


def test_help_lists_groups_keys_and_presets(tmp_path: Path) -> None:
    """`--help` names the groups, the presets and the keys; `--cfg job` prints the config."""
    _, told, _ = run_main("--help", cwd=tmp_path)
    for word in (
        "grid: exact, small",
        "quick",
        "lessons",
        "modes: [no_grad, forward, full, w1_only]",
        "measure_process",
        "timeout_s",
    ):
        assert word in told
    assert "activation: gelu" in run_main("--cfg", "job", "network=gelu", cwd=tmp_path)[1]


@pytest.mark.parametrize(
    "preset", sorted(path.stem for path in (ROOT / "configs" / "experiment").glob("*.yaml"))
)
def test_every_preset_runs_shrunk(preset: str, tmp_path: Path) -> None:
    """Each experiment runs on its own command line, with a small grid and no larger shapes, and
    every point is ok.
    """
    code, out, err = run_main(
        f"experiment={preset}",
        "grid.n=[1,2]",
        "grid.d=[3]",
        "grid.b=[4]",
        "scale=null",
        "studies=null",
        "timeline=null",
        "best_plans=null",
        "hydra.run.dir=run",
        cwd=tmp_path,
    )
    assert code == 0, out + err
    frame = read_results(tmp_path / "run").results
    assert len(frame)
    assert (frame["status"] == "ok").all()


def test_a_journal_keeps_no_half_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a row cannot be written whole, the journal holds what it held before."""
    row = row_of(points_of(sweep_config(TINY))[0], status="failed", reason="planted")
    write = os.write

    def half(file: int, line: bytes) -> int:
        if len(line) < 50:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, line[: len(line) // 2])

    with Journal(tmp_path) as journal:
        journal.append(row)
        before = (tmp_path / JOURNAL).read_bytes()
        monkeypatch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space left"):
            journal.append(row)
        monkeypatch.undo()
    assert (tmp_path / JOURNAL).read_bytes() == before
    assert journal_rows(tmp_path / JOURNAL) == [row]
