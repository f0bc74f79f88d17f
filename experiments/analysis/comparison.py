"""Two sweeps compared: exact differences of operations and peak bytes, and the ratio of times.

Points are the same when network, shape, mode and planner are. The machine, the threads, the part of
the sweep, and whether a point was measured or predicted may differ: that is what is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.analysis.selection import completed
from experiments.names import AXES, CASE, SOURCE, SOURCES
from experiments.results.timings import left_out_of, seconds_that_count, with_seconds
from experiments.text import counted

MATCH = (*CASE, *AXES, "mode", "wrt", "planner", "engine", "micro_batches")
EXACT = ("ops", "peak_bytes")


@dataclass(frozen=True, eq=False)
class Comparison:
    """What two sweeps have in common: one row per point of both, and the numbers of other points.

    `table` has the columns MATCH, `source` and `source_other`; each quantity as `…`, `…_other` and
    `…_difference` (the first minus the other); `seconds`, `seconds_other` and `time_ratio` (the
    first over the other). `untimed` counts rows whose times are excluded, since other jobs ran.
    """

    here: str
    there: str
    table: pd.DataFrame
    only_here: int
    only_there: int
    untimed: int = 0

    @property
    def differing(self) -> pd.DataFrame:
        """The points whose operations or peak bytes differ."""
        apart = [self.table[f"{quantity}_difference"].ne(0).fillna(False) for quantity in EXACT]
        return self.table[apart[0] | apart[1]]

    @property
    def verdict(self) -> str:
        """The comparison in a sentence."""
        if self.table.empty:
            return "No point is in both."
        found = f"{counted(len(self.table), 'point')} in both ({self.sources})"
        equal = {
            quantity: int((self.table[f"{quantity}_difference"] == 0).sum()) for quantity in EXACT
        }
        counts = f"operations equal in {equal['ops']:,}, peak bytes in {equal['peak_bytes']:,}"
        if self.differing.empty:
            return f"{found}: {counts}."
        return f"{found} DIFFER in {len(self.differing):,}: {counts}."

    @property
    def sources(self) -> str:
        """Whether the points of each sweep were measured or predicted, with their counts."""
        pairs = self.table.groupby([SOURCE, f"{SOURCE}_other"], sort=False).size()
        if len(pairs) == 1:
            here, there = pairs.index[0]
            return f"{here} in both" if here == there else f"{here} here, {there} there"
        sides = []
        for side, column in (("here", SOURCE), ("there", f"{SOURCE}_other")):
            counts = self.table[column].value_counts()
            found = [f"{counts[name]:,} {name}" for name in SOURCES if name in counts]
            sides.append(f"{side} {', '.join(found)}")
        return "; ".join(sides)

    @property
    def times(self) -> str:
        """What a reader must know about the times, in a sentence; empty where all count."""
        if not self.untimed:
            return ""
        return (
            f"Timings exclude {counted(self.untimed, 'row')} measured while other jobs ran on the "
            "same machine; --concurrent includes them."
        )


def compare_rows(
    here: pd.DataFrame,
    there: pd.DataFrame,
    names: tuple[str, str] = ("first", "other"),
    concurrent: bool = False,
) -> Comparison:
    """Return the comparison of two tables; a point that is in two parts of both counts twice.

    Times are those of rows measured while no other job ran, unless `concurrent` asks for all.
    """
    here, there = seconds_that_count(here, concurrent), seconds_that_count(there, concurrent)
    ours, theirs = _points(here), _points(there)
    both = ours.merge(theirs, on=[*MATCH, "part"], suffixes=("", "_other"))
    # A point in the grid of one sweep may be among the larger shapes of the other.
    rest = [_once(rows[~_labels(rows).isin(set(_labels(both)))]) for rows in (ours, theirs)]
    both = pd.concat(
        [both, rest[0].merge(rest[1], on=list(MATCH), suffixes=("", "_other"))], ignore_index=True
    )
    for quantity in EXACT:
        both[f"{quantity}_difference"] = both[quantity] - both[f"{quantity}_other"]
    both["time_ratio"] = both["seconds"] / both["seconds_other"]
    columns = [*MATCH, SOURCE, f"{SOURCE}_other"]
    for quantity in EXACT:
        columns += [quantity, f"{quantity}_other", f"{quantity}_difference"]
    columns += ["seconds", "seconds_other", "time_ratio"]
    only_here, only_there = (
        len(set(_labels(mine)) - set(_labels(both))) for mine in (ours, theirs)
    )
    untimed = left_out_of(here) + left_out_of(there)
    return Comparison(names[0], names[1], both[columns], only_here, only_there, untimed)


def _points(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the points with numbers, once in each part, with their seconds where timed."""
    ok = (
        completed(rows)
        .sort_values([SOURCE, "repeats"], kind="stable", ascending=[True, False])
        .drop_duplicates([*MATCH, "part"])
    )
    seconds = with_seconds(ok)["seconds"].reindex(ok.index)
    return ok[[*MATCH, "part", SOURCE, *EXACT]].assign(seconds=seconds.astype("Float64"))


def _once(rows: pd.DataFrame) -> pd.DataFrame:
    """Return each point once, whatever its part; of several the one with most repeats."""
    return rows.drop_duplicates(list(MATCH))


def _labels(rows: pd.DataFrame) -> pd.Series[Any]:
    """Return what makes two rows the same point."""
    return pd.Series(
        list(rows[list(MATCH)].itertuples(index=False, name=None)), index=rows.index, dtype=object
    )


def summary_of(comparison: Comparison) -> list[dict[str, str]]:
    """Return one line for each engine, mode and planner."""
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
