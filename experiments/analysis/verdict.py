"""What a sweep comes to: how many points were measured, and whether measurement equals theory, to the last operation and byte."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

QUANTITIES = {"operations": ("ops", "theory_ops"), "bytes": ("peak_bytes", "theory_peak_bytes")}


@dataclass(frozen=True)
class Verdict:
    """Counts of rows, and the greatest distance between measurement and theory.

    `compared` rows have a theory to be held against, of which `differing` miss it in operations or in bytes; `lost` are those that
    failed or ran out of time, `skipped` those that were not run since they would not have fitted.
    """

    points: int
    measured: int
    lost: int
    skipped: int
    compared: int
    differing: int
    greatest_ops: int
    greatest_bytes: int

    @property
    def agrees(self) -> bool | None:
        """Whether measurement equals theory; None where nothing could be compared."""
        return None if not self.compared else not self.differing


def verdict_of(rows: pd.DataFrame) -> Verdict:
    """The verdict on rows of results.csv and scale.csv."""
    status = rows["status"]
    apart = {name: residuals(rows, name) for name in QUANTITIES}
    compared = apart["operations"].index.union(apart["bytes"].index)
    wrong = {label for values in apart.values() for label in values.index[values != 0]}
    return Verdict(
        points=len(rows),
        measured=int((status == "ok").sum()),
        lost=int((~status.isin(["ok", "skipped_memory"])).sum()),
        skipped=int((status == "skipped_memory").sum()),
        compared=len(compared),
        differing=len(wrong),
        greatest_ops=_greatest(apart["operations"]),
        greatest_bytes=_greatest(apart["bytes"]),
    )


def residuals(rows: pd.DataFrame, quantity: str) -> pd.Series[int]:
    """Measured minus theory, of the rows that have both; `quantity` is operations or bytes."""
    measured, theory = QUANTITIES[quantity]
    both = rows.loc[rows["status"] == "ok", [measured, theory]].dropna()
    return (both[measured] - both[theory]).astype("int64")


def _greatest(values: pd.Series[int]) -> int:
    return int(values.abs().max()) if len(values) else 0
