"""What fits in a memory, in words: one table per shape and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.analysis.plans import planner_words
from experiments.results.capacity import ANY_PLAN, SHAPE
from experiments.text import percent
from profiler.units import human_bytes


@dataclass(frozen=True)
class CapacityLine:
    """One way to compute a step: its largest batch, that over full's, and what it costs."""

    words: str
    batch: str
    times: str
    more: str
    takes: str


@dataclass(frozen=True)
class Capacity:
    """What one memory holds of one shape."""

    heading: str
    sentences: tuple[str, ...]
    lines: tuple[CapacityLine, ...]


def name_of(row: Any) -> str:
    """Return a shape in words: its study, depth and width."""
    shape = f"{int(row['n'])} × {int(row['d']):,}"
    return shape if row["part"] == "exact" else f"{row['part']}, {shape}"


def way_of(row: Any) -> str:
    """Return mode and planner in words."""
    if row["mode"] != "checkpointed":
        return {"no_grad": "no-grad", "full": "store all (full)", "w1_only": "W₁ only"}.get(
            row["mode"], str(row["mode"])
        )
    return "any plan of revolve" if row["planner"] == ANY_PLAN else planner_words(row["planner"])


def capacities_of(frame: pd.DataFrame) -> list[Capacity]:
    """Return what fits for each shape and memory; where nothing fits, only the reason."""
    found = []
    for _, group in frame.groupby([*SHAPE, "memory_bytes"], sort=False):
        rows = group.to_dict("records")
        first, memory = rows[0], human_bytes(int(rows[0]["memory_bytes"]))
        heading = f"{name_of(first)}, {first['activation']}, {first['dtype']}, in {memory}"
        full = next((row for row in rows if row["mode"] == "full"), None)
        trained = [row for row in rows if row["mode"] in ("full", "checkpointed")]
        if not any(row["b"] for row in rows):
            found.append(Capacity(heading, (f"Nothing fits: {(full or rows[0])['reason']}.",), ()))
            continue
        found.append(
            Capacity(
                heading, tuple(_sentences(full, trained)), tuple(_line(row, full) for row in rows)
            )
        )
    return found


def _sentences(full: dict[str, Any] | None, trained: list[dict[str, Any]]) -> list[str]:
    """Return what checkpointing gains over keeping everything, or why it gains nothing."""
    most = max(trained, key=lambda row: (row["b"], -_ops_each(row)), default=None)
    if most is None or full is None:
        return []
    if not most["b"]:
        return [
            f"No step that trains every weight fits, however much is recomputed: {most['reason']}."
        ]
    given = human_bytes(most["parameter_bytes"])
    if most["b"] == full["b"]:
        return [
            f"No plan allows a larger batch than {full['b']:,}: besides weights of {given}, "
            "activations are not what fills the memory."
        ]
    start = (
        f"Keeping everything allows a batch of {full['b']:,}"
        if full["b"]
        else "Keeping everything does not fit"
    )
    gain = f" ({most['b'] / full['b']:.3g}×)" if full["b"] else ""
    cost = percent(most["ops_recompute"], most["ops"] - most["ops_recompute"])
    return [
        f"{start}; the largest is {most['b']:,}{gain}, with {way_of(most)}, for {cost} more "
        f"operations per example. The weights need {given}."
    ]


def _ops_each(row: dict[str, Any]) -> float:
    return float(row["ops"]) / float(row["b"]) if row["b"] else float("inf")


def _line(row: dict[str, Any], full: dict[str, Any] | None) -> CapacityLine:
    if not row["b"]:
        return CapacityLine(way_of(row), "none", "–", "–", row["reason"])
    times = f"{row['b'] / full['b']:.3g}×" if full is not None and full["b"] else "–"
    more = (
        percent(row["ops_recompute"], row["ops"] - row["ops_recompute"])
        if row["mode"] == "checkpointed"
        else "–"
    )
    parts = [
        ("peak", row["peak_bytes"]),
        ("weights", row["parameter_bytes"]),
        ("data", row["input_bytes"]),
    ]
    return CapacityLine(
        way_of(row),
        f"{row['b']:,}",
        times,
        more,
        ", ".join(f"{name} {human_bytes(int(size))}" for name, size in parts),
    )
