"""Arithmetic on elements: negation, sum, difference, product, quotient, mean of two, powers."""

from __future__ import annotations

import operator
from typing import Any

import torch

from autodiff.cost import Cost
from autodiff.errors import GraphError, ShapeError
from autodiff.node import ComputationNode
from autodiff.ops.reductions import Matsum
from autodiff.spec import (
    INTEGER,
    Spec,
    elementwise,
    floating_elementwise,
    is_floating,
    is_number,
    no_truth_values,
)


def _fitted(
    gradient: ComputationNode, node: ComputationNode, other: ComputationNode
) -> ComputationNode:
    """Return the gradient of an input, which is a sum where the input is one element.

    An element that went with a whole tensor gets the sum over the tensor's elements.
    """
    if (
        node.spec is not None
        and other.spec is not None
        and not node.spec.shape
        and other.spec.shape
    ):
        return Matsum(gradient)
    return gradient


class Negate(ComputationNode):
    """−a."""

    kernel = staticmethod(operator.neg)

    def compute(self, a: Any) -> Any:
        return -a

    def backward(self) -> list[Any]:
        return [-self.gradient]

    def result_spec(self, a: Spec) -> Spec:
        return elementwise(no_truth_values(a))

    def cost(self, a: Spec) -> Cost:
        return Cost(additions=a.numel)


class Add(ComputationNode):
    """a + b, of one shape; a number goes with any shape."""

    into = staticmethod(torch.add)
    kernel = staticmethod(operator.add)

    def compute(self, a: Any, b: Any) -> Any:
        return a + b

    def backward(self) -> list[Any]:
        a, b = self.input_nodes
        return [_fitted(self.gradient, a, b), _fitted(self.gradient, b, a)]

    def result_spec(self, a: Spec, b: Spec) -> Spec:
        return elementwise(a, b)

    def cost(self, a: Spec, b: Spec) -> Cost:
        return Cost(additions=elementwise(a, b).numel)


class Subtract(ComputationNode):
    """a − b in one op; the operator `−` makes `Add(Negate)`, as the exercise prints it."""

    kernel = staticmethod(operator.sub)

    def compute(self, a: Any, b: Any) -> Any:
        return a - b

    def backward(self) -> list[Any]:
        a, b = self.input_nodes
        return [_fitted(self.gradient, a, b), -_fitted(self.gradient, b, a)]

    def result_spec(self, a: Spec, b: Spec) -> Spec:
        return elementwise(no_truth_values(a), no_truth_values(b))

    def cost(self, a: Spec, b: Spec) -> Cost:
        return Cost(additions=elementwise(a, b).numel)


class Mul(ComputationNode):
    """a · b, element by element, of one shape; a number goes with any shape."""

    kernel = staticmethod(operator.mul)

    def compute(self, a: Any, b: Any) -> Any:
        return a * b

    def backward(self) -> list[Any]:
        a, b = self.input_nodes
        return [_fitted(self.gradient * b, a, b), _fitted(self.gradient * a, b, a)]

    def result_spec(self, a: Spec, b: Spec) -> Spec:
        return elementwise(a, b)

    def cost(self, a: Spec, b: Spec) -> Cost:
        return Cost(multiplications=elementwise(a, b).numel)


class Div(ComputationNode):
    """a / b in one op, whose gradient of b reads the result.

    The operator `/` makes `Mul(IntPow)`, as the exercise prints it.
    """

    kernel = staticmethod(operator.truediv)

    def compute(self, a: Any, b: Any) -> Any:
        if isinstance(b, torch.Tensor) and not isinstance(a, torch.Tensor):
            # PyTorch's own a / b would hold both the reciprocal and the result.
            share = b.reciprocal()
            return share * a if share.requires_grad else share.mul_(a)
        return a / b

    def backward(self) -> list[Any]:
        a, b = self.input_nodes
        share = Div(self.gradient, b)
        return [_fitted(share, a, b), _fitted(-(share * self), b, a)]

    def result_spec(self, a: Spec, b: Spec) -> Spec:
        return floating_elementwise(a, b)

    def cost(self, a: Spec, b: Spec) -> Cost:
        return Cost(multiplications=elementwise(a, b).numel)


class Mean(ComputationNode):
    """(a + b) / 2."""

    def compute(self, a: Any, b: Any) -> Any:
        both = a + b
        # In place, so that the sum takes no memory of its own; integers have no halves.
        in_place = isinstance(both, torch.Tensor) and both.is_floating_point()
        return both.div_(2) if in_place else both / 2

    def backward(self) -> list[Any]:
        a, b = self.input_nodes
        half = self.gradient / 2
        return [_fitted(half, a, b), _fitted(half, b, a)]

    def result_spec(self, a: Spec, b: Spec) -> Spec:
        return floating_elementwise(a, b)

    def cost(self, a: Spec, b: Spec) -> Cost:
        elements = elementwise(a, b).numel
        return Cost(multiplications=elements, additions=elements)

    def workspace(self, a: Spec, b: Spec) -> Any:
        both = elementwise(a, b)
        return 0 if is_number(both.dtype) or is_floating(both.dtype) else both.nbytes


def _power_spec(base: Spec, power: float) -> Spec:
    """Return the spec of a power; raise ShapeError where PyTorch has none of such integers."""
    if isinstance(power, float):
        return floating_elementwise(base)
    if power < 0 and base.dtype is INTEGER:
        return floating_elementwise(base)
    if power < 0 and not is_floating(base.dtype):
        raise ShapeError(
            f"integers to the power {power}; expected a floating-point dtype for a negative power"
        )
    if base.dtype is torch.bool:
        return Spec(base.shape, torch.int64, elementwise(base).layout)
    return elementwise(base)


def _lowered(power: float) -> float:
    """Return the exponent of the derivative of x**power.

    0 stays 0, so that 0 · x**0 is 0 at x = 0 too, to any order.
    """
    return power - 1 if power != 0 else power


class IntPow(ComputationNode):
    """base ** k for a constant integer k."""

    def __init__(self, base: Any, int_power: int) -> None:
        if not isinstance(int_power, int):
            raise GraphError(
                f"IntPow was given the power {int_power!r}; expected an integer; Pow takes any "
                "real power"
            )
        self.int_power = int_power
        self.parameters = (int_power,)
        super().__init__(base)

    def compute(self, base: Any) -> Any:
        return base**self.int_power

    def backward(self) -> list[Any]:
        k = self.int_power
        return [self.gradient * k * IntPow(self.input_nodes[0], int(_lowered(k)))]

    def result_spec(self, base: Spec) -> Spec:
        return _power_spec(base, self.int_power)

    def cost(self, base: Spec) -> Cost:
        return Cost(elementary=base.numel)


class Pow(ComputationNode):
    """base ** p for a constant real p."""

    def __init__(self, base: Any, power: float) -> None:
        if not isinstance(power, (int, float)):
            raise GraphError(
                f"Pow was given the power {power!r}; expected a constant number; write "
                "exp(p·log(x)) for a power that is computed"
            )
        self.power = power
        self.parameters = (power,)
        super().__init__(base)

    def compute(self, base: Any) -> Any:
        return base**self.power

    def backward(self) -> list[Any]:
        return [self.gradient * self.power * Pow(self.input_nodes[0], _lowered(self.power))]

    def result_spec(self, base: Spec) -> Spec:
        return _power_spec(base, self.power)

    def cost(self, base: Spec) -> Cost:
        return Cost(elementary=base.numel)
