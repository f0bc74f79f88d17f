"""Seconds that count: those of rows that were measured alone.

A launcher that runs jobs concurrently marks their rows `concurrent`. Their timings depend on the
other jobs, so whatever shows timings excludes them unless asked; operations and bytes still count.
"""

from __future__ import annotations

import pandas as pd

from experiments.text import counted

LEAST_SECONDS = 0.02
"""A step shorter than this is mostly the cost of calling: its times scatter and teach nothing."""

LEFT_OUT = "seconds_left_out"
WALL = tuple(
    f"wall_ns_{phase}{spread}"
    for phase in ("forward", "recompute", "backward")
    for spread in ("", "_spread")
)


def seconds_that_count(rows: pd.DataFrame, concurrent: bool = False) -> pd.DataFrame:
    """Return the rows without the timings of concurrent ones, and a column that marks those rows.

    They come last, so that of a shape that was measured twice the timed row is found first.
    """
    if LEFT_OUT in rows:
        return rows
    timed = rows["wall_ns_forward"].notna() & rows["concurrent"].astype(bool)
    left_out = timed & (not concurrent)
    frame = rows.assign(**{LEFT_OUT: left_out})
    if not left_out.any():
        return frame
    frame.loc[left_out, list(WALL)] = pd.NA
    return frame.sort_values(LEFT_OUT, kind="stable", ignore_index=True)


def left_out_of(rows: pd.DataFrame) -> int:
    """How many of these rows had seconds that were left out."""
    return int(
        sum(
            rows[name].astype(bool).sum()
            for name in rows
            if str(name).removesuffix("_pytorch") == LEFT_OUT
        )
    )


def left_out_words(rows: pd.DataFrame) -> str:
    """Return the note of a figure about the rows whose timings it excludes; empty without any."""
    count = left_out_of(rows)
    return (
        f" · timings exclude {counted(count, 'row')} measured while other jobs ran" if count else ""
    )


def too_short_words(seconds: float, which: str) -> str:
    """Return why steps have no panel of seconds, by the longest or shortest of them.

    Empty where it was not timed, or takes long enough.
    """
    if not 0 < seconds < LEAST_SECONDS:
        return ""
    return (
        f" · no panel of seconds: the {which} step takes {seconds * 1e3:.2g} ms, and below "
        f"{LEAST_SECONDS * 1e3:.0f} ms the cost of calling hides the rest"
    )


def seconds_words(rows: pd.DataFrame, concurrent: bool) -> str:
    """Return what a report says of concurrent rows; empty where none was timed.

    `rows` are those that `seconds_that_count` returned.
    """
    count = left_out_of(rows)
    if count:
        return (
            f"Timings exclude {counted(count, 'row')} measured while other jobs ran on the same "
            "machine (concurrent); operations and bytes include them. "
            "To include them: python -m experiments.report DIR --concurrent"
        )
    crowded = (
        int((rows["concurrent"].astype(bool) & rows["wall_ns_forward"].notna()).sum())
        if concurrent
        else 0
    )
    words = (
        f"Timings include {counted(crowded, 'row')} measured while other jobs ran on the same "
        "machine (--concurrent)."
    )
    return words if crowded else ""


PHASES = ("forward", "recompute", "backward")


def with_seconds(frame: pd.DataFrame) -> pd.DataFrame:
    """Return timed rows with `seconds` of the step and `spread`, half the interquartile range."""
    timed = frame.dropna(subset=["wall_ns_forward", "wall_ns_backward"])
    seconds = sum(
        (timed[f"wall_ns_{phase}"].astype(float).fillna(0.0) for phase in PHASES), start=0.0
    )
    spread = sum(
        (timed[f"wall_ns_{phase}_spread"].astype(float).fillna(0.0) for phase in PHASES), start=0.0
    )
    timed = timed.assign(seconds=seconds / 1e9, spread=spread / 1e9)
    return timed[timed["seconds"] > 0]
