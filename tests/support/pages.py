"""A page read back."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from html.parser import HTMLParser

from experiments.reporting.sweep import write_report
from experiments.results.tables import Results
from tests.support.paths import ROOT

OUR_SCRIPTS = [
    (ROOT / path).read_text().strip()
    for path in ("profiler/interactive.js", "experiments/reporting/templates/page.js")
]


class Page(HTMLParser):
    """What a page is made of: its tags, every address in it, its text, and foreign scripts."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.foreign_scripts: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        # What a browser would run on an event is a script too.
        self.foreign_scripts += [str(value) for name, value in attrs if name.startswith("on")]
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
        elif "script" in self.open and not is_ours(data):
            self.foreign_scripts.append(data)


def is_ours(script: str) -> bool:
    """Whether a script is one of the project's own, or data for one."""
    if script.strip() in OUR_SCRIPTS:
        return True
    with suppress(ValueError):
        json.loads(script)
        return True
    return False


def page_of(results: Results) -> Page:
    """The report of results, read back."""
    return Page(write_report(results).read_text())
