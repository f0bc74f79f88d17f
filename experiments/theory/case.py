"""The vocabulary of the closed forms: which network, which mode, which weights are asked for.

The network is the exercise's: x_1 is d×b, z_i = W_i x_i, x_{i+1} = σ(z_i) for i = 1…n, L =
f(x_{n+1}). A case fixes everything about a point except d and b, which stay free so that one
formula serves integers, numpy arrays and sympy symbols.

Bound: none; the closed forms look at n and j only through comparisons with 1 and with each other.
It checks names and ranges, and does no counting. Like all of the theory it imports nothing of the
engine or the profiler, so its one error is a ValueError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MODES = ("no_grad", "forward", "full", "w1_only", "only")
ACTIVATIONS = ("tanh", "relu", "sigmoid", "gelu", "identity")
LOSSES = ("sum", "squared_error", "cross_entropy")

Dimension = Any
"""An int, an integer numpy array, a sympy expression: whatever adds and multiplies exactly."""


class TheoryError(ValueError):
    """A case that no closed form covers; its message is one line."""


@dataclass(frozen=True)
class Case:
    """One mode of one network: everything but d and b."""

    mode: str
    n: int
    activation: str
    loss: str
    layer: int | None
    micro_batches: int = 1

    @property
    def every(self) -> bool:
        """Return whether all weights' gradients are asked for, or prepared for in `forward`."""
        return self.layer is None

    @property
    def lowest(self) -> int:
        """Return the lowest layer whose weight gradient is asked for, where backward ends."""
        return 1 if self.layer is None else self.layer

    @property
    def reads_output(self) -> bool:
        """Return whether σ' reads σ's output (tanh, relu, sigmoid), not its input z_i (gelu)."""
        return self.activation in ("tanh", "relu", "sigmoid")


def make_case(
    mode: str,
    n: int,
    activation: str = "tanh",
    loss: str = "sum",
    wrt: str | int | None = None,
    micro_batches: int = 1,
) -> Case:
    """Return the checked case.

    `wrt` names one layer, as 3 or "W_3". `only` needs it, `forward` may have it (without it, the
    values that the gradients of all weights read are kept), `w1_only` is layer 1. Raises
    TheoryError for an unknown name or a layer outside 1…n.
    """
    _check_name("mode", mode, MODES)
    _check_name("activation", activation, ACTIVATIONS)
    _check_name("loss", loss, LOSSES)
    check_count("n", n)
    check_count("micro_batches", micro_batches)
    if micro_batches > 1 and mode != "full":
        raise TheoryError(
            f"micro_batches={micro_batches} with mode {mode!r}: gradients are accumulated in "
            "mode 'full' only; use that or 1"
        )
    layer = layer_of(wrt, n)
    if mode == "only" and layer is None:
        raise TheoryError(
            f"mode 'only' without wrt: expected one weight of W_1…W_{n}; pass wrt='W_1', say"
        )
    if mode in ("no_grad", "full") and layer is not None:
        raise TheoryError(
            f"mode {mode!r} with wrt={wrt!r}: that mode leaves no choice of a weight; leave wrt "
            "out, or use mode 'only'"
        )
    if mode == "w1_only":
        if layer not in (None, 1):
            raise TheoryError(
                f"mode 'w1_only' with wrt={wrt!r}: that mode means W_1; use mode 'only'"
            )
        layer = 1
    return Case(mode, n, activation, loss, layer, micro_batches)


def layer_of(wrt: str | int | None, n: int) -> int | None:
    """Return the layer that `wrt` names, as 3 or "W_3", None for None.

    Raises TheoryError outside 1…n.
    """
    if wrt is None:
        return None
    text = str(wrt).removeprefix("W_")
    if isinstance(wrt, bool) or not text.isascii() or not text.isdigit() or not 1 <= int(text) <= n:
        raise TheoryError(
            f"wrt={wrt!r}: expected a layer from 1 to {n}; pass a whole number such as 1, or a "
            "name such as 'W_1'"
        )
    return int(text)


def check_count(name: str, value: object) -> None:
    """Raise TheoryError unless `value` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TheoryError(f"{name}={value!r}: expected a whole number of at least 1; pass one")


def check_dimensions(d: Dimension, b: Dimension) -> None:
    """Raise TheoryError for a number below 1 or with a fraction; arrays and symbols pass."""
    for name, value in (("d", d), ("b", b)):
        if isinstance(value, bool | int | float | str):
            check_count(name, value)


def slice_width(b: Dimension, micro_batches: int) -> Dimension:
    """Return the columns of one slice of a batch; raise TheoryError where it does not divide."""
    if micro_batches == 1:
        return b
    if isinstance(b, int) and b % micro_batches:
        raise TheoryError(
            f"b={b} in {micro_batches} micro-batches: expected slices of equal width; choose a "
            "divisor of b"
        )
    return b / micro_batches if is_symbolic(b) else b // micro_batches


def is_symbolic(value: object) -> bool:
    """Return whether `value` is a sympy expression, without importing sympy."""
    return hasattr(value, "free_symbols")


def _check_name(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise TheoryError(
            f"{what} {given!r}: expected one of {', '.join(known)}; choose one of these"
        )
