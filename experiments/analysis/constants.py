"""Where our constants differ from the exercise's answer sheet, and why.

Each difference is a set of claims that are checked on every row that they cover.
Letters: A = bd, one activation; D = d², one weight gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.names import HOME_ENGINE, ITEMSIZES, OK

READS_OUTPUT = ("tanh", "relu", "sigmoid")


@dataclass(frozen=True)
class Claim:
    """A claim about the rows of one mode and some activations: a column equals a formula.

    The formula counts elements where the column counts bytes.
    """

    words: str
    activations: tuple[str, ...]
    mode: str
    column: str
    formula: Callable[[Any, Any, Any, Any], Any]
    least_n: int = 1


@dataclass(frozen=True)
class Difference:
    """Where the sheet's parts and our numbers differ, and why."""

    sheet: str
    ours: str
    because: str
    claims: tuple[Claim, ...]


SMOOTH = (*READS_OUTPUT, "gelu")
DIFFERENCES = (
    Difference(
        "running needs x, z and O(b) for L",
        "2A: two neighbouring values, and later the single element of L",
        "the loss sums the whole batch into one number; O(b) would be one loss per example",
        (Claim("no-grad’s peak is 2A", SMOOTH, "no_grad", "peak_bytes", lambda n, A, D, d: 2 * A),),
    ),
    Difference(
        "the forward pass keeps nA of x and nA of z",
        "tanh: nA + 1 are kept, (n+1)A at the peak; gelu: (2n−1)A + 1 are kept",
        "the gradient of tanh reads its output, so each z is freed at once, and x₁ is "
        "caller-owned; gelu’s reads its input, so both z and x stay",
        (
            Claim(
                "tanh, relu, sigmoid: forward’s peak is (n+1)A",
                READS_OUTPUT,
                "forward",
                "peak_bytes",
                lambda n, A, D, d: (n + 1) * A,
            ),
            Claim(
                "… and nA + 1 stay",
                READS_OUTPUT,
                "forward",
                "live_after_bytes",
                lambda n, A, D, d: n * A + 1,
            ),
            Claim(
                "gelu: (2n−1)A + 1 stay",
                ("gelu",),
                "forward",
                "live_after_bytes",
                lambda n, A, D, d: (2 * n - 1) * A + 1,
            ),
        ),
    ),
    Difference(
        "both passes need M_forward plus nD",
        "a maximum over a few moments, below that sum; the same order",
        "activations are freed layer by layer while the weight gradients are computed, so the two "
        "are never complete at the same time",
        (
            Claim(
                "tanh, relu, sigmoid, n ≥ 2: 1 + max{(n+1)A + D, 3A + (n−1)D, A + nD}",
                READS_OUTPUT,
                "full",
                "peak_bytes",
                lambda n, A, D, d: 1 + max((n + 1) * A + D, 3 * A + (n - 1) * D, A + n * D),
                least_n=2,
            ),
        ),
    ),
    Difference(
        "the backward pass runs 2n products; for W₁ only n + 1",
        "2n − 1; for W₁ only n",
        "the gradient of the data x₁ is not requested, and what no target needs is never run",
        (
            Claim(
                "both passes run n + (2n−1) products of 2bd² flops",
                SMOOTH,
                "full",
                "matmul_flops",
                lambda n, A, D, d: (3 * n - 1) * 2 * A * d,
            ),
            Claim(
                "for W₁ only n + n",
                SMOOTH,
                "w1_only",
                "matmul_flops",
                lambda n, A, D, d: 2 * n * 2 * A * d,
            ),
        ),
    ),
    Difference(
        "asking only for W₁ needs less memory",
        "it saves (n−1)D of weight gradients; of activations none with tanh or relu, about half "
        "with gelu",
        "the chain down to W₁ passes every σ and still needs what each σ′ reads; only gelu also "
        "kept the inputs of weight gradients that are no longer requested",
        (
            Claim(
                "asking only for W₁, D + 1 stay",
                SMOOTH,
                "w1_only",
                "live_after_bytes",
                lambda n, A, D, d: D + 1,
            ),
            Claim(
                "the peak is max{(n+1)A + 2, A + D + 1} for all of them",
                SMOOTH,
                "w1_only",
                "peak_bytes",
                lambda n, A, D, d: max((n + 1) * A + 2, A + D + 1),
            ),
        ),
    ),
)


def check_claim(claim: Claim, rows: pd.DataFrame) -> tuple[int, int]:
    """Return of how many rows a claim is true, and how many it covers."""
    covered = rows[
        (rows["status"] == OK)
        & (rows["mode"] == claim.mode)
        & rows["activation"].isin(claim.activations)
        & (rows["loss"] == "sum")
        & (rows["engine"] == HOME_ENGINE)
        & (rows["micro_batches"] == 1)
        & (rows["n"] >= claim.least_n)
    ].dropna(subset=[claim.column])
    true = 0
    units = (
        covered["dtype"].map(ITEMSIZES)
        if claim.column.endswith("_bytes")
        else pd.Series(1, index=covered.index)
    )
    columns = (covered[column].tolist() for column in ("n", "d", "b", claim.column))
    for n, d, b, value, unit in zip(*columns, units, strict=True):
        true += value == unit * claim.formula(n, b * d, d * d, d)
    return true, len(covered)
