"""Values as they are given to a leaf: numbers, tensors, numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from autodiff.errors import GraphError


def taken(value: Any, name: str) -> Any:
    """Return a given value as the engine holds it; raise GraphError for one that no op takes."""
    if isinstance(value, np.number):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype != object:
        shares = value.flags.writeable and min(value.strides, default=0) >= 0
        try:
            # PyTorch shares no memory that is read-only, or that is read backwards.
            return torch.from_numpy(value if shares else value.copy())
        except (TypeError, ValueError):
            raise GraphError(
                f"leaf {name} holds a numpy array of dtype {value.dtype}; "
                "expected one of numbers that PyTorch has; convert it"
            ) from None
    if isinstance(value, torch.Tensor) and (
        value.layout is not torch.strided or value.is_quantized
    ):
        kind = "quantized" if value.is_quantized else str(value.layout).removeprefix("torch.")
        raise GraphError(
            f"leaf {name} holds a {kind} tensor; "
            "expected a dense one; give its to_dense() or dequantize()"
        )
    return value
