"""Closed forms for memory: the peak as a maximum of a few named moments, each a polynomial.

The letters of DESIGN and of the exercise: n depth, d width, b batch, A = b·d (one activation), D =
d² (one weight gradient), j the lowest layer asked for, r = 1 if j > 1 and else 0. Everything is in
elements; parameters and data are left out.

The rule. A buffer is born where it is computed and dies after its last read; the loss and the asked
gradients live to the end; a total is taken when a result has been born and its inputs still live.
Forward runs layer 1…n and the loss, backward then starts from a seed (1 element) and runs layer
n…j: σ' gives g_z_i, then dW_i if asked, then g_x_i if i > j.

K, what waits for the backward pass when the loss has been computed (multiples of A; x_1 is given
and costs nothing):

    all weights   tanh, relu, sigmoid read x_{i+1}, dW_i reads x_i: x_2…x_{n+1}   K = n
                  gelu reads z_i: z_1…z_n, x_2…x_n                                K = 2n−1
                  identity reads nothing: x_2…x_n                                 K = n−1
    W_j only      tanh, relu, sigmoid: x_{j+1}…x_{n+1}, and x_j if j > 1          K = n−j+1+r
                  gelu: z_j…z_n, and x_j if j > 1                                 K = n−j+1+r
                  identity: x_j if j > 1                                          K = r

Forward. Within a layer at most two values live besides the kept ones, so the totals grow with the
layer and the last moments are the peak. x_{n+1} is among the K if σ' reads outputs, else it lives
until the loss has read it. With the loss (1), the sum needs nothing, so:

    sum             outputs read: z_n and x_{n+1} with K−1 others, (K+1)A. Else L is born with
                    x_{n+1}: (K+1)A+1.
                    Identity and W_j only with j < n: x_j, x_n, z_n, which is (2+r)A.
    squared_error   diff = x_{n+1} − y stays (A). Outputs read: L is born at (K+1)A+1. Else diff
                    is, with x_{n+1}: (K+2)A.
    cross_entropy   p = log-softmax stays (A). picked (b) and its sum (1): (K+1)A+b+1; outputs not
                    read: also (K+2)A as p is born.
                    (For d = 1 the first of these is the greater, for d > 1 the second.)

Turn, from forward to backward (L is 1, the seed is 1):

    sum             the loss's gradient is the seed, expanded; g_z_n is born: (K+1)A+2
    squared_error   g_x_{n+1} = diff·seed is born with diff: (K+2)A+2, then g_z_n: (K+2)A+1, less
    cross_entropy   p, the scattered g_p and g_x_{n+1}: (K+3)A+1; −seed before: (K+1)A+3, not more

Every forward moment is at most the turn, since A ≥ b ≥ 1; for identity with sum, see below.

Descent, all weights, layer i: n−i+1 weight gradients, L, and

    outputs read    dW_i with x_2…x_i, g_z_i:               iA+(n−i+1)D+1
                    g_x_i (i ≥ 2) with x_2…x_i, g_z_i:      (i+1)A+(n−i+1)D+1, as for g_z_{i−1}
    gelu            dW_i with z_1…z_{i−1}, x_2…x_i, g_z_i: (2i−1)A+(n−i+1)D+1, as for both others
    identity        dW_i with x_2…x_i, g_z_i:               iA+(n−i+1)D+1, as for g_x_i

Each is linear in i, so its greatest value is at an end: i = n, and i = 1 (i = 2 for g_x_i). Not all
of these can be the peak. With outputs read, sum and n ≥ 2 the turn (n+1)A+2 is never above
(n+1)A+D+1 at i = n. With another loss it is the start i = n that is never the peak: where it is
above the turn, D > A (gelu: D > 2A), so the line rises towards its other end. Both are left out.

Descent, W_j only: g_x_i carries A less from layer to layer and stays below the turn; then dW_j
with x_j and g_z_j: (1+r)A+D+1.

Identity with sum: g_z_n is the seed itself, expanded, 1 element instead of A. All weights: L is
born at nA+1; dW_n at (n−1)A+D+2 (for n = 1 that is D+2 and the end), not above dW_{n−1} at
(n−1)A+2D+1, where the line of the descent now starts. W_j only: j = n, L is born at (1+r)A+1 and
dW_n at rA+D+2; j = n−1, z_n is born at (2+r)A; j < n−1, g_x_{n−1} is born with x_j and g_x_n:
(2+r)A+1.

No gradients: two neighbours, 2A, except that n = 1 with identity and sum has one, and L: A+1.

Gradient accumulation over k ≥ 2 slices, A → A/k: each slice runs forward, its loss is added to the
loss so far, then it runs backward, and each weight gradient is added onto its accumulator, which it
is written over, once σ' or W of its layer has passed the gradient on. From the second slice on n
accumulators lie with every moment: the turn is what it was, with nD more (where the loss's birth
is the peak, with the loss so far besides), and dW_i and g_x_i are born with all accumulators,
most of all those of layer n. With outputs read g_x_n is born with dW_n at (n+1)A+(n+1)D+1, n ≥ 2,
which is never below the sum's turn; for n = 1 dW_1 is at A+2D+1. Gelu: dW_n and g_x_n at
(2n−1)A+(n+1)D+1. Identity: nA+(n+1)D+1, or, where g_z_n is the seed, (n−1)A+(n+1)D+2. Adding the
losses, KA+nD+3 with the sum, is never above the turn.

Bound: exact for n ≥ 1, 1 ≤ j ≤ n, d ≥ 1, b ≥ 1. Allocators, workspaces and writing over an input
are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from experiments.theory.case import Case, make_case
from experiments.theory.pieces import KA, NA, ND, RA, A, B, D, Piece, Total

OUTPUTS, GELU, IDENTITY = "outputs read", "gelu", "identity"
ALL, ONE = "all weights", "W_j only"
_LOSS, _READS = {"squared_error", "cross_entropy"}, {OUTPUTS, GELU}
SUM, SQUARED, ENTROPY = {"sum"}, {"squared_error"}, {"cross_entropy"}
FIRST, DEEP, BELOW = {"n = 1"}, {"n > 1"}, {"j = n-1", "j < n-1"}


@dataclass(frozen=True)
class Moment:
    """A row of the tables: a moment, what is alive at it, and the conditions, which all must hold.

    A condition is a set of facts of which a case has one (`_facts`).
    """

    label: str
    total: Total
    conditions: tuple[frozenset[str], ...]


def _moment(label: str, total: Total, *conditions: set[str]) -> Moment:
    return Moment(label, total, tuple(map(frozenset, conditions)))


NO_GRAD: tuple[Moment, ...] = (
    _moment("the loss is born", A + 1, FIRST, {IDENTITY}, SUM),
    _moment("a value is born while the one before it is read", 2 * A, FIRST, _READS | _LOSS),
    _moment("a value is born while the one before it is read", 2 * A, DEEP),
)

_PICKED = "the sum of the picked log-probabilities is born"
FORWARD: tuple[Moment, ...] = (
    _moment("the last activation is born", KA + A, SUM, {OUTPUTS}),
    _moment("the last product is born", KA + 2 * A, SUM, {IDENTITY}, {ONE}, BELOW),
    _moment("the loss is born", KA + A + 1, SUM, {GELU}),
    _moment("the loss is born", KA + A + 1, SUM, {IDENTITY}, {ALL, "j = n"}),
    _moment("the loss is born", KA + A + 1, SQUARED, {OUTPUTS}),
    _moment("the difference is born", KA + 2 * A, SQUARED, {GELU, IDENTITY}),
    _moment("the log-probabilities are born", KA + 2 * A, ENTROPY, {GELU, IDENTITY}),
    _moment(_PICKED, KA + A + B + 1, ENTROPY),
)

_DIFFERENCE = _moment("the gradient of the difference is born", KA + 2 * A + 2, SQUARED)
_SOFTMAX = _moment("the gradient of the log-softmax is born", KA + 3 * A + 1, ENTROPY)
_PRODUCT = "the gradient of the last product is born"
TURN: tuple[Moment, ...] = (
    _DIFFERENCE,
    _SOFTMAX,
    _moment(_PRODUCT, KA + A + 2, SUM, {OUTPUTS}, FIRST | {ONE}),
    _moment(_PRODUCT, KA + A + 2, SUM, {GELU}),
    _moment("the loss is born", KA + A + 1, SUM, {IDENTITY}, {ALL, "j = n"}),
    _moment("the last product is born", KA + 2 * A, SUM, {IDENTITY}, {ONE}, {"j = n-1"}),
    _moment(
        "a gradient is born while the one above it is read",
        KA + 2 * A + 1, SUM, {IDENTITY}, {ONE}, {"j < n-1"},
    ),
)  # fmt: skip

_PASSED = "the first gradient passed down is born"
_LAST = "the last weight gradient is born"
_WEIGHT = "the weight gradient is born"
DESCENT: tuple[Moment, ...] = (
    _moment(_WEIGHT, RA + A + D + 1, {ONE}, _READS | _LOSS | BELOW),
    _moment(_WEIGHT, RA + D + 2, {ONE}, {IDENTITY}, SUM, {"j = n"}),
    _moment(_PASSED, NA + A + D + 1, {ALL}, DEEP, SUM, {OUTPUTS}),
    _moment("the first weight gradient is born", 2 * NA - A + D + 1, {ALL}, DEEP, SUM, {GELU}),
    _moment("the second weight gradient is born", NA - A + 2 * D + 1, {ALL}, DEEP, SUM, {IDENTITY}),
    _moment("the last gradient passed down is born", 3 * A + ND - D + 1, {ALL}, DEEP, {OUTPUTS}),
    _moment(_LAST, A + ND + 1, {ALL}, DEEP),
    _moment(_LAST, A + ND + 1, {ALL}, FIRST, _READS | _LOSS),
    _moment(_LAST, D + 2, {ALL}, FIRST, {IDENTITY}, SUM),
)

BOTH = TURN + DESCENT

_OWN = "the last layer's weight gradient is born"
ACCUMULATION: tuple[Moment, ...] = (
    _moment(_PRODUCT, KA + A + ND + 2, SUM, {OUTPUTS}, FIRST),
    _moment(_PRODUCT, KA + A + ND + 2, SUM, {GELU}),
    _moment("the loss is born", KA + A + ND + 2, SUM, {IDENTITY}),
    _moment(_DIFFERENCE.label, _DIFFERENCE.total + ND, SQUARED),
    _moment(_SOFTMAX.label, _SOFTMAX.total + ND, ENTROPY),
    _moment(_PASSED, KA + A + ND + D + 1, {OUTPUTS}, DEEP),
    _moment(_OWN, KA + ND + D + 1, {OUTPUTS}, FIRST),
    _moment(_OWN, KA + ND + D + 1, {GELU}),
    _moment(_OWN, KA + A + ND + D + 1, {IDENTITY}, _LOSS),
    _moment(_OWN, KA + ND + D + 2, {IDENTITY}, SUM),
)
"""Over k slices: each moment with the n accumulators besides."""


def peak_pieces(
    mode: str,
    n: int,
    *,
    activation: str = "tanh",
    loss: str = "sum",
    wrt: str | int | None = None,
    micro_batches: int = 1,
) -> list[Piece]:
    """Return the moments of which the greatest is the peak for every d and b, in order of time.

    They depend on n only where some do not exist for a small n.
    """
    case = make_case(mode, n, activation, loss, wrt, micro_batches)
    table = {"no_grad": NO_GRAD, "forward": FORWARD}.get(
        mode, BOTH if micro_batches == 1 else ACCUMULATION
    )
    facts, kept, r = _facts(case), kept_of(case), int(case.lowest > 1)
    return [
        moment.total.piece(moment.label, kept, r, micro_batches)
        for moment in table
        if all(facts & condition for condition in moment.conditions)
    ]


def kept_of(case: Case) -> tuple[int, int]:
    """Return K of the table above, as (s, c) for s·n + c."""
    j = case.lowest
    r = int(j > 1)
    if case.activation == "identity":
        return (1, -1) if case.every else (0, r)
    if case.every:
        return (1, 0) if case.reads_output else (2, -1)
    return (1, 1 - j + r)


def _facts(case: Case) -> frozenset[str]:
    """Return what the conditions of the table ask about a case."""
    reads = OUTPUTS if case.reads_output else case.activation
    position = {0: "j = n", 1: "j = n-1"}.get(case.n - case.lowest, "j < n-1")
    weights = ALL if case.every else ONE
    return frozenset({case.loss, reads, weights, position, "n = 1" if case.n == 1 else "n > 1"})
