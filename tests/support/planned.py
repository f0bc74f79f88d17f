"""Models that are trained under plans, and what their training takes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from profiler.audit.storages import StorageTracker

F = nn.functional
Step = Callable[[nn.Module], torch.Tensor]
"""A function that runs a model and its loss, and `.backward()`; it returns the loss."""


class Regression(nn.Module):
    """Layers and their loss, in one module."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).square().mean()


def chain(kind: str = "tanh", depth: int = 6, width: int = 16) -> Regression:
    """Linear layers with what follows each: "tanh", "norm" or "dropout"."""
    follow: dict[str, Callable[[], list[nn.Module]]] = {
        "tanh": lambda: [nn.Tanh()],
        "norm": lambda: [nn.BatchNorm1d(width), nn.ReLU()],
        "dropout": lambda: [nn.Dropout(0.1), nn.Tanh()],
    }
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), *follow[kind]()]
    return Regression(*layers)


def stepped(*args: Any, loss_of: Callable[..., torch.Tensor] | None = None) -> Step:
    """The step of a model on given arguments; random numbers are the same every time."""

    def step(model: nn.Module) -> torch.Tensor:
        torch.manual_seed(3)
        loss = model(*args) if loss_of is None else loss_of(model, *args)
        loss.backward()
        return loss.detach()

    return step


def tracked_peak(model: nn.Module, step: Step, *args: torch.Tensor) -> int:
    """The greatest total of living storages in a step, of which there was one before."""
    model.zero_grad(set_to_none=True)
    with StorageTracker([*model.parameters(), *model.buffers(), *args]) as tracker:
        step(model)
    return tracker.peak_bytes


def trained(
    model: nn.Module,
    step: Step,
    steps: int = 10,
    make: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
) -> list[float]:
    """Train a model; return its losses."""
    optimizer = make([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        losses.append(step(model).item())
        optimizer.step()
    return losses


def differing(one: nn.Module, other: nn.Module) -> list[str]:
    """The names of tensors that differ between two models in any bit."""
    theirs = other.state_dict()
    return [
        name for name, tensor in one.state_dict().items() if not torch.equal(tensor, theirs[name])
    ]


def twins(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A model and a copy of it."""
    return model, copy.deepcopy(model)
