"""A hook of MkDocs: the parts of pages that are made when the site is built.

`<!-- figures -->` stands for the figures of the sweep in build/gallery, and
`<!-- names of PACKAGE -->` for the reference of each public name in PACKAGE/__init__.pyi.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

FIGURES = Path("build/gallery/figures")


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
    """Put figures and references where a page has the mark for them."""
    shown = "\n\n".join(
        f"## {name}\n\n![Figure: {name}](gallery/figures/{path.name})"
        for path in sorted(FIGURES.glob("*.svg"))
        for name in [path.stem.replace("_", " ").capitalize()]
    )
    return re.sub(
        r"<!-- names of ([\w.]+) -->",
        lambda found: "\n\n".join(f"::: {name}" for name in public_names(found[1])),
        markdown.replace("<!-- figures -->", shown),
    )


def public_names(package: str) -> list[str]:
    """Return the full names that a package's stub hands on, each with its defining module."""
    stub = Path(package.replace(".", "/"), "__init__.pyi").read_text(encoding="utf-8")
    return sorted(
        ".".join(part for part in (package, node.module, alias.name) if part)
        for node in ast.parse(stub).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )
