"""The formulas behind the rows of the table of PyTorch's ops, on arrays of scalars that count
themselves.

Each case has an op, its arguments, and the same computation written out; both its value and its
count are compared with the op and the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from profiler.audit.counting import CountingScalar


def function(f: Callable[[float], float]) -> Callable[[Any], Any]:
    """An elementary function of each element."""
    return np.frompyfunc(lambda x: x._elementary(f), 1, 1)


exp, log, log1p, tanh, erf = (
    function(f) for f in (math.exp, math.log, math.log1p, math.tanh, math.erf)
)
sqrt, rsqrt = function(math.sqrt), function(lambda x: x**-0.5)
sigmoid = function(lambda x: 1 / (1 + math.exp(-x)))


sin = function(math.sin)


def magnitude(x: Any) -> Any:
    """|x|, one comparison each."""
    _ = x >= 0
    return np.frompyfunc(lambda e: CountingScalar(abs(e.value), e.tally), 1, 1)(x)


def at_least(x: Any, bound: float) -> Any:
    """The greater of an element and a bound."""
    return np.where(x > bound, x, CountingScalar(bound, x.flat[0].tally))


def total(x: Any, axis: Any = None) -> Any:
    """A sum, whose axes stay."""
    return x.sum(axis, keepdims=True) if axis is not None else x.sum()


def softmax(x: Any) -> Any:
    e = exp(x - x.max(-1, keepdims=True))
    return e / total(e, -1)


def log_softmax(x: Any) -> Any:
    shifted = x - x.max(-1, keepdims=True)
    return shifted - log(total(exp(shifted), -1))


def normalised(x: Any, axis: Any, k: int, eps: float = 1e-5) -> tuple[Any, Any, Any]:
    """x̂, the mean and 1/deviation."""
    mean = total(x, axis) / k
    centred = x - mean
    r = rsqrt(total(centred * centred, axis) / k + eps)
    return centred * r, mean, r


def normalised_backward(
    g: Any, x: Any, mean: Any, r: Any, w: Any, axis: Any, k: int, over: Any
) -> tuple[Any, Any, Any]:
    """The gradients of x, of the scale, of the shift."""
    hat = (x - mean) * r
    u = g * w
    dx = r * (u - total(u, axis) / k - hat * (total(u * hat, axis) / k))
    return dx, (g * hat).sum(over), g.sum(over)


def convolved(x: Any, w: Any, bias: Any, *_: Any) -> Any:
    """Every output is the sum over a window: stride 1, no padding."""
    n, _, h, wide = x.shape
    out, _, kh, kw = w.shape
    result = np.empty((n, out, h - kh + 1, wide - kw + 1), dtype=object)
    for i, o, y, z in np.ndindex(result.shape):
        result[i, o, y, z] = (x[i, :, y : y + kh, z : z + kw] * w[o]).sum() + bias[o]
    return result


def convolved_backward(g: Any, x: Any, w: Any, *_: Any) -> tuple[Any, Any, Any]:
    """Each product is added to what is there; the first is put there."""
    dx, dw = np.full(x.shape, None, dtype=object), np.full(w.shape, None, dtype=object)

    def put(where: Any, at: Any, value: Any) -> None:
        where[at] = value if where[at] is None else where[at] + value

    for i, o, y, z in np.ndindex(g.shape):
        for c, a, b in np.ndindex(w.shape[1:]):
            put(dx, (i, c, y + a, z + b), g[i, o, y, z] * w[o, c, a, b])
            put(dw, (o, c, a, b), g[i, o, y, z] * x[i, c, y + a, z + b])
    return dx, dw, g.sum((0, 2, 3))


def attention(
    q: Any, k: Any, v: Any, *_: Any, attn_mask: Any = None, scale: float = 1.0
) -> tuple[Any, Any]:
    scores = np.matmul(q, k.swapaxes(-1, -2)) * scale
    scores = scores if attn_mask is None else scores + attn_mask
    greatest = scores.max(-1, keepdims=True)
    e = exp(scores - greatest)
    sums = total(e, -1)
    return np.matmul(e / sums, v), (log(sums) + greatest)[..., 0]


def attention_backward(
    g: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, *_: Any, scale: float = 1.0
) -> tuple[Any, Any, Any]:
    p = exp(np.matmul(q, k.swapaxes(-1, -2)) * scale - lse[..., None])
    dv, dp = np.matmul(p.swapaxes(-1, -2), g), np.matmul(g, v.swapaxes(-1, -2))
    ds = p * (dp - total(g * out, -1)) * scale
    return np.matmul(ds, k), np.matmul(ds.swapaxes(-1, -2), q), dv


def pooled(x: Any, _kernel: Any, *_: Any) -> Any:
    n, c, h, w = x.shape
    return (
        x.reshape(n, c, h // 2, 2, w // 2, 2)
        .transpose(0, 1, 2, 4, 3, 5)
        .reshape(n, c, h // 2, w // 2, 4)
    )


def adam(p: Any, g: Any, m: Any, v: Any, lr: float, beta1: float, beta2: float, eps: float) -> Any:
    """The first update: m + (1 − β₁)(g − m), β₂v + (1 − β₂)g·g, p − c·m/(√v/c′ + ε)."""
    m = m + (g - m) * (1 - beta1)
    v = v * beta2 + g * (1 - beta2) * g
    return p - m * (lr / (1 - beta1)) / (sqrt(v) / math.sqrt(1 - beta2) + eps)


_TAN = math.sqrt(2 / math.pi)


def gelu_tanh_backward(g: Any, x: Any) -> Any:
    """The derivative of ½x(1 + tanh(β(x + cx³)))."""
    square = x * x
    t = tanh((x + square * x * 0.044715) * _TAN)
    return g * ((t + 1) * 0.5 + (x * 0.5) * (1 - t * t) * ((square * (3 * 0.044715) + 1) * _TAN))


def mish_backward(g: Any, x: Any) -> Any:
    """g(t + x·σ(x)·(1 − t²))."""
    t = tanh(log(exp(x) + 1))
    return g * (t + x * sigmoid(x) * (1 - t * t))


def glu_backward(g: Any, x: Any, _: int) -> Any:
    """The gradients of both halves, which share u = g·s."""
    a, s = x[:, :2], sigmoid(x[:, 2:])
    u = g * s
    return np.concatenate([u, u * a * (1 - s)], 1)


def batch_norm(x: Any, w: Any, b: Any, mean: Any, var: Any, *_: Any) -> Any:
    """By channel, with the running statistics brought up to date."""
    hat, m, r = normalised(x, (0, 2), 6)
    variance = r[0, :, 0]  # stands for the variance: only the count of what follows matters
    _ = mean * 0.9 + m[0, :, 0] * 0.1, var * 0.9 + variance * 1.2 * 0.1
    return hat * w[:, None] + b[:, None]


def hardswish(x: Any) -> Any:
    """x·min(max(x + 3, 0), 6)/6."""
    clamped = at_least(x + 3, 0.0)
    return x * np.where(clamped < 6, clamped, CountingScalar(6.0, x.flat[0].tally)) / 6


def huber(d: Any) -> Any:
    """½d² near zero: one comparison for |d|, one with δ."""
    m = magnitude(d)
    return np.where(m < 1, d * 0.5 * d, None)


def minimum_with_zero(x: Any) -> Any:
    """The lesser of an element and zero."""
    return np.where(x < 0, x, CountingScalar(0.0, x.flat[0].tally))


def crossed(a: Any, b: Any) -> Any:
    """The product of vectors of three."""
    return a[:, [1, 2, 0]] * b[:, [2, 0, 1]] - a[:, [2, 0, 1]] * b[:, [1, 2, 0]]


def _log_sum(a: Any, b: Any) -> Any:
    """log(e^a + e^b) = m + log1p(e^(−|a − b|))."""
    distance = np.array([a - b], dtype=object)
    return (a if a > b else b) + log1p(exp(-magnitude(distance)))[0]


greatest, log_sum = (
    np.frompyfunc(lambda a, b: a if a > b else b, 2, 1),
    np.frompyfunc(_log_sum, 2, 1),
)


def bags(w: Any, rows: Any, starts: Any, reduce: Callable[[Any], Any], weights: Any = None) -> Any:
    """The rows of each bag, times their weights where there are any, brought down to one."""
    chosen = w[rows] if weights is None else w[rows] * weights[:, None]
    return np.stack([reduce(bag) for bag in np.split(chosen, starts[1:])])


def bags_backward(
    g: Any,
    rows: Any,
    _starts: Any,
    bag_of: Any,
    sizes: Any,
    where: Any,
    count: int,
    _: Any,
    mode: int,
    *__: Any,
) -> Any:
    """The gradient of each bag added where its rows, or its greatest elements, are."""
    tally = g.flat[0].tally
    dw = np.array(
        [[CountingScalar(0.0, tally) for _ in range(g.shape[1])] for _ in range(count)],
        dtype=object,
    )
    if mode == 2:
        for bag, column in np.ndindex(g.shape):
            dw[where[bag, column], column] += g[bag, column]
        return dw
    shares = g / sizes[:, None].astype(float) if mode == 1 else g
    for row, bag in zip(rows, bag_of, strict=True):
        dw[row] = dw[row] + shares[bag]
    return dw


def with_rows(x: Any, rows: Any, values: Any) -> Any:
    """A copy in which some rows are other ones."""
    copy = x.copy()
    copy[rows] = values
    return copy


def shortened(x: Any, p: float) -> Any:
    """Rows no longer than ½."""
    sums = (x * x if p == 2 else magnitude(x) if p == 1 else magnitude(x) ** p).sum(1)
    norms = sqrt(sums) if p == 2 else sums if p == 1 else sums ** (1 / p)
    return x * np.where(norms > 0.5, 0.5 / (norms + 1e-7), None)[:, None]


def weight_norm_backward(dw: Any, v: Any, g: Any, norms: Any, _: int) -> tuple[Any, Any]:
    """The gradients of the direction and of the length."""
    s = (dw * v).sum(1, keepdims=True)
    return g / norms * (dw - v * (s / (norms * norms))), s / norms


def tensors(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    """Positive and negative numbers, the same at every call."""
    generator = torch.Generator().manual_seed(len(shapes))
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
