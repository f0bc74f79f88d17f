"""The exercise's network in plain PyTorch: the same chain, weights, modes and losses.

Each mode is what a PyTorch user would write: `torch.no_grad()`, a forward pass that keeps its
graph, `torch.autograd.grad` with respect to all weights or one (the others frozen),
`checkpoint_sequential` for the planner `uniform(segments=k)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles
from time import perf_counter_ns
from typing import Any

import torch
from torch import nn
from torch.utils import checkpoint as torch_checkpoint

from autodiff.networks import Network
from experiments import theory
from experiments.grid.planners import segments_of
from experiments.names import ITEMSIZES
from experiments.results.point import Point
from profiler.measurement import Profile
from profiler.pytorch.steps import profile_step

F = nn.functional

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor] | None] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "identity": None,
}


class Layer(nn.Module):
    """x ↦ σ(W x)."""

    def __init__(self, weight: torch.Tensor, activation: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.weight @ x
        return z if self.activation is None else self.activation(z)


@dataclass(frozen=True, eq=False)
class PyTorchStep:
    """One step in two halves: `forward()` gives the loss, `backward(loss)` the gradients."""

    model: nn.Sequential
    forward: Callable[[], torch.Tensor]
    wanted: tuple[nn.Parameter, ...]
    has_backward: bool

    def backward(self, loss: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the gradients that are asked for; none if only the forward pass is."""
        return torch.autograd.grad(loss, self.wanted) if self.has_backward else ()

    def __call__(self) -> Any:
        loss = self.forward()
        return loss, self.backward(loss)


def step_of(point: Point, network: Network) -> PyTorchStep:
    """Return the point's step in PyTorch, on the values of the network's leaves."""
    model = nn.Sequential(
        *(Layer(leaf.value.clone(), point.activation) for leaf in network.weights)
    )
    weights = tuple(model.parameters())
    if point.mode in ("only", "w1_only"):
        wanted = tuple(
            weight
            for weight, leaf in zip(weights, network.weights, strict=True)
            if leaf.name == point.wrt
        )
        for weight in weights:
            weight.requires_grad_(any(weight is one for one in wanted))
    else:
        wanted = weights
    x = network.input.value
    target = None if network.target is None else network.target.value
    segments = segments_of(point.planner, point.n) if point.mode == "checkpointed" else 1

    def forward() -> torch.Tensor:
        with torch.set_grad_enabled(point.mode != "no_grad"):
            return _loss(point.loss, _run(model, x, segments), target)

    return PyTorchStep(model, forward, wanted, point.mode not in ("no_grad", "forward"))


def in_segments(model: nn.Sequential, segments: int, x: torch.Tensor) -> torch.Tensor:
    """Run a model with PyTorch's own checkpointing in equal segments."""
    run: Callable[..., torch.Tensor] = torch_checkpoint.checkpoint_sequential
    return run(model, segments, x, use_reentrant=False)


def _run(model: nn.Sequential, x: torch.Tensor, segments: int) -> torch.Tensor:
    if segments > 1:
        return in_segments(model, segments, x)
    for layer in model:  # as a loop, which holds each value until the next one is there
        x = layer(x)
    return x


def _loss(name: str, x: torch.Tensor, target: torch.Tensor | None) -> torch.Tensor:
    if target is None:
        return x.sum()
    if name == "squared_error":
        return 0.5 * ((x - target) ** 2).sum()
    return F.cross_entropy(x.T, target, reduction="sum")


def profile_pytorch(point: Point, network: Network) -> Profile:
    """Return the profile of the point's step as PyTorch runs it."""
    step = step_of(point, network)
    step()  # lazy imports and workspaces are not the step's
    return profile_step(step, model=step.model)


def wall_columns(point: Point, network: Network) -> dict[str, float]:
    """Return the median times of the step's halves over the point's repeats, in nanoseconds."""
    step = step_of(point, network)
    step()
    times: dict[str, list[int]] = {"forward": [], "recompute": [], "backward": []}
    for _ in range(point.repeats):
        start = perf_counter_ns()
        loss = step.forward()
        middle = perf_counter_ns()
        gradients = step.backward(loss)
        end = perf_counter_ns()
        del loss, gradients
        times["forward"].append(middle - start)
        times["backward"].append(end - middle)
        times["recompute"].append(0)  # it is within the backward half, where PyTorch does it
    columns: dict[str, float] = {}
    for phase, noted in times.items():
        low, median, high = (
            quantiles(noted, n=4, method="inclusive") if len(noted) > 1 else (noted[0],) * 3
        )
        columns[f"wall_ns_{phase}"] = float(median)
        columns[f"wall_ns_{phase}_spread"] = (high - low) / 2
    return columns


def pytorch_theory(point: Point) -> dict[str, int]:
    """Return the theory's operations and peak of PyTorch's own step, if its loss is the sum."""
    if point.loss != "sum" or point.mode == "checkpointed":
        return {}
    wrt = point.wrt if point.mode in ("only", "w1_only") else None
    case: dict[str, Any] = {"activation": point.activation, "wrt": wrt}
    itemsize = ITEMSIZES[point.dtype]
    peak = theory.pytorch_peak_elements(point.mode, point.n, point.d, point.b, **case)
    columns = {
        "theory_ops": int(theory.total_operations(point.mode, point.n, point.d, point.b, **case))
    }
    return columns if peak is None else {**columns, "theory_peak_bytes": itemsize * int(peak)}
