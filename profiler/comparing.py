"""Several steps next to one another: what each costs, as a multiple of the first, and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from autodiff.errors import GraphError
from profiler.interactive import Panel, timeline_html
from profiler.measurement import Profile
from profiler.table import latex_of
from profiler.units import human_bytes, human_count, human_ns


@dataclass(frozen=True, eq=False)
class Comparison:
    """Profiles with their labels; `frame` has one row a quantity and one column a profile."""

    labels: tuple[str, ...]
    profiles: tuple[Profile, ...]
    frame: pd.DataFrame

    def __str__(self) -> str:
        return str(self._shown().to_string(index=False))

    def _repr_html_(self) -> str:
        panels = [
            Panel(label, profile.timeline(), profile.given_bytes)
            for label, profile in zip(self.labels, self.profiles, strict=True)
        ]
        return str(self._shown().to_html(index=False)) + timeline_html(panels)

    def to_latex(self) -> str:
        """Return the table for LaTeX with the package booktabs."""
        return latex_of(self._shown(), "l" + "r" * len(self.labels))

    def _shown(self) -> pd.DataFrame:
        rows = []
        for row in self.frame.to_dict("records"):
            values = [row[label] for label in self.labels]
            words = [_FORMATS[row["unit"]](value) if value is not None else "–" for value in values]
            shown = [
                f"{word} ({value / values[0]:.3g}×)" if index and value and values[0] else word
                for index, (word, value) in enumerate(zip(words, values, strict=True))
            ]
            rows.append([row["quantity"], *shown])
        return pd.DataFrame(rows, columns=["", *self.labels])


_FORMATS: dict[str, Callable[[int], str]] = {
    "operations": human_count,
    "bytes": lambda count: f"{human_count(count)} ({human_bytes(count)})",
    "ns": human_ns,
}


def compare(*profiles: Profile, labels: Sequence[str] = ()) -> Comparison:
    """Return a comparison of profiles, of graphs or of PyTorch steps, with the first.

    It prints as a table; a notebook shows the timelines too, on one axis of bytes. Raises
    GraphError unless there are two profiles or more, and a different label for each where there are
    labels.
    """
    names = tuple(labels) or tuple(f"step {number + 1}" for number in range(len(profiles)))
    if len(profiles) < 2 or len(set(names)) != len(profiles):
        raise GraphError(
            f"{len(profiles)} profiles and the labels {list(names)} given; expected at least two "
            "profiles and as many different labels: compare(full, planned, labels=['full', 'plan'])"
        )
    phases = list(dict.fromkeys(phase for one in profiles for phase in one.ops_by_phase))
    rows = [
        ("operations", "operations", [one.ops.total for one in profiles]),
        *(
            (
                f"operations, {phase}",
                "operations",
                [getattr(one.ops_by_phase.get(phase), "total", 0) for one in profiles],
            )
            for phase in phases
        ),
        ("peak", "bytes", [one.peak_bytes for one in profiles]),
        ("left after the step", "bytes", [one.live_after_bytes for one in profiles]),
        ("time", "ns", [sum(one.wall_ns.values()) if one.wall_ns else None for one in profiles]),
    ]  # fmt: skip
    frame = pd.DataFrame(
        [
            {"quantity": quantity, "unit": unit, **dict(zip(names, values, strict=True))}
            for quantity, unit, values in rows
            if any(values)
        ]
    ).astype(object)
    return Comparison(names, tuple(profiles), frame.where(frame.notna(), None))
