"""The costs of PyTorch's attention kernels, forward and backward, and their `matmul_flops`.

Attention is counted in full where it is causal, and in its backward pass with the scores that it
computes again, as PyTorch's FlopCounterMode counts.

Bound: a packed batch, whose sequences' lengths are in a tensor, has no cost here: it depends on
values.
"""

from __future__ import annotations

from collections.abc import Callable

from autodiff.aten.call import Call, Rule, Shape, numel
from autodiff.aten.products import product
from autodiff.aten.reductions import softmax_cost
from autodiff.cost import FREE, Cost


def attention_cost(
    q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], masked: bool, dropout: float
) -> Cost:
    """Return the cost of softmax(s·QKᵀ + mask)V.

    The scores are scaled one by one, and the logarithm of each row's sum is kept for backward.
    """
    rows, inner, keys, width = numel(q[:-1]), q[-1], k[-2], v[-1]
    scores = rows * keys
    cost = (
        product(scores, inner)
        + Cost(multiplications=scores, additions=scores if masked else 0)
        + softmax_cost(scores, rows)
    )
    cost += Cost(multiplications=2 * scores, comparisons=scores) if dropout else FREE
    return cost + product(rows * width, keys) + Cost(additions=rows, elementary=rows)


def attention_backward_cost(
    q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], masked: bool, dropout: float
) -> Cost:
    """Return the cost of attention's five products in backward and of what joins them.

    S = s·QKᵀ + mask again; P = e^(S − kept); dV = Pᵀ·dO; dP = dO·Vᵀ; δ = Σ dO·O by rows; dS =
    s·P(dP − δ); dQ = dS·K; dK = dSᵀ·Q. Where heads of queries share keys and values, their
    gradients are summed.
    """
    rows, inner, keys, width = numel(q[:-1]), q[-1], k[-2], v[-1]
    queries, scores, out = q[-2], rows * keys, rows * width
    heads = numel(q[:-2])
    shared = heads - numel(k[:-2])
    cost = product(scores, inner) + Cost(
        multiplications=scores, additions=(scores if masked else 0) + scores, elementary=scores
    )
    cost += product(heads * keys * width, queries) + product(scores, width)
    cost += Cost(multiplications=out, additions=out - rows) + Cost(
        multiplications=2 * scores, additions=scores
    )
    cost += product(rows * inner, keys) + product(heads * keys * inner, queries)
    cost += (
        Cost(multiplications=2 * scores * 2) if dropout else FREE
    )  # P and dP, each by mask and scale
    return cost + Cost(additions=shared * keys * (inner + width))


def _attention(mask: int | None, dropout: int) -> Rule:
    def rule(call: Call) -> Cost:
        masked = (call.arg(mask) if mask is not None else call.kwargs.get("attn_mask")) is not None
        q, k, v = call.args[:3]
        return attention_cost(q, k, v, masked, call.arg(dropout, 0.0))

    return rule


def _attention_backward(mask: int | None, dropout: int) -> Rule:
    def rule(call: Call) -> Cost:
        masked = (call.arg(mask) if mask is not None else call.kwargs.get("attn_mask")) is not None
        q, k, v = call.args[1:4]
        return attention_backward_cost(q, k, v, masked, call.arg(dropout, 0.0))

    return rule


def _heads_second(shape: Shape) -> Shape:
    """Return (batch, rows, heads, width) as (batch, heads, rows, width)."""
    batch, rows, heads, width = shape
    return batch, heads, rows, width


def _rows_first(
    cost: Callable[[Shape, Shape, Shape, bool, float], Cost],
    first: int,
    lengths: int,
    dropout: int,
    bias: int | None,
) -> Rule:
    """Return the rule of a kernel that takes (batch, rows, heads, width).

    `first` is the position of the queries, `lengths` that of a packed batch's lengths.
    """

    def rule(call: Call) -> Cost | None:
        if call.arg(lengths) is not None:
            return None
        q, k, v = (_heads_second(shape) for shape in call.args[first : first + 3])
        masked = bias is not None and call.arg(bias) is not None
        return cost(q, k, v, masked, call.arg(dropout, 0.0))

    return rule


ATTENTION: dict[str, Rule] = {
    "_scaled_dot_product_flash_attention_for_cpu": _attention(None, 3),
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward(None, 6),
    "_scaled_dot_product_flash_attention": _attention(None, 3),
    "_scaled_dot_product_flash_attention_backward": _attention_backward(None, 10),
    "_scaled_dot_product_efficient_attention": _attention(3, 5),
    "_scaled_dot_product_efficient_attention_backward": _attention_backward(4, 9),
    "_scaled_dot_product_cudnn_attention": _attention(3, 5),
    "_scaled_dot_product_cudnn_attention_backward": _attention_backward(8, 13),
    "_scaled_dot_product_fused_attention_overrideable": _attention(3, 4),
    "_scaled_dot_product_fused_attention_overrideable_backward": _attention_backward(4, 12),
    "_flash_attention_forward": _rows_first(attention_cost, 0, 3, 7, None),
    "_flash_attention_backward": _rows_first(attention_backward_cost, 1, 6, 10, None),
    "_efficient_attention_forward": _rows_first(attention_cost, 0, 4, 8, 3),
    "_efficient_attention_backward": _rows_first(attention_backward_cost, 1, 6, 11, 4),
}
