"""Sums to one element or along an axis, and their opposites: expansions, which are free views."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from autodiff.cost import FREE, Cost
from autodiff.devices import current_device
from autodiff.errors import ShapeError
from autodiff.known import known_specs
from autodiff.node import ComputationNode, Leaf
from autodiff.ops import formulas
from autodiff.spec import (
    CONTIGUOUS,
    DENSE,
    EXPANDED,
    EXPANDED_DENSE,
    TURNED,
    Shape,
    Spec,
    a_tensor,
    at_least_0,
    elementwise,
    is_one,
    promoted,
    same_shape,
    summed,
)


class Matsum(ComputationNode):
    """The sum of all elements: N − 1 additions, none where there is no element."""

    def compute(self, a: Any) -> Any:
        return formulas.total(a)

    def backward(self) -> list[Any]:
        return [Matexpand(self.gradient, self.input_nodes[0].shape)]

    def result_spec(self, a: Spec) -> Spec:
        return Spec((), summed(a.dtype))

    def cost(self, a: Spec) -> Cost:
        return Cost(additions=at_least_0(a.numel - 1))


class Matexpand(ComputationNode):
    """One element repeated to `target_shape`: a view."""

    view_of = 0

    def __init__(self, inp: Any, target_shape: Shape) -> None:
        self.target_shape = tuple(target_shape)
        self.parameters = (self.target_shape,)
        super().__init__(inp)

    def compute(self, a: Any) -> Any:
        return formulas.expand(a, self.target_shape)

    def backward(self) -> list[Any]:
        return [Matsum(self.gradient)]

    def result_spec(self, a: Spec) -> Spec:
        if a.shape:
            raise ShapeError(
                f"only one element can be expanded to {self.target_shape}; given {a}; ExpandAxis "
                "repeats along one axis"
            )
        if not self.target_shape:
            return a
        layout = CONTIGUOUS if is_one(*self.target_shape) else EXPANDED
        return Spec(self.target_shape, a_tensor(a).dtype, layout)

    def cost(self, a: Spec) -> Cost:
        return FREE


class SumAxis(ComputationNode):
    """The sums along one axis, which is dropped: r(k − 1) additions for r rows of k."""

    def __init__(self, inp: Any, axis: int) -> None:
        self.axis = axis
        self.parameters = (axis,)
        super().__init__(inp)

    def compute(self, a: Any) -> Any:
        return a.sum(self.axis)

    def backward(self) -> list[Any]:
        return [ExpandAxis(self.gradient, self.axis, self.input_nodes[0].shape[self.axis])]

    def result_spec(self, a: Spec) -> Spec:
        if not 0 <= self.axis < len(a.shape):
            raise ShapeError(f"axis {self.axis} of {a}; expected one from 0 to {len(a.shape) - 1}")
        return Spec(a.shape[: self.axis] + a.shape[self.axis + 1 :], summed(a.dtype))

    def cost(self, a: Spec) -> Cost:
        return Cost(additions=at_least_0(a.numel - self.result_spec(a).numel))


class ExpandAxis(ComputationNode):
    """A new axis of `size` equal entries: a view."""

    view_of = 0

    def __init__(self, inp: Any, axis: int, size: Any) -> None:
        self.axis = axis
        self.size = size
        self.parameters = (axis, size)
        super().__init__(inp)

    def _shape(self, shape: Shape) -> Shape:
        return (*shape[: self.axis], self.size, *shape[self.axis :])

    def compute(self, a: Any) -> Any:
        if hasattr(a, "unsqueeze"):
            return a.unsqueeze(self.axis).expand(self._shape(a.shape))
        return np.broadcast_to(np.expand_dims(a, self.axis), self._shape(a.shape))

    def backward(self) -> list[Any]:
        return [SumAxis(self.gradient, self.axis)]

    def result_spec(self, a: Spec) -> Spec:
        if not 0 <= self.axis <= len(a.shape):
            raise ShapeError(
                f"a new axis {self.axis} in {a}; expected one from 0 to {len(a.shape)}"
            )
        repeated = EXPANDED_DENSE if a.layout in (DENSE, TURNED, EXPANDED_DENSE) else EXPANDED
        layout = a.layout if is_one(self.size) else repeated
        return Spec(self._shape(a.shape), a_tensor(a).dtype, layout)

    def cost(self, a: Spec) -> Cost:
        return FREE


class Fill(ComputationNode):
    """A constant of a given spec, made where it runs, such as the seed of a backward pass.

    It has no inputs and is no leaf, so its memory counts from the step that makes it.
    """

    def __init__(self, spec: Spec, value: float, name: str | None = None) -> None:
        self.value = value
        self.parameters = (spec, value)
        super().__init__(name=name)
        self.spec = known_specs.one(Spec(spec.shape, spec.dtype))

    def compute(self) -> Any:
        return formulas.filled(self.parameters[0], self.value, self._device())

    def _device(self) -> torch.device | None:
        """Return the device of the run, or of what this is the gradient of."""
        of = self.gradient_of
        if current_device() is None and of is not None:
            value = of.value if isinstance(of, Leaf) else of.result
            return value.device if isinstance(value, torch.Tensor) else None
        return current_device()

    def backward(self) -> list[Any]:
        return []

    def cost(self) -> Cost:
        return FREE


class AddBias(ComputationNode):
    """z + bias along the rows: each column of z, which is r×k, gets the r elements of the bias.

    N additions.
    """

    def compute(self, z: Any, bias: Any) -> Any:
        return z + bias[:, None]

    def backward(self) -> list[Any]:
        return [self.gradient, SumAxis(self.gradient, 1)]

    def result_spec(self, z: Spec, bias: Spec) -> Spec:
        if len(z.shape) != 2 or not same_shape(z.shape[:1], bias.shape):
            raise ShapeError(
                "expected a matrix and a bias with as many elements as the matrix has rows"
            )
        return Spec(z.shape, promoted(z, bias), elementwise(z).layout)

    def cost(self, z: Spec, bias: Spec) -> Cost:
        return Cost(additions=z.numel)
