"""The network of the exercise in plain PyTorch, and what tests ask of a profile of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from profiler import Profile

N, D, B = 5, 8, 6
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
    "identity": lambda x: x,
}


class Chain:
    """The network of the exercise in plain PyTorch."""

    def __init__(
        self, n: int = N, d: int = D, b: int = B, activation: str = "tanh", device: str = "cpu"
    ) -> None:
        self.weights = [torch.randn(d, d, device=device).requires_grad_() for _ in range(n)]
        self.input = torch.randn(d, b, device=device)
        self.activation = ACTIVATIONS[activation]

    def output(self) -> torch.Tensor:
        """The last activation."""
        h = self.input
        for weight in self.weights:
            h = self.activation(weight @ h)
        return h

    def loss(self) -> torch.Tensor:
        """The sum of the output."""
        return self.output().sum()

    def step(self) -> tuple[torch.Tensor, ...]:
        """Forward and backward to every weight."""
        return torch.autograd.grad(self.loss(), self.weights)


def blocks(n: int = N, d: int = D) -> nn.Sequential:
    """Blocks of a linear layer and tanh, so that a block is a module with modules in it."""
    return nn.Sequential(*[nn.Sequential(nn.Linear(d, d, bias=False), nn.Tanh()) for _ in range(n)])


def x(b: int = B, d: int = D) -> torch.Tensor:
    """A batch, examples in rows."""
    return torch.randn(b, d)


def roles(found: Profile) -> dict[str, int]:
    """The roles that have bytes at the peak."""
    return {role: nbytes for role, nbytes in found.peak_by_role.items() if nbytes}
