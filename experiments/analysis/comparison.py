"""Two sweeps compared: the same points' operations and peak bytes, exactly, and the ratio of their times.

Points are the same when network, shape, mode and planner are; the machine, the threads and the part of the sweep may differ, for
that is what is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.results.timings import left_out_of, seconds_that_count, with_seconds
from experiments.text import counted

MATCH = (
    "network",
    "activation",
    "loss",
    "dtype",
    "n",
    "d",
    "b",
    "mode",
    "wrt",
    "planner",
    "engine",
    "micro_batches",
)
EXACT = ("ops", "peak_bytes")


@dataclass(frozen=True, eq=False)
class Comparison:
    """What two sweeps have in common: a row a point that both measured, and how many only one did.

    Of `table` the columns are MATCH, then each quantity as `…`, `…_other`, `…_difference` (the first minus the other), `seconds`,
    `seconds_other` and `time_ratio` (the first over the other). `untimed` rows of both had seconds that do not count: they did not run alone.
    """

    here: str
    there: str
    table: pd.DataFrame
    only_here: int
    only_there: int
    untimed: int = 0

    @property
    def differing(self) -> pd.DataFrame:
        """The points whose operations or peak bytes are not the same."""
        apart = [self.table[f"{quantity}_difference"].ne(0).fillna(False) for quantity in EXACT]
        return self.table[apart[0] | apart[1]]

    @property
    def verdict(self) -> str:
        """The comparison in a sentence."""
        matched = counted(len(self.table), "point")
        if self.table.empty:
            return "No point was measured in both."
        if self.differing.empty:
            return f"{matched} measured in both: operations and peak bytes are the same in all of them."
        return f"{matched} measured in both: operations or peak bytes DIFFER in {len(self.differing):,} of them."

    @property
    def times(self) -> str:
        """What is to be known of the times, in a sentence; empty where all count."""
        if not self.untimed:
            return ""
        return f"Times leave out {counted(self.untimed, 'row')} measured while other jobs ran on the same machine; --concurrent counts them."


def compare_rows(
    here: pd.DataFrame,
    there: pd.DataFrame,
    names: tuple[str, str] = ("first", "other"),
    concurrent: bool = False,
) -> Comparison:
    """Compare two tables of rows; a point that both measured twice, in two parts, counts twice.

    Times are those of rows that ran alone in both, unless `concurrent` asks for all.
    """
    here, there = seconds_that_count(here, concurrent), seconds_that_count(there, concurrent)
    ours, theirs = _measured(here), _measured(there)
    both = ours.merge(theirs, on=[*MATCH, "part"], suffixes=("", "_other"))
    # What one sweep has in its grid the other may have among its larger shapes.
    rest = [_once(rows[~_labels(rows).isin(set(_labels(both)))]) for rows in (ours, theirs)]
    both = pd.concat(
        [both, rest[0].merge(rest[1], on=list(MATCH), suffixes=("", "_other"))], ignore_index=True
    )
    for quantity in EXACT:
        both[f"{quantity}_difference"] = both[quantity] - both[f"{quantity}_other"]
    both["time_ratio"] = both["seconds"] / both["seconds_other"]
    columns = [*MATCH]
    for quantity in EXACT:
        columns += [quantity, f"{quantity}_other", f"{quantity}_difference"]
    columns += ["seconds", "seconds_other", "time_ratio"]
    only_here, only_there = (
        len(set(_labels(mine)) - set(_labels(both))) for mine in (ours, theirs)
    )
    untimed = left_out_of(here) + left_out_of(there)
    return Comparison(names[0], names[1], both[columns], only_here, only_there, untimed)


def _measured(rows: pd.DataFrame) -> pd.DataFrame:
    """The measured points, once in each part of the sweep, with their seconds where they were timed."""
    ok = (
        rows[rows["status"] == "ok"]
        .sort_values("repeats", kind="stable", na_position="first")
        .drop_duplicates([*MATCH, "part"], keep="last")
    )
    seconds = with_seconds(ok)["seconds"].reindex(ok.index)
    return ok[[*MATCH, "part", *EXACT]].assign(seconds=seconds.astype("Float64"))


def _once(rows: pd.DataFrame) -> pd.DataFrame:
    """Each point once, whatever its part; of several the one with most repeats."""
    return rows.drop_duplicates(list(MATCH), keep="last")


def _labels(rows: pd.DataFrame) -> pd.Series[Any]:
    """What makes two rows the same point."""
    return pd.Series(
        list(rows[list(MATCH)].itertuples(index=False, name=None)), index=rows.index, dtype=object
    )


def summary_of(comparison: Comparison) -> list[dict[str, str]]:
    """One line for each engine, mode and planner."""
    lines = []
    for (engine, mode, planner), rows in comparison.table.groupby(
        ["engine", "mode", "planner"], sort=False
    ):
        ratios = rows["time_ratio"].dropna().astype(float)
        line = {
            "engine": str(engine),
            "mode": str(mode),
            "planner": str(planner),
            "points": f"{len(rows):,}",
        }
        for quantity in EXACT:
            apart = rows[f"{quantity}_difference"].dropna()
            line[f"{quantity}_differing"] = f"{int((apart != 0).sum()):,}"
            line[f"{quantity}_greatest"] = f"{int(apart.abs().max()):,}" if len(apart) else "–"
        line["time"] = f"{ratios.median():.2f}" if len(ratios) else "–"
        line["spread"] = (
            f"{ratios.quantile(0.25):.2f} … {ratios.quantile(0.75):.2f}" if len(ratios) else "–"
        )
        lines.append(line)
    return lines
