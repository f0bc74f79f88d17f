"""The costs of PyTorch's losses and their gradients.

Of N elements a reduction takes N − 1 additions, a mean one division more. Cross-entropy is
log-softmax, which is among the reductions, and the negative log-likelihood here.
"""

from __future__ import annotations

from autodiff.aten.call import MEAN, NONE, Call, Rule, numel, reduction
from autodiff.cost import Cost


def _elementwise_loss(one: Cost, position: int) -> Rule:
    """`one` for each element, then the reduction whose code is the argument at `position`."""

    def rule(call: Call) -> Cost:
        return one * call.given + reduction(call.arg(position, MEAN), call.given)

    return rule


def _elementwise_gradient(one: Cost, position: int) -> Rule:
    """Return a rule: `one` for each element of the input.

    Where the loss was a mean, one division more of the constant that the elements share.
    """

    def rule(call: Call) -> Cost:
        return one * call.size + Cost(multiplications=int(call.arg(position, MEAN) == MEAN))

    return rule


def _negative_log_likelihood(call: Call) -> Cost:
    """Return the cost of −p[class] for each of n targets, times the class's weight.

    The sum is taken before the sign is changed; a mean divides by the sum of weights.
    """
    n = numel(call.args[1])
    weighted, mode = call.arg(2) is not None, call.arg(3, MEAN)
    cost = (
        Cost(multiplications=n if weighted else 0, additions=n)
        if mode == NONE
        else reduction(mode, n) + Cost(additions=1)
    )
    if weighted and mode != NONE:
        cost += Cost(multiplications=n, additions=n - 1 if mode == MEAN else 0)
    return cost


def _negative_log_likelihood_backward(call: Call) -> Cost:
    """−g, divided for a mean, copied to where the classes are; times the class's weight."""
    n = numel(call.args[2])
    weighted, mode = call.arg(3) is not None, call.arg(4, MEAN)
    signs = n if mode == NONE else 1
    return Cost(multiplications=(n if weighted else 0) + int(mode == MEAN), additions=signs)


def _logits(call: Call) -> Cost:
    """Return the cost of (1 − y)x − log σ(x), log σ(x) = min(x, 0) − log1p(e^(−|x|)).

    A weight w of the positive class gives (1 + (w − 1)y)·log σ(x).
    """
    n = call.given
    weight, positive = call.arg(2), call.arg(3)
    cost = (
        Cost(1, 4, 2, 2) * n
        + (Cost(2, 2) * n if positive is not None else Cost())
        + Cost(multiplications=n if weight is not None else 0)
    )
    return cost + reduction(call.arg(4, MEAN), n)


LOSSES: dict[str, Rule] = {
    "mse_loss": _elementwise_loss(Cost(1, 1), 2),  # (x − y)²
    "mse_loss_backward": _elementwise_gradient(Cost(2, 1), 3),  # c(x − y)g
    "smooth_l1_loss": _elementwise_loss(Cost(3, 1, 2), 2),  # ½d²/β, or |d| − ½β
    "smooth_l1_loss_backward": _elementwise_gradient(Cost(3, 1, 2), 3),  # c·d/β·g, or ±c·g
    "huber_loss": _elementwise_loss(Cost(2, 1, 2), 2),  # ½d², or δ(|d| − ½δ)
    "huber_loss_backward": _elementwise_gradient(Cost(2, 1, 2), 3),  # c·d·g, or ±c·δ·g
    "soft_margin_loss": _elementwise_loss(Cost(1, 2, 0, 2), 2),  # log(1 + e^(−xy))
    "soft_margin_loss_backward": _elementwise_gradient(
        Cost(4, 3, 0, 1), 3
    ),  # c·(−y)·z/(1 + z)·g, z = e^(−xy)
    "binary_cross_entropy": _elementwise_loss(
        Cost(2, 3, 2, 2), 3
    ),  # (y − 1)·max(log1p(−x), −100) − y·max(log x, −100)
    "binary_cross_entropy_backward": _elementwise_gradient(
        Cost(3, 2, 1), 4
    ),  # g(x − y)/max((1 − x)x, ε)
    "binary_cross_entropy_with_logits": _logits,
    **dict.fromkeys(("nll_loss_forward", "nll_loss2d_forward"), _negative_log_likelihood),
    **dict.fromkeys(
        ("nll_loss_backward", "nll_loss2d_backward"), _negative_log_likelihood_backward
    ),
}
