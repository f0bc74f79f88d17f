"""The costs of PyTorch ops that compute a whole layer: oneDNN's LSTM, attention and encoder layers.

Each is counted as the formula of its parts, matrix products included, so it costs what the same
layer costs op by op. What such an op holds inside is not seen.
"""

from __future__ import annotations

from autodiff.aten.call import Call, Rule, numel
from autodiff.aten.normalization import layer_norm_cost
from autodiff.aten.pointwise import GELU, RELU
from autodiff.aten.products import product
from autodiff.aten.reductions import softmax_cost
from autodiff.cost import FREE, Cost


def _lstm(call: Call) -> Cost:
    """Return the cost of an LSTM layer over T·B cells of H elements.

    i, f, o = σ(·), g = tanh(·) of xWᵀ + b + hUᵀ + b′; c = f·c + i·g; h = o·tanh(c).
    """
    x, w, u = call.args[:3]
    cells, biased = numel(x[:-1]), call.args[12]
    gates: int = cells * w[0]
    sums = Cost(additions=gates * (3 if biased else 1))
    states: Cost = Cost(multiplications=3, additions=1, elementary=5) * (cells * u[-1])
    return product(gates, x[-1]) + product(gates, u[-1]) + sums + states


def _lstm_backward(call: Call) -> Cost:
    """Return two products for each of forward's two, and what joins them; tanh(c) is kept.

    dh and dc are summed from the output and the next step: 2 additions; do = dh·t, dc + dh·o(1 −
    t²), di = dc·g, dg = dc·i, df = dc·c′ and dc·f to the step before: 6 multiplications; the
    gradients of five functions: 2 multiplications and an addition each. Then with the gradients of
    the gates: dx, dh, dW, dU, and each bias's sum.
    """
    x, w, u = call.args[:3]
    cells, biased = numel(x[:-1]), call.args[17]
    inner, hidden, width = x[-1], u[-1], w[0]
    states: Cost = Cost(multiplications=16, additions=7) * (cells * hidden)
    products = (
        product(cells * inner, width)
        + product(cells * hidden, width)
        + product(width * inner, cells)
        + product(width * hidden, cells)
    )
    return states + products + Cost(additions=2 * width * (cells - 1) if biased else 0)


def _projected(cells: int, inner: int) -> Cost:
    """Return the cost of a product and its bias."""
    return product(cells, inner) + Cost(additions=cells)


def _attention_layer(query: tuple[int, ...], keys: int, heads: int, masked: bool) -> Cost:
    """Return the cost of Q, K, V = x·Wᵀ + b; q·s; softmax(QKᵀ + mask)V; out·Wᵀ + b.

    A mask selects each score or adds to it.
    """
    batch, rows, width = query
    scores = batch * heads * rows * keys
    projections = _projected(batch * rows * width, width) + _projected(
        2 * batch * keys * width, width
    )
    attention = (
        Cost(multiplications=numel(query))
        + product(scores, width // heads)
        + softmax_cost(scores, batch * heads * rows)
    )
    attention += Cost(comparisons=scores) if masked else FREE
    return projections + attention + product(numel(query), keys) + _projected(numel(query), width)


def _multi_head_attention(call: Call) -> Cost:
    """Return the cost of attention, and of the mean of its weights over the heads if wanted."""
    query, key, heads = call.args[0], call.args[1], call.args[4]
    cost = _attention_layer(query, key[1], heads, call.arg(9) is not None)
    if call.arg(10, True) and call.arg(11, True):
        cells = query[0] * query[1] * key[1]
        cost += Cost(multiplications=cells, additions=cells * (heads - 1))
    return cost


def _encoder_layer(call: Call) -> Cost:
    """Return the cost of an encoder layer.

    It is attention and two products with an activation between them, each with a residual and a
    layer norm.
    """
    x, heads, gelu, hidden = call.args[0], call.args[2], call.args[7], call.args[14][0]
    cells, n = numel(x[:-1]), numel(x)
    middle: int = cells * hidden
    cost = _attention_layer(x, x[1], heads, call.arg(18) is not None) + Cost(additions=2 * n)
    cost += layer_norm_cost(n, cells) * 2
    cost += _projected(middle, x[-1]) + (GELU if gelu else RELU) * middle
    return cost + _projected(n, hidden)


FUSED: dict[str, Rule] = {
    "mkldnn_rnn_layer": _lstm,
    "mkldnn_rnn_layer_backward": _lstm_backward,
    "_native_multi_head_attention": _multi_head_attention,
    "_transformer_encoder_layer_fwd": _encoder_layer,
}
