"""How recomputation grows with depth for s constant, s = log₂ n and s = √n, as log–log slopes.

Griewank (1992): reversing n steps with s snapshots takes advances that grow as n^(1+1/s) for
constant s, as n log n for s = log₂ n, and as n for s = √n. A slope is that of the least-squares
line through (log n, log of the quantity) over the depths of the rows. It reaches the exponent only
as n grows, so it is compared with the slope of the exact count min(t(n, s) + 1, t(n − 1, s) + 2)
over the same depths, and with the count's slope about n = 10⁶ (`DISTANT`), which is near the
curve's. `ops_recompute` excludes the first sweep and so starts steeper than
`ops_forward + ops_recompute`, which is what the curves describe.
Bound: planners revolve(snapshots=s) at one width and batch. These are estimates: `exact` is false.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.analysis.plans import described
from experiments.analysis.selection import completed
from experiments.fitting.table import COMPLEXITY_COLUMNS, complexity_table
from experiments.names import CASE
from experiments.theory.checkpointing import advances

GROUP = [*CASE, "engine", "d", "b"]
QUANTITIES = {
    "ops_recompute": ["ops_recompute"],
    "ops_forward + ops_recompute": ["ops_forward", "ops_recompute"],
}
LEAST_DEPTHS = 3
DISTANT = [2**k for k in range(18, 23)]
"""Depths about 10⁶, where the counts have nearly reached the theory's curves."""


@dataclass(frozen=True)
class Rule:
    """How many snapshots n layers get, and the theory's curve for it.

    `curve` is the curve as a function, `order` as a formula, `words` for reading; `label` is the
    number of snapshots in the planner's string.
    """

    name: str
    label: str
    snapshots: Callable[[int], int]
    curve: Callable[[float], float]
    order: str
    words: str


@dataclass(frozen=True, eq=False)
class Growth:
    """The rows of one rule, one per depth (with `snapshots` and `n`), at one width and batch."""

    rule: Rule
    rows: pd.DataFrame

    def values(self, quantity: str) -> list[float]:
        """Return a quantity at each depth."""
        return [float(value) for value in self.rows[QUANTITIES[quantity]].sum(axis=1)]

    def slope(self, quantity: str) -> float:
        """Return the log–log slope of a quantity."""
        return slope_of(self.depths, self.values(quantity))

    @property
    def depths(self) -> list[int]:
        """The depths, ascending."""
        return [int(n) for n in self.rows["n"]]

    def counted_slope(self, quantity: str, depths: list[int] | None = None) -> float:
        """Return the slope of the exact count of layers run (or recomputed) over some depths."""
        depths = self.depths if depths is None else depths
        once = int(quantity == "ops_recompute")
        counts = {n: theory_layers(n, self.rule.snapshots(n)) - once * n for n in depths}
        depths = [n for n in depths if counts[n] > 0]
        return slope_of(depths, [counts[n] for n in depths])

    @property
    def curve_slope(self) -> float:
        """The slope of the theory's curve over the same depths."""
        return slope_of(self.depths, [self.rule.curve(n) for n in self.depths])


def theory_layers(n: int, s: int) -> int:
    """Return the fewest layers run forward that reverse n with s snapshots, by the better form."""
    return n if s >= n else min(advances(n, s) + 1, advances(n - 1, s) + 2)


def constant(s: int) -> Rule:
    """Return the rule that s is the same for every depth."""
    return Rule(
        f"s = {s}",
        str(s),
        lambda n: s,
        lambda n: n ** (1 + 1 / s),
        f"n**({s + 1}/{s})",
        f"n^(1+1/{s})",
    )


LOGARITHM = Rule(
    "s = log₂ n",
    "log2(n)",
    lambda n: round(math.log2(n)),
    lambda n: n * math.log2(n),
    "n*log2(n)",
    "n log n",
)
ROOT = Rule("s = √n", "sqrt(n)", lambda n: round(math.sqrt(n)), lambda n: n, "n", "n")


def slope_of(xs: list[int], ys: list[float]) -> float:
    """Return the slope of the least-squares line on logarithmic axes."""
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def growths_of(rows: pd.DataFrame) -> list[Growth]:
    """Return the rules with rows of some depths at one width and batch; constant s first."""
    ok = completed(rows)
    ok = ok[(ok["mode"] == "checkpointed") & (ok["micro_batches"] == 1)]
    counts = ok["planner"].map(lambda planner: described(planner).snapshots).astype("Int64")
    ok = ok.assign(snapshots=counts)[counts.notna()].astype({"snapshots": int})
    ok = ok[(ok["ops_recompute"] > 0) & (ok["n"] >= 4)].drop_duplicates([*GROUP, "n", "snapshots"])
    best: list[Growth] = []
    for _, group in ok.groupby(GROUP, sort=False):
        found = [
            growth
            for growth in (_growth(rule, group) for rule in _rules(group))
            if growth is not None
        ]
        if _reach(found) > _reach(best):
            best = found
    return best


def _reach(found: list[Growth]) -> tuple[int, int]:
    """Return how many rules have rows, and down to what depth."""
    return len(found), max((growth.depths[-1] for growth in found), default=0)


def _rules(group: pd.DataFrame) -> list[Rule]:
    """Return the constant s with rows of most depths, then the two rules that grow."""
    depths = group.groupby("snapshots")["n"].nunique()
    depths = depths[depths.index >= 2]
    return [*([constant(int(depths.idxmax()))] if len(depths) else []), LOGARITHM, ROOT]


def _growth(rule: Rule, group: pd.DataFrame) -> Growth | None:
    mine = group[
        group["snapshots"] == group["n"].map(lambda n: rule.snapshots(int(n)))
    ].sort_values("n")
    return Growth(rule, mine) if len(mine) >= LEAST_DEPTHS else None


def growth_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of complexity.csv: for each rule and quantity the slope and the curve."""
    table = []
    for growth in growths_of(rows):
        first = growth.rows.iloc[0]
        for quantity in QUANTITIES:
            slope = growth.slope(quantity)
            reach = f"{growth.depths[0]} to {growth.depths[-1]}, d = {first['d']}, b = {first['b']}"
            table.append(
                {
                    **{name: first[name] for name in (*CASE, "engine", "mode")},
                    "planner": f"revolve(snapshots={growth.rule.label})",
                    "quantity": quantity,
                    "formula": f"n**{slope:.2f}",
                    "big_o": growth.rule.order,
                    "pretty_formula": f"n^{slope:.2f}",
                    "pretty_order": f"O({growth.rule.words})",
                    "valid_from_n": growth.depths[0],
                    "exact": False,
                    "rows": len(growth.rows),
                    "reason": f"log-log slope over n = {reach}; the theory's count has "
                    f"{growth.counted_slope(quantity):.2f} there "
                    f"and {growth.counted_slope(quantity, DISTANT):.2f} about n = 10^6; "
                    f"{growth.rule.words} has {growth.curve_slope:.2f} there",
                }
            )
    return pd.DataFrame(table, columns=list(COMPLEXITY_COLUMNS))


def formulas_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return complexity.csv: the fitted formulas of whole batches, then recomputation's growth."""
    found = [complexity_table(rows[rows["micro_batches"] == 1]), growth_table(rows)]
    return pd.concat([table for table in found if len(table)] or found[:1], ignore_index=True)
