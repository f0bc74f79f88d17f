"""Peaks, what stays alive and what is given, from the closed forms of `peaks.py`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from experiments.theory.case import (
    Dimension,
    check_count,
    check_dimensions,
    is_symbolic,
    make_case,
)
from experiments.theory.peaks import kept_of, peak_pieces


def peak_elements(
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
    """Return the greatest total of live elements without parameters and inputs.

    Signed arrays give arrays, symbols a sympy Max.
    """
    check_dimensions(d, b)
    pieces = peak_pieces(
        mode, n, activation=activation, loss=loss, wrt=wrt, micro_batches=micro_batches
    )
    return greatest([piece.elements(n, d, b) for piece in pieces])


def live_after_elements(
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
    """Return the elements alive after the run: the loss and the gradients asked for.

    After `forward` it is the loss and what backward would read.
    """
    check_dimensions(d, b)
    case = make_case(mode, n, activation, loss, wrt, micro_batches)
    if mode == "no_grad":
        return 1
    if mode == "forward":
        slope, constant = kept_of(case)
        kept_by_loss = 0 if loss == "sum" else 1
        return (slope * n + constant + kept_by_loss) * b * d + 1
    return (n if case.every else 1) * d**2 + 1


def parameter_elements(n: int, d: Dimension) -> Dimension:
    """Return the elements of W_1…W_n, the exercise's M_net."""
    check_count("n", n)
    check_dimensions(d, 1)
    return n * d**2


def input_bytes(d: Dimension, b: Dimension, loss: str = "sum", itemsize: int = 4) -> Dimension:
    """Return the bytes of the inputs: x_1, and y or for cross_entropy b indices of 8 bytes."""
    make_case("no_grad", 1, loss=loss)
    check_dimensions(d, b)
    check_count("itemsize", itemsize)
    extra = {"sum": 0, "squared_error": itemsize * b * d, "cross_entropy": 8 * b}
    return itemsize * b * d + extra[loss]


def greatest(values: Sequence[Dimension]) -> Dimension:
    """Return the greatest of ints, of signed arrays by element, of expressions as a Max."""
    if any(is_symbolic(value) for value in values):
        import sympy  # only here: it is slow to load and a sweep never needs it

        return sympy.Max(*values)
    if all(isinstance(value, int) for value in values):
        return max(values)
    # 2·max(p, q) = p + q + |p − q|, which every array type computes exactly without our importing
    # numpy.
    return reduce(lambda p, q: (p + q + abs(p - q)) // 2, values)
