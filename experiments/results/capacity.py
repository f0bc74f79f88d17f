"""The columns of capacity.csv, and how it is read."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from experiments.errors import ResultsError, one_line
from experiments.names import CASE
from experiments.results.files import read_csv, whole_numbers
from experiments.text import counted

log = logging.getLogger("tapemeasure")
CAPACITY = "capacity.csv"
ANY_PLAN = "revolve(max_bytes=…)"
"""The planner's name in the row of whatever plan still fits."""
NUMBERS = ("b", "peak_bytes", "parameter_bytes", "input_bytes", "ops", "ops_recompute")
SHAPE = ["part", *CASE, "n", "d"]
_KEY = [*SHAPE, "mode", "planner", "memory_bytes"]
CAPACITY_COLUMNS = (*_KEY, *NUMBERS, "reason")
_WHOLE = ("n", "d", "memory_bytes", *NUMBERS)


def read_capacity(directories: Iterable[Path]) -> pd.DataFrame:
    """Return the rows of all directories, each question once.

    A damaged file or line is skipped, and the log says so.
    """
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
        whole = read_csv(path, CAPACITY_COLUMNS)[list(CAPACITY_COLUMNS)]
    except ResultsError as error:
        log.warning("skipped a damaged file: %s", one_line(error))
        return none
    for column in _WHOLE:
        whole[column] = whole_numbers(whole[column])
    sound = whole[["n", "d", "memory_bytes", "b"]].notna().all(axis=1)
    sound &= (whole["b"].fillna(0) == 0) | whole[list(NUMBERS)].notna().all(axis=1)
    if not sound.all():
        log.warning("%s: skipped %s", path, counted(int((~sound).sum()), "damaged line"))
    return whole[sound].reset_index(drop=True)
