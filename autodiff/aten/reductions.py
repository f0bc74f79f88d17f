"""The costs of PyTorch's reductions, softmaxes, scans and scattered sums.

N elements are brought down to R; a row is what becomes one of the R. Selecting by position or index
is a copy and is not here; what is added where it lands is one addition each.
"""

from __future__ import annotations

import math
from typing import Any

from autodiff.aten.call import Call, Rule, each_given, numel, reduced
from autodiff.cost import FREE, Cost


def _sum(call: Call) -> Cost:
    """N − R additions."""
    return Cost(additions=reduced(call)[2])


def _mean(call: Call) -> Cost:
    """Return the cost of the sum, and R divisions."""
    return Cost(multiplications=call.size, additions=reduced(call)[2])


def _product(call: Call) -> Cost:
    """N − R multiplications."""
    return Cost(multiplications=reduced(call)[2])


def _extreme(call: Call) -> Cost:
    """N − R comparisons."""
    return Cost(comparisons=reduced(call)[2])


def _both_extremes(call: Call) -> Cost:
    """Return the cost of the least and the greatest: 2(N − R) comparisons."""
    return Cost(comparisons=2 * reduced(call)[2])


def _count_nonzero(call: Call) -> Cost:
    """N comparisons with zero, and a sum."""
    return Cost(comparisons=call.given, additions=reduced(call)[2])


def _variance(call: Call) -> Cost:
    """Return the cost of Σ(x − x̄)²/(k − c).

    The mean (N − R additions, R divisions), N differences, N squares, N − R additions, R divisions.
    """
    given, left, pairs = reduced(call)
    return Cost(multiplications=given + 2 * left, additions=2 * pairs + given)


def _deviation(call: Call) -> Cost:
    """Return the cost of the root of the variance: R elementary more."""
    return _variance(call) + Cost(elementary=call.size)


def norm_cost(given: int, left: int, power: Any) -> Cost:
    """Return the cost of (Σ|x|^p)^(1/p).

    p = 2: N squares, a sum, R roots; 1: N absolutes, a sum; ∞: N absolutes, N − R comparisons; 0: N
    comparisons, a sum.
    """
    pairs = max(given - left, 0)
    power = 2 if power is None or not isinstance(power, (int, float)) else power
    if power == 2:
        return Cost(multiplications=given, additions=pairs, elementary=left)
    if math.isinf(power):
        return Cost(comparisons=given + pairs)
    if power in (0, 1):
        return Cost(additions=pairs, comparisons=given)
    return Cost(additions=pairs, comparisons=given, elementary=given + left)


def _norm(call: Call) -> Cost:
    return norm_cost(call.given, call.size, call.arg(1, 2))


def _logsumexp(call: Call) -> Cost:
    """Return the cost of m + log Σe^(x − m), m the greatest of a row."""
    given, left, pairs = reduced(call)
    return Cost(additions=given + pairs + left, comparisons=pairs, elementary=given + left)


def _rows(call: Call, axis: Any) -> int:
    """How many rows the first argument has along an axis."""
    shape = call.args[0]
    return numel(shape) // max(shape[axis], 1) if shape else 1


def _scan(call: Call) -> Cost:
    """Every partial result of a row from the one before: N − R of them."""
    return Cost(additions=call.given - _rows(call, call.arg(1)))


def _scan_product(call: Call) -> Cost:
    return Cost(multiplications=call.given - _rows(call, call.arg(1)))


def _scan_extreme(call: Call) -> Cost:
    return Cost(comparisons=call.given - _rows(call, call.arg(1)))


def _scan_logsumexp(call: Call) -> Cost:
    """Return the cost of log(e^a + e^b) = m + log1p(e^(−|a − b|)) for each partial result."""
    return Cost(additions=3, comparisons=2, elementary=2) * (call.given - _rows(call, call.arg(1)))


def softmax_cost(n: int, rows: int) -> Cost:
    """Return the cost of e^(x − m)/Σe^(x − m).

    N − R comparisons for m, N differences, N exponentials, N − R additions, N divisions.
    """
    return Cost(multiplications=n, additions=2 * n - rows, comparisons=n - rows, elementary=n)


def _softmax(call: Call) -> Cost:
    return softmax_cost(call.given, _rows(call, call.arg(1)))


def _safe_softmax(call: Call) -> Cost:
    """Return the cost of softmax with zeros in rows that are −∞ throughout.

    N comparisons more, N − R to join them, N selections.
    """
    n, rows = call.given, _rows(call, call.arg(1))
    return softmax_cost(n, rows) + Cost(comparisons=3 * n - rows)


def _log_softmax(call: Call) -> Cost:
    """Return the cost of x − m − log Σe^(x − m).

    N − R comparisons, N differences, N exponentials, N − R additions, R logarithms, N differences.
    """
    n, rows = call.given, _rows(call, call.arg(1))
    return Cost(additions=3 * n - rows, comparisons=n - rows, elementary=n + rows)


def _softmax_backward(call: Call) -> Cost:
    """y(g − Σg·y): N products, N − R additions, N differences, N products."""
    n, rows = call.given, _rows(call, call.arg(2))
    return Cost(multiplications=2 * n, additions=2 * n - rows)


def _log_softmax_backward(call: Call) -> Cost:
    """Return the cost of g − e^p·Σg: N − R additions, N exponentials, N products, N differences."""
    n, rows = call.given, _rows(call, call.arg(2))
    return Cost(multiplications=n, additions=2 * n - rows, elementary=n)


def _added_source(position: int) -> Rule:
    """Return the rule of adding each element of the argument at a position where it lands.

    An `alpha` other than 1 multiplies it first.
    """

    def rule(call: Call) -> Cost:
        n = numel(call.args[position])
        return Cost(multiplications=n if call.kwargs.get("alpha", 1) != 1 else 0, additions=n)

    return rule


def _index_put(call: Call) -> Cost:
    """Return nothing for a copy; one addition for each element of the values if it accumulates."""
    return Cost(additions=numel(call.args[2])) if call.arg(3, False) else FREE


def _bag(call: Call) -> Cost:
    """Return the cost of reducing the rows that are named to one for each bag.

    A sum, with weights perhaps; a mean (a division more for each result); or the greatest.
    """
    n, mode = numel(call.args[1]) * call.args[0][1], call.arg(4, 0)
    pairs = max(n - call.size, 0)
    if mode == 2:
        return Cost(comparisons=pairs)
    return Cost(
        multiplications=(n if call.arg(6) is not None else 0) + (call.size if mode == 1 else 0),
        additions=pairs,
    )


def _bag_backward(call: Call) -> Cost:
    """Return the cost of adding the gradient of a bag to each of its rows.

    For the greatest it is added where that was; a mean divides, weights multiply.
    """
    n, mode = numel(call.args[1]) * call.args[0][1], call.args[8]
    if mode == 2:
        return Cost(additions=call.given)
    return Cost(
        multiplications=(n if call.arg(10) is not None else 0) + (call.given if mode == 1 else 0),
        additions=n,
    )


def _scatter_reduce(call: Call) -> Cost:
    """Return one operation of the reduction's kind for each element of the source.

    A mean divides each element of the result.
    """
    n, how = numel(call.args[3]), call.arg(4)
    if how in ("amax", "amin"):
        return Cost(comparisons=n)
    if how == "prod":
        return Cost(multiplications=n)
    return Cost(multiplications=call.size if how == "mean" else 0, additions=n)


REDUCTIONS: dict[str, Rule] = {
    **dict.fromkeys(("sum", "nansum", "trace"), _sum),
    **dict.fromkeys(("mean", "nanmean"), _mean),
    "prod": _product,
    **dict.fromkeys(
        (
            "max",
            "min",
            "amax",
            "amin",
            "argmax",
            "argmin",
            "any",
            "all",
            "_is_all_true",
            "_is_any_true",
        ),
        _extreme,
    ),
    "aminmax": _both_extremes,
    "count_nonzero": _count_nonzero,
    **dict.fromkeys(("var", "var_mean"), _variance),
    **dict.fromkeys(("std", "std_mean"), _deviation),
    **dict.fromkeys(("norm", "linalg_vector_norm"), _norm),
    "logsumexp": _logsumexp,
    "cumsum": _scan,
    "cumprod": _scan_product,
    **dict.fromkeys(("cummax", "cummin"), _scan_extreme),
    "logcumsumexp": _scan_logsumexp,
    "_softmax": _softmax,
    "_safe_softmax": _safe_softmax,
    "_log_softmax": _log_softmax,
    "_softmax_backward_data": _softmax_backward,
    "_log_softmax_backward_data": _log_softmax_backward,
    # Sums into the places that indices name: the gradient of a copy by index.
    "scatter_add": _added_source(3),
    "index_add": _added_source(3),
    **dict.fromkeys(("index_put", "_index_put_impl", "_unsafe_index_put"), _index_put),
    **dict.fromkeys(("scatter_reduce", "index_reduce"), _scatter_reduce),
    **dict.fromkeys(("_embedding_bag", "_embedding_bag_forward_only"), _bag),
    "_embedding_bag_backward": _bag_backward,
    "embedding_dense_backward": each_given(add=1),
    **dict.fromkeys(
        (
            *(
                "unfold_backward",
                "col2im",
                "replication_pad1d_backward",
                "replication_pad2d_backward",
                "replication_pad3d_backward",
            ),
            *(
                "reflection_pad1d_backward",
                "reflection_pad2d_backward",
                "reflection_pad3d_backward",
            ),
        ),
        each_given(add=1),
    ),
}
