"""What a sweep comes to: how many points have numbers, and whether these equal the theory exactly.

Operations and bytes are compared apart, since a row may have a formula for one and not for the
other; every count says how many rows were compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from experiments.analysis.selection import sources_of
from experiments.names import MEASURED, OK, PREDICTED, SKIPPED
from experiments.text import counted

QUANTITIES = {"operations": ("ops", "theory_ops"), "bytes": ("peak_bytes", "theory_peak_bytes")}


@dataclass(frozen=True)
class Agreement:
    """How many values equal their formula, how many have one, and the greatest distance from it."""

    equal: int
    compared: int
    without: int
    greatest: int

    @classmethod
    def of(cls, pairs: Iterable[tuple[float | None, float | None]]) -> Agreement:
        """Count pairs of a value and its formula's; either may be missing."""
        pairs = list(pairs)
        apart = [abs(one - two) for one, two in pairs if one is not None and two is not None]
        greatest = int(max(apart, default=0))
        return cls(apart.count(0), len(apart), len(pairs) - len(apart), greatest)

    @property
    def share(self) -> str:
        """How many of how many are equal, such as `12 of 12`; a dash without a formula."""
        return f"{self.equal:,} of {self.compared:,}" if self.compared else "–"

    @property
    def residual(self) -> str:
        """The greatest distance from the formula; a dash without a formula."""
        return f"{self.greatest:,}" if self.compared else "–"


@dataclass(frozen=True)
class Verdict:
    """Counts of rows, and how far they agree with the theory.

    `compared` rows have a formula for operations or bytes, of which `differing` miss it in either;
    `lost` are those that failed or ran out of time, `skipped` those that would not have fitted.
    """

    points: int
    measured: int
    predicted: int
    lost: int
    skipped: int
    compared: int
    differing: int
    operations: Agreement
    bytes: Agreement

    @property
    def agrees(self) -> bool | None:
        """Whether the rows equal the theory; None where nothing could be compared."""
        return None if not self.compared else not self.differing

    @property
    def words(self) -> str:
        """What was compared, and how much of it is equal."""
        return agreement_words({"operations": self.operations, "bytes": self.bytes})

    @property
    def distance(self) -> str:
        """The greatest distances from the theory, in words."""
        return (
            f"by up to {counted(self.operations.greatest, 'operation')} and "
            f"{counted(self.bytes.greatest, 'byte')}"
        )


def agreement_words(agreements: dict[str, Agreement], things: str = "rows") -> str:
    """Return in how many rows each quantity equals its formula, and how many rows have none."""
    shares = [f"{name} equal in {one.share}" for name, one in agreements.items() if one.compared]
    if not shares:
        return f"none of the {things} has a formula to compare with"
    first, *more = shares
    text = ", ".join([f"{first} {things} with a formula", *(m.replace(" equal", "") for m in more)])
    lacking = [
        f"{one.without:,} {'none' if place else f'{things} have no formula'} for {name}"
        for place, (name, one) in enumerate(
            (name, one) for name, one in agreements.items() if one.without
        )
    ]
    return "; ".join([text, *([", ".join(lacking)] if lacking else [])])


def verdict_of(rows: pd.DataFrame) -> Verdict:
    """Return the verdict on rows of results.csv and scale.csv."""
    status, counts = rows["status"], sources_of(rows)
    apart = {name: residuals(rows, name) for name in QUANTITIES}
    ok = int((status == OK).sum())
    return Verdict(
        points=len(rows),
        measured=counts.get(MEASURED, 0),
        predicted=counts.get(PREDICTED, 0),
        lost=int((~status.isin([OK, SKIPPED])).sum()),
        skipped=int((status == SKIPPED).sum()),
        compared=len(apart["operations"].index.union(apart["bytes"].index)),
        differing=len({row for values in apart.values() for row in values.index[values != 0]}),
        operations=_agreement(apart["operations"], ok),
        bytes=_agreement(apart["bytes"], ok),
    )


def residuals(rows: pd.DataFrame, quantity: str) -> pd.Series[int]:
    """Return value minus theory of the rows that have both; `quantity` is operations or bytes."""
    value, theory = QUANTITIES[quantity]
    both = rows.loc[rows["status"] == OK, [value, theory]].dropna()
    return (both[value] - both[theory]).astype("int64")


def _agreement(apart: pd.Series[int], of: int) -> Agreement:
    greatest = int(apart.abs().max()) if len(apart) else 0
    return Agreement(int((apart == 0).sum()), len(apart), of - len(apart), greatest)
