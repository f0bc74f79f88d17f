"""What a result's buffer really takes, where that is more than its elements: parts laid out like a larger buffer, and sums in a full-sized one.

Seen by watching storages on the CPU; PyTorch's rules for shapes, which know no storage of a real tensor, say nothing of the second kind.
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
"""Losses that, with a reduction, hand out their sum in the buffer that held a loss for each element."""


@dataclass(frozen=True, slots=True)
class StorageSpec(Spec):
    """The spec of a value that owns a buffer larger than its elements."""

    storage_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """The bytes of the whole buffer."""
        return self.storage_bytes


def spec_of_result(spec: Spec, target: Any, args: tuple[Any, ...], result: torch.Tensor) -> Spec:
    """The spec of a call's result that has a buffer of its own; `args` and `result` are tensors without memory."""
    nbytes = result.untyped_storage().nbytes()
    if target in SUMMED_WHERE_THEY_WERE and not result.dim() and result.device.type == "cpu":
        elements = math.prod(torch.broadcast_shapes(args[0].shape, args[1].shape))  # type: ignore[no-untyped-call]  # PyTorch's own
        nbytes = elements * result.element_size()
    return (
        spec if nbytes <= spec.nbytes else StorageSpec(spec.shape, spec.dtype, spec.layout, nbytes)
    )
