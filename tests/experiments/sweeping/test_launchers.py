"""Every launcher for real: joblib, submitit on this machine, a local Ray cluster, and where there
is one, Slurm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.results.expected import expected_below
from experiments.results.tables import read_results
from experiments.sweep import LAUNCHERS
from tests.support.paths import ROOT

LOCAL = tuple(name for name in LAUNCHERS if name != "submitit_slurm")
SMALL = ("experiment=quick", "grid.d=[4]", "grid.b=[3]", "timeline=null")


def multirun(launcher: str, directory: Path, *arguments: str) -> tuple[int, str]:
    """Exit code, and all that it said, of a `--multirun` with a launcher; there is never a
    traceback of ours.
    """
    command = [
        sys.executable,
        "-m",
        "experiments.sweep",
        "--multirun",
        f"hydra/launcher={launcher}",
        f"hydra.sweep.dir={directory / 'all'}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *SMALL, *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert "experiments/" not in done.stderr, (
        done.stderr
    )  # a frame of a traceback would name one of our files
    return done.returncode, done.stdout + done.stderr


def check_whole(directory: Path) -> None:
    """One row a point, all ok, marked as measured side by side, in a directory a job;
    one report.
    """
    frame = read_results(directory / "all").results
    assert sorted(frame["n"].unique()) == [1, 2, 3]
    assert len(frame) == len(set(frame["key"])) == 12
    assert (frame["status"] == "ok").all()
    assert frame["concurrent"].all()
    assert len(list((directory / "all").glob("*/rows.jsonl"))) == 3
    assert [path.parent.name for path in (directory / "all").rglob("report.html")] == ["all"]
    assert not list((directory / "all").rglob("*.pkl"))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LOCAL)
def test_a_launcher_measures_every_point_and_ends_in_one_report(
    launcher: str, tmp_path: Path
) -> None:
    """Jobs run by the launcher write rows in directories of their own, which are merged; run again,
    it finds every row.
    """
    code, said = multirun(launcher, tmp_path, "grid.n=1,2,3")
    assert code == 0, said
    assert "12 points: 0 found, 12 to measure, in 3 jobs" in said
    check_whole(tmp_path)
    code, said = multirun(launcher, tmp_path, "grid.n=1,2,3")
    assert code == 0, said
    assert "12 points: 12 found, 0 to measure, in 3 jobs" in said
    check_whole(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LOCAL)
def test_a_job_that_is_killed_loses_no_row_of_others(launcher: str, tmp_path: Path) -> None:
    """Where a job's process is killed, what there is is merged and reported, the rest is said to be
    missing, and the sweep can be finished.
    """
    arguments = ("grid.n=[2,3]", "modes=[full,checkpointed]")
    planners = "planners='store_all','tests.support.deadly:killing_the_job'"
    code, said = multirun(launcher, tmp_path, *arguments, planners)
    assert code == 1, said
    assert (
        "POINTS ARE MISSING: they were not measured; resume with: python -m "
        "experiments.sweep --multirun" in said
    )
    found = read_results(tmp_path / "all").results
    assert 0 < len(found) < len(expected_below(tmp_path / "all")) == 6
    # A planner that kills its own process kills no job: it runs in another.
    planners = "planners='store_all','tests.support.deadly:killed'"
    code, said = multirun(launcher, tmp_path, *arguments, planners)
    rows = read_results(tmp_path / "all").results
    assert code == 1, said
    assert set(found["key"]) <= set(rows["key"])
    assert rows.groupby("status").size().to_dict() == {"failed": 2, "ok": 4}
    assert rows.loc[rows["status"] == "failed", "reason"].str.startswith("killed by SIGKILL").all()


@pytest.mark.slow
def test_ray_refuses_a_relative_directory(tmp_path: Path) -> None:
    """A relative hydra.sweep.dir would be another place on a worker of Ray: it is refused in one
    line before anything is started.
    """
    code, said = multirun("ray", tmp_path, "grid.n=1,2", "hydra.sweep.dir=relative")
    assert code == 2
    assert said.count("\n") == 1
    assert said.startswith("error: hydra.sweep.dir=relative; expected an absolute path")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slurm
def test_slurm_measures_every_point_and_ends_in_one_report(tmp_path: Path) -> None:
    """The same on Slurm, whose commands must be there: see scripts/one_node_slurm.sh."""
    assert shutil.which("sbatch"), "Slurm is not installed; see scripts/one_node_slurm.sh"
    code, said = multirun(
        "submitit_slurm", tmp_path, "grid.n=1,2,3", "hydra.launcher.timeout_min=5"
    )
    assert code == 0, said
    check_whole(tmp_path)


@pytest.mark.slurm
def test_a_slurm_job_whose_time_is_over_says_so(tmp_path: Path) -> None:
    """A job that does not end is stopped when its time is over, its rows are merged, and the rest
    is said to be missing.
    """
    arguments = (
        "grid.n=[2,3]",
        "modes=[full,checkpointed]",
        "planners='tests.support.deadly:endless'",
    )
    code, said = multirun(
        "submitit_slurm",
        tmp_path,
        *arguments,
        "hydra.launcher.timeout_min=1",
        "hydra.launcher.max_num_timeout=0",
    )
    assert code == 1
    assert "3 OF 4 POINTS ARE MISSING" in said
    assert len(read_results(tmp_path / "all").results) == 1
