"""Our engine compared with plain PyTorch: where ours needs less or more, why, and in how many rows.

A pair is one point that both have. Each claim says what PyTorch needs more than ours, and is
checked on every pair that it covers; the reasons were found by following the buffers of both
engines. Letters: A = bd, one activation; D = d², one weight gradient; all in elements.
Bound: the exercise's chain with the sum as loss. It says nothing about time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from autodiff.checkpointing.uniform import nearest_root
from experiments.analysis.selection import completed
from experiments.names import AXES, CASE, HOME_ENGINE, ITEMSIZES

OTHER = "pytorch"
KEYS = [*CASE, *AXES, "mode", "planner", "wrt"]
READS_OUTPUT = ("tanh", "relu", "sigmoid")
EVERY = (*READS_OUTPUT, "gelu", "identity")


@dataclass(frozen=True)
class Pair:
    """A point of both engines: its shape in elements, and what PyTorch needs more than ours."""

    n: int
    area: int
    weight: int
    segments: int
    more_peak: int
    more_ops: int
    more_recompute: int
    layer_ops: int


@dataclass(frozen=True)
class EngineClaim:
    """A claim about the pairs of some modes and activations (where `applies`), and its reason."""

    words: str
    because: str
    modes: tuple[str, ...]
    activations: tuple[str, ...]
    holds: Callable[[Pair], bool]
    applies: Callable[[Pair], bool] = lambda pair: True


PLAIN = ("no_grad", "forward", "full", "w1_only", "only")
CLAIMS = (
    EngineClaim(
        "operations: exactly equal wherever nothing is recomputed",
        "the same products and activations; neither computes the gradient of the data",
        PLAIN,
        EVERY,
        lambda pair: pair.more_ops == 0,
    ),
    EngineClaim(
        "no-grad, n ≥ 2: PyTorch’s peak is A higher, 3A instead of 2A",
        "the loop variable keeps the old value while the product and its activation are computed; "
        "ours is freed after its last reader, the product",
        ("no_grad",),
        ("tanh", "relu", "sigmoid", "gelu"),
        lambda pair: pair.more_peak == pair.area,
        lambda pair: pair.n >= 2,
    ),
    EngineClaim(
        "forward: equal peaks",
        "both keep what the gradients will read, which includes the loop variable",
        ("forward",),
        EVERY,
        lambda pair: pair.more_peak == 0,
    ),
    EngineClaim(
        "full, tanh, relu and sigmoid, n ≥ 2: PyTorch’s peak is one element higher",
        "the seed of the backward pass, ∂L, is owned by the caller of autograd until the end; ours "
        "is freed once it has been read",
        ("full",),
        READS_OUTPUT,
        lambda pair: pair.more_peak == 1,
        lambda pair: pair.n >= 2,
    ),
    EngineClaim(
        "full, gelu, n ≥ 2: PyTorch’s peak is higher by at least one element and at most min(D, A "
        "+ 1)",
        "PyTorch computes ∂W and ∂x of a product together and keeps x until both are done; ours "
        "frees x after ∂W",
        ("full",),
        ("gelu",),
        lambda pair: 1 <= pair.more_peak <= min(pair.weight, pair.area + 1),
        lambda pair: pair.n >= 2,
    ),
    EngineClaim(
        "W₁ only, tanh, relu and sigmoid: equal peaks, one element higher where D > nA",
        "where the peak is at ∂W₁, the seed of the backward pass is still alive",
        ("w1_only",),
        READS_OUTPUT,
        lambda pair: pair.more_peak == (1 if pair.weight > pair.n * pair.area else 0),
    ),
    EngineClaim(
        "W₁ only, gelu, n ≥ 2, D ≤ nA: PyTorch’s peak is A − 2 higher, (n+2)A instead of (n+1)A + "
        "2",
        "again the loop variable: no gradient reads x here, yet it stays while its layer’s product "
        "and activation are computed",
        ("w1_only",),
        ("gelu",),
        lambda pair: pair.more_peak == pair.area - 2,
        lambda pair: pair.n >= 2 and pair.weight <= pair.n * pair.area,
    ),
    EngineClaim(
        "checkpoint_sequential, k segments of equal length: recomputes k − 1 layers more than our "
        "uniform",
        "PyTorch recomputes each segment but the last in full; ours stops before a segment’s last "
        "layer, because its output is the next snapshot, "
        "which is still alive after reversing the layer above",
        ("checkpointed",),
        READS_OUTPUT,
        lambda pair: pair.more_recompute == pair.more_ops == (pair.segments - 1) * pair.layer_ops,
        lambda pair: pair.segments >= 2 and pair.n % pair.segments == 0,
    ),
    EngineClaim(
        "… and its peak is higher by at least one element and at most A + 1",
        "the output of the segment’s last layer is computed again, and the seed stays; where "
        "weight gradients dominate the peak, only the seed makes a difference",
        ("checkpointed",),
        READS_OUTPUT,
        lambda pair: 1 <= pair.more_peak <= pair.area + 1,
        lambda pair: pair.segments >= 2 and pair.n % pair.segments == 0,
    ),
)


def pairs_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the points of both engines, one row each; PyTorch's columns end in `_pytorch`."""
    ok = completed(rows).dropna(subset=["ops", "peak_bytes"])
    ok = ok[ok["micro_batches"] == 1].drop_duplicates([*KEYS, "engine"])
    ours, theirs = ok[ok["engine"] == HOME_ENGINE], ok[ok["engine"] == OTHER]
    return ours.merge(theirs, on=KEYS, suffixes=("", "_pytorch"))


def engines_of(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each claim that covers some pair, and of how many it is true; none without PyTorch."""
    pairs = pairs_of(rows)
    pairs = pairs[pairs["loss"] == "sum"]
    table = []
    for claim in CLAIMS:
        spoken = pairs[
            pairs["mode"].isin(claim.modes) & pairs["activation"].isin(claim.activations)
        ]
        found = [pair for row in spoken.to_dict("records") if claim.applies(pair := _pair(row))]
        if found:
            table.append(
                {
                    "words": claim.words,
                    "because": claim.because,
                    "true": sum(map(claim.holds, found)),
                    "of": len(found),
                }
            )
    return table


def _pair(row: dict[str, Any]) -> Pair:
    n, d, b = (int(row[name]) for name in ("n", "d", "b"))
    itemsize = ITEMSIZES[row["dtype"]]
    more = {
        name: int(row[f"{name}_pytorch"]) - int(row[name])
        for name in ("peak_bytes", "ops", "ops_recompute")
    }
    segments = 0 if pd.isna(row["segments"]) else int(row["segments"])
    if row["planner"] == "uniform":
        segments = nearest_root(n)
    layer = (int(row["ops_forward"]) - (b * d - 1)) // n
    return Pair(
        n,
        b * d,
        d * d,
        segments,
        more["peak_bytes"] // itemsize,
        more["ops"],
        more["ops_recompute"],
        layer,
    )
