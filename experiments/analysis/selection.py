"""Which rows conclusions are drawn from, and how their numbers came about."""

from __future__ import annotations

import pandas as pd

from experiments.names import MEASURED, OK, PREDICTED, SOURCE, SOURCES
from experiments.results.tables import Results
from experiments.text import counted

NOT_RUN = "predicted from shapes without running them"


def all_rows(results: Results) -> pd.DataFrame:
    """Return the rows of the exact part and of the larger shapes."""
    return pd.concat(
        [frame for frame in (results.results, results.scale) if len(frame)] or [results.results],
        ignore_index=True,
    )


def completed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that have numbers, measured ones before predicted ones.

    So whoever takes the first row of a point takes the measured one where there are both.
    """
    ok = rows[rows["status"] == OK]
    return pd.concat([ok[ok[SOURCE] == source] for source in SOURCES])


def sources_of(rows: pd.DataFrame) -> dict[str, int]:
    """Return how many of the rows with numbers were measured and predicted, without zeros."""
    ok = rows.loc[rows["status"] == OK, SOURCE]
    counts = {source: int((ok == source).sum()) for source in SOURCES}
    return {source: count for source, count in counts.items() if count}


def points_words(rows: pd.DataFrame) -> str:
    """Return how many points were measured and how many predicted, in words."""
    counts = sources_of(rows)
    match (counts.get(MEASURED, 0), counts.get(PREDICTED, 0)):
        case measured, 0:
            return f"{counted(measured, 'point')} measured"
        case 0, predicted:
            return f"{counted(predicted, 'point')} {NOT_RUN}"
        case measured, predicted:
            return f"{counted(measured, 'point')} measured and {predicted:,} {NOT_RUN}"


def source_words(rows: pd.DataFrame) -> str:
    """Return `measured`, `predicted`, or both with their counts: how the rows got their numbers."""
    counts = sources_of(rows)
    if len(counts) > 1:
        return " or ".join(f"{source} ({count:,})" for source, count in counts.items())
    return next(iter(counts), MEASURED)
