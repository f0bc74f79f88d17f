"""The loss of what a module returned, and in words what it was made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from experiments.errors import ConfigError, ModuleError


def loss_of(output: Any, rule: str, labels: torch.Tensor | None) -> tuple[torch.Tensor, str]:
    """Return the loss of an output by a rule of the config, and what it was made of.

    Raises ConfigError where the output has no loss of its own and one is expected, ModuleError
    where it has no tensor that a loss could be made of.
    """
    if rule in ("auto", "own"):
        own = own_loss(output)
        if own is not None:
            return own
        if rule == "own":
            raise ConfigError(
                f"loss=own: the output, a {type(output).__name__}, has no loss; expected one that "
                "comes with labels among the inputs, a scalar, or loss=mean, sum or cross_entropy"
            )
    found = tensor_of(output)
    if labels is not None:
        last = rule == "cross_entropy_last"
        if last:
            found, labels = found.flatten(0, -2), labels.flatten()
        where = "the last dimension" if last else "dimension 1"
        return torch.nn.functional.cross_entropy(found, labels), f"cross-entropy over {where}"
    if rule == "sum":
        return found.sum(), "sum of the first tensor"
    reason = ": no loss found" if rule == "auto" else ""
    return found.mean(), f"mean of the first tensor{reason}"


def own_loss(output: Any) -> tuple[torch.Tensor, str] | None:
    """Return the loss of an output: what it calls so, else its first scalar; None without one."""
    called = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(called, torch.Tensor):
        return (
            (called, "the output's own")
            if called.dim() == 0
            else (called.mean(), "the mean of the output's own")
        )
    scalars = [leaf for leaf in _floats(output) if leaf.dim() == 0]
    if not scalars:
        return None
    one = len(scalars) == 1
    return scalars[
        0
    ], f"the {'scalar' if one else f'first of {len(scalars)} scalars'} of the output"


def tensor_of(output: Any) -> torch.Tensor:
    """Return the first floating-point tensor of an output; raises ModuleError without one."""
    for leaf in _floats(output):
        return leaf
    raise ModuleError(
        f"the output is a {type(output).__name__} without a floating-point tensor; expected one, "
        "of which a loss could be made"
    )


def _floats(output: Any) -> list[torch.Tensor]:
    """Return the floating-point tensors of an output, fields of dataclasses included."""
    if isinstance(output, Mapping):
        output = dict(output)
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        output = [getattr(output, field.name) for field in dataclasses.fields(output)]
    return [
        inner
        for leaf in pytree.tree_leaves(output)
        for inner in (_floats(leaf) if dataclasses.is_dataclass(leaf) else [leaf])
        if isinstance(inner, torch.Tensor) and inner.is_floating_point()
    ]
