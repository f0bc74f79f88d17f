"""The size of a result's buffer where it exceeds the result's elements.

There are two kinds: a part that is laid out like a larger tensor, and a reduced loss in a buffer
that held one loss per element. The second was observed by tracking storages on the CPU; PyTorch's
shape rules do not report it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from autodiff.spec import Spec

SUMMED_WHERE_THEY_WERE = frozenset(
    getattr(torch.ops.aten, name).default
    for name in ("mse_loss", "smooth_l1_loss", "binary_cross_entropy", "soft_margin_loss")
)
"""Losses that, with a reduction, return their sum in the buffer that held one loss per element."""


RESIZED_FROM_THEIR_INPUT = (torch.ops.aten.col2im.default, torch.ops.aten.im2col.default)
"""Ops whose result starts as large as their input and keeps that buffer where it shrinks."""

_NORMS = (
    torch.ops.aten.native_layer_norm.default,
    torch.ops.aten.native_group_norm.default,
    torch.ops.aten.native_batch_norm.default,
    torch.ops.aten._native_batch_norm_legit.default,
    torch.ops.aten._native_batch_norm_legit.no_stats,
)


@dataclass(frozen=True, slots=True)
class StorageSpec(Spec):
    """The spec of a value that owns a buffer larger than its elements."""

    storage_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """Return the bytes of the whole buffer."""
        return self.storage_bytes


def as_on_the_cpu(target: Any, args: tuple[Any, ...], results: Any) -> Any:
    """Return the fake results of a call, with the dtypes that the CPU's kernels give them.

    A norm of a low-precision input with float32 weights or statistics keeps its mean and deviation
    in float32; PyTorch's shape rules say the input's dtype.
    """
    if target not in _NORMS or results[0].device.type != "cpu":
        return results
    dtypes = {arg.dtype for arg in args[1:] if isinstance(arg, torch.Tensor)}
    if results[0].dtype in (torch.bfloat16, torch.float16) and torch.float32 in dtypes:
        return (results[0], *(one.new_empty(one.shape, dtype=torch.float32) for one in results[1:]))
    return results


def spec_of_result(spec: Spec, target: Any, args: tuple[Any, ...], result: torch.Tensor) -> Spec:
    """Return the spec of a result that owns its buffer; `args` and `result` are fake tensors."""
    nbytes = result.untyped_storage().nbytes()
    if target in SUMMED_WHERE_THEY_WERE and not result.dim() and result.device.type == "cpu":
        elements = math.prod(torch.broadcast_shapes(args[0].shape, args[1].shape))  # type: ignore[no-untyped-call]  # PyTorch's own
        nbytes = elements * result.element_size()
    if target in RESIZED_FROM_THEIR_INPUT and result.device.type == "cpu":
        nbytes = max(nbytes, args[0].numel() * result.element_size())
    return (
        spec if nbytes <= spec.nbytes else StorageSpec(spec.shape, spec.dtype, spec.layout, nbytes)
    )
