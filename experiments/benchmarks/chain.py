"""The chain that the benchmarks run: our program, PyTorch on the same weights, the bare work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from autodiff import networks
from autodiff.algorithms import gradients
from autodiff.checkpointing.parse import Planner
from autodiff.checkpointing.store_all import StoreAll
from autodiff.errors import TapemeasureError
from autodiff.executable import Executable
from autodiff.program import linearize
from experiments.measuring.pytorch_chain import Layer, in_segments
from experiments.measuring.timing import Timing

Rows = list[dict[str, Any]]
Step = Callable[[], Any]
Shape = tuple[int, int, int]

SMALL, LARGE = (16, 64, 32), (64, 256, 256)
PRODUCTS, KERNELS = "products alone", "kernels alone"


def rounds_for(shape: Shape) -> int:
    """Return how often a step of a shape is timed: often where it takes less than a millisecond."""
    return 1500 if shape == SMALL else 15


@dataclass(frozen=True, eq=False)
class Chain:
    """One chain, as a program of ours and as plain PyTorch on the same weights."""

    shape: Shape
    network: networks.Network
    weights: list[torch.Tensor]

    @classmethod
    def make(cls, shape: Shape) -> Chain:
        """Return a chain with weights of both."""
        network = networks.chain(*shape)
        return cls(
            shape, network, [leaf.value.clone().requires_grad_() for leaf in network.weights]
        )

    def instrumented(self, planner: Planner | None = None) -> Executable:
        """Return our step: every allocation and release noted."""
        program = linearize(
            [self.network.loss, *gradients(self.network.loss, self.network.weights)]
        )
        return Executable(program, (planner or StoreAll())(program))

    def eager(self) -> Any:
        """Run PyTorch's step."""
        h = self.network.input.value
        for weight in self.weights:
            h = torch.tanh(weight @ h)
        return torch.autograd.grad(h.sum(), self.weights)

    def checkpointed(self, segments: int) -> Step:
        """Return PyTorch's step through `checkpoint_sequential`."""
        model = torch.nn.Sequential(
            *(Layer(weight.detach().clone(), "tanh") for weight in self.weights)
        )
        parameters = list(model.parameters())
        x = self.network.input.value

        def step() -> Any:
            loss = in_segments(model, segments, x).sum()
            return torch.autograd.grad(loss, parameters)

        return step

    def products(self) -> None:
        """Run the matrix products of a step only, a lower bound of any step."""
        x = self.network.input.value
        with torch.inference_mode():
            for weight in self.weights:
                torch.mm(weight, x)
            for _ in self.weights:
                torch.mm(x, x.t())
            for weight in self.weights[1:]:
                torch.mm(weight.t(), x)

    def kernels(self) -> list[torch.Tensor]:
        """Run a step's kernels only, by hand: nothing is taped, noted or planned."""
        kept = [self.network.input.value]
        found = []
        with torch.inference_mode():
            for weight in self.weights:
                kept.append(torch.tanh(torch.mm(weight, kept[-1])))
            gradient = torch.ones(()).expand(kept[-1].shape)
            for weight in reversed(self.weights):
                gradient = torch.ops.aten.tanh_backward.default(gradient, kept.pop())
                found.append(torch.mm(gradient, kept[-1].t()))
                if len(kept) > 1:
                    gradient = torch.mm(weight.t(), gradient)
        return found[::-1]

    def require_equal(self, mine: list[Any]) -> None:
        """Raise TapemeasureError where gradients of ours are not PyTorch's to the last bit."""
        for one, other in zip(mine, self.eager(), strict=True):
            if not torch.equal(one, other):
                raise TapemeasureError(
                    f"the gradients of the chain {named(self.shape)} differ from PyTorch's; "
                    "please report this"
                )


def named(shape: Shape) -> str:
    """Return a shape in words."""
    return "n={}, d={}, b={}".format(*shape)


def rows_of(
    benchmark: str,
    shape: str,
    timings: Mapping[str, Timing],
    baseline: str,
    peaks: Mapping[str, int] | None = None,
) -> Rows:
    """Return the rows of one comparison."""
    return [
        {
            "benchmark": benchmark,
            "shape": shape,
            "what": what,
            "median_ms": timing.median_ns / 1e6,
            "spread_ms": timing.spread_ns / 1e6,
            "ratio": timing.median_ns / timings[baseline].median_ns,
            "baseline": baseline,
            "peak_bytes": None if peaks is None else peaks.get(what),
        }
        for what, timing in timings.items()
    ]
