"""The house keeps its shape: imports go one way, modules stay short, the theory stands alone, and no file names a machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("autodiff", "profiler", "experiments")
BELOW = {
    "autodiff": {"autodiff"},
    "profiler": {"autodiff", "profiler"},
    "experiments": {"autodiff", "profiler", "experiments"},
}
LONGEST = 300


def modules(package: str) -> Iterator[Path]:
    """Every module of a package."""
    return (ROOT / package).rglob("*.py")


def imported_packages(source: str) -> set[str]:
    """The top-level names of everything that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def against_the_direction(package: str, source: str) -> set[str]:
    """The packages of this house that a module of `package` imports and may not."""
    return (imported_packages(source) & {*PACKAGES, "tests"}) - BELOW[package]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    """No module imports from a package above its own."""
    wrong = {
        str(path): found
        for path in modules(package)
        if (found := against_the_direction(package, path.read_text()))
    }
    assert wrong == {}


def test_an_import_against_the_direction_is_seen() -> None:
    """An import upwards is found, also inside a function."""
    assert against_the_direction("autodiff", "def f():\n    from profiler import profile\n") == {
        "profiler"
    }
    assert against_the_direction("profiler", "import experiments.theory\n") == {"experiments"}


def test_the_theory_and_the_fit_stand_alone() -> None:
    """The theory imports nothing of engine or profiler; the fit imports neither theory nor networks."""
    for path in (ROOT / "experiments").glob("theory*.py"):
        assert imported_packages(path.read_text()).isdisjoint({"autodiff", "profiler", "torch"}), (
            path
        )
    for path in [*(ROOT / "experiments").glob("fit*.py"), ROOT / "experiments" / "monomials.py"]:
        source = path.read_text()
        assert "theory" not in re.findall(r"^(?:from|import) (\S+)", source, re.M), path
        assert not re.search(
            r"^(from|import) (experiments\.theory|autodiff\.networks|profiler)", source, re.M
        ), path


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_stay_short(package: str) -> None:
    """No module is longer than 300 lines."""
    long = {
        str(path): lines
        for path in modules(package)
        if (lines := len(path.read_text().splitlines())) > LONGEST
    }
    assert long == {}


def test_every_module_says_what_it_is() -> None:
    """Every module but an empty one opens with a docstring."""
    silent = [
        path
        for package in PACKAGES
        for path in modules(package)
        if path.read_text() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_no_file_names_a_machine() -> None:
    """No tracked text file holds an absolute path of somebody's machine."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    suffixes = {".py", ".md", ".yaml", ".toml", ".jinja", ".sh", ""}
    texts = [ROOT / name for name in listed if Path(name).suffix in suffixes]
    pattern = re.compile(r"/(?:home|Users|root|work)/\w")
    named = [
        path
        for path in texts
        if path.exists()
        and path.name != Path(__file__).name
        and pattern.search(path.read_text(errors="ignore"))
    ]
    assert named == []


def test_the_command_line_answers_without_pytorch() -> None:
    """Parsing the sweep's command line loads no PyTorch."""
    code = (
        "import sys, experiments.sweep; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
