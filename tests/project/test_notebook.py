"""The notebook runs from top to bottom, with widgets and without, and shows what it promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.paths import ROOT

NOTEBOOK = ROOT / "notebooks" / "exercise.ipynb"
WITHOUT_WIDGETS = "import sys; sys.modules['ipywidgets'] = None"


def executed(before: str = "") -> list[Any]:
    """The outputs of the notebook's code cells, run in this environment."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    setup = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{before}"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(setup))
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"][1:]


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", WITHOUT_WIDGETS])
def test_the_notebook_runs(before: str, tmp_path: Path) -> None:
    """Every cell runs; the graph prints, the timelines are shown, the orders are right."""
    outputs = executed(before)
    text = "".join(one.get("text", "") for cell in outputs for one in cell)
    assert "Mean result=1.25 gradient=1.0" in text
    assert "twice n: 2." in text
    assert "twice b: 2." in text
    assert "twice d: 4." in text or "twice d: 3.9" in text
    pages = [
        one["data"]["text/html"]
        for cell in outputs
        for one in cell
        if "text/html" in one.get("data", {})
    ]
    assert sum('<div class="timeline">' in page for page in pages) >= 2
    assert any("output shape" in page for page in pages)
    widgets = [
        "application/vnd.jupyter.widget-view+json" in one.get("data", {})
        for cell in outputs
        for one in cell
    ]
    assert any(widgets) == (not before)


def test_the_notebook_is_saved_without_outputs() -> None:
    """Outputs would be stale numbers of another version: they are made when it runs."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
