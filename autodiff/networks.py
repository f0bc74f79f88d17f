"""Parametric families of networks, made of nodes.

`chain` is the network of the exercise: x_1 is d×b, z_i = W_i x_i, x_{i+1} = σ(z_i), L = f(x_{n+1}),
each W_i d×d. The identity activation adds no node. With `micro_batches=k` the graph is built slice
after slice of the batch (its forward part, its gradients, each added to those of the earlier slices
as it is made), which is gradient accumulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from autodiff.algorithms import gradients
from autodiff.collector import paused_collector
from autodiff.devices import usable_device
from autodiff.errors import ShapeError, TapemeasureError
from autodiff.node import ComputationNode, Leaf
from autodiff.ops import Columns, Gelu, Relu, Sigmoid, Tanh, cross_entropy, squared_error
from autodiff.spec import Dim, Spec

ACTIVATIONS: dict[str, Callable[[Any], ComputationNode] | None] = {
    "tanh": Tanh,
    "relu": Relu,
    "sigmoid": Sigmoid,
    "gelu": Gelu,
    "identity": None,
}

LOSSES = ("sum", "squared_error", "cross_entropy")


@dataclass(frozen=True, eq=False)
class Network:
    """A loss with the leaves that it is computed from.

    These are the weights (W_1 first), the input, and the target where the loss has one.
    """

    loss: ComputationNode
    weights: list[Leaf]
    input: Leaf
    target: Leaf | None = None

    def draw(self, seed: int = 0, device: str = "cpu") -> None:
        """Give every leaf its value on a device.

        Data and targets come from N(0, 1), a d×d weight from N(0, 1/d), class indices are uniform.
        Raises ShapeError where a dimension is not an integer, TapemeasureError where the device
        cannot be used.
        """
        place = usable_device(device)
        generator = torch.Generator().manual_seed(seed)
        for leaf in (*self.weights, self.input, *([] if self.target is None else [self.target])):
            assert leaf.spec is not None
            shape, dtype = leaf.spec.shape, leaf.spec.dtype
            if not all(isinstance(size, int) for size in shape):
                raise ShapeError(
                    f"{leaf.label} has the shape {shape}; expected integers to draw values for; "
                    "leave symbols to values=False"
                )
            if dtype == torch.int64:
                drawn = torch.randint(self.input.shape[0], shape, generator=generator)
            else:
                drawn = torch.randn(shape, generator=generator, dtype=dtype)
                if leaf.role == "parameter":
                    drawn /= math.sqrt(shape[-1])
            leaf.value = drawn.to(place)


@paused_collector()
def chain(
    n: int,
    d: Dim,
    b: Dim,
    *,
    activation: str = "tanh",
    loss: str = "sum",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    values: bool = True,
    micro_batches: int = 1,
    device: str = "cpu",
) -> Network:
    """Return n layers of width d on a batch of b, with weights drawn from N(0, 1/d).

    `values=False` makes leaves that have only shapes; d and b may then be symbols. Raises
    TapemeasureError for an unknown activation, loss or device, ShapeError for a dimension that is
    not a positive integer.
    """
    _check(activation, loss, dtype)
    _check_sizes(n, d, b, micro_batches, may_be_symbols=not values)
    square = Spec((d, d), dtype)
    weights = [Leaf(None, f"W_{i}", "parameter", spec=square) for i in range(1, n + 1)]
    data = Leaf(None, "x_1", "input", spec=Spec((d, b), dtype))
    target = None
    if loss == "squared_error":
        target = Leaf(None, "y", "input", spec=Spec((d, b), dtype))
    elif loss == "cross_entropy":
        target = Leaf(None, "y", "input", spec=Spec((b,), torch.int64))
    if micro_batches == 1:
        whole = _forward(data, target, weights, activation, loss, "")
        whole.name = "L"
    else:
        whole = _accumulated(data, target, weights, activation, loss, b, micro_batches)
    network = Network(whole, weights, data, target)
    if values:
        network.draw(seed, device)
    return network


def _check(activation: str, loss: str, dtype: Any) -> None:
    if activation not in ACTIVATIONS:
        raise TapemeasureError(
            f"activation {activation!r}; expected one of {', '.join(ACTIVATIONS)}"
        )
    if loss not in LOSSES:
        raise TapemeasureError(f"loss {loss!r}; expected one of {', '.join(LOSSES)}")
    if not isinstance(dtype, torch.dtype):
        raise TapemeasureError(
            f"dtype {dtype!r}; expected a dtype of PyTorch, such as torch.float32"
        )


def _check_sizes(n: Any, d: Dim, b: Dim, micro_batches: Any, may_be_symbols: bool) -> None:
    for name, size in (("n", n), ("micro_batches", micro_batches), ("d", d), ("b", b)):
        if isinstance(size, (bool, float, str)) or (
            size < 1 if isinstance(size, int) else not (may_be_symbols and name in "db")
        ):
            raise ShapeError(f"{name} = {size!r}; expected an integer of at least 1")
    if not may_be_symbols and micro_batches > b:
        raise ShapeError(
            f"micro_batches = {micro_batches} with a batch of {b}; expected at most one "
            "micro-batch for each example"
        )


def _forward(
    x: Any, target: Any, weights: list[Leaf], activation: str, loss: str, mark: str
) -> ComputationNode:
    apply = ACTIVATIONS[activation]
    for i, weight in enumerate(weights, 1):
        x = weight @ x
        if apply is not None:
            x.name = f"z_{i}{mark}"
            x = apply(x)
        x.name = f"x_{i + 1}{mark}"
    if loss == "sum":
        return x.sum()  # type: ignore[no-any-return]
    return squared_error(x, target) if loss == "squared_error" else cross_entropy(x, target)


def _accumulated(
    data: Leaf,
    target: Leaf | None,
    weights: list[Leaf],
    activation: str,
    loss: str,
    b: Dim,
    micro_batches: int,
) -> ComputationNode:
    """Return the loss over all slices, together with its gradients.

    The gradients of each slice are built before the forward part of the next.
    """
    total: ComputationNode | None = None
    sums: dict[ComputationNode, ComputationNode] = {}
    for k in range(micro_batches):
        start, stop = b * k // micro_batches, b * (k + 1) // micro_batches
        part = Columns(data, start, stop)
        answer = None if target is None else Columns(target, start, stop)
        one = _forward(part, answer, weights, activation, loss, f"'{k + 1}")
        total = one if total is None else total + one
        sums = dict(zip(weights, gradients(one, weights, onto=sums), strict=True))
    assert total is not None
    total.name = "L"
    total.gradient_nodes = sums
    return total
