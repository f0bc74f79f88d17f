"""Elementary functions and activations, each next to the op that is its gradient.

tanh, the sigmoid and relu write their gradients in terms of their results, so their inputs can go;
gelu's reads its input. A gradient op takes (upstream gradient, what it reads) and is differentiable
itself, to any order.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from autodiff.cost import Cost
from autodiff.node import ComputationNode
from autodiff.ops.arithmetic import Div
from autodiff.ops.formulas import elementary, where_positive
from autodiff.spec import (
    Spec,
    elementwise,
    floating_elementwise,
    no_truth_values,
    only_floating,
)

_aten = torch.ops.aten


class Exp(ComputationNode):
    """e to the power of each element."""

    def compute(self, x: Any) -> Any:
        return elementary("exp", x)

    def backward(self) -> list[Any]:
        return [self * self.gradient]

    def result_spec(self, x: Spec) -> Spec:
        return floating_elementwise(x)

    def cost(self, x: Spec) -> Cost:
        return Cost(elementary=x.numel)


class Log(ComputationNode):
    """The natural logarithm of each element."""

    def compute(self, x: Any) -> Any:
        return elementary("log", x)

    def backward(self) -> list[Any]:
        return [Div(self.gradient, self.input_nodes[0])]

    def result_spec(self, x: Spec) -> Spec:
        return floating_elementwise(x)

    def cost(self, x: Spec) -> Cost:
        return Cost(elementary=x.numel)


class Tanh(ComputationNode):
    """The hyperbolic tangent of each element."""

    kernel = staticmethod(torch.tanh)

    def compute(self, x: Any) -> Any:
        return elementary("tanh", x)

    def backward(self) -> list[Any]:
        return [TanhGradient(self.gradient, self)]

    def result_spec(self, x: Spec) -> Spec:
        return floating_elementwise(x)

    def cost(self, x: Spec) -> Cost:
        return Cost(elementary=x.numel)


class TanhGradient(ComputationNode):
    """g·(1 − y²), y = tanh x."""

    kernel = staticmethod(_aten.tanh_backward.default)

    def compute(self, g: Any, y: Any) -> Any:
        return g * (1 - y * y)

    def backward(self) -> list[Any]:
        g, y = self.input_nodes
        return [TanhGradient(self.gradient, y), self.gradient * g * y * -2]

    def result_spec(self, g: Spec, y: Spec) -> Spec:
        return elementwise(g, y)

    def cost(self, g: Spec, y: Spec) -> Cost:
        return Cost(multiplications=2 * y.numel, additions=y.numel)


class Sigmoid(ComputationNode):
    """1 / (1 + e^−x) of each element, one elementary function."""

    kernel = staticmethod(torch.sigmoid)

    def compute(self, x: Any) -> Any:
        return elementary("sigmoid", x)

    def backward(self) -> list[Any]:
        return [SigmoidGradient(self.gradient, self)]

    def result_spec(self, x: Spec) -> Spec:
        return floating_elementwise(x)

    def cost(self, x: Spec) -> Cost:
        return Cost(elementary=x.numel)


class SigmoidGradient(ComputationNode):
    """g·y·(1 − y), y = sigmoid(x)."""

    kernel = staticmethod(_aten.sigmoid_backward.default)

    def compute(self, g: Any, y: Any) -> Any:
        return g * y * (1 - y)

    def backward(self) -> list[Any]:
        g, y = self.input_nodes
        return [SigmoidGradient(self.gradient, y), self.gradient * g * (y * -2 + 1)]

    def result_spec(self, g: Spec, y: Spec) -> Spec:
        return elementwise(g, y)

    def cost(self, g: Spec, y: Spec) -> Cost:
        return Cost(multiplications=2 * y.numel, additions=y.numel)


class Relu(ComputationNode):
    """The element where it is above zero, else zero."""

    kernel = staticmethod(torch.relu)

    def compute(self, x: Any) -> Any:
        return where_positive(x, x)

    def backward(self) -> list[Any]:
        return [ReluGradient(self.gradient, self)]

    def result_spec(self, x: Spec) -> Spec:
        return elementwise(no_truth_values(x))

    def cost(self, x: Spec) -> Cost:
        return Cost(comparisons=x.numel)


class ReluGradient(ComputationNode):
    """g where y = relu(x) is above zero, else zero; constant in y wherever it has a derivative."""

    def kernel(self, g: Any, y: Any) -> Any:
        return _aten.threshold_backward.default(g, y, 0)

    def compute(self, g: Any, y: Any) -> Any:
        return where_positive(y, g)

    def backward(self) -> list[Any]:
        return [ReluGradient(self.gradient, self.input_nodes[1]), None]

    def result_spec(self, g: Spec, y: Spec) -> Spec:
        return elementwise(y, g)  # PyTorch's kernel lays its result out as y is

    def cost(self, g: Spec, y: Spec) -> Cost:
        return Cost(comparisons=y.numel)


_ROOT_HALF = math.sqrt(0.5)
_DENSITY_AT_0 = 1 / math.sqrt(2 * math.pi)


class Gelu(ComputationNode):
    """x·Φ(x) = 0.5·x·(1 + erf(x/√2)), the exact gelu [Hendrycks & Gimpel 2016]."""

    kernel = staticmethod(torch.nn.functional.gelu)

    def compute(self, x: Any) -> Any:
        return 0.5 * x * (1 + elementary("erf", x * _ROOT_HALF))

    def backward(self) -> list[Any]:
        return [GeluGradient(self.gradient, self.input_nodes[0])]

    def result_spec(self, x: Spec) -> Spec:
        return floating_elementwise(only_floating(x))

    def cost(self, x: Spec) -> Cost:
        return Cost(multiplications=3 * x.numel, additions=x.numel, elementary=x.numel)


class GeluGradient(ComputationNode):
    """g·(Φ(x) + x·φ(x)); its derivative in x is g·φ(x)·(2 − x²)."""

    kernel = staticmethod(_aten.gelu_backward.default)

    def compute(self, g: Any, x: Any) -> Any:
        density = _DENSITY_AT_0 * elementary("exp", x * x * -0.5)
        return g * (0.5 * (1 + elementary("erf", x * _ROOT_HALF)) + x * density)

    def backward(self) -> list[Any]:
        g, x = self.input_nodes
        square = x * x
        density = (square * -0.5).exp() * _DENSITY_AT_0
        return [GeluGradient(self.gradient, x), self.gradient * g * density * (2 - square)]

    def result_spec(self, g: Spec, x: Spec) -> Spec:
        return elementwise(g, x)

    def cost(self, g: Spec, x: Spec) -> Cost:
        return Cost(multiplications=7 * x.numel, additions=2 * x.numel, elementary=2 * x.numel)
