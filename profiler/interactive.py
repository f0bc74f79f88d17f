"""The timeline of a step as a picture to explore: one fragment of HTML that loads nothing.

It is made from the events of `Profile.timeline()`, or of a table with the same columns. Hovering
over a step says what ran and what was alive; a click lists every buffer alive at that moment.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

MOST_BUFFERS = 20_000
"""Buffers that a panel lists, the greatest: with more, a page would be too large to open."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One step: its label, its events, and the bytes by role that exist before it.

    The columns after `live_bytes` are the live bytes of each role, named `role` or
    `live_role_bytes`.
    """

    label: str
    events: pd.DataFrame
    given_bytes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class InteractiveTimeline:
    """A timeline that a notebook shows as the last value of a cell, and that can be saved."""

    html: str

    def _repr_html_(self) -> str:
        return self.html

    def save(self, path: str | Path) -> Path:
        """Write a page that opens offline in any browser; return its path."""
        written = Path(path)
        written.write_text(
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            'content="width=device-width"><title>Live bytes through a step</title><style>:root '
            "{ color-scheme: light dark; }</style></head>"
            f"<body>{self.html}</body></html>\n"
        )
        return written


def timeline_html(panels: Iterable[Panel]) -> str:
    """Return the interactive timeline of steps, on one axis of bytes, as a fragment of HTML."""
    content = json.dumps([_content(panel) for panel in panels], separators=(",", ":"))
    # A name may hold anything; within a script element only this would end it.
    content = content.replace("<", "\\u003c")
    here = resources.files("profiler")
    style, script = ((here / f"interactive.{kind}").read_text() for kind in ("css", "js"))
    return (
        f'<div class="timeline"><style>{style}</style>'
        f'<script type="application/json">{content}</script></div><script>{script}</script>'
    )


def _content(panel: Panel) -> dict[str, Any]:
    """Return what the script draws of a step: per step name, phase and live bytes; buffers."""
    events = panel.events
    steps = events[events["event"] == "computed"].sort_values("step", kind="stable")
    after = events.columns[list(events.columns).index("live_bytes") + 1 :]
    columns = {str(name).removeprefix("live_").removesuffix("_bytes"): str(name) for name in after}
    before = {role: int(nbytes) for role, nbytes in panel.given_bytes.items() if nbytes}
    live = {
        role: (steps[columns[role]] if role in columns else 0 * steps["step"]).astype("int64")
        + before.get(role, 0)
        for role in dict.fromkeys((*before, *columns))
    }
    phases = list(dict.fromkeys(steps["phase"]))
    return {
        "label": panel.label,
        "steps": [str(name) for name in steps["node"]],
        "phases": phases,
        "phase": [phases.index(phase) for phase in steps["phase"]],
        "given": sum(before.values()),
        "live": {role: values.tolist() for role, values in live.items() if values.any()},
        "buffers": _buffers(events, columns),
    }


def _buffers(events: pd.DataFrame, columns: Mapping[str, str]) -> list[list[Any]]:
    """Return [name, bytes, role, born, dies] of each buffer; one that outlives all has dies −1.

    A value that is computed again is another buffer of the same name.
    """
    levels = events[list(columns.values())].to_numpy(dtype="int64")
    roles = list(columns)
    found: list[list[Any]] = []
    living: dict[Hashable, list[int]] = defaultdict(list)
    is_event = events["event"].isin(("allocated", "freed")).to_numpy()
    for at in is_event.nonzero()[0]:
        event = events.iloc[at]
        key = (event["node"], event["bytes"])
        if event["event"] == "freed":
            if living[key]:
                found[living[key].pop(0)][4] = int(event["step"])
            continue
        change = levels[at] - (levels[at - 1] if at else 0)
        role = roles[int(change.argmax())] if change.any() else roles[0]
        living[key].append(len(found))
        found.append([str(event["node"]), int(event["bytes"]), role, int(event["step"]), -1])
    return sorted(found, key=lambda buffer: -buffer[1])[:MOST_BUFFERS]
