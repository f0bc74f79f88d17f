"""Functions of a compiled graph that keep a generator's state, and draw again from one.

Bound: the default generators of the CPU and of CUDA devices, as `autodiff.aten.replay`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch


@cache
def keeper(device: torch.device) -> Callable[[], torch.Tensor]:
    """Return the function that gives a copy of the state of a device's generator."""

    def generator_state() -> torch.Tensor:
        # It ends in an op, so that whoever watches PyTorch's dispatcher sees the memory.
        return torch.ops.aten.alias.default(_generator(device).get_state())  # type: ignore[no-any-return]

    return generator_state


@cache
def redrawer(op: Any, device: torch.device) -> Callable[..., Any]:
    """Return the function that runs a random op from a kept state, and then puts back the found."""

    def draw_again(state: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        generator = _generator(device)
        found = generator.get_state()
        generator.set_state(state)
        try:
            return op(*args, **kwargs)
        finally:
            generator.set_state(found)

    return draw_again


def _generator(device: torch.device) -> torch.Generator:
    if device.type == "cpu":
        return torch.default_generator
    return torch.cuda.default_generators[device.index or 0]
