"""Our engine beside plain PyTorch on the same points: where ours needs less or more, why, and in how many rows that is true.

A pair is one point run by both. Each claim says what the difference PyTorch minus ours is, and is held against every pair that it speaks of;
the reasons were found by following both engines' buffers from birth to death. Letters: A = bd, one activation; D = d², one weight gradient; elements.
Bound: the exercise's chain with the sum as loss. It says nothing of seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

HOME, OTHER = "autodiff", "pytorch"
KEYS = ["network", "activation", "loss", "dtype", "n", "d", "b", "mode", "planner", "wrt"]
READS_OUTPUT = ("tanh", "relu", "sigmoid")
EVERY = (*READS_OUTPUT, "gelu", "identity")


@dataclass(frozen=True)
class Pair:
    """A point run by both engines: its shape in elements, and what PyTorch takes more than ours."""

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
    """What is said of the pairs of some modes and activations (where `applies`), why, and what must hold of each."""

    words: str
    because: str
    modes: tuple[str, ...]
    activations: tuple[str, ...]
    holds: Callable[[Pair], bool]
    applies: Callable[[Pair], bool] = lambda pair: True


PLAIN = ("no_grad", "forward", "full", "w1_only", "only")
CLAIMS = (
    EngineClaim(
        "operations: the same, to the last one, wherever nothing is run again",
        "the same products and activations; neither asks for the gradient of the data",
        PLAIN,
        EVERY,
        lambda pair: pair.more_ops == 0,
    ),
    EngineClaim(
        "no-grad, n ≥ 2: PyTorch’s peak is A higher, 3A for 2A",
        "the loop’s variable keeps the old value while the product and its activation are born; ours dies with its last reader, the product",
        ("no_grad",),
        ("tanh", "relu", "sigmoid", "gelu"),
        lambda pair: pair.more_peak == pair.area,
        lambda pair: pair.n >= 2,
    ),
    EngineClaim(
        "forward: the same peak",
        "what the gradients will read is kept by both, and the loop’s variable is among it",
        ("forward",),
        EVERY,
        lambda pair: pair.more_peak == 0,
    ),
    EngineClaim(
        "full, tanh, relu and sigmoid, n ≥ 2: PyTorch’s peak is one element higher",
        "the seed of the backward pass, ∂L, stays with the caller of autograd to the end; ours dies when it has been read",
        ("full",),
        READS_OUTPUT,
        lambda pair: pair.more_peak == 1,
        lambda pair: pair.n >= 2,
    ),
    EngineClaim(
        "full, gelu, n ≥ 2: PyTorch’s peak is higher by one element at least, by the less of D and A + 1 at most",
        "PyTorch makes ∂W and ∂x of a product together, and the x that it read stays until both are there; ours lets x go after ∂W",
        ("full",),
        ("gelu",),
        lambda pair: 1 <= pair.more_peak <= min(pair.weight, pair.area + 1),
        lambda pair: pair.n >= 2,
    ),
    EngineClaim(
        "W₁ alone, tanh, relu and sigmoid: the same peak, one element higher where D > nA",
        "where ∂W₁ is the greatest moment, the seed of the backward pass is still there",
        ("w1_only",),
        READS_OUTPUT,
        lambda pair: pair.more_peak == (1 if pair.weight > pair.n * pair.area else 0),
    ),
    EngineClaim(
        "W₁ alone, gelu, n ≥ 2, D ≤ nA: PyTorch’s peak is A − 2 higher, (n+2)A for (n+1)A + 2",
        "again the loop’s variable: no gradient reads x here, yet it stays while its layer’s product and activation are born",
        ("w1_only",),
        ("gelu",),
        lambda pair: pair.more_peak == pair.area - 2,
        lambda pair: pair.n >= 2 and pair.weight <= pair.n * pair.area,
    ),
    EngineClaim(
        "checkpoint_sequential, k segments of equal length: runs k − 1 layers more again than our uniform",
        "PyTorch runs each segment but the last again whole; ours stops before a segment’s last layer, since its output is the next snapshot, "
        "still there from reversing the layer above",
        ("checkpointed",),
        READS_OUTPUT,
        lambda pair: pair.more_recompute == pair.more_ops == (pair.segments - 1) * pair.layer_ops,
        lambda pair: pair.segments >= 2 and pair.n % pair.segments == 0,
    ),
    EngineClaim(
        "… and its peak is higher, by one element at least and A + 1 at most",
        "the output of the segment’s last layer is made anew, and the seed stays; where weight gradients make the peak only the seed is left of it",
        ("checkpointed",),
        READS_OUTPUT,
        lambda pair: 1 <= pair.more_peak <= pair.area + 1,
        lambda pair: pair.segments >= 2 and pair.n % pair.segments == 0,
    ),
)  # fmt: skip


def pairs_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The points that both engines ran, one row each: our columns as they are, PyTorch's with `_pytorch` at their end."""
    ok = rows[(rows["status"] == "ok") & (rows["micro_batches"] == 1)].dropna(
        subset=["ops", "peak_bytes"]
    )
    ok = ok.drop_duplicates([*KEYS, "engine"])
    ours, theirs = ok[ok["engine"] == HOME], ok[ok["engine"] == OTHER]
    return ours.merge(theirs, on=KEYS, suffixes=("", "_pytorch"))


def engines_of(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Each claim that some pair can be held against, with how many it is true of; empty where PyTorch was not run."""
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
    itemsize = int(row["parameter_bytes"]) // (n * d * d)
    more = {
        name: int(row[f"{name}_pytorch"]) - int(row[name])
        for name in ("peak_bytes", "ops", "ops_recompute")
    }
    segments = 0 if pd.isna(row["segments"]) else int(row["segments"])
    if row["planner"] == "uniform":
        segments = max(1, round(n**0.5))
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
