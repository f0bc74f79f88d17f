"""PyTorch's own numbers of the exercise's chain: products and peaks, as observed."""

from __future__ import annotations

from experiments.theory.case import (
    Dimension,
    check_dimensions,
    make_case,
)
from experiments.theory.elements import (
    greatest,
)


def pytorch_products(mode: str, n: int, j: int | None = None) -> int:
    """Return how many d×d by d×b products PyTorch's eager step runs, each of 2bd² flops.

    `j` is the layer of mode `only`.
    Ours are as many: PyTorch too stops at the lowest layer that it needs.
    """
    case = make_case(mode, n, wrt=j if mode == "only" else None)
    if mode in ("no_grad", "forward"):
        return n
    return 3 * n - 1 if case.every else n + (n - case.lowest) + 1


def pytorch_peak_elements(
    mode: str,
    n: int,
    d: Dimension,
    b: Dimension,
    activation: str = "tanh",
    wrt: str | int | None = None,
) -> Dimension | None:
    """Return the peak of PyTorch's eager step with loss sum, in elements.

    The step is the loop h = f(W @ h); None where nothing was observed.
    Observed for tanh, relu and gelu with n ≥ 2; W_j alone for j = 1 and j = n only; `forward` with
    all weights asked for, or W_1 alone. Distinct live storages, without parameters and the
    input.
    """
    check_dimensions(d, b)
    layer = make_case(mode, n, activation, wrt=wrt).layer
    if n < 2 or activation not in ("tanh", "relu", "gelu") or layer not in (None, 1, n):
        return None
    area, weight = b * d, d**2
    gelu = activation == "gelu"
    if mode == "no_grad":
        return 3 * area
    if mode == "forward":
        if layer is None:
            return 2 * n * area + 1 if gelu else (n + 1) * area
        if layer == n:
            return None
        return (n + 2) * area if gelu else (n + 1) * area
    if layer is None:
        if gelu:
            return 2 + greatest(
                [2 * n * area + weight, 4 * area + (n - 1) * weight, area + n * weight]
            )
        return 2 + greatest(
            [(n + 1) * area + weight, 3 * area + (n - 1) * weight, area + n * weight]
        )
    if layer == n:
        return 2 + greatest([3 * area, 2 * area + weight])
    if gelu:
        return greatest([(n + 2) * area, (n + 1) * area + 2, area + weight + 2])
    return 2 + greatest([(n + 1) * area, area + weight])
