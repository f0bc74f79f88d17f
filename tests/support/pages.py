"""A page read back."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from experiments.reporting.sweep import write_report
from experiments.results.tables import Results


class Page(HTMLParser):
    """What a page is made of: its tags, every address in it, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.addresses += [
            value or ""
            for name, value in attrs
            if name in ("src", "href", "xlink:href", "data", "action")
        ]

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words += re.sub(r"\s+", " ", data)


def page_of(results: Results) -> Page:
    """The report of results, read back."""
    return Page(write_report(results).read_text())
