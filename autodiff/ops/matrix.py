"""Matrices: the product, the transpose, and a slice of the columns with its opposite."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from autodiff.cost import FREE, Cost
from autodiff.errors import ShapeError
from autodiff.node import ComputationNode
from autodiff.spec import (
    CONTIGUOUS,
    DENSE,
    EXPANDED,
    STRIDED,
    TURNED,
    Spec,
    common_dtype,
    same_shape,
)


class Matmul(ComputationNode):
    """The matrix product of m×k by k×p: mkp multiplications, m(k − 1)p additions, 2mkp flops as others count."""

    kernel = staticmethod(torch.mm)

    def compute(self, a: Any, b: Any) -> Any:
        return a @ b

    def backward(self) -> list[Any]:
        a, b = self.input_nodes
        return [self.gradient @ b.T, a.T @ self.gradient]

    def result_spec(self, a: Spec, b: Spec) -> Spec:
        if len(a.shape) != 2 or len(b.shape) != 2 or not same_shape(a.shape[1:], b.shape[:1]):
            raise ShapeError(
                "expected two matrices, the first with as many columns as the second has rows"
            )
        return Spec((a.shape[0], b.shape[1]), common_dtype(a.dtype, b.dtype))

    def cost(self, a: Spec, b: Spec) -> Cost:
        (m, k), (_, p) = a.shape, b.shape
        return Cost(
            multiplications=m * k * p, additions=m * (k - 1) * p, matmul_flops=2 * m * k * p
        )


_TRANSPOSED_LAYOUT = {
    CONTIGUOUS: DENSE,
    DENSE: CONTIGUOUS,
    STRIDED: TURNED,
    TURNED: STRIDED,
    EXPANDED: EXPANDED,
}


class Transpose(ComputationNode):
    """A matrix with rows and columns changed: a view."""

    kernel = staticmethod(torch.Tensor.t)
    view_of = 0

    def compute(self, a: Any) -> Any:
        return a.T

    def backward(self) -> list[Any]:
        return [self.gradient.T]

    def result_spec(self, a: Spec) -> Spec:
        if len(a.shape) != 2:
            raise ShapeError("expected a matrix")
        return Spec((a.shape[1], a.shape[0]), a.dtype, _TRANSPOSED_LAYOUT[a.layout])

    def cost(self, a: Spec) -> Cost:
        return FREE


class Columns(ComputationNode):
    """The entries from `start` up to `stop` along the last axis: a view. A batch is cut into slices by it."""

    view_of = 0

    def __init__(self, inp: Any, start: Any, stop: Any) -> None:
        self.start, self.stop = start, stop
        self.parameters = (start, stop)
        super().__init__(inp)

    def compute(self, a: Any) -> Any:
        return a[..., self.start : self.stop]

    def backward(self) -> list[Any]:
        return [PadColumns(self.gradient, self.start, self.input_nodes[0].shape[-1])]

    def result_spec(self, a: Spec) -> Spec:
        if not a.shape:
            raise ShapeError("expected at least one axis to cut")
        # Only a slice of more than one row leaves gaps between them, and only where the rows lie one after the other.
        layout = STRIDED if a.layout == CONTIGUOUS and len(a.shape) > 1 else a.layout
        return Spec((*a.shape[:-1], self.stop - self.start), a.dtype, layout)

    def cost(self, a: Spec) -> Cost:
        return FREE


class PadColumns(ComputationNode):
    """Zeros of `size` along the last axis, with the input's entries from `start` on: the gradient of `Columns`."""

    def __init__(self, inp: Any, start: Any, size: Any) -> None:
        self.start, self.size = start, size
        self.parameters = (start, size)
        super().__init__(inp)

    def compute(self, a: Any) -> Any:
        shape = (*a.shape[:-1], self.size)
        padded = (
            a.new_zeros(shape) if isinstance(a, torch.Tensor) else np.zeros(shape, dtype=object)
        )
        padded[..., self.start : self.start + a.shape[-1]] = a
        return padded

    def backward(self) -> list[Any]:
        return [Columns(self.gradient, self.start, self.start + self.input_nodes[0].shape[-1])]

    def result_spec(self, a: Spec) -> Spec:
        return Spec((*a.shape[:-1], self.size), a.dtype)

    def cost(self, a: Spec) -> Cost:
        return FREE
