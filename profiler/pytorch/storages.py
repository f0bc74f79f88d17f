"""Where a tensor's bytes are, and its shape: of plain, sparse, nested and wrapping tensors."""

from __future__ import annotations

from typing import Any

import torch

from profiler.pytorch.notes import NestedShape

_PARTS = {
    torch.sparse_coo: ("_indices", "_values"),
    **dict.fromkeys(
        (torch.sparse_csr, torch.sparse_bsr), ("crow_indices", "col_indices", "values")
    ),
    **dict.fromkeys(
        (torch.sparse_csc, torch.sparse_bsc), ("ccol_indices", "row_indices", "values")
    ),
}


def storage_of(tensor: Any) -> torch.UntypedStorage | None:
    """Return the storage of a tensor; None for what has none of its own."""
    if not isinstance(tensor, torch.Tensor):
        return None
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


def parts_of(tensor: Any) -> list[torch.Tensor]:
    """Return the tensors that hold a tensor's bytes; nothing for what is not a tensor.

    That is the tensor itself, the indices and values of a sparse one, or what a class of tensors
    wraps.
    """
    if not isinstance(tensor, torch.Tensor):
        return []
    if hasattr(tensor, "__tensor_flatten__"):
        inner = [getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]]
        return [part for one in inner for part in parts_of(one)]
    names = _PARTS.get(tensor.layout)
    return [tensor] if names is None else [getattr(tensor.detach(), name)() for name in names]


def shape_of(tensor: torch.Tensor) -> torch.Size | NestedShape:
    """Return the shape of a tensor, of a nested one those of its tensors."""
    if tensor.is_nested and tensor.layout is torch.strided:
        return NestedShape(torch.Size(sizes) for sizes in tensor._nested_tensor_size().tolist())
    return tensor.shape
