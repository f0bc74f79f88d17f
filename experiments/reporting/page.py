"""Pages from templates: every text escaped, nothing loaded from elsewhere, figures inlined."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"


@dataclass(frozen=True)
class PageFigure:
    """A figure of a page: its name, its message, how to read it, its SVG, and one for a phone."""

    name: str
    title: str
    caption: str
    svg: Markup
    narrow: Markup | None = None


def render(template: str, **content: Any) -> str:
    """Return the page of a template; whatever is not `Markup` is escaped."""
    return _with_labels(_environment().get_template(template).render(**content))


def _with_labels(page: str) -> str:
    """Return a page whose cells carry the heading of their column, where tables have one.

    On a narrow screen a row becomes a card, and a cell without its heading would say nothing.
    """
    return re.sub(r"<table>.*?</table>", lambda table: _labelled(table[0]), page, flags=re.DOTALL)


def _labelled(table: str) -> str:
    head, body = table.partition("</thead>")[::2]
    if not body:
        return table
    labels = [
        re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", heading)).strip().replace('"', "&quot;")
        for heading in re.findall(r"<th\b[^>]*>(.*?)</th>", head, flags=re.DOTALL)
    ]

    def row(cells: re.Match[str]) -> str:
        names = iter(labels)
        return re.sub(
            r"<(td|th)\b", lambda cell: f'<{cell[1]} data-label="{next(names, "")}"', cells[0]
        )

    body = re.sub(r"<tr>.*?</tr>", row, body, flags=re.DOTALL)
    return f"{head}</thead>{body}".replace("<table>", '<table class="cards">', 1)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    loader = PackageLoader("experiments.reporting")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["indexed"] = indexed
    return environment


def indexed(text: str) -> Markup:
    """Return a text, escaped, in which T_run and the like have their index below the line."""
    return Markup(re.sub(r"\b([A-Z])_(\w+)", r"\1<sub>\2</sub>", str(Markup.escape(text))))


def page_figures(folder: Path, names: Iterable[str]) -> list[PageFigure]:
    """Return the figures of a folder with these names, in their order, without missing ones.

    Those in its folder `phone` are shown on narrow screens.
    """
    found = []
    for name in names:
        # A running sweep draws its figures again, so a file may vanish meanwhile.
        with suppress(FileNotFoundError):
            figure = _page_figure(name, (folder / f"{name}.svg").read_text())
            with suppress(FileNotFoundError):
                narrow = _page_figure(name, (folder / "phone" / f"{name}.svg").read_text())
                figure = replace(figure, narrow=narrow.svg)
            found.append(figure)
    return found


def _page_figure(name: str, text: str) -> PageFigure:
    """Return an SVG with its title and caption, without what only a file of its own needs."""
    described = {
        element.tag: element.text or ""
        for element in ElementTree.fromstring(text).iter()
        if element.tag.startswith(_DUBLIN_CORE)
    }
    title, caption = (described.get(_DUBLIN_CORE + field, "") for field in ("title", "description"))
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, count=1, flags=re.DOTALL)
    # The page sets its size; the view box stays.
    head, rest = body.split(">", 1)
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)
    label = Markup.escape(title)
    svg = Markup(f'{head} role="img" aria-label="{label}">{rest}')
    return PageFigure(name, title, caption, svg)
