"""The import contracts of pyproject.toml hold, and each of them can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("autodiff", "profiler", "experiments", "tapemeasure")


def lint_imports(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Return the run of import-linter on a tree of the packages."""
    linter = "from importlinter.cli import lint_imports_command as lint; lint()"
    command = [sys.executable, "-c", linter, "--no-cache", "--no-logo", *arguments]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of the packages and the contracts."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold() -> None:
    """Every contract is kept."""
    found = lint_imports(ROOT)
    assert (found.returncode, "0 broken" in found.stdout) == (0, True), found.stdout


FORBIDDEN = {
    "packages": [
        ("autodiff/cost.py", "import profiler"),
        ("profiler/units.py", "from experiments import errors"),
        ("experiments/errors.py", "import tapemeasure"),
        ("autodiff/spec.py", "def late():\n    import profiler.units"),
        (
            "autodiff/spec.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from profiler import units",
        ),
    ],
    "parts": [
        ("experiments/results/rows.py", "from experiments.analysis import verdict"),
        ("experiments/cli/exit.py", "from experiments import sweeping"),
        ("experiments/figures/style.py", "from experiments.reporting.page import Page"),
        ("experiments/report.py", "import experiments.sweep"),
        ("experiments/theory/case.py", "from experiments import fitting"),
        ("experiments/new.py", '"""A module without a place in the layers."""'),
    ],
    "theory": [
        ("experiments/theory/case.py", "from autodiff.cost import Cost"),
        ("experiments/theory/case.py", "from experiments import names"),
        ("experiments/theory/peaks.py", "import experiments.errors"),
        ("experiments/theory/peaks.py", "from experiments.text import number"),
        ("experiments/theory/peaks.py", "import experiments.keys"),
    ],
    "fitting": [
        ("experiments/fitting/search.py", "from experiments import theory"),
        ("experiments/fitting/table.py", "from experiments.measuring import point"),
        ("experiments/fitting/table.py", "import profiler.units"),
    ],
    "acyclic": [
        ("autodiff/errors.py", "import autodiff.executable"),
        ("autodiff/spec.py", "def late():\n    from autodiff import program"),
        ("profiler/units.py", "from profiler import table"),
        ("experiments/results/files.py", "from experiments.results import tables"),
    ],
}


@pytest.mark.parametrize(
    ("contract", "module", "line"),
    [(name, *planted) for name, cases in FORBIDDEN.items() for planted in cases],
)
def test_a_forbidden_import_is_found(tree: Path, contract: str, module: str, line: str) -> None:
    """A planted import breaks its contract."""
    with (tree / module).open("a") as file:
        file.write(f"\n\n{line}\n")
    found = lint_imports(tree, "--contract", contract)
    assert (found.returncode, "1 broken" in found.stdout) == (1, True), found.stdout
