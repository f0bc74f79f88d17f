"""capacity.csv: its columns, how it is read, and what it says in words."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.errors import ResultsError
from experiments.plans import planner_words
from experiments.rows import GREATEST_WHOLE
from experiments.words import percent, short_bytes

log = logging.getLogger("tapemeasure")

CAPACITY = "capacity.csv"
ANY_PLAN = "revolve(max_bytes=…)"
"""The planner's name in the row of whatever plan still fits."""

NUMBERS = ("b", "peak_bytes", "parameter_bytes", "input_bytes", "ops", "ops_recompute")
CAPACITY_COLUMNS = (
    "part",
    "network",
    "activation",
    "loss",
    "dtype",
    "n",
    "d",
    "mode",
    "planner",
    "memory_bytes",
    *NUMBERS,
    "reason",
)
SHAPE = ["part", "network", "activation", "loss", "dtype", "n", "d"]
_KEY = [*SHAPE, "mode", "planner", "memory_bytes"]
_WHOLE = ("n", "d", "memory_bytes", *NUMBERS)


def read_capacity(directories: Iterable[Path]) -> pd.DataFrame:
    """The rows of all directories, each question once; a file or a line that is damaged is passed over and told in the log."""
    frames = [_read(directory / CAPACITY) for directory in directories]
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pd.DataFrame(columns=list(CAPACITY_COLUMNS))
    return pd.concat(frames, ignore_index=True).drop_duplicates(_KEY, ignore_index=True)


def _read(path: Path) -> pd.DataFrame:
    none = pd.DataFrame(columns=list(CAPACITY_COLUMNS))
    if not path.exists():
        return none
    try:
        read: pd.DataFrame = pd.read_csv(path, dtype=str, keep_default_na=False)
        lacking = [column for column in CAPACITY_COLUMNS if column not in read]
        if lacking:
            raise ResultsError(f"it has no column {lacking[0]}")
    except (ValueError, ResultsError) as error:
        log.warning(
            "%s is damaged and passed over: %s", path, (str(error).strip().splitlines() or [""])[0]
        )
        return none
    whole = read[list(CAPACITY_COLUMNS)].copy()
    for column in _WHOLE:
        numbers = pd.to_numeric(whole[column], errors="coerce")
        whole[column] = numbers.where(
            (numbers >= 0) & (numbers <= GREATEST_WHOLE) & (numbers % 1 == 0)
        ).astype("Int64")
    sound = whole[["n", "d", "memory_bytes", "b"]].notna().all(axis=1)
    sound &= (whole["b"].fillna(0) == 0) | whole[list(NUMBERS)].notna().all(axis=1)
    if not sound.all():
        log.warning("%s: %d damaged lines are passed over", path, int((~sound).sum()))
    return whole[sound].reset_index(drop=True)


@dataclass(frozen=True)
class CapacityLine:
    """One way to compute a step, as a table's line: the largest batch, as a multiple of plain backpropagation's, and what it costs."""

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
    """A shape in words: the study that it is of, depth and width."""
    shape = f"{int(row['n'])} × {int(row['d']):,}"
    return shape if row["part"] == "exact" else f"{row['part']}, {shape}"


def way_of(row: Any) -> str:
    """Mode and planner in words."""
    if row["mode"] != "checkpointed":
        return {"no_grad": "no-grad", "full": "store all (full)", "w1_only": "W₁ only"}.get(
            row["mode"], str(row["mode"])
        )
    return "any plan of revolve" if row["planner"] == ANY_PLAN else planner_words(row["planner"])


def capacities_of(frame: pd.DataFrame) -> list[Capacity]:
    """For each shape and memory what fits, in words and as a table; a shape of which nothing fits has its reason alone."""
    told = []
    for _, group in frame.groupby([*SHAPE, "memory_bytes"], sort=False):
        rows = group.to_dict("records")
        heading = f"{name_of(rows[0])}, {rows[0]['activation']}, {rows[0]['dtype']}, in {short_bytes(int(rows[0]['memory_bytes']))}"
        full = next((row for row in rows if row["mode"] == "full"), None)
        trained = [row for row in rows if row["mode"] in ("full", "checkpointed")]
        if not any(row["b"] for row in rows):
            told.append(Capacity(heading, (f"Nothing fits: {(full or rows[0])['reason']}.",), ()))
            continue
        told.append(
            Capacity(
                heading, tuple(_sentences(full, trained)), tuple(_line(row, full) for row in rows)
            )
        )
    return told


def _sentences(full: dict[str, Any] | None, trained: list[dict[str, Any]]) -> list[str]:
    """What checkpointing gains over keeping everything, or why nothing is gained."""
    most = max(trained, key=lambda row: (row["b"], -_ops_each(row)), default=None)
    if most is None or full is None:
        return []
    if not most["b"]:
        return [
            f"No step that trains every weight fits, however much is recomputed: {most['reason']}."
        ]
    given = short_bytes(most["parameter_bytes"])
    if most["b"] == full["b"]:
        return [
            f"No plan takes a larger batch than {full['b']:,}: what fills the memory beside weights of {given} is not activations."
        ]
    start = (
        f"Keeping everything holds a batch of {full['b']:,}"
        if full["b"]
        else "Keeping everything does not fit"
    )
    gain = f" ({most['b'] / full['b']:.3g} times as many)" if full["b"] else ""
    cost = percent(most["ops_recompute"], most["ops"] - most["ops_recompute"])
    return [
        f"{start}; the most is {most['b']:,}{gain}, by {way_of(most)}, for {cost} more operations an example. Weights alone take {given}."
    ]


def _ops_each(row: dict[str, Any]) -> float:
    return float(row["ops"]) / float(row["b"]) if row["b"] else float("inf")


def _line(row: dict[str, Any], full: dict[str, Any] | None) -> CapacityLine:
    if not row["b"]:
        return CapacityLine(way_of(row), "none", "–", "–", row["reason"])
    times = f"{row['b'] / full['b']:.3g}" if full is not None and full["b"] else "–"
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
        ", ".join(f"{name} {short_bytes(int(size))}" for name, size in parts),
    )
