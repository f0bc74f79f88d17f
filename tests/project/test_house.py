"""How modules are written: short, documented, plain imports at the top, names of their own."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("autodiff", "profiler", "experiments", "tapemeasure")
MODULES = [
    path.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
]
HOT_LOOP = "profiler/pytorch/recorder.py"
"""One long function there saves a call for each operation that PyTorch runs."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(node: ast.AST) -> Iterator[Function]:
    """Yield every function, methods and functions within functions included."""
    return (found for found in ast.walk(node) if isinstance(found, Function))


def too_long(source: str, allowed: int = 50) -> dict[str, int]:
    """Return the functions that are longer than allowed, with their lines."""
    lengths = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions(ast.parse(source))}
    return {name: lines for name, lines in lengths.items() if lines > allowed}


def late_imports(source: str) -> list[int]:
    """Return the lines of imports of the project's own modules that are not at a module's top."""
    tree = ast.parse(source)
    top = set(tree.body)
    return sorted(
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and node not in top
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else _names(node))
        if name and name.split(".")[0] in PACKAGES
    )


def _names(node: ast.Import) -> list[str]:
    return [alias.name for alias in node.names]


def shadowed(module: str, source: str) -> bool:
    """Return whether a module defines a public function of its own name."""
    defined = {node.name for node in ast.parse(source).body if isinstance(node, Function)}
    return Path(module).stem in defined


@pytest.mark.parametrize("module", MODULES)
def test_a_module(module: str) -> None:
    """A module is short, so are its functions; it has a docstring and no late import of our own."""
    source = (ROOT / module).read_text()
    assert len(source.splitlines()) <= 300
    assert too_long(source) == {} or module in {HOT_LOOP}
    assert late_imports(source) == []
    assert not shadowed(module, source)
    assert not source or ast.get_docstring(ast.parse(source))


def test_what_a_module_must_not_do_is_found() -> None:
    """Each check finds an example of what it forbids, and accepts its opposite."""
    body = "".join(f"    x = {i}\n" for i in range(50))
    assert too_long(f"class A:\n  def f():\n{body}") == {"f": 51}
    assert too_long("def f():\n    return 1\n") == {}
    late = "import os\nif 1:\n    import profiler\ndef f():\n    from experiments.a import b\n"
    assert late_imports(late) == [3, 5]
    assert late_imports("def f():\n    import torch\nimport autodiff\n") == []
    assert shadowed("a/check.py", "def check(): ...")
    assert not shadowed("a/check.py", "def checked(): ...")


def test_no_file_names_a_machine() -> None:
    """No tracked text file holds an absolute path of somebody's machine."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    suffixes = {".py", ".pyi", ".md", ".yaml", ".yml", ".toml", ".jinja", ".sh", ""}
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
