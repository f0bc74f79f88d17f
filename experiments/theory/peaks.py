"""Closed forms for memory: the peak as a maximum of a few named moments, each a polynomial.

The letters of DESIGN and of the exercise: n depth, d width, b batch, A = b·d (one activation), D = d² (one weight gradient), j the
lowest layer asked for, r = 1 if j > 1 and else 0. Everything is in elements; parameters and the caller's data are left out.

The rule. A buffer is born where it is computed and dies after its last read; the loss and the asked gradients live to the end; a
total is taken when a result has been born and its inputs still live. Forward runs layer 1…n and the loss, backward then
starts from a seed (1 element) and runs layer n…j: σ' gives g_z_i, then dW_i if asked, then g_x_i if i > j.

K, what waits for the backward pass when the loss has been computed (multiples of A; x_1 is the caller's and costs nothing):

    all weights   tanh, relu, sigmoid read x_{i+1}, dW_i reads x_i:   x_2…x_{n+1}              K = n
                  gelu reads z_i:                                     z_1…z_n, x_2…x_n         K = 2n−1
                  identity reads nothing:                             x_2…x_n                  K = n−1
    W_j only      tanh, relu, sigmoid:                                x_{j+1}…x_{n+1}, and x_j if j > 1    K = n−j+1+r
                  gelu:                                               z_j…z_n, and x_j if j > 1            K = n−j+1+r
                  identity:                                           x_j if j > 1                         K = r

Forward. Within a layer at most two values live beside the kept ones, so the totals grow with the layer and the last moments rule.
x_{n+1} is among the K if σ' reads outputs, else it lives until the loss has read it. Beside the loss (1), the sum needs nothing, so:

    sum             outputs read: z_n and x_{n+1} beside K−1 others, (K+1)A. Else L is born beside x_{n+1}: (K+1)A+1.
                    Identity and W_j only with j < n: x_j, x_n, z_n, which is (2+r)A.
    squared_error   diff = x_{n+1} − y stays (A). Outputs read: L is born at (K+1)A+1. Else diff is, beside x_{n+1}: (K+2)A.
    cross_entropy   p = log-softmax stays (A). picked (b) and its sum (1): (K+1)A+b+1; outputs not read: also (K+2)A as p is born.
                    (For d = 1 the first of these is the greater, for d > 1 the second.)

Turn, from forward to backward (L is 1, the seed is 1):

    sum             the loss's gradient is the seed, expanded; g_z_n is born:  (K+1)A+2
    squared_error   g_x_{n+1} = diff·seed is born beside diff:                 (K+2)A+2, and then g_z_n: (K+2)A+1, less
    cross_entropy   p, the scattered g_p and g_x_{n+1}:                        (K+3)A+1; −seed before it: (K+1)A+3, not more

Every forward moment is at most the turn, since A ≥ b ≥ 1; for identity with sum, see below.

Descent, all weights, layer i: n−i+1 weight gradients, L, and

    outputs read    dW_i beside x_2…x_i, g_z_i:               iA+(n−i+1)D+1
                    g_x_i (i ≥ 2) beside x_2…x_i, g_z_i:      (i+1)A+(n−i+1)D+1, and the same when g_z_{i−1} is born
    gelu            dW_i beside z_1…z_{i−1}, x_2…x_i, g_z_i:  (2i−1)A+(n−i+1)D+1, and the same for g_x_i and g_z_{i−1}
    identity        dW_i beside x_2…x_i, g_z_i:               iA+(n−i+1)D+1, and the same for g_x_i

Each is linear in i, so its greatest value is at an end: i = n, and i = 1 (i = 2 for g_x_i). Not all of these can rule. With outputs
read, sum and n ≥ 2 the turn (n+1)A+2 is never above (n+1)A+D+1 at i = n. With another loss it is the start i = n that never rules:
where it is above the turn, D > A (gelu: D > 2A), so the line rises towards its other end. Both are left out.

Descent, W_j only: g_x_i carries A less from layer to layer and stays below the turn; then dW_j beside x_j and g_z_j: (1+r)A+D+1.

Identity with sum: g_z_n is the seed itself, expanded, 1 element instead of A. All weights: L is born at nA+1; dW_n at (n−1)A+D+2 (for
n = 1 that is D+2 and the end), not above dW_{n−1} at (n−1)A+2D+1, where the line of the descent now starts. W_j only: j = n, L is born at
(1+r)A+1 and dW_n at rA+D+2; j = n−1, z_n is born at (2+r)A; j < n−1, g_x_{n−1} is born beside x_j and g_x_n: (2+r)A+1.

No gradients: two neighbours, 2A, except that n = 1 with identity and sum has one, and L: A+1.

Gradient accumulation over k ≥ 2 slices, A → A/k: each slice runs forward, its loss is added to the loss so far, then it runs backward, and
each weight gradient is added onto its accumulator, which it is written over, once σ' or W of its layer has passed the gradient on. From the
second slice on n accumulators lie beside every moment: the turn is what it was, with nD more (where the loss's birth rules, with the
loss so far besides), and dW_i and g_x_i are born beside all accumulators, most of all those of layer n. With outputs read g_x_n
is born beside dW_n at (n+1)A+(n+1)D+1, n ≥ 2, which is never below the sum's turn; for n = 1 dW_1 is at A+2D+1. Gelu: dW_n and g_x_n at
(2n−1)A+(n+1)D+1. Identity: nA+(n+1)D+1, or, where g_z_n is the seed, (n−1)A+(n+1)D+2. Adding the losses, KA+nD+3 with the sum, is never
above the turn.

Bound: exact for n ≥ 1, 1 ≤ j ≤ n, d ≥ 1, b ≥ 1. It knows nothing of allocators, workspaces, or writing over an input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

from experiments.theory.case import (
    Case,
    Dimension,
    check_count,
    check_dimensions,
    is_symbolic,
    make_case,
    slice_width,
)


@dataclass(frozen=True)
class Piece:
    """A moment that may be the peak: (area_n·n + area)·bd + (weight_n·n + weight)·d² + batch·b + one elements."""

    label: str
    area_n: int = 0
    area: int = 0
    weight_n: int = 0
    weight: int = 0
    batch: int = 0
    one: int = 0
    micro_batches: int = 1

    def elements(self, n: Dimension, d: Dimension, b: Dimension) -> Dimension:
        """Return the live elements at this moment; b is the whole batch."""
        b = slice_width(b, self.micro_batches)
        areas = (self.area_n * n + self.area) * b * d
        return areas + (self.weight_n * n + self.weight) * d**2 + self.batch * b + self.one

    @property
    def formula(self) -> str:
        """The polynomial as Python and sympy read it, such as "(n+1)*b*d + d**2 + 1"."""
        batch = "b" if self.micro_batches == 1 else f"(b/{self.micro_batches})"
        terms = [
            _term(self.area_n, self.area, f"{batch}*d"),
            _term(self.weight_n, self.weight, "d**2"),
            _term(0, self.batch, batch),
            str(self.one) if self.one else "",
        ]
        return " + ".join(term for term in terms if term) or "0"


def peak_pieces(
    mode: str,
    n: int,
    *,
    activation: str = "tanh",
    loss: str = "sum",
    wrt: str | int | None = None,
    micro_batches: int = 1,
) -> list[Piece]:
    """Return the moments, in order of time, of which the greatest is the peak for every d and b; n only decides which moments exist."""
    case = make_case(mode, n, activation, loss, wrt, micro_batches)
    if mode == "no_grad":
        return _no_grad(case)
    if mode == "forward":
        return _forward(case)
    return _turn(case) + _descent(case) if micro_batches == 1 else _accumulation(case)


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
    """Return the greatest total of live elements without parameters and inputs; signed arrays give arrays, symbols a sympy Max."""
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
    """Return the elements still alive after the run: the loss, the asked gradients, after `forward` what backward would read."""
    check_dimensions(d, b)
    case = make_case(mode, n, activation, loss, wrt, micro_batches)
    if mode == "no_grad":
        return 1
    if mode == "forward":
        slope, constant = _kept(case)
        kept_by_loss = 0 if loss == "sum" else 1
        return (slope * n + constant + kept_by_loss) * b * d + 1
    return (n if case.every else 1) * d**2 + 1


def parameter_elements(n: int, d: Dimension) -> Dimension:
    """Return the elements of W_1…W_n, the exercise's M_net."""
    check_count("n", n)
    check_dimensions(d, 1)
    return n * d**2


def input_bytes(d: Dimension, b: Dimension, loss: str = "sum", itemsize: int = 4) -> Dimension:
    """Return the caller's bytes: x_1, for squared_error y too, for cross_entropy b class indices of 8 bytes each."""
    make_case("no_grad", 1, loss=loss)
    check_dimensions(d, b)
    check_count("itemsize", itemsize)
    extra = {"sum": 0, "squared_error": itemsize * b * d, "cross_entropy": 8 * b}
    return itemsize * b * d + extra[loss]


def greatest(values: Sequence[Dimension]) -> Dimension:
    """Return the greatest of ints, elementwise of signed integer arrays, as a sympy Max of expressions."""
    if any(is_symbolic(value) for value in values):
        import sympy  # only here: it is slow to load and a sweep never needs it

        return sympy.Max(*values)
    if all(isinstance(value, int) for value in values):
        return max(values)
    # 2·max(p, q) = p + q + |p − q|, which every array type computes exactly without our importing numpy.
    return reduce(lambda p, q: (p + q + abs(p - q)) // 2, values)


def _kept(case: Case) -> tuple[int, int]:
    """K of the module's table, as (s, c) for s·n + c."""
    j = case.lowest
    r = int(j > 1)
    if case.activation == "identity":
        return (1, -1) if case.every else (0, r)
    if case.every:
        return (1, 0) if case.reads_output else (2, -1)
    return (1, 1 - j + r)


def _no_grad(case: Case) -> list[Piece]:
    if case.n == 1 and case.activation == "identity" and case.loss == "sum":
        return [Piece("the loss is born", area=1, one=1)]
    return [Piece("a value is born beside the one before it", area=2)]


def _forward(case: Case) -> list[Piece]:
    s, k = _kept(case)
    picked = Piece("the sum of the picked log-probabilities is born", s, k + 1, batch=1, one=1)
    if case.reads_output:
        return {
            "sum": [Piece("the last activation is born", s, k + 1)],
            "squared_error": [Piece("the loss is born", s, k + 1, one=1)],
            "cross_entropy": [picked],
        }[case.loss]
    if case.loss == "sum":
        if case.activation == "identity" and not case.every and case.n > case.lowest:
            return [Piece("the last product is born", s, k + 2)]
        return [Piece("the loss is born", s, k + 1, one=1)]
    if case.loss == "squared_error":
        return [Piece("the difference is born", s, k + 2)]
    return [Piece("the log-probabilities are born", s, k + 2), picked]


def _turn(case: Case) -> list[Piece]:
    s, k = _kept(case)
    if case.loss == "squared_error":
        return [Piece("the gradient of the difference is born", s, k + 2, one=2)]
    if case.loss == "cross_entropy":
        return [Piece("the gradient of the log-softmax is born", s, k + 3, one=1)]
    if case.activation != "identity":
        if case.every and case.reads_output and case.n >= 2:
            return []
        return [Piece("the gradient of the last product is born", s, k + 1, one=2)]
    if case.every or case.lowest == case.n:
        return [Piece("the loss is born", s, k + 1, one=1)]
    if case.lowest == case.n - 1:
        return [Piece("the last product is born", s, k + 2)]
    return [Piece("a gradient is born beside the one above it", s, k + 2, one=1)]


def _descent(case: Case) -> list[Piece]:
    r = int(case.lowest > 1)
    seed_as_gradient = case.activation == "identity" and case.loss == "sum"
    if not case.every:
        if seed_as_gradient and case.lowest == case.n:
            return [Piece("the weight gradient is born", area=r, weight=1, one=2)]
        return [Piece("the weight gradient is born", area=1 + r, weight=1, one=1)]
    if seed_as_gradient and case.n == 1:
        return [Piece("the last weight gradient is born", weight=1, one=2)]
    last = Piece("the last weight gradient is born", area=1, weight_n=1, one=1)
    if case.n == 1:
        return [last]
    pieces = [last]
    if case.reads_output:
        pieces.insert(
            0, Piece("the last gradient passed down is born", area=3, weight_n=1, weight=-1, one=1)
        )
    if case.loss == "sum":
        start = {
            "identity": Piece("the second weight gradient is born", 1, -1, weight=2, one=1),
            "gelu": Piece("the first weight gradient is born", 2, -1, weight=1, one=1),
        }
        pieces.insert(
            0,
            start.get(
                case.activation,
                Piece("the first gradient passed down is born", 1, 1, weight=1, one=1),
            ),
        )
    return pieces


def _accumulation(case: Case) -> list[Piece]:
    s, k = _kept(case)
    seed_as_gradient = case.activation == "identity" and case.loss == "sum"
    turn = {
        "sum": Piece("the gradient of the last product is born", s, k + 1, one=2),
        "squared_error": Piece("the gradient of the difference is born", s, k + 2, one=2),
        "cross_entropy": Piece("the gradient of the log-softmax is born", s, k + 3, one=1),
    }[case.loss]
    if seed_as_gradient:
        turn = Piece("the loss is born", s, k + 1, one=2)
    if case.reads_output and case.n >= 2:
        born = Piece("the first gradient passed down is born", s, k + 1, weight=1, one=1)
        pieces = [born] if case.loss == "sum" else [turn, born]
    else:
        area = {"gelu": k}.get(
            case.activation, k if case.reads_output else k + (not seed_as_gradient)
        )
        pieces = [
            turn,
            Piece(
                "the last layer's weight gradient is born",
                s,
                area,
                weight=1,
                one=1 + seed_as_gradient,
            ),
        ]
    return [
        replace(piece, weight_n=piece.weight_n + 1, micro_batches=case.micro_batches)
        for piece in pieces
    ]


def _term(slope: int, constant: int, factor: str) -> str:
    if slope == 0:
        return {0: "", 1: factor}.get(constant, f"{constant}*{factor}")
    leading = "n" if slope == 1 else f"{slope}*n"
    return f"{leading}*{factor}" if constant == 0 else f"({leading}{constant:+d})*{factor}"
