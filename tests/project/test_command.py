"""`import tapemeasure` hands on both packages; the command `tapemeasure` runs anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import autodiff
import profiler
import tapemeasure
from autodiff.pytorch import from_pytorch
from experiments.cli import command
from experiments.cli.exit import WRONG_INPUT, report_command
from experiments.errors import ConfigError
from experiments.modules.build import imported
from experiments.results.tables import read_results
from tapemeasure.command import SUBCOMMANDS
from tests.support.paths import ROOT

STRANGER = "raise ImportError('a module of the user was taken for one of the project')\n"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Return a run of the command, started as an installed script is."""
    script = (
        f"import sys; sys.path[0] = {str(ROOT)!r}; sys.argv[0] = 'bin/tapemeasure'; "
        "from tapemeasure.command import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def users_directory(tmp_path: Path) -> Path:
    """Return a working directory with modules named as ours, and a planner."""
    packages = ("experiments", "configs", "tapemeasure", "tapemeasure/command")
    for name in ("autodiff.py", "profiler.py", *(f"{name}/__init__.py" for name in packages)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(STRANGER)
    (tmp_path / "mine.py").write_text("from autodiff import StoreAll\nclass Hold(StoreAll): ...\n")
    return tmp_path


def test_the_package_hands_on_both() -> None:
    """Each public name of both packages is the same object in tapemeasure; others raise."""
    for package in (autodiff, profiler):
        assert {*package.__all__} <= {*tapemeasure.__all__} <= {*dir(tapemeasure)}
        for name in package.__all__:
            assert getattr(tapemeasure, name) is getattr(package, name)
    assert tapemeasure.from_pytorch is from_pytorch
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        tapemeasure.nothing  # noqa: B018  # type: ignore[attr-defined]


def test_importing_loads_no_pytorch(tmp_path: Path) -> None:
    """Neither the package nor the command's modules load PyTorch or pandas before they are used."""
    modules = ", ".join(["tapemeasure.command", *(module for module, _ in SUBCOMMANDS.values())])
    code = f"import sys, {modules}; sys.exit(bool({{'torch', 'pandas'}} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_of_a_subcommand(name: str, tmp_path: Path) -> None:
    """`--help` names the command as it was started; nothing is written."""
    done = run(name, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: tapemeasure {name} ")
    assert len(done.stdout.splitlines()) <= 60
    assert list(tmp_path.iterdir()) == []


def test_help_and_version(tmp_path: Path) -> None:
    """`tapemeasure --help` lists the subcommands; an unknown one is refused with exit 2."""
    shown = run("--help", cwd=tmp_path).stdout
    assert all(f"\n  {name} " in shown for name in SUBCOMMANDS)
    assert run("--version", cwd=tmp_path).stdout == f"tapemeasure {tapemeasure.__version__}\n"
    wrong = run("swep", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "invalid choice: 'swep'" in wrong.stderr


@pytest.mark.slow
def test_the_users_modules_are_not_in_the_way(users_directory: Path) -> None:
    """A sweep runs where modules have our names, in its children too, and finds a planner there."""
    keys = "grid.n=[1] grid.d=[3] grid.b=[4] modes=[checkpointed] timeline=null studies=null"
    done = run(
        *f"sweep {keys} hydra.run.dir=out".split(),
        'planners=["mine:Hold"]',
        "scale={n: 1, d: 4, b: 4, repeats: 1, modes: [checkpointed]}",
        cwd=users_directory,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = read_results(users_directory / "out")
    for frame in (results.results, results.scale):
        assert (list(frame["status"]), list(frame["planner"])) == (["ok"], ["mine:Hold"])


@pytest.mark.parametrize("name", ["autodiff", "profiler"])
def test_python_m_names_what_is_in_the_way(name: str, tmp_path: Path) -> None:
    """`python -m experiments.sweep` next to a module of our name says so and exits with 2."""
    (tmp_path / f"{name}.py").write_text(STRANGER)
    done = subprocess.run(
        [sys.executable, "-m", "experiments.sweep"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{name}.py hides the package {name}" in done.stderr
    assert "`tapemeasure sweep`" in done.stderr


def test_commands_are_named_as_they_were_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is printed starts with what this process was started with."""
    monkeypatch.setattr(sys, "argv", ["tapemeasure sweep", "a=b"])
    assert report_command(Path("/x")) == "tapemeasure report /x"
    monkeypatch.setattr(sys, "argv", ["experiments/sweep.py", "a=b"])
    assert report_command(Path("/x")) == "python -m experiments.report /x"


def test_a_missing_launcher_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A launcher that is not installed is one line with the extra to install, and exit 2."""
    expected = (
        "error: the launcher submitit is not installed; "
        "install the extra: pip install 'tapemeasure[slurm]'\n"
    )
    error = RuntimeError("Unknown plugin class : 'hydra_plugins.hydra_submitit_launcher.x.Y'")
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert command._report(error, "config") == WRONG_INPUT
    assert capsys.readouterr().err == expected
    monkeypatch.setattr(sys, "argv", ["tapemeasure sweep", "hydra/launcher=submitit_slurm"])
    with pytest.raises(SystemExit, match="2"):
        command.run_command(pytest.fail, "config", "interrupted")
    assert capsys.readouterr().err == expected
    monkeypatch.setattr(command, "find_spec", find_spec)
    assert command.missing_launcher("hydra_plugins.hydra_nowhere_launcher") is not None
    monkeypatch.setattr(command, "find_spec", lambda name: object())
    assert command._report(error, "config") != WRONG_INPUT


def test_missing_transformers_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model by name without transformers is one line with the extra to install."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"transformers is not installed.*tapemeasure\[models\]"):
        imported("model.path", "transformers.GPT2LMHeadModel")
