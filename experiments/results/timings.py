"""Seconds that count: those of rows that were measured alone.

A launcher that runs jobs side by side marks its rows `concurrent`; their seconds are their neighbours' as much as their own, so whatever shows
seconds leaves them out unless it is asked for them. Operations and bytes of such rows count like any other's.
"""

from __future__ import annotations

import pandas as pd

from experiments.text import counted

LEFT_OUT = "seconds_left_out"
WALL = tuple(
    f"wall_ns_{phase}{spread}"
    for phase in ("forward", "recompute", "backward")
    for spread in ("", "_spread")
)


def seconds_that_count(rows: pd.DataFrame, concurrent: bool = False) -> pd.DataFrame:
    """The same rows without the seconds of concurrent ones, unless these are asked for; a column says whose seconds were left out.

    Rows that lost their seconds stand behind the others, so that of a shape that was measured twice the timed row is found first.
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
    """What a figure of seconds says under itself of the rows that it leaves out; empty where there are none."""
    count = left_out_of(rows)
    return (
        f" · seconds of {counted(count, 'row')} that ran beside other jobs left out"
        if count
        else ""
    )


def seconds_words(rows: pd.DataFrame, concurrent: bool) -> str:
    """What a report says of concurrent rows, in a sentence; empty where none was timed.

    `rows` are those that `seconds_that_count` returned.
    """
    count = left_out_of(rows)
    if count:
        return (
            f"Seconds leave out {counted(count, 'row')} measured while other jobs ran on the same machine (concurrent); "
            "operations and bytes count them. To see them all the same: python -m experiments.report DIR --concurrent"
        )
    beside = (
        int((rows["concurrent"].astype(bool) & rows["wall_ns_forward"].notna()).sum())
        if concurrent
        else 0
    )
    words = f"Seconds count {counted(beside, 'row')} measured while other jobs ran on the same machine, as was asked for (--concurrent)."
    return words if beside else ""


PHASES = ("forward", "recompute", "backward")


def with_seconds(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that were timed, with `seconds` of the whole step and their `spread` (half the distance of the quartiles, phases added)."""
    timed = frame.dropna(subset=["wall_ns_forward", "wall_ns_backward"])
    seconds = sum(
        (timed[f"wall_ns_{phase}"].astype(float).fillna(0.0) for phase in PHASES), start=0.0
    )
    spread = sum(
        (timed[f"wall_ns_{phase}_spread"].astype(float).fillna(0.0) for phase in PHASES), start=0.0
    )
    timed = timed.assign(seconds=seconds / 1e9, spread=spread / 1e9)
    return timed[timed["seconds"] > 0]
