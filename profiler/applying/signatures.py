"""What a plan depends on: the signature of a call of a model.

A plan holds for the shapes, dtypes and modes that it was made for. Two calls with equal signatures
run under the same plan.

Bound: an argument that is neither a tensor nor a plain value counts by its identity, so what is
changed inside it is not seen.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch.utils._pytree import tree_flatten

_DEVICES = ("cpu", "cuda")


def signature_of(
    model: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Hashable:
    """Return what the plan of a call depends on.

    It consists of the arguments (tensors by shape, dtype and the like, all else by value), the mode
    of every module, the parameters and buffers by shape, and the settings of autocast.
    """
    leaves, form = tree_flatten((args, dict(kwargs)))
    return (
        str(form),
        tuple(map(_described, leaves)),
        tuple(module.training for module in model.modules()),
        tuple(map(_described, model.parameters())),
        tuple(map(_described, model.buffers())),
        tuple(
            (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
            for device in _DEVICES
        ),
    )


def _described(leaf: Any) -> Hashable:
    if isinstance(leaf, torch.Tensor):
        return leaf.shape, leaf.stride(), leaf.dtype, leaf.device, leaf.requires_grad
    if isinstance(leaf, Hashable):
        return type(leaf), leaf
    return type(leaf), getattr(leaf, "shape", None), getattr(leaf, "dtype", None)
