"""What is alive while a segment of the exercise's network is run, kept and reversed.

The letters are those of `peaks.py`: n layers, A = bd, D = d²; x_1 is given. All
gradients are asked for.

Snapshots are x_k (A, x_1 nothing). After layer k is reversed, k ≥ 2, there is left: one gradient,
n−k+1 weight gradients, L: A + (n−k+1)D + 1. While layers are run only to get further, two of x_k,
z_k, x_{k+1} are alive with the snapshot that they started from: 2A (identity, one layer: A). A
segment a…b that is reversed is run and kept first: x_{a+1}…x_b, with gelu also z_a…z_b; then each
layer k has these moments, with what is kept below it and G = (n−k+1)D + 1:

    outputs read    ∂W_k with x_k, ∂z_k: x_k + A + G;
                    ∂x_k and then ∂z_{k−1}: x_k + 2A + G (k ≥ 2)
    gelu            ∂z_k with x_k, z_k, ∂x_{k+1}: x_k + 3A + G − D;   ∂W_k: x_k + A + G;
                    ∂x_k, x_k gone: 2A + G (k ≥ 2)
    identity        ∂W_k: x_k + A + G;                            ∂x_k, x_k gone: 2A + G (k ≥ 2)

Layer n has the loss in its place; `_turn` lists its moments, from z_n to ∂z_n.

Sources: derived by hand from the order in which gradients are made; nothing is imported from the
engine. Bound: exact for n, d, b ≥ 1, integers or integer arrays. Plans are the subject of
`checkpointing.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from experiments.theory.case import Case, Dimension

Moment = Any
"""Live elements at a moment: an int, or an array with one entry a shape."""


def most(*moments: Moment) -> Moment:
    """Return the greatest of some moments, for each shape."""
    return reduce(
        lambda one, other: max(one, other) if _plain(one, other) else np.maximum(one, other),
        moments,
    )


def least(*moments: Moment) -> Moment:
    """Return the least of some moments, for each shape."""
    return reduce(
        lambda one, other: min(one, other) if _plain(one, other) else np.minimum(one, other),
        moments,
    )


def _plain(*moments: Moment) -> bool:
    return all(isinstance(moment, int) for moment in moments)


@dataclass(frozen=True, eq=False)
class Network:
    """The moments of moves on the network of a case; `a` is A, `w` is D."""

    case: Case
    a: Dimension
    w: Dimension
    b: Dimension

    @property
    def gelu(self) -> bool:
        return self.case.activation == "gelu"

    @property
    def identity(self) -> bool:
        return self.case.activation == "identity"

    def x(self, k: int) -> Dimension:
        """x_k."""
        return 0 * self.a if k == 1 else self.a

    def left(self, k: int) -> Dimension:
        """Return what layers k…n leave when reversed; nothing before any is (k = n + 1)."""
        return 0 * self.a if k > self.case.n else self.a + (self.case.n - k + 1) * self.w + 1

    def advancing(self, start: int, stop: int, above: int) -> Moment:
        """Return the moments of running layers start … stop − 1, those from `above` reversed."""
        first = self.a if self.identity else 2 * self.a
        later = 2 * self.a if stop - start > 1 else 0 * self.a
        return self.left(above) + self.x(start) + most(first, later)

    def reversed(self, start: int, stop: int) -> Moment:
        """Return the moments of running layers start … stop and reversing them.

        All that is read later is kept, from x_start on; layers above are reversed.
        """
        n, a = self.case.n, self.a
        per_layer = 2 * a if self.gelu else a  # x_{k+1}, and with gelu z_k
        moments: list[Moment] = []
        for k in range(start, stop + 1):
            kept = self.x(start) + (k - start) * per_layer
            if k < stop:
                moments.append(self.left(stop + 1) + kept + (a if self.identity else 2 * a))
            elif stop == n:
                moments += self._turn(kept)
            elif self.gelu:
                moments.append(self.left(stop + 1) + kept + a)
            below = 0 * a if k == start else kept - a
            moments += self._stage(k, below, self.x(start) if k == start else a)
        return most(*moments)

    def _stage(self, k: int, below: Dimension, x: Dimension) -> list[Moment]:
        """Return the moments of reversing layer k with what is kept below it."""
        n, a, w = self.case.n, self.a, self.w
        held = below + (n - k + 1) * w + 1
        if self.identity and self.case.loss == "sum" and k == n:  # ∂z_n is the seed, expanded
            return [held + x + 1, held + (a + 1 if k > 1 else 0)]
        moments = [held + x + a]
        if self.gelu and k < n:
            moments.append(held - w + x + 3 * a)
        if k > 1:
            moments.append(held + 2 * a + (x if self.case.reads_output else 0))
        return moments

    def _turn(self, kept: Dimension) -> list[Moment]:
        """Return the moments of layer n, the loss, back to ∂z_n, x_n and all below kept."""
        a, b, sigma = self.a, self.b, not self.identity
        held = kept + (a if sigma else 0)  # x_{n+1}, with gelu z_n
        passing = 0 if self.case.reads_output else a  # x_{n+1} where it is read by the loss alone
        moments: list[Moment] = [kept + a, kept + (2 * a if sigma else 0)]
        if self.case.loss == "sum":
            return [*moments, held + passing + 1, held + (a if sigma else 0) + (2 if sigma else 0)]
        moments += [held + passing + a, held + 2 * a + (1 if sigma else 0)]
        if self.case.loss == "squared_error":
            return [*moments, held + 2 * a + 2]
        return [*moments, held + a + b + 1, held + a + 3, held + 2 * a + 2, held + 3 * a + 1]
