"""What an optimizer takes: its state, and what its update allocates on top of it.

A copy of the optimizer on fake tensors steps twice under `profile_step`: the first step may make
the state, the second finds it.

Bound: an update that asks for values of tensors or needs a closure (Adafactor, LBFGS) cannot be
weighed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._pytree import tree_leaves

from autodiff.errors import PlannerError
from profiler.pytorch.steps import profile_step


@dataclass(frozen=True)
class Update:
    """An optimizer's update: bytes of its state, of the gradients that it reads, of temporaries."""

    state_bytes: int = 0
    gradient_bytes: int = 0
    temporary_bytes: int = 0


NO_UPDATE = Update()


def storage_bytes(tensors: Iterable[Any]) -> int:
    """Return the bytes of tensors, each storage once."""
    storages = {
        tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes()
        for tensor in tensors
        if isinstance(tensor, torch.Tensor)
    }
    return sum(storages.values())


def update_of(optimizer: torch.optim.Optimizer) -> Update:
    """Return what an optimizer takes once it has stepped.

    Raises PlannerError for an optimizer whose step cannot run on fake tensors.
    """
    mode = FakeTensorMode()
    try:
        twin = _twin(optimizer, mode)
        with mode:
            parameters = [p for group in twin.param_groups for p in group["params"]]
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
            gradients = [parameter.grad for parameter in parameters]
            before = storage_bytes(_state(twin))
            first = _peak(twin, [*parameters, *gradients, *_state(twin)])
            state = storage_bytes(_state(twin))
            later = _peak(twin, [*parameters, *gradients, *_state(twin)])
    except Exception as error:  # whatever an optimizer raises where there are no values
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PlannerError(
            f"optimizer = {type(optimizer).__name__}; expected one whose step runs on tensors "
            f"without memory ({why}); give max_bytes, which does not count it, in the place of "
            "memory"
        ) from error
    temporary = max(first - (state - before), later, 0)
    return Update(state, storage_bytes(gradients), temporary)


def _twin(optimizer: torch.optim.Optimizer, mode: FakeTensorMode) -> torch.optim.Optimizer:
    """Return a copy on fake tensors; its numbers (steps, learning rates) keep their values."""
    memo: dict[int, Any] = {}
    options = [one for group in optimizer.param_groups for one in _but_parameters(group)]
    for tensor in [*_state(optimizer), *options]:
        if isinstance(tensor, torch.Tensor) and tensor.dim() == 0:
            number = tensor.item()
            with mode:
                memo[id(tensor)] = torch.tensor(number, dtype=tensor.dtype)
    with FakeCopyMode(mode):
        return copy.deepcopy(optimizer, memo)


def _but_parameters(group: dict[str, Any]) -> Iterator[Any]:
    return (value for name, value in group.items() if name != "params")


def _state(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    leaves = tree_leaves([list(one.values()) for one in optimizer.state.values()])
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _peak(optimizer: torch.optim.Optimizer, given: list[Any]) -> int:
    return profile_step(lambda *_: optimizer.step(), *given).peak_bytes
