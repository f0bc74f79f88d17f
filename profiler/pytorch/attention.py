"""The kernel that `scaled_dot_product_attention` takes on a CUDA card, and a call of it.

Source: `aten/src/ATen/native/transformers/cuda/sdp_utils.cpp` and `attention.cpp` of PyTorch, for a
card of compute capability 8.0, an A100, with PyTorch's default order: flash, efficient, math. On
capability 9 and 10 with a recent cuDNN the order begins with cuDNN, which `attention=cudnn` forces.

Bound: nested tensors and the flags of `torch.backends.cuda` are not considered. No choice was
compared with a card.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from autodiff.errors import GraphError

_aten = torch.ops.aten
_HALVES = (torch.float16, torch.bfloat16)

WIDEST_FLASH_HEAD = 256
WIDEST_CUDNN_HEAD = 128
MASK_ALIGNMENT = 16
"""The efficient kernel reads a mask whose rows begin at multiples of so many elements."""


@dataclass(frozen=True, eq=False)
class Attention:
    """A call of `scaled_dot_product_attention`: its tensors, and what is asked for."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None = None
    dropout: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    grouped: bool = False

    @property
    def _all(self) -> tuple[torch.Tensor, ...]:
        return self.query, self.key, self.value

    @property
    def _heads(self) -> tuple[int, ...]:
        return tuple(one.shape[-1] for one in self._all)

    @property
    def _is_half(self) -> bool:
        return self.query.dtype in _HALVES

    @property
    def _is_dense(self) -> bool:
        """Return whether there are four dimensions, elements, and one batch."""
        if any(one.dim() != 4 or one.stride(-1) != 1 or not one.numel() for one in self._all):
            return False
        return len({one.shape[0] for one in self._all}) == 1

    def _shares_heads(self, *, grouped: bool, values_apart: bool = False) -> bool:
        """Return whether the numbers of heads are equal, or are shared as the kernel can.

        `grouped`: it lets several heads of queries share one of keys; `values_apart`: there may be
        another number of values than of keys.
        """
        queries, keys, values = (one.shape[1] for one in self._all)
        if queries == keys == values:
            return True
        if not (grouped and self.grouped) or (keys != values and not values_apart):
            return False
        return queries % keys == 0 == queries % values

    @property
    def needs_grad(self) -> bool:
        """Return whether the kernel has to keep what backward reads."""
        return torch.is_grad_enabled() and any(one.requires_grad for one in self._all)


_DENSE = (
    "query, key and value of four dimensions and one batch, with a last stride of 1",
    lambda call: call._is_dense,
)
_HALF = ("float16 or bfloat16", lambda call: call._is_half)
_RULES: dict[str, tuple[tuple[str, Callable[[Attention], bool]], ...]] = {
    "flash": (
        _DENSE,
        (
            "as many heads of keys as of values, and heads of queries that they divide",
            lambda call: call._shares_heads(grouped=True),
        ),
        _HALF,
        ("no mask", lambda call: call.mask is None),
        (
            f"heads of one size up to {WIDEST_FLASH_HEAD}",
            lambda call: len(set(call._heads)) == 1 and call._heads[0] <= WIDEST_FLASH_HEAD,
        ),
        (
            "as many keys as queries where it is causal",
            lambda call: not call.is_causal or call.query.shape[-2] == call.key.shape[-2],
        ),
    ),
    "efficient": (
        _DENSE,
        (
            "as many heads of keys and values as of queries",
            lambda call: call._shares_heads(grouped=False),
        ),
        (
            "float32, float16 or bfloat16",
            lambda call: call._is_half or call.query.dtype == torch.float32,
        ),
        (
            "heads of query and key of one size, all multiples of 8 in 16 bits, of 4 in 32",
            lambda call: (
                call._heads[0] == call._heads[1]
                and all(size % (8 if call._is_half else 4) == 0 for size in call._heads)
            ),
        ),
    ),
    "math": (),
    "cudnn": (
        _DENSE,
        (
            "heads of keys and of values that divide those of queries",
            lambda call: call._shares_heads(grouped=True, values_apart=True),
        ),
        _HALF,
        (
            f"heads in multiples of 8 up to {WIDEST_CUDNN_HEAD}",
            lambda call: all(size % 8 == 0 and size <= WIDEST_CUDNN_HEAD for size in call._heads),
        ),
        (
            "a dropout in sixteenths",
            lambda call: call.dropout * 16 == math.floor(call.dropout * 16),
        ),
        (
            "more than one key, and more than one query with dropout",
            lambda call: (
                call.key.shape[-2] != 1 and not (call.dropout and call.query.shape[-2] == 1)
            ),
        ),
    ),
}
"""What each kernel needs, in words and as a test, in the order in which they are tried."""

KERNELS = tuple(_RULES)


def kernel_of(call: Attention, forced: str | None = None) -> str:
    """Return the kernel that a card takes for a call.

    Raises GraphError where a kernel is forced that cannot serve the call.
    """
    if forced is None:
        return next(kernel for kernel in KERNELS if _missing(kernel, call) is None)
    missing = _missing(forced, call)
    if missing is not None:
        raise GraphError(
            f"attention={forced} cannot serve a query of shape {tuple(call.query.shape)} and "
            f"{call.query.dtype}; expected {missing}; leave attention out, or take another kernel"
        )
    return forced


def _missing(kernel: str, call: Attention) -> str | None:
    """Return in words what a call lacks for a kernel; None where it lacks nothing."""
    return next((words for words, holds in _RULES[kernel] if not holds(call)), None)


def attend(call: Attention, kernel: str) -> torch.Tensor:
    """Return the result of a call by a kernel of the card, with what that kernel keeps."""
    query, key, value = call.query, call.key, call.value
    scale = query.shape[-1] ** -0.5 if call.scale is None else call.scale
    keeps = call.needs_grad
    if kernel == "flash":
        width = query.shape[-1]
        query, key, value = (_padded(one, 8) for one in (query, key, value))
        out: torch.Tensor = _aten._scaled_dot_product_flash_attention(
            query, key, value, call.dropout, call.is_causal, False, scale=scale
        )[0]
        return out if out.shape[-1] == width else out[..., :width]
    mask = _additive(call)
    if kernel == "math":
        return _aten._scaled_dot_product_attention_math(  # type: ignore[no-any-return]
            query,
            key,
            value,
            mask,
            call.dropout,
            call.is_causal,
            scale=call.scale,
            enable_gqa=call.grouped,
        )[0]
    if mask is not None:
        mask = _expanded(mask, call)
    if kernel == "efficient":
        return _aten._scaled_dot_product_efficient_attention(  # type: ignore[no-any-return]
            query, key, value, mask, keeps, call.dropout, call.is_causal, scale=scale
        )[0]
    return _aten._scaled_dot_product_cudnn_attention(  # type: ignore[no-any-return]
        query, key, value, mask, keeps, call.dropout, call.is_causal, False, scale=scale
    )[0]


def _padded(tensor: torch.Tensor, multiple: int) -> torch.Tensor:
    """Return a tensor whose last dimension is filled up to a multiple."""
    more = -tensor.shape[-1] % multiple
    return torch.nn.functional.pad(tensor, (0, more)) if more else tensor


def _additive(call: Attention) -> torch.Tensor | None:
    """Return the mask as numbers that are added to the scores."""
    mask = call.mask
    if mask is None or mask.dtype != torch.bool:
        return mask
    zero = mask.new_zeros((), dtype=call.query.dtype)
    return torch.where(mask, zero, mask.new_full((), -math.inf, dtype=call.query.dtype))


def _expanded(mask: torch.Tensor, call: Attention) -> torch.Tensor:
    """Return a mask for each head, in rows that the kernel can read."""
    wide = _padded(mask, MASK_ALIGNMENT)[..., : mask.shape[-1]]
    return wide.expand(*call.query.shape[:2], call.query.shape[-2], call.key.shape[-2])
