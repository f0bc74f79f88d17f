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
    EXPANDED_DENSE,
    STRIDED,
    TURNED,
    Dim,
    Spec,
    at_least_0,
    is_one,
    no_truth_values,
    same_shape,
)


class Matmul(ComputationNode):
    """The matrix product of m×k by k×p.

    It takes mkp multiplications and m(k − 1)p additions: 2mkp flops in the usual convention.
    """

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
        if a.dtype is not b.dtype:
            raise ShapeError("expected two matrices of one dtype; convert one of them with Cast")
        return Spec((a.shape[0], b.shape[1]), no_truth_values(a).dtype)

    def cost(self, a: Spec, b: Spec) -> Cost:
        (m, k), (_, p) = a.shape, b.shape
        return Cost(
            multiplications=m * k * p,
            additions=at_least_0(m * (k - 1) * p),
            matmul_flops=2 * m * k * p,
        )


_TRANSPOSED_LAYOUT = {
    CONTIGUOUS: DENSE,
    DENSE: CONTIGUOUS,
    STRIDED: TURNED,
    TURNED: STRIDED,
    EXPANDED: EXPANDED,
    EXPANDED_DENSE: EXPANDED_DENSE,
}


class Transpose(ComputationNode):
    """A matrix with rows and columns exchanged: a view."""

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
    """The entries from `start` up to `stop` along the last axis: a view.

    Bounds are those of a slice of Python: negative ones count from the end, and the slice ends
    where the axis does. A batch is cut into slices by it.
    """

    view_of = 0

    def __init__(self, inp: Any, start: Any, stop: Any) -> None:
        self.start, self.stop = start, stop
        self.parameters = (start, stop)
        super().__init__(inp)

    def compute(self, a: Any) -> Any:
        return a[..., self.start : self.stop]

    def backward(self) -> list[Any]:
        size = self.input_nodes[0].shape[-1]
        return [PadColumns(self.gradient, self._bounds(size)[0], size)]

    def _bounds(self, size: Dim) -> tuple[Dim, Dim]:
        """Return the first entry and the end, as a slice of Python means them where it can tell."""
        if all(isinstance(dimension, int) for dimension in (self.start, self.stop, size)):
            start, stop, _ = slice(self.start, self.stop).indices(size)
            return start, max(start, stop)
        return self.start, self.stop

    def result_spec(self, a: Spec) -> Spec:
        if not a.shape:
            raise ShapeError("expected at least one axis to cut")
        *rows, size = a.shape
        start, stop = self._bounds(size)
        layout = a.layout
        if not same_shape((stop - start,), (size,)):
            # Only a slice of more than one row leaves gaps between them, and only where the rows
            # lie one after the other.
            if layout == CONTIGUOUS and not is_one(*rows):
                layout = STRIDED
            elif layout == DENSE and len(rows) > 1:
                layout = TURNED
        return Spec((*rows, stop - start), a.dtype, layout)

    def cost(self, a: Spec) -> Cost:
        return FREE


class PadColumns(ComputationNode):
    """Zeros of `size` along the last axis, with the input's entries from `start` on.

    This is the gradient of `Columns`.
    """

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
