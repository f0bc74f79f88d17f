"""Sweeps compared point by point: exact differences of operations and peak bytes, ratios of times.

Points are the same when network, shape, mode and planner are. The machine, the threads, the part of
the sweep, and whether a point was measured or predicted may differ: that is what is compared. So is
a column that has one value in each sweep and not the same in all of them, as the activation of a
sweep of tanh and one of gelu.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.analysis.selection import completed
from experiments.names import AXES, CASE, SOURCE, SOURCES
from experiments.results.timings import left_out_of, seconds_that_count, with_seconds
from experiments.text import counted

MATCH = (*CASE, *AXES, "mode", "wrt", "planner", "engine", "micro_batches")
EXACT = ("ops", "peak_bytes")
VALUES = (SOURCE, *EXACT, "seconds")
TURN = "turn"
"""The number of a row among those of its point in one sweep."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The points that two sweeps or more have, with the numbers of each, and how many others.

    `table` has the columns of MATCH without `factors`, then `source_k`, `ops_k`, `peak_bytes_k` and
    `seconds_k` of sweep k, counted from 1. `factors` are the columns by which whole sweeps differ,
    with the value of each sweep; `single` counts the points that a sweep shares with no other;
    `untimed` counts rows whose times are excluded, since other jobs ran.
    """

    names: tuple[str, ...]
    table: pd.DataFrame
    factors: Mapping[str, tuple[str, ...]]
    single: tuple[int, ...]
    untimed: int = 0

    def of(self, quantity: str) -> list[pd.Series[Any]]:
        """Return the column of a quantity for each sweep."""
        return [self.table[f"{quantity}_{number + 1}"] for number in range(len(self.names))]

    def apart(self, quantity: str) -> pd.Series[bool]:
        """Return which points differ in a quantity among the sweeps that have it."""
        first, differs = self.of(quantity)[0], pd.Series(False, index=self.table.index)
        for values in self.of(quantity)[1:]:
            differs |= values.ne(first).fillna(False).astype(bool)
            first = first.fillna(values)
        return differs

    def equal(self, quantity: str) -> int:
        """Return in how many points a quantity is equal, of which two sweeps or more have it."""
        known = sum((values.notna().astype(int) for values in self.of(quantity)), start=0)
        return int(((known > 1) & ~self.apart(quantity)).sum())

    @property
    def differing(self) -> pd.DataFrame:
        """The points whose operations or peak bytes differ."""
        return self.table[self.apart(EXACT[0]) | self.apart(EXACT[1])]

    @property
    def common(self) -> pd.DataFrame:
        """The points that all sweeps have."""
        return self.table[pd.concat(self.of(SOURCE), axis=1).notna().all(axis=1)]

    @property
    def verdict(self) -> str:
        """The comparison in a sentence."""
        if self.table.empty:
            return "No point is in two of them."
        everywhere = "both" if len(self.names) == 2 else f"all {len(self.names)}"
        common = len(self.common)
        more = f", {len(self.table) - common:,} in some" if len(self.table) > common else ""
        found = f"{counted(common, 'point')} in {everywhere}{more} ({self.sources})"
        counts = ", ".join(
            f"{words} equal in {self.equal(quantity):,}"
            for quantity, words in zip(EXACT, ("operations", "peak bytes"), strict=True)
        )
        if self.differing.empty:
            return f"{found}: {counts}."
        return f"{found} DIFFER in {len(self.differing):,}: {counts}."

    @property
    def sources(self) -> str:
        """Whether the points were measured or predicted, of each sweep where it is not the same."""
        found = []
        for values in self.of(SOURCE):
            counts = values.value_counts()
            found.append(tuple((name, int(counts[name])) for name in SOURCES if name in counts))
        kinds = {tuple(name for name, _ in one) for one in found}
        if len(kinds) == 1 and len(*kinds) == 1:
            return str(found[0][0][0])
        return "; ".join(
            f"{number} {', '.join(f'{count:,} {name}' for name, count in one)}"
            for number, one in enumerate(found, 1)
        )

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
    tables: Sequence[pd.DataFrame], names: Sequence[str] = (), concurrent: bool = False
) -> Comparison:
    """Return the comparison of the rows of sweeps; a point of several parts counts in each.

    Times are those of rows measured while no other job ran, unless `concurrent` asks for all.
    """
    counting = [seconds_that_count(rows, concurrent) for rows in tables]
    points = [_points(rows) for rows in counting]
    factors = _factors(points)
    match = [column for column in MATCH if column not in factors]
    wide = pd.concat(
        [
            one.set_index([*match, TURN])[list(VALUES)].add_suffix(f"_{number}")
            for number, one in enumerate(points, 1)
        ],
        axis=1,
    )
    present = wide[[f"{SOURCE}_{number + 1}" for number in range(len(tables))]].notna()
    is_shared = present.sum(axis=1) > 1
    is_first = wide.index.get_level_values(-1) == 0
    single = tuple(int((present[column] & ~is_shared & is_first).sum()) for column in present)
    table = wide[is_shared].rename_axis([*match, TURN]).reset_index().drop(columns=TURN)
    untimed = sum(map(left_out_of, counting))
    named = tuple(names) or tuple(map(str, range(1, len(tables) + 1)))
    return Comparison(named, table, factors, single, untimed)


def _points(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the points with numbers, once in each part, with their seconds where timed.

    A point may be in the grid of one sweep and among the larger shapes of another, so the parts of
    a point are numbered and not named.
    """
    ok = (
        completed(rows)
        .sort_values([SOURCE, "repeats"], kind="stable", ascending=[True, False])
        .drop_duplicates([*MATCH, "part"])
        .sort_values("part", kind="stable")
    )
    seconds = with_seconds(ok)["seconds"].reindex(ok.index)
    turn = ok.groupby(list(MATCH), sort=False).cumcount()
    return ok[[*MATCH, SOURCE, *EXACT]].assign(seconds=seconds.astype("Float64"), **{TURN: turn})


def _factors(points: Sequence[pd.DataFrame]) -> dict[str, tuple[str, ...]]:
    """Return the columns that have one value in each sweep and not the same in all of them."""
    found = {}
    for column in MATCH:
        values = [one[column].unique() for one in points]
        texts = tuple(str(of_one[0]) for of_one in values if len(of_one) == 1)
        if len(texts) == len(points) and len(set(texts)) > 1:
            found[column] = texts
    return found
