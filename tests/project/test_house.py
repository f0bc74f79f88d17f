"""The house keeps its shape: imports go one way, modules stay short, the theory stands alone, and no file names a machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("autodiff", "profiler", "experiments")
LONGEST = 300


def modules(package: str) -> Iterator[Path]:
    """Every module of a package."""
    return (ROOT / package).rglob("*.py")


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
