"""Where a tensor's bytes lie: in one storage, or, of a sparse one, in those of the tensors that it is made of."""

from __future__ import annotations

from typing import Any

import torch

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
    """The storage of a tensor; None for what has none of its own."""
    if not isinstance(tensor, torch.Tensor):
        return None
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


def parts_of(tensor: Any) -> list[torch.Tensor]:
    """The tensors that hold a tensor's bytes: itself, or the indices and values of a sparse one; none of what is no tensor."""
    if not isinstance(tensor, torch.Tensor):
        return []
    names = _PARTS.get(tensor.layout)
    return [tensor] if names is None else [getattr(tensor.detach(), name)() for name in names]
