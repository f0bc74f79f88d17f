"""Losses and their parts: half the sum of squares, the log-softmax, the pick of a row a column."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from autodiff.cost import FREE, Cost
from autodiff.errors import ShapeError
from autodiff.node import ComputationNode
from autodiff.ops import formulas
from autodiff.ops.arithmetic import Negate, Subtract
from autodiff.ops.reductions import ExpandAxis, Matsum, SumAxis
from autodiff.spec import (
    CONTIGUOUS,
    DENSE,
    Spec,
    at_least_0,
    at_most_1,
    elementwise,
    floating,
    only_floating,
    same_shape,
)

_aten = torch.ops.aten


class HalfSumOfSquares(ComputationNode):
    """½·Σ a²: a dot product of a with itself, so no square is held."""

    def kernel(self, a: torch.Tensor) -> torch.Tensor:
        ordered = a if a.is_contiguous() or a.ndim != 2 else a.t()
        flat = ordered.contiguous().view(-1)
        return torch.dot(flat, flat).mul_(0.5)

    def compute(self, a: Any) -> Any:
        return formulas.total(a * a) * 0.5

    def backward(self) -> list[Any]:
        return [self.input_nodes[0] * self.gradient]

    def result_spec(self, a: Spec) -> Spec:
        return Spec((), floating(only_floating(a).dtype))

    def cost(self, a: Spec) -> Cost:
        return Cost(multiplications=a.numel + at_most_1(a.numel), additions=at_least_0(a.numel - 1))

    def workspace(self, a: Spec) -> Any:
        packed = a.layout == CONTIGUOUS or (a.layout == DENSE and len(a.shape) == 2)
        return 0 if packed else a.nbytes


class LogSoftmax(ComputationNode):
    """x − log Σ e^x over the rows of each column.

    Each column is shifted by its greatest element so that nothing overflows. A column of d elements
    takes d − 1 comparisons, 3d − 1 additions, d + 1 elementary functions.
    """

    def kernel(self, x: Any) -> Any:
        return _aten._log_softmax.default(x, 0, False)

    def compute(self, x: Any) -> Any:
        if not x.shape[0]:
            return x  # columns without rows have no greatest element
        shifted = x - formulas.axis_max(x, 0)
        return shifted - formulas.elementary(
            "log", formulas.axis_sum(formulas.elementary("exp", shifted), 0)
        )

    def backward(self) -> list[Any]:
        return [LogSoftmaxGradient(self.gradient, self)]

    def result_spec(self, x: Spec) -> Spec:
        if len(x.shape) != 2:
            raise ShapeError("expected a matrix: classes × examples")
        return Spec(x.shape, only_floating(x).dtype)

    def cost(self, x: Spec) -> Cost:
        rows, columns = x.shape
        return Cost(
            additions=at_least_0(3 * x.numel - columns),
            comparisons=at_least_0(x.numel - columns),
            elementary=x.numel + columns * at_most_1(rows),
        )


class LogSoftmaxGradient(ComputationNode):
    """g − e^p·Σg over each column, p = log_softmax(x)."""

    def kernel(self, g: Any, p: Any) -> Any:
        return _aten._log_softmax_backward_data.default(g, p, 0, p.dtype)

    def compute(self, g: Any, p: Any) -> Any:
        return g - formulas.elementary("exp", p) * formulas.axis_sum(g, 0)

    def backward(self) -> list[Any]:
        g, p = self.input_nodes
        rows = p.shape[0]
        weighted = self.gradient * p.exp()
        return [
            self.gradient - ExpandAxis(SumAxis(weighted, 0), 0, rows),
            -(weighted * ExpandAxis(SumAxis(g, 0), 0, rows)),
        ]

    def result_spec(self, g: Spec, p: Spec) -> Spec:
        return Spec(elementwise(g, p).shape, p.dtype)

    def cost(self, g: Spec, p: Spec) -> Cost:
        _, columns = p.shape
        return Cost(
            multiplications=p.numel,
            additions=at_least_0(2 * p.numel - columns),
            elementary=p.numel,
        )


class Pick(ComputationNode):
    """The element of each column in the row that `classes` names.

    It is a copy of as many elements as there are columns.
    """

    def kernel(self, a: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return torch.gather(a, 0, classes[None])[0]

    def compute(self, a: Any, classes: Any) -> Any:
        return a[classes, np.arange(a.shape[1])]

    def backward(self) -> list[Any]:
        a, classes = self.input_nodes
        return [PickGradient(self.gradient, classes, a.shape[0]), None]

    def result_spec(self, a: Spec, classes: Spec) -> Spec:
        if len(a.shape) != 2 or not same_shape(a.shape[1:], classes.shape):
            raise ShapeError("expected a matrix and one class index for each of its columns")
        if classes.dtype is not torch.int64:
            raise ShapeError(f"the classes are {classes}; expected indices of dtype int64")
        return Spec(classes.shape, a.dtype)

    def cost(self, a: Spec, classes: Spec) -> Cost:
        return FREE


class PickGradient(ComputationNode):
    """Zeros of `rows` rows, with the input's elements in the rows that `classes` names.

    This is the gradient of `Pick`.
    """

    def __init__(self, inp: Any, classes: Any, rows: Any) -> None:
        self.rows = rows
        self.parameters = (rows,)
        super().__init__(inp, classes)

    def compute(self, g: Any, classes: Any) -> Any:
        shape = (self.rows, g.shape[0])
        scattered = (
            g.new_zeros(shape) if isinstance(g, torch.Tensor) else np.zeros(shape, dtype=object)
        )
        scattered[classes, np.arange(g.shape[0])] = g
        return scattered

    def kernel(self, g: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return g.new_zeros((self.rows, g.shape[0])).scatter_(0, classes[None], g[None])

    def backward(self) -> list[Any]:
        return [Pick(self.gradient, self.input_nodes[1]), None]

    def result_spec(self, g: Spec, classes: Spec) -> Spec:
        return Spec((self.rows, g.shape[0]), g.dtype)

    def cost(self, g: Spec, classes: Spec) -> Cost:
        return FREE


def squared_error(x: Any, y: Any) -> ComputationNode:
    """Return ½·Σ(x − y)², x and y of one shape.

    Its gradient reads the difference, so x itself can go.
    """
    return HalfSumOfSquares(Subtract(x, y))


def cross_entropy(x: Any, classes: Any) -> ComputationNode:
    """Return −Σ log softmax(x)[class], summed over the batch.

    x is classes × examples, `classes` one index for each example.
    """
    return Negate(Matsum(Pick(LogSoftmax(x), classes)))
