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


@dataclass(frozen=True, slots=True)
class StorageSpec(Spec):
    """The spec of a value that owns a buffer larger than its elements."""

    storage_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """Return the bytes of the whole buffer."""
        return self.storage_bytes


def spec_of_result(spec: Spec, target: Any, args: tuple[Any, ...], result: torch.Tensor) -> Spec:
    """Return the spec of a result that owns its buffer; `args` and `result` are fake tensors."""
    nbytes = result.untyped_storage().nbytes()
    if target in SUMMED_WHERE_THEY_WERE and not result.dim() and result.device.type == "cpu":
        elements = math.prod(torch.broadcast_shapes(args[0].shape, args[1].shape))  # type: ignore[no-untyped-call]  # PyTorch's own
        nbytes = elements * result.element_size()
    return (
        spec if nbytes <= spec.nbytes else StorageSpec(spec.shape, spec.dtype, spec.layout, nbytes)
    )
