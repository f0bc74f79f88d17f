"""The costs of PyTorch's normalizations: layer, batch, group and RMS norm, forward and backward.

N elements in R groups, each of which shares a mean and a deviation. A scale and a shift, where
there are any, take N multiplications and N additions. Backward reads the kept mean and 1/deviation
and computes the normalized x̂ again from them.
"""

from __future__ import annotations

from typing import Any

from autodiff.aten.call import Call, Rule, numel
from autodiff.aten.reductions import norm_cost
from autodiff.cost import Cost


def _statistics(n: int, groups: int) -> Cost:
    """Return the cost of x̄ = Σx/k; variance = Σ(x − x̄)²/k; 1/√(variance + ε).

    N differences, N squares, 2(N − R) + R additions, 2R divisions, R roots.
    """
    return Cost(
        multiplications=n + 2 * groups, additions=n + 2 * (n - groups) + groups, elementary=groups
    )


def _affine(n: int, weight: object, bias: object) -> Cost:
    return Cost(
        multiplications=n if weight is not None else 0, additions=n if bias is not None else 0
    )


def _normalised_backward(
    n: int, groups: int, weight: tuple[int, ...] | None, wanted: tuple[bool, bool, bool]
) -> Cost:
    """Return the cost of the gradients of x̂·w + b, x̂ = (x − x̄)r, as far as they are wanted.

    u = g·w; dx = r(u − Σu/k − x̂·Σ(u·x̂)/k); dw = Σ g·x̂; db = Σ g. x̂ takes N differences and N
    products; dx takes N products u·x̂, 2(N − R) additions, 2R divisions, N products, 2N
    differences, N products by r.
    """
    scaled = weight is not None
    parameters = numel(weight) if weight is not None else 0
    cost = Cost()
    if wanted[0] or wanted[1]:
        cost += Cost(multiplications=n, additions=n)
    if wanted[0]:
        cost += Cost(
            multiplications=3 * n + 2 * groups + (n if scaled else 0),
            additions=2 * n + 2 * (n - groups),
        )
    if wanted[1] and scaled:
        cost += Cost(multiplications=n, additions=n - parameters)
    return cost


def layer_norm_cost(n: int, groups: int) -> Cost:
    """Return the cost of a layer norm of n elements with scale and shift."""
    return _statistics(n, groups) + Cost(multiplications=2 * n, additions=n)


def _layer_norm(call: Call) -> Cost:
    """Return the cost of (x − x̄)r·w + b over the last dimensions.

    Statistics, N products by r, scale and shift (the differences are those of the statistics).
    """
    n = call.given
    groups = n // max(numel(call.args[1]), 1)
    return _statistics(n, groups) + Cost(multiplications=n) + _affine(n, call.arg(2), call.arg(3))


def _layer_norm_backward(call: Call) -> Cost:
    n, width, wanted = call.given, max(numel(call.args[2]), 1), call.args[7]
    shift = Cost(additions=n - width if wanted[2] else 0)
    return _normalised_backward(n, n // width, call.args[5], wanted) + shift


def _batch_norm_cost(
    call: Call, weight: object, bias: object, training: bool, updates: bool
) -> Cost:
    """Return the cost of a batch norm.

    In training: statistics by channel, and for each running one (1 − m)·old + m·new, the variance
    first times k/(k − 1). Otherwise R roots and N differences.
    """
    n, channels = call.given, call.args[0][1]
    cost = Cost(multiplications=n) + _affine(n, weight, bias)
    if not training:
        return cost + Cost(additions=n + channels, elementary=channels)
    cost += _statistics(n, channels)
    return cost + (
        Cost(multiplications=5 * channels, additions=2 * channels) if updates else Cost()
    )


def _batch_norm(call: Call) -> Cost:
    return _batch_norm_cost(
        call, call.args[1], call.args[2], call.args[5], call.args[3] is not None
    )


def _batch_norm_without_statistics(call: Call) -> Cost:
    if isinstance(
        call.args[3], bool
    ):  # the overload without running statistics: (x, weight, bias, training, momentum, ε)
        return _batch_norm_cost(call, call.args[1], call.args[2], call.args[3], False)
    return _batch_norm(call)


def _batch_norm_with_update(call: Call) -> Cost:
    return _batch_norm_cost(call, call.args[1], call.args[2], True, True)


def _batch_norm_no_update(call: Call) -> Cost:
    return _batch_norm_cost(call, call.args[1], call.args[2], False, False)


def _batch_norm_backward(call: Call) -> Cost:
    """Return the cost of a normalization with one group for each channel.

    Running statistics are constants: dx = g·w·r.
    """
    n, channels = call.given, call.args[0][1]
    weight, training, wanted = call.args[2], call.args[7], call.args[9]
    shift = Cost(additions=n - channels if wanted[2] else 0)
    if training:
        return _normalised_backward(n, channels, weight, wanted) + shift
    cost = Cost(additions=channels, elementary=channels) + shift  # 1/√(variance + ε), made again
    if wanted[0]:
        cost += Cost(multiplications=n * (1 if weight is None else 2))
    if wanted[1]:
        cost += Cost(multiplications=2 * n, additions=n + n - channels)
    return cost


def _group_norm(call: Call) -> Cost:
    """Statistics over each group of channels of each example; scale and shift by channel."""
    n, groups = call.given, call.args[3] * call.args[6]
    return _statistics(n, groups) + Cost(multiplications=n) + _affine(n, call.args[1], call.args[2])


def _group_norm_backward(call: Call) -> Cost:
    n, groups, channels, wanted = (
        call.given,
        call.args[5] * call.args[8],
        call.args[6],
        call.args[9],
    )
    shift = Cost(additions=n - channels if wanted[2] else 0)
    return _normalised_backward(n, groups, call.args[4], wanted) + shift


def _rms_norm(call: Call) -> Cost:
    """Return the cost of x·w/√(Σx²/k + ε).

    N squares, N − R additions, R divisions, R additions, R roots, N products, N products by w.
    """
    n = call.given
    groups = n // max(numel(call.args[1]), 1)
    return Cost(multiplications=2 * n + groups, additions=n, elementary=groups) + _affine(
        n, call.arg(2), None
    )


def _rms_norm_backward(call: Call) -> Cost:
    """x̂ = x·r; u = g·w; dx = r(u − x̂·Σ(u·x̂)/k); dw = Σ g·x̂."""
    n, width, weight, wanted = call.given, max(numel(call.args[2]), 1), call.args[4], call.args[5]
    groups = n // width
    cost = Cost(multiplications=n)
    if wanted[0]:
        cost += Cost(
            multiplications=3 * n + groups + (n if weight is not None else 0),
            additions=2 * n - groups,
        )
    if wanted[1] and weight is not None:
        cost += Cost(multiplications=n, additions=n - width)
    return cost


def _weight_norm(call: Call) -> Cost:
    """v·g/‖v‖ by rows: N squares, N − R additions, R roots, R divisions, N products."""
    n, rows = call.given, numel(call.args[1])
    return Cost(multiplications=2 * n + rows, additions=n - rows, elementary=rows)


def _weight_norm_backward(call: Call) -> Cost:
    """Return the cost of s = Σ dw·v; dg = s/‖v‖; dv = g/‖v‖·(dw − v·s/‖v‖²)."""
    n, rows = call.given, numel(call.args[2])
    return Cost(multiplications=3 * n + 4 * rows, additions=2 * n - rows)


def _shortened(rows: int, width: int, power: Any) -> Cost:
    """Return the cost of x·m/(‖x‖ + ε) where ‖x‖ > m.

    The norms, R comparisons, R additions, R divisions, N products.
    """
    return norm_cost(rows * width, rows, power) + Cost(
        multiplications=rows + rows * width, additions=rows, comparisons=rows
    )


def _renorm(call: Call) -> Cost:
    """Every slice along a dimension at most so long."""
    rows = call.args[0][call.args[2]]
    return _shortened(rows, call.given // max(rows, 1), call.args[1])


def _embedding_renorm(call: Call) -> Cost:
    """Return the cost of shortening the rows that are named, each as often as it is named."""
    return _shortened(numel(call.args[1]), call.args[0][1], call.args[3])


NORMALIZATION: dict[str, Rule] = {
    "_weight_norm_interface": _weight_norm,
    "_weight_norm_interface_backward": _weight_norm_backward,
    "renorm": _renorm,
    "embedding_renorm": _embedding_renorm,
    "native_layer_norm": _layer_norm,
    "native_layer_norm_backward": _layer_norm_backward,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit": _batch_norm_without_statistics,
    "_native_batch_norm_legit_no_training": _batch_norm_no_update,
    "cudnn_batch_norm": _batch_norm,
    "_batch_norm_with_update": _batch_norm_with_update,
    "_batch_norm_no_update": _batch_norm_no_update,
    **dict.fromkeys(("native_batch_norm_backward", "batch_norm_backward"), _batch_norm_backward),
    "native_group_norm": _group_norm,
    "native_group_norm_backward": _group_norm_backward,
    "_fused_rms_norm": _rms_norm,
    "_fused_rms_norm_backward": _rms_norm_backward,
}
