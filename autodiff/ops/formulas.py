"""Functions that the ops' formulas need on numbers, tensors and arrays of counting scalars alike.

A formula is written once, in `compute`. On arrays of Python objects each element does its own
arithmetic, which is how scalars that count themselves check a declared cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

_ON_FLOATS: dict[str, Callable[[float], float]] = {
    "exp": math.exp,
    "log": math.log,
    "tanh": math.tanh,
    "erf": math.erf,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
}


def elementary(name: str, x: Any) -> Any:
    """Return an elementary function (exp, log, tanh, erf, sigmoid) of every element."""
    if isinstance(x, np.ndarray):
        return np.frompyfunc(lambda element: elementary(name, element), 1, 1)(x)
    method = getattr(x, name, None)
    return method() if method is not None else _ON_FLOATS[name](x)


def where_positive(condition: Any, value: Any) -> Any:
    """Return `value` where `condition` is above zero, else zero: one comparison an element."""
    if isinstance(condition, torch.Tensor):
        return torch.where(
            condition > 0, value, torch.zeros((), dtype=value.dtype, device=value.device)
        )
    if isinstance(condition, np.ndarray):
        return np.frompyfunc(lambda c, v: v if c > 0 else 0.0, 2, 1)(condition, value)
    return value if condition > 0 else 0.0


def total(x: Any) -> Any:
    """Return the sum of all elements."""
    return x.sum() if hasattr(x, "sum") else x


def axis_sum(x: Any, axis: int) -> Any:
    """Return the sums along one axis, which stays with length 1."""
    return x.sum(axis, keepdim=True) if isinstance(x, torch.Tensor) else x.sum(axis, keepdims=True)


def axis_max(x: Any, axis: int) -> Any:
    """Return the greatest elements along one axis, which stays with length 1."""
    return x.amax(axis, keepdim=True) if isinstance(x, torch.Tensor) else x.max(axis, keepdims=True)


def expand(x: Any, shape: tuple[int, ...]) -> Any:
    """Return `x` repeated to `shape`, without a copy."""
    if isinstance(x, torch.Tensor):
        return x.expand(shape)
    return np.broadcast_to(np.asarray(x, dtype=object), shape) if shape else x


def filled(spec: Any, value: float, device: torch.device | None = None) -> Any:
    """Return a new value of this spec with every element equal.

    It is a Python number where the spec is one.
    """
    if not isinstance(spec.dtype, torch.dtype):
        return value
    return torch.full(spec.shape, value, dtype=spec.dtype, device=device)
