"""Whether a traced step is the step: its results, its gradients, its peak as predicted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from autodiff import Executable, GraphError, StoreAll
from autodiff.pytorch import from_pytorch
from profiler import profile

SEED = 42
"""The seed that PyTorch's database sets within the steps of random ops."""


def fault_of(step: Callable[..., Any]) -> str:
    """Return what is wrong with a step's program, or how it was refused; nothing if it is right."""
    try:
        program = from_pytorch(step)
    except GraphError as refusal:
        return "refused" if "\n" not in str(refusal) else "refused in several lines"
    torch.manual_seed(SEED)
    (loss, *gradients), _ = Executable(program, StoreAll()(program)).run()
    torch.manual_seed(SEED)
    expected, of_eager = step()
    pairs = zip(gradients, [one for one in tree_leaves(of_eager) if one is not None], strict=True)
    if not same(loss, expected):
        return "loss"
    if not all(same(mine, theirs) for mine, theirs in pairs):
        return "gradients"
    if profile(program).peak_bytes != profile(program, execute=False).peak_bytes:
        return "peak"
    return ""


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors are equal to the last bit; NaN equals NaN."""
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
