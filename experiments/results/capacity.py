"""The columns of capacity.csv, and how it is read."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from experiments.errors import ResultsError
from experiments.results.rows import GREATEST_WHOLE

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
