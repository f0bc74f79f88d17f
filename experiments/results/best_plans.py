"""The columns of best_plans.csv, and how it is read."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.errors import ResultsError, one_line
from experiments.results.files import read_csv, whole_numbers
from experiments.text import counted

log = logging.getLogger("tapemeasure")
BEST_PLANS = "best_plans.csv"
SUBJECT = ["subject", "shape"]
_KEY = [*SUBJECT, "planner"]
_COUNTED = ("peak_bytes", "ops", "moved_bytes")
_REAL = ("bound_ops", "seconds", "spread_seconds")
BEST_PLANS_COLUMNS = (*_KEY, "series", *_COUNTED, "limit_bytes", "proved", *_REAL)
"""`bound_ops`: what no plan within `limit_bytes` goes below, `proved`: the plan takes no more."""


def read_best_plans(directories: Iterable[Path]) -> pd.DataFrame:
    """Return the rows of all directories, each plan once.

    A damaged file or line is skipped, and the log says so.
    """
    frames = [_read(directory / BEST_PLANS) for directory in directories]
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pd.DataFrame(columns=list(BEST_PLANS_COLUMNS))
    return pd.concat(frames, ignore_index=True).drop_duplicates(_KEY, ignore_index=True)


def _read(path: Path) -> pd.DataFrame:
    none = pd.DataFrame(columns=list(BEST_PLANS_COLUMNS))
    if not path.exists():
        return none
    try:
        whole = read_csv(path, BEST_PLANS_COLUMNS)[list(BEST_PLANS_COLUMNS)]
    except ResultsError as error:
        log.warning("skipped a damaged file: %s", one_line(error))
        return none
    for column in (*_COUNTED, "limit_bytes"):
        whole[column] = whole_numbers(whole[column])
    for column in _REAL:
        numbers = pd.to_numeric(whole[column], errors="coerce").astype(float)
        whole[column] = numbers.where(np.isfinite(numbers) & (numbers >= 0))
    sound = whole[list(_COUNTED)].notna().all(axis=1) & whole["proved"].isin(("True", "False"))
    sound &= (whole["peak_bytes"] > 0).fillna(False) & (whole["ops"] > 0).fillna(False)
    if not sound.all():
        log.warning("%s: skipped %s", path, counted(int((~sound).sum()), "damaged line"))
    found = whole[sound].reset_index(drop=True)
    return found.assign(proved=found["proved"] == "True")
