"""Calls of PyTorch's ops, each with the formula that the table of costs is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from tests.support import aten_formulas as f
from tests.support.aten_formulas import tensors

aten = torch.ops.aten


class Case(NamedTuple):
    """An op's call, and its formula on lifted arguments: the value of its first results."""

    op: Any
    args: tuple[Any, ...]
    formula: Callable[..., Any]
    kwargs: Mapping[str, Any] = {}


A, B, C = tensors((3, 4), (3, 4), (3, 4))
P = A.abs() + 0.1  # positive
U = torch.sigmoid(A)  # between 0 and 1
ONE = (True, True, True)
X4, W4, B4 = tensors((2, 3, 4, 4), (2, 3, 2, 2), (2,))
Q, K, V, G = tensors((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4), (1, 2, 3, 4))
OUT, LSE = aten._scaled_dot_product_flash_attention_for_cpu(Q, K, V)
MASK = tensors((1, 2, 3, 5))[0]
IMAGE, SCALE, SHIFT = tensors((2, 4, 3), (4,), (4,))
MEAN = IMAGE.mean((0, 2))
CLASSES = torch.tensor([1, 0, 3])
LOGP = torch.log_softmax(A, 1)

TABLE_OF_ROWS = tensors((5, 4))[0]
ROWS, BAGS = torch.tensor([0, 1, 2, 4, 4]), torch.tensor([0, 2])

PHI = math.sqrt(0.5)
TAN = math.sqrt(2 / math.pi)


POINTWISE = [
    Case(aten.add.Tensor, (A, B), lambda a, b, **_: a + b * 3, {"alpha": 3}),
    Case(aten.sub.Tensor, (A, B), lambda a, b: a - b),
    Case(aten.lerp.Scalar, (A, B, 0.3), lambda a, b, w: a + (b - a) * w),
    Case(aten.addcmul.default, (A, B, C), lambda a, b, c, **_: a + b * c * 2, {"value": 2}),
    Case(aten.addcdiv.default, (A, B, P), lambda a, b, c: a + b / c),
    Case(aten.rsqrt.default, (P,), f.rsqrt),
    Case(aten.gelu.default, (A,), lambda x: x * 0.5 * (f.erf(x * PHI) + 1)),
    Case(
        aten.gelu.default,
        (A,),
        lambda x, **_: x * 0.5 * (f.tanh((x + x * x * x * 0.044715) * TAN) + 1),
        {"approximate": "tanh"},
    ),
    Case(
        aten.gelu_backward.default,
        (A, B),
        lambda g, x, **_: f.gelu_tanh_backward(g, x),
        {"approximate": "tanh"},
    ),
    Case(aten.tanh_backward.default, (A, U), lambda g, y: g * (1 - y * y)),
    Case(aten.silu.default, (A,), lambda x: x * f.sigmoid(x)),
    Case(
        aten.silu_backward.default, (A, B), lambda g, x: g * (s := f.sigmoid(x)) * (x * (1 - s) + 1)
    ),
    Case(aten.mish.default, (A,), lambda x: x * f.tanh(f.log(f.exp(x) + 1))),
    Case(aten.mish_backward.default, (A, B), f.mish_backward),
    Case(aten.softplus.default, (A,), lambda x: np.where(x > 20, x, f.log1p(f.exp(x * 1)) / 1)),
    Case(
        aten.softplus_backward.default,
        (A, B, 1, 20),
        lambda g, x, b, t: np.where(x > t, g, g * (z := f.exp(x * b)) / (z + 1)),
    ),
    Case(aten.elu.default, (A,), lambda x: np.where(x > 0, x, (f.exp(x) - 1) * 1)),
    Case(aten.leaky_relu.default, (A,), lambda x: np.where(x > 0, x, x * 0.01)),
    Case(aten.hardswish.default, (A,), f.hardswish),
    Case(aten.glu.default, (A, 1), lambda x, _: x[:, :2] * f.sigmoid(x[:, 2:])),
    Case(aten.glu_backward.default, (A[:, :2], B, 1), f.glu_backward),
    Case(aten.celu.default, (A, 2.0), lambda x, a: np.where(x > 0, x, (f.exp(x / a) - 1) * a)),
    Case(
        aten.rrelu_with_noise.default,
        (A, A, 0.1, 0.3, False),
        lambda x, *_: np.where(x > 0, x, x * 0.2),
    ),
    Case(
        aten.rrelu_with_noise_backward.default,
        (A, B, C, 0.1, 0.3, True, False),
        lambda g, x, noise, *_: g * noise,
    ),
    Case(aten.logit_backward.default, (A, U), lambda g, x: g / (x * (1 - x))),
    Case(aten.sinc.default, (P,), lambda x: np.where(x > 0, f.sin(z := x * math.pi) / z, None)),
    Case(aten.deg2rad.default, (A,), lambda x: x * (math.pi / 180)),
    Case(aten.special_entr.default, (P,), lambda x: np.where(x > 0, -(x * f.log(x)), None)),
    Case(
        aten.special_xlog1py.default, (A, P), lambda a, b: np.where(a > -99, a * f.log1p(b), None)
    ),
    Case(aten.linalg_cross.default, (A[:, :3], B[:, :3]), f.crossed),
    Case(aten.addr.default, (A, B[:, 0], C[0]), lambda c, a, b: c + a[:, None] * b),
    Case(
        aten.addr.default,
        (A, B[:, 0], C[0]),
        lambda c, a, b, **_: c * 2 + a[:, None] * b * 3,
        {"beta": 2, "alpha": 3},
    ),
]


REDUCED = [
    Case(aten.sum.dim_IntList, (A, [1]), lambda x, _: x.sum(1)),
    Case(aten.mean.dim, (A, [0]), lambda x, _: x.sum(0) / 3),
    Case(aten.prod.default, (A,), lambda x: x.prod()),
    Case(aten.amax.default, (A, [1]), lambda x, _: x.max(1)),
    Case(
        aten.logsumexp.default,
        (A, [1]),
        lambda x, _: (f.log(f.total(f.exp(x - (m := x.max(1, keepdims=True))), 1)) + m)[:, 0],
    ),
    Case(
        aten.var.correction,
        (A, [1]),
        lambda x, _, **__: ((c := x - f.total(x, 1) / 4) * c).sum(1) / 3,
        {"correction": 1},
    ),
    Case(
        aten.std.correction,
        (A, [1]),
        lambda x, _, **__: f.sqrt(((c := x - f.total(x, 1) / 4) * c).sum(1) / 3),
        {"correction": 1},
    ),
    Case(aten.linalg_vector_norm.default, (A, 2, [1]), lambda x, *_: f.sqrt((x * x).sum(1))),
    Case(aten.linalg_vector_norm.default, (A, 1, [1]), lambda x, *_: f.magnitude(x).sum(1)),
    Case(
        aten.linalg_vector_norm.default,
        (A, 3, [1]),
        lambda x, *_: (f.magnitude(x) ** 3).sum(1) ** (1 / 3),
    ),
    Case(aten.cumsum.default, (A, 1), lambda x, _: np.add.accumulate(x, 1)),
    Case(aten.cummax.default, (A, 1), lambda x, _: f.greatest.accumulate(x, 1, dtype=object)),
    Case(aten.logcumsumexp.default, (A, 1), lambda x, _: f.log_sum.accumulate(x, 1, dtype=object)),
    Case(
        aten._embedding_bag.default,
        (TABLE_OF_ROWS, ROWS, BAGS),
        lambda w, i, o: f.bags(w, i, o, lambda rows: rows.sum(0)),
    ),
    Case(
        aten._embedding_bag.default,
        (TABLE_OF_ROWS, ROWS, BAGS, False, 1),
        lambda w, i, o, *_: f.bags(w, i, o, lambda r: r.sum(0) / len(r)),
    ),
    Case(
        aten._embedding_bag.default,
        (TABLE_OF_ROWS, ROWS, BAGS, False, 2),
        lambda w, i, o, *_: f.bags(w, i, o, lambda rows: rows.max(0)),
    ),
    Case(
        aten._embedding_bag.default,
        (TABLE_OF_ROWS, ROWS, BAGS, False, 0, False, A[0, [0, 1, 2, 3, 3]]),
        lambda w, i, o, _, __, ___, s: f.bags(w, i, o, lambda rows: rows.sum(0), s),
    ),
    *(
        Case(
            aten._embedding_bag_backward.default,
            (
                A[:2],
                ROWS,
                BAGS,
                *aten._embedding_bag(TABLE_OF_ROWS, ROWS, BAGS, False, mode)[1:],
                5,
                False,
                mode,
                False,
                None,
            ),
            f.bags_backward,
        )
        for mode in (0, 1, 2)
    ),
    Case(
        aten.index_reduce.default,
        (A, 0, torch.tensor([1, 1]), B[:2], "prod"),
        lambda x, _, __, s, ___: f.with_rows(x, [1], x[1] * s[0] * s[1]),
    ),
    Case(aten._softmax.default, (A, 1, False), lambda x, *_: f.softmax(x)),
    Case(aten._log_softmax.default, (A, 1, False), lambda x, *_: f.log_softmax(x)),
    Case(
        aten._softmax_backward_data.default,
        (A, U, 1, torch.float64),
        lambda g, y, *_: y * (g - f.total(g * y, 1)),
    ),
    Case(
        aten._log_softmax_backward_data.default,
        (A, LOGP, 1, torch.float64),
        lambda g, p, *_: g - f.exp(p) * f.total(g, 1),
    ),
]

MULTIPLIED = [
    Case(
        aten._trilinear.default,
        (A, X4[0, :2, :, :3].contiguous(), B[:, :3], [1, 3], [0], [1, 2], [2, 3]),
        lambda x, w, y, *_: (x[:, None, :, None] * w[None] * y[:, None, None, :]).sum((2, 3)),
    ),
    Case(aten.mm.default, (A, B.t()), np.matmul),
    Case(aten.bmm.default, (X4[0], X4[1]), np.matmul),
    Case(aten.mv.default, (A, B[0]), np.matmul),
    Case(aten.dot.default, (A[0], B[0]), lambda a, b: (a * b).sum()),
    Case(
        aten.addmm.default,
        (A[:, :3], A, B.t()),
        lambda c, a, b, **_: c * 2 + np.matmul(a, b) * 3,
        {"beta": 2, "alpha": 3},
    ),
    Case(
        aten.convolution.default,
        (X4, W4, B4, [1, 1], [0, 0], [1, 1], False, [0, 0], 1),
        f.convolved,
    ),
    Case(
        aten.convolution_backward.default,
        (tensors((2, 2, 3, 3))[0], X4, W4, [2], [1, 1], [0, 0], [1, 1], False, [0, 0], 1, ONE),
        f.convolved_backward,
    ),
    Case(
        aten._scaled_dot_product_flash_attention_for_cpu.default,
        (Q, K, V),
        lambda q, k, v: f.attention(q, k, v, scale=0.5),
    ),
    Case(
        aten._scaled_dot_product_flash_attention_for_cpu.default,
        (Q, K, V),
        lambda q, k, v, attn_mask: f.attention(q, k, v, attn_mask=attn_mask, scale=0.5),
        {"attn_mask": MASK},
    ),
    Case(
        aten._scaled_dot_product_flash_attention_for_cpu_backward.default,
        (G, Q, K, V, OUT, LSE, 0.0, False),
        lambda *args: f.attention_backward(*args, scale=0.5),
    ),
]

NORMALISED = [
    Case(
        aten._weight_norm_interface.default,
        (A, P[:, :1]),
        lambda v, g: v * (g / f.sqrt((v * v).sum(1, keepdims=True))),
    ),
    Case(
        aten._weight_norm_interface_backward.default,
        (C, A, P[:, :1], P[:, 1:2], 0),
        f.weight_norm_backward,
    ),
    *(
        Case(aten.renorm.default, (A, p, 0, 0.5), lambda x, p, *_: f.shortened(x, p))
        for p in (2, 1, 3)
    ),
    Case(
        aten.embedding_renorm_.default,
        (TABLE_OF_ROWS, ROWS[:2], 0.5, 2.0),
        lambda w, i, _, p: f.with_rows(w, i, f.shortened(w[i], p)),
    ),
    Case(
        aten.native_layer_norm.default,
        (A, [4], SCALE, SHIFT, 1e-5),
        lambda x, _, w, b, e: f.normalised(x, 1, 4, e)[0] * w + b,
    ),
    Case(
        aten.native_layer_norm_backward.default,
        (B, A, [4], *aten.native_layer_norm(A, [4], SCALE, SHIFT, 1e-5)[1:], SCALE, SHIFT, ONE),
        lambda g, x, _, m, r, w, *__: f.normalised_backward(g, x, m, r, w, 1, 4, 0),
    ),
    Case(
        aten.native_batch_norm.default,
        (IMAGE, SCALE, SHIFT, MEAN, MEAN.abs(), True, 0.1, 1e-5),
        f.batch_norm,
    ),
    Case(
        aten.native_batch_norm.default,
        (IMAGE, SCALE, SHIFT, MEAN, MEAN.abs(), False, 0.1, 1e-5),
        lambda x, w, b, m, v, *_: (
            (x - m[:, None]) * f.rsqrt(v + 1e-5)[:, None] * w[:, None] + b[:, None]
        ),
    ),
    Case(
        aten.native_batch_norm_backward.default,
        (
            IMAGE.flip(0),
            IMAGE,
            SCALE,
            None,
            None,
            *aten.native_batch_norm(IMAGE, SCALE, SHIFT, None, None, True, 0.1, 1e-5)[1:],
            True,
            1e-5,
            ONE,
        ),
        lambda g, x, w, _, __, m, r, *___: f.normalised_backward(
            g, x, m[:, None], r[:, None], w[:, None], (0, 2), 6, (0, 2)
        ),
    ),
    Case(
        aten.native_group_norm.default,
        (IMAGE, SCALE, SHIFT, 2, 4, 3, 2, 1e-5),
        lambda x, w, b, *_: (
            f.normalised(x.reshape(4, 6), 1, 6)[0].reshape(2, 4, 3) * w[:, None] + b[:, None]
        ),
    ),
    Case(
        aten._fused_rms_norm.default,
        (A, [4], SCALE, 1e-5),
        lambda x, _, w, e: x * f.rsqrt(f.total(x * x, 1) / 4 + e) * w,
    ),
]

LOST = [
    Case(aten.soft_margin_loss.default, (A, U), lambda x, y: f.log(f.exp(-(x * y)) + 1).sum() / 12),
    Case(
        aten.soft_margin_loss_backward.default,
        (C[0, 0], A, U, 2),
        lambda g, x, y, _: -(y * (z := f.exp(-(x * y)))) / (z + 1) * g,
    ),
    Case(
        aten.fractional_max_pool2d.default,
        (X4, [2, 2], [2, 2], X4.new_zeros(2, 3, 2)),
        lambda x, k, *_: f.pooled(x, k).max(-1),
    ),
    Case(aten.mse_loss.default, (A, B), lambda x, y: ((d := x - y) * d).sum() / 12),
    Case(aten.mse_loss_backward.default, (C[0, 0], A, B, 2), lambda g, x, y, _: (x - y) * 2 * g),
    Case(aten.huber_loss.default, (A * 0.1, B * 0.1, 2), lambda x, y, _: f.huber(x - y).sum()),
    Case(
        aten.binary_cross_entropy.default,
        (U, U.flip(0), None, 2),
        lambda x, y, *_: (
            (y - 1) * f.at_least(f.log1p(-x), -100.0) - y * f.at_least(f.log(x), -100.0)
        ).sum(),
    ),
    Case(
        aten.binary_cross_entropy_with_logits.default,
        (A, U, None, None, 1),
        lambda x, y, *_: (
            ((1 - y) * x - (f.minimum_with_zero(x) - f.log1p(f.exp(-f.magnitude(x))))).sum() / 12
        ),
    ),
    Case(
        aten.nll_loss_forward.default,
        (LOGP, CLASSES, None, 1, -100),
        lambda p, c, *_: -p[np.arange(3), c].sum() / 3,
    ),
    Case(
        aten.nll_loss_forward.default,
        (LOGP, CLASSES, None, 0, -100),
        lambda p, c, *_: -p[np.arange(3), c],
    ),
    Case(aten.avg_pool2d.default, (X4, [2, 2]), lambda x, k: f.pooled(x, k).sum(-1) / 4),
    Case(aten.max_pool2d_with_indices.default, (X4, [2, 2]), lambda x, k: f.pooled(x, k).max(-1)),
    Case(aten._adaptive_avg_pool2d.default, (X4, [2, 2]), lambda x, k: f.pooled(x, k).sum(-1) / 4),
]

CASES = [*POINTWISE, *REDUCED, *MULTIPLIED, *NORMALISED, *LOST]
