"""A hook of MkDocs: the parts of pages that are made when the site is built.

`<!-- figures -->` stands for the figures of the sweep in build/gallery, `<!-- figure NAME -->` for
one of them, `<!-- notebook PATH -->` for a notebook with what its cells print and show, and
`<!-- names of PACKAGE -->` for the reference of each public name in PACKAGE/__init__.pyi.
"""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from nbclient import NotebookClient

FIGURES = Path("build/gallery/figures")
WITHOUT_WIDGETS = "import sys; sys.modules['ipywidgets'] = None; sys.path.insert(0, '.')"
SHOWN: dict[str, str] = {}
"""What notebooks' cells show, by the word that stands for it until the page is HTML."""


def on_files(files: Any, config: Any) -> Any:
    """Add the figures to the site's files."""
    drawn = sorted(FIGURES.glob("*.svg"))
    if not drawn:
        raise PluginError(f"{FIGURES} holds no figures; build the site by `make docs`")
    for path in drawn:
        name = f"gallery/figures/{path.name}"
        files.append(File.generated(config, name, abs_src_path=str(path.resolve())))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put figures, notebooks and references where a page has the mark for them."""
    drawn = [path.stem for path in sorted(FIGURES.glob("*.svg"))]
    gallery = "\n\n".join(
        f"## {name.replace('_', ' ').capitalize()}\n\n{figure(name)}" for name in drawn
    )
    markdown = markdown.replace("<!-- figures -->", gallery)
    for pattern, made in (
        (r"<!-- figure (\w+) -->", figure),
        (r"<!-- notebook ([\w./]+) -->", notebook),
        (r"<!-- names of ([\w.]+) -->", references),
    ):
        markdown = re.sub(pattern, lambda found, made=made: made(found[1]), markdown)
    return markdown


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Put what a notebook's cells show into the page, as it is."""
    for word, shown in SHOWN.items():
        html = html.replace(f"<p>{word}</p>", shown)
    return html


def figure(name: str) -> str:
    """Return a figure of the sweep: its message is what a reader hears who does not see it."""
    path = FIGURES / f"{name}.svg"
    if not path.is_file():
        raise PluginError(
            f"the sweep of the site draws no figure {name}; expected one in {FIGURES}"
        )
    said = {
        element.tag.rpartition("}")[2]: element.text or ""
        for element in ElementTree.parse(path).iter()
        if element.tag.startswith("{http://purl.org/dc/")
    }
    alt = re.sub(r"([\[\]_*])", r"\\\1", said["title"])
    return f"![{alt}](gallery/figures/{name}.svg)\n\n{said['description']}"


def notebook(path: str) -> str:
    """Return a notebook, run without widgets, as Markdown."""
    read = nbformat.read(path, as_version=4)
    cells = list(read.cells)
    read.cells.insert(0, nbformat.v4.new_code_cell(WITHOUT_WIDGETS))
    NotebookClient(read, timeout=300, kernel_name="python3").execute()
    parts = []
    for cell in cells:
        if cell.cell_type != "code":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            word = f"notebook-output-{len(SHOWN)}"
            SHOWN[word] = shown_by(output)
            parts.append(word)
    return "\n\n".join(parts)


def shown_by(output: Any) -> str:
    """Return an output of a cell as HTML: the richest form that it has."""
    data = output.get("data", {})
    if "text/html" in data:
        return str(data["text/html"])
    if "image/png" in data:
        return (
            f'<img alt="what the code above draws" src="data:image/png;base64,{data["image/png"]}">'
        )
    text = data.get("text/plain", output.get("text", ""))
    return f"<pre><code>{escape(text)}</code></pre>"


def references(package: str) -> str:
    """Return the reference of a package's public names."""
    return "\n\n".join(f"::: {name}" for name in public_names(package))


def public_names(package: str) -> list[str]:
    """Return the full names that a package's stub hands on, each with its defining module."""
    stub = Path(package.replace(".", "/"), "__init__.pyi").read_text(encoding="utf-8")
    return sorted(
        ".".join(part for part in (package, node.module, alias.name) if part)
        for node in ast.parse(stub).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )
