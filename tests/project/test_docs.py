"""The documents hold: their code runs and prints what they show, and every name occurs.

The table of ops is what the code says.

A block of ```text that follows a block of ```python directly is what that one
prints, to the last character.
"""

import contextlib
import inspect
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pytest
import sympy
import torch
from sympy.parsing.sympy_parser import (
    implicit_multiplication,
    parse_expr,
    split_symbols,
    standard_transformations,
)

import autodiff
from autodiff import ComputationNode, Cost, Leaf, Spec, build_graph, checkpointing as planners, ops
from experiments.theory import MODES
from tests.support.docs import blocks_of
from tests.support.paths import ROOT

PAGES = sorted(
    path for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")] if path.exists()
)


def run_page(page: str, name: str) -> None:
    """Run a page's blocks in order in one namespace; compare what they print with the page."""
    namespace: dict[str, Any] = {"__name__": "__page__"}
    for block in blocks_of(page):
        printed = io.StringIO()
        code = compile("\n" * block.line + block.code, name, "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        if block.prints is not None:
            shown = [line.rstrip() for line in printed.getvalue().rstrip().split("\n")]
            assert shown == block.prints.rstrip().split("\n"), (
                f"{name}, the block from line {block.line + 1}"
            )


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory to run in, with figures that are drawn and not shown."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))


@pytest.mark.parametrize("path", PAGES, ids=[path.name for path in PAGES])
@pytest.mark.usefixtures("elsewhere")
def test_code_of_the_pages(path: Path) -> None:
    """Every block of Python runs, after those before it, and prints what the page shows."""
    page = path.read_text(encoding="utf-8")
    assert len(blocks_of(page)) == page.count("```python")
    run_page(page, path.name)
    plt.close("all")


PAGE = "Say\n\n```python\nx = 1 + 1\n```\n\nthen\n\n```python\nprint(x)\n```\n\n```text\n2\n```\n"


def test_a_wrong_page_is_caught() -> None:
    """A block that fails, or prints what the page does not show, is found; a right page passes."""
    run_page(PAGE, "page")
    with pytest.raises(AssertionError, match="page, the block from line 10"):
        run_page(PAGE.replace("\n2\n", "\n3\n"), "page")
    with pytest.raises(NameError):
        run_page(PAGE.replace("x = ", "y = "), "page")


def names_to_find() -> list[str]:
    """Names that a reader meets in code, config or report: modes, planners, ops, experiments."""
    experiments = [path.stem for path in (ROOT / "configs" / "experiment").glob("*.yaml")]
    return [*MODES, *planners.__all__, *ops.__all__, *sorted(experiments)]


def missing_names(names: list[str], text: str) -> list[str]:
    """The names that do not occur as words of the text."""
    return [name for name in names if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]


def test_every_name_is_explained() -> None:
    """Each mode, planner, op and experiment occurs in the README or the docs."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    assert missing_names(names_to_find(), text) == []


def test_a_missing_name_is_caught() -> None:
    """A name that does not occur, or only inside another, is named."""
    assert missing_names(["full", "Tanh", "Log"], "`full`, TanhGradient, LogSoftmax and Log.") == [
        "Tanh"
    ]


def test_links_lead_somewhere() -> None:
    """Every link of a page to a file of this project leads to one."""
    for path in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
            assert os.path.exists(path.parent / target), f"{path.name} links to {target}"


N, R, K, M, P, S = sympy.symbols("N r k m p s", positive=True, integer=True)


def leaf(name: str, *shape: Any, dtype: torch.dtype = torch.float32) -> Leaf:
    return Leaf(None, name, spec=Spec(shape, dtype))


OF_MATRICES: dict[str, Callable[[], ComputationNode]] = {
    "AddBias": lambda: ops.AddBias(leaf("z", R, K), leaf("bias", R)),
    "Cast": lambda: ops.Cast(leaf("a", N), torch.float64),
    "Columns": lambda: ops.Columns(leaf("a", R, K), 0, S),
    "ExpandAxis": lambda: ops.ExpandAxis(leaf("a", R), 1, K),
    "Fill": lambda: ops.Fill(Spec((R, K), torch.float32), 1.0),
    "IntPow": lambda: ops.IntPow(leaf("base", N), 3),
    "LogSoftmax": lambda: ops.LogSoftmax(leaf("x", R, K)),
    "LogSoftmaxGradient": lambda: ops.LogSoftmaxGradient(leaf("g", R, K), leaf("p", R, K)),
    "Matexpand": lambda: ops.Matexpand(leaf("a"), (R, K)),
    "Matmul": lambda: ops.Matmul(leaf("a", M, K), leaf("b", K, P)),
    "PadColumns": lambda: ops.PadColumns(leaf("a", R, S), 0, K),
    "Pick": lambda: ops.Pick(leaf("a", R, K), leaf("classes", K, dtype=torch.int64)),
    "PickGradient": lambda: ops.PickGradient(
        leaf("g", K), leaf("classes", K, dtype=torch.int64), R
    ),
    "Pow": lambda: ops.Pow(leaf("base", N), 0.5),
    "SumAxis": lambda: ops.SumAxis(leaf("a", R, K), 1),
    "Transpose": lambda: ops.Transpose(leaf("a", R, K)),
}


def example(name: str) -> ComputationNode:
    """An op on symbolic shapes: by default N elements for each argument of its formula."""
    if name in OF_MATRICES:
        return OF_MATRICES[name]()
    op = getattr(ops, name)
    arguments = list(inspect.signature(op.compute).parameters)[1:]
    node: ComputationNode = op(*[leaf(argument, N) for argument in arguments])
    return node


def gradient_reads(node: ComputationNode) -> str:
    """What the gradient of each input reads besides the upstream one, as the table has it."""
    upstream = Leaf(None, "upstream", spec=node.spec)
    node.gradient = upstream
    with build_graph():
        downstream = node.backward()
    parts = []
    for below, gradient in zip(node.input_nodes, downstream, strict=True):
        if gradient is None:
            continue
        seen: set[ComputationNode] = {node, upstream, *node.input_nodes}
        nodes = gradient.sorted_nodes(seen) if gradient not in seen else []
        read = {read for reader in nodes for read in reader.input_nodes}
        names = [other.name or "" for other in node.input_nodes if other in read] + (
            ["the result"] if node in read else []
        )
        parts.append(f"∂{below.name}: {', '.join(names) or 'nothing'}")
    return "; ".join(parts) or "no input"


def rows_of_the_table() -> dict[str, list[str]]:
    """The rows of docs/ops.md by op: formula, the four counts, gradient, result."""
    lines = (ROOT / "docs" / "ops.md").read_text(encoding="utf-8").split("\n")
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| `")
    ]
    return {name.strip("`"): rest for name, *rest in cells}


ROWS = rows_of_the_table()
OPS = [name for name in ops.__all__ if isinstance(getattr(autodiff, name), type)]


def count(text: str) -> sympy.Expr:
    """A count as the table writes it, such as `m(k − 1)p` or `2N`; an empty cell is zero."""
    if not text:
        return sympy.Integer(0)
    symbols = {str(symbol): symbol for symbol in (N, R, K, M, P, S)}
    # A symbol before a bracket is a factor, not a function.
    written = re.sub(r"([a-zN\d)])\s*\(", r"\1*(", text.replace("−", "-"))
    return parse_expr(
        written,
        local_dict=symbols,
        transformations=(*standard_transformations, split_symbols, implicit_multiplication),
    )


def test_the_table_has_every_op_once() -> None:
    """The rows of docs/ops.md are the op classes, no more and no fewer."""
    lines = (ROOT / "docs" / "ops.md").read_text(encoding="utf-8").split("\n")
    assert sorted(line.split("`")[1] for line in lines if line.startswith("| `")) == sorted(OPS)


@pytest.mark.parametrize("name", OPS)
def test_a_row_of_the_table(name: str) -> None:
    """An op's row has its cost, what its gradient reads, and whether its result is a view."""
    node = example(name)
    _, *costs, reads, result = ROWS[name]
    cost = node.cost(*[below.spec for below in node.input_nodes])
    counted = (cost.multiplications, cost.additions, cost.comparisons, cost.elementary)
    for written, found in zip(costs, counted, strict=True):
        assert sympy.expand(count(written) - found) == 0
    assert reads == gradient_reads(node)
    assert result == ("new" if node.view_of is None else "view")


def test_a_wrong_row_would_be_caught() -> None:
    """Counts that differ are found; what a gradient reads depends on how it is written."""
    assert count("m(k − 1)p") == M * (K - 1) * P
    assert count("2N") == 2 * N != count("N")

    class Wasteful(ComputationNode):
        """A tanh whose gradient computes tanh once more from its input."""

        def compute(self, x: Any) -> Any:
            return x.tanh()

        def backward(self) -> list[Any]:
            y = ops.Tanh(self.input_nodes[0])
            return [self.gradient * (1 - y * y)]

        def result_spec(self, x: Spec) -> Spec:
            return x

        def cost(self, x: Spec) -> Cost:
            return Cost(elementary=x.numel)

    assert gradient_reads(Wasteful(leaf("x", N))) == "∂x: x"
    assert gradient_reads(ops.Tanh(leaf("x", N))) == "∂x: the result"
