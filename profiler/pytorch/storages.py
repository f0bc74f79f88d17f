"""Where a tensor's bytes are: in one storage, or in those of the parts of a sparse tensor."""

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
    """Return the storage of a tensor; None for what has none of its own."""
    if not isinstance(tensor, torch.Tensor):
        return None
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


def parts_of(tensor: Any) -> list[torch.Tensor]:
    """Return the tensors that hold a tensor's bytes; nothing for what is not a tensor.

    That is the tensor itself, or the indices and values of a sparse one.
    """
    if not isinstance(tensor, torch.Tensor):
        return []
    names = _PARTS.get(tensor.layout)
    return [tensor] if names is None else [getattr(tensor.detach(), name)() for name in names]
