"""Closed forms for the scalar operations of the exercise's network.

The network: x_1 is d×b, z_i = W_i x_i, x_{i+1} = σ(z_i) for i = 1…n, L = f(x_{n+1}); N = bd is the
size of every x and z. Peaks are derived in `theory_peaks`, names and ranges are checked in
`theory_case`; this module derives the operations.

One operation is one multiplication or division (m), one addition, subtraction or negation (a), one
comparison (c), or one evaluation of an elementary function (e) on one scalar.

    product (r×k)(k×s)       rks m, r(k−1)s a; besides, 2rks matmul flops
    W_i x_i, W_iᵀ g          d²b m, d(d−1)b a
    g x_iᵀ                   d²b m, d²(b−1) a

    σ, N elements            forward          backward
    tanh, sigmoid            N e              g·(1−y²), g·y·(1−y): 2N m, N a
    relu                     N c              N c
    gelu                     3N m, N a, N e   g·(Φ(z) + z·φ(z)): 7N m, 2N a, 2N e
    identity                 nothing          nothing

    loss             forward                                   backward
    sum              N−1 a                                     nothing (the seed, expanded)
    squared_error    difference N a; squares N m,              diff·seed: N m
                     their sum N−1 a, ½: 1 m
    cross_entropy    each of b columns: greatest d−1 c,        −seed 1 a; scatter nothing;
                     x−max d a, exp d e, sum d−1 a, log 1 e,   column sums of g (d−1)b a,
                     minus log d a; sum of the picked b−1 a,   exp p N e, their product N m,
                     minus 1 a: 3N a, (d−1)b c, N+b e in all   g minus it N a

Forward runs n products and n σ. Backward runs from layer n down to the lowest asked layer j (1
unless W_j alone is asked for): n−j+1 times σ', one product g x_iᵀ for each asked weight (n or 1),
and n−j products W_iᵀ g, since ∂L/∂x_j is not asked for. What no asked gradient needs is never run,
so all these are products of a count of layers and a cost of one layer.

Sources: the exercise on backpropagation and DESIGN section 6 for the network; ORACLES for PyTorch's
numbers, which were observed. Bound: exact for n, d, b ≥ 1. It counts no recomputation (that key is
always zero), no copies, no seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from experiments.theory.case import (
    Case,
    Dimension,
    check_dimensions,
    make_case,
    slice_width,
)


@dataclass(frozen=True)
class Operations:
    """Scalar operations by kind; `matmul_flops` counts the products again, outside the total."""

    multiplications: Dimension = 0
    additions: Dimension = 0
    comparisons: Dimension = 0
    elementary: Dimension = 0
    matmul_flops: Dimension = 0

    @property
    def total(self) -> Dimension:
        """The sum over the four kinds."""
        return self.multiplications + self.additions + self.comparisons + self.elementary

    def __add__(self, other: Operations) -> Operations:
        """Return the sum, kind by kind."""
        return Operations(
            self.multiplications + other.multiplications,
            self.additions + other.additions,
            self.comparisons + other.comparisons,
            self.elementary + other.elementary,
            self.matmul_flops + other.matmul_flops,
        )

    def __rmul__(self, times: int) -> Operations:
        """Return the operations of doing this `times` times."""
        return Operations(
            times * self.multiplications,
            times * self.additions,
            times * self.comparisons,
            times * self.elementary,
            times * self.matmul_flops,
        )


def operations(
    mode: str,
    n: int,
    d: Dimension,
    b: Dimension,
    *,
    activation: str = "tanh",
    loss: str = "sum",
    wrt: str | int | None = None,
    micro_batches: int = 1,
) -> dict[str, Operations]:
    """Return the operations of one run by phase, under the keys forward, recompute and backward.

    `micro_batches` (mode full) runs so many slices of the batch and adds their losses and their
    gradients, n·d² and 1 additions for each slice after the first.
    """
    check_dimensions(d, b)
    case = make_case(mode, n, activation, loss, wrt, micro_batches)
    width = slice_width(b, micro_batches)
    joins = micro_batches - 1
    forward = n * (_product(d, d, width) + _activation(case, d, width)) + _loss(case, d, width)
    forward = micro_batches * forward + Operations(additions=joins)
    backward = Operations()
    if mode not in ("no_grad", "forward"):
        backward = micro_batches * _backward(case, d, width) + Operations(
            additions=joins * n * d**2
        )
    return {"forward": forward, "recompute": Operations(), "backward": backward}


def total_operations(
    mode: str,
    n: int,
    d: Dimension,
    b: Dimension,
    *,
    activation: str = "tanh",
    loss: str = "sum",
    wrt: str | int | None = None,
    micro_batches: int = 1,
) -> Dimension:
    """Return the operations of one run over all phases and kinds."""
    phases = operations(
        mode, n, d, b, activation=activation, loss=loss, wrt=wrt, micro_batches=micro_batches
    )
    return sum((phase.total for phase in phases.values()), 0)


def _product(rows: Dimension, inner: Dimension, columns: Dimension) -> Operations:
    cells = rows * columns
    return Operations(
        multiplications=cells * inner, additions=cells * (inner - 1), matmul_flops=2 * cells * inner
    )


def _activation(case: Case, d: Dimension, b: Dimension) -> Operations:
    size = b * d
    if case.activation == "identity":
        return Operations()
    if case.activation == "relu":
        return Operations(comparisons=size)
    if case.activation == "gelu":
        return Operations(multiplications=3 * size, additions=size, elementary=size)
    return Operations(elementary=size)


def _activation_gradient(case: Case, d: Dimension, b: Dimension) -> Operations:
    size = b * d
    if case.activation == "identity":
        return Operations()
    if case.activation == "relu":
        return Operations(comparisons=size)
    if case.activation == "gelu":
        return Operations(multiplications=7 * size, additions=2 * size, elementary=2 * size)
    return Operations(multiplications=2 * size, additions=size)


def _loss(case: Case, d: Dimension, b: Dimension) -> Operations:
    size = b * d
    if case.loss == "sum":
        return Operations(additions=size - 1)
    if case.loss == "squared_error":
        return Operations(multiplications=size + 1, additions=2 * size - 1)
    return Operations(additions=3 * size, comparisons=(d - 1) * b, elementary=size + b)


def _loss_gradient(case: Case, d: Dimension, b: Dimension) -> Operations:
    size = b * d
    if case.loss == "sum":
        return Operations()
    if case.loss == "squared_error":
        return Operations(multiplications=size)
    return Operations(multiplications=size, additions=(d - 1) * b + size + 1, elementary=size)


def _backward(case: Case, d: Dimension, b: Dimension) -> Operations:
    above = case.n - case.lowest
    asked = case.n if case.every else 1
    layers = (
        (above + 1) * _activation_gradient(case, d, b)
        + asked * _product(d, b, d)
        + above * _product(d, d, b)
    )
    return _loss_gradient(case, d, b) + layers
