"""The size of a result's buffer where it exceeds the result's elements.

A part may be laid out like a larger tensor, and a few kernels compute in a buffer that is larger
than what they return (`aten.kernels`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autodiff.spec import Spec


@dataclass(frozen=True, slots=True)
class StorageSpec(Spec):
    """The spec of a value that owns a buffer larger than its elements."""

    storage_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """Return the bytes of the whole buffer."""
        return self.storage_bytes


def spec_of_result(spec: Spec, result: torch.Tensor) -> Spec:
    """Return the spec of a result that owns its buffer; `result` is a fake tensor."""
    nbytes = result.untyped_storage().nbytes()
    if nbytes <= spec.nbytes:
        return spec
    return StorageSpec(spec.shape, spec.dtype, spec.layout, nbytes)
