"""Dropout on the CPU as the ops that eager PyTorch runs, so that numbers are equal bit by bit.

TorchDynamo traces dropout as one op with two results, of which a plan would have to keep both. Here
only the mask is drawn, one byte an element, and all else can be computed from it again. Other
devices have a fused kernel in eager mode too, and keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

_aten = torch.ops.aten


def _dropout(x: torch.Tensor, p: float, train: bool | None) -> Any:
    """Return the result and the mask, drawn in the order of the input's memory."""
    if x.device.type != "cpu" or train is False or not 0 < p < 1:
        return NotImplemented
    if x.is_contiguous():
        like = _aten.expand.default(_aten.empty.memory_format([], dtype=torch.bool), list(x.shape))
    else:
        like = _aten.empty_like.default(x, dtype=torch.bool)
    mask = _aten.bernoulli.p(like, 1 - p)
    return x * _noise(mask, x.dtype, 1 - p), mask


def _dropout_backward(gradient: torch.Tensor, mask: torch.Tensor, scale: float) -> Any:
    if gradient.device.type != "cpu" or scale in (0, 1):
        return NotImplemented
    return gradient * _noise(mask, gradient.dtype, 1 / scale)


def _noise(mask: torch.Tensor, dtype: torch.dtype, keep: float) -> torch.Tensor:
    return _aten.div.Tensor(_aten._to_copy.default(mask, dtype=dtype), keep)  # type: ignore[no-any-return]


DROPOUT: Mapping[Any, Callable[..., Any]] = {
    _aten.native_dropout.default: _dropout,
    _aten.native_dropout_backward.default: _dropout_backward,
}
"""What AOTAutograd replaces when it traces."""
