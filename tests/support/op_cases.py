"""Small examples of every op, each built from dimensions, so that one example serves integers,
numpy arrays and symbols alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from autodiff import ops
from autodiff.node import ComputationNode, Leaf
from autodiff.spec import NUMBER, Spec


class Values:
    """Makes leaves that hold drawn values in float64.

    The k-th leaf of a case is the same at each call.
    """

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def any(self, *shape: Any) -> Leaf:
        """Of either sign, and at least 0.1 away from 0, where some derivatives jump."""
        drawn = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return Leaf(drawn + 0.1 * drawn.sign())

    def positive(self, *shape: Any) -> Leaf:
        """Above 0.3."""
        return Leaf(torch.rand(shape, generator=self.generator, dtype=torch.float64) + 0.3)

    def classes(self, rows: Any, columns: Any) -> Leaf:
        """A row for each column."""
        return Leaf(torch.randint(rows, (columns,), generator=self.generator))

    def number(self, value: float) -> Leaf:
        """A Python number."""
        return Leaf(value)


class Shapes(Values):
    """Makes leaves that hold shapes alone; a dimension may be a numpy array or a symbol."""

    def any(self, *shape: Any) -> Leaf:
        return Leaf(None, spec=Spec(shape, torch.float64))

    positive = any

    def classes(self, rows: Any, columns: Any) -> Leaf:
        return Leaf(None, spec=Spec((columns,), torch.int64))

    def number(self, value: float) -> Leaf:
        return Leaf(None, spec=Spec((), NUMBER))


Build = Callable[[Values, Any, Any, Any], ComputationNode]

CASES: dict[str, Build] = {
    "Negate": lambda new, m, k, p: ops.Negate(new.any(m, k)),
    "Negate of a transpose": lambda new, m, k, p: ops.Negate(ops.Transpose(new.any(m, k))),
    "Add": lambda new, m, k, p: ops.Add(new.any(m, k), new.any(m, k)),
    "Add a number": lambda new, m, k, p: ops.Add(new.any(m, k), new.number(2.5)),
    "Add to a number": lambda new, m, k, p: ops.Add(new.number(2.5), new.any(m, k)),
    "Add to one element": lambda new, m, k, p: ops.Add(new.any(), new.any(m, k)),
    "Add to a transpose": lambda new, m, k, p: ops.Add(ops.Transpose(new.any(k, m)), new.any(m, k)),
    "Add to an expansion": lambda new, m, k, p: ops.Add(
        ops.Matexpand(new.any(), (m, k)), ops.Transpose(new.any(k, m))
    ),
    "Subtract": lambda new, m, k, p: ops.Subtract(new.any(m, k), new.any(m, k)),
    "Subtract from a number": lambda new, m, k, p: ops.Subtract(new.number(2.5), new.any(m, k)),
    "Mul": lambda new, m, k, p: ops.Mul(new.any(m, k), new.any(m, k)),
    "Mul by a number": lambda new, m, k, p: ops.Mul(new.any(m, k), new.number(-3)),
    "Mul of numbers": lambda new, m, k, p: ops.Mul(new.number(1.5), new.number(-3)),
    "Div": lambda new, m, k, p: ops.Div(new.any(m, k), new.any(m, k)),
    "Div a number": lambda new, m, k, p: ops.Div(new.number(2), new.any(m, k)),
    "Div by a number": lambda new, m, k, p: ops.Div(new.any(m, k), new.number(2.5)),
    "Mean": lambda new, m, k, p: ops.Mean(new.any(m, k), new.any(m, k)),
    "Mean with a number": lambda new, m, k, p: ops.Mean(new.any(m, k), new.number(2.5)),
    **{
        f"IntPow {power}": lambda new, m, k, p, power=power: ops.IntPow(new.any(m, k), power)
        for power in range(-2, 6)
    },
    **{
        f"Pow {power}": lambda new, m, k, p, power=power: ops.Pow(new.positive(m, k), power)
        for power in (-1.5, 0, 0.5, 1, 2.0, 3)
    },
    "Cast": lambda new, m, k, p: ops.Cast(new.any(m, k), torch.float64),
    "Cast of a transpose": lambda new, m, k, p: ops.Cast(
        ops.Transpose(new.any(k, m)), torch.float64
    ),
    "Exp": lambda new, m, k, p: ops.Exp(new.any(m, k)),
    "Log": lambda new, m, k, p: ops.Log(new.positive(m, k)),
    "Tanh": lambda new, m, k, p: ops.Tanh(new.any(m, k)),
    "Tanh of a number": lambda new, m, k, p: ops.Tanh(new.number(0.3)),
    "TanhGradient": lambda new, m, k, p: ops.TanhGradient(new.any(m, k), new.any(m, k)),
    "Sigmoid": lambda new, m, k, p: ops.Sigmoid(new.any(m, k)),
    "SigmoidGradient": lambda new, m, k, p: ops.SigmoidGradient(new.any(m, k), new.any(m, k)),
    "Relu": lambda new, m, k, p: ops.Relu(new.any(m, k)),
    "ReluGradient": lambda new, m, k, p: ops.ReluGradient(new.any(m, k), new.any(m, k)),
    "ReluGradient at a transpose": lambda new, m, k, p: ops.ReluGradient(
        new.any(m, k), ops.Transpose(new.any(k, m))
    ),
    "Gelu": lambda new, m, k, p: ops.Gelu(new.any(m, k)),
    "GeluGradient": lambda new, m, k, p: ops.GeluGradient(new.any(m, k), new.any(m, k)),
    "Matsum": lambda new, m, k, p: ops.Matsum(new.any(m, k)),
    "Matsum of one element": lambda new, m, k, p: ops.Matsum(new.any()),
    "Matexpand": lambda new, m, k, p: ops.Matexpand(new.any(), (m, k)),
    "SumAxis 0": lambda new, m, k, p: ops.SumAxis(new.any(m, k), 0),
    "SumAxis 1": lambda new, m, k, p: ops.SumAxis(new.any(m, k), 1),
    "SumAxis of three": lambda new, m, k, p: ops.SumAxis(new.any(m, k, p), 1),
    "ExpandAxis 0": lambda new, m, k, p: ops.ExpandAxis(new.any(k), 0, m),
    "ExpandAxis 1": lambda new, m, k, p: ops.ExpandAxis(new.any(k), 1, p),
    "ExpandAxis to three": lambda new, m, k, p: ops.ExpandAxis(new.any(m, k), 1, p),
    "Fill": lambda new, m, k, p: ops.Fill(Spec((m, k), torch.float64), 1.5),
    "Fill a number": lambda new, m, k, p: ops.Fill(Spec((), NUMBER), 1.5),
    "AddBias": lambda new, m, k, p: ops.AddBias(new.any(m, k), new.any(m)),
    "AddBias to a transpose": lambda new, m, k, p: ops.AddBias(
        ops.Transpose(new.any(k, m)), new.any(m)
    ),
    "Matmul": lambda new, m, k, p: ops.Matmul(new.any(m, k), new.any(k, p)),
    "Matmul of transposes": lambda new, m, k, p: ops.Matmul(
        ops.Transpose(new.any(k, m)), ops.Transpose(new.any(p, k))
    ),
    "Transpose": lambda new, m, k, p: ops.Transpose(new.any(m, k)),
    "Transpose of a slice": lambda new, m, k, p: ops.Transpose(ops.Columns(new.any(m, k), 1, k)),
    "Columns": lambda new, m, k, p: ops.Columns(new.any(m, k), 1, k),
    "Columns of a vector": lambda new, m, k, p: ops.Columns(new.any(k), 0, k - 1),
    "Columns of a transpose": lambda new, m, k, p: ops.Columns(ops.Transpose(new.any(k, m)), 1, k),
    "PadColumns": lambda new, m, k, p: ops.PadColumns(new.any(m, k), 2, k + p + 2),
    "HalfSumOfSquares": lambda new, m, k, p: ops.HalfSumOfSquares(new.any(m, k)),
    "HalfSumOfSquares of a transpose": lambda new, m, k, p: ops.HalfSumOfSquares(
        ops.Transpose(new.any(m, k))
    ),
    "HalfSumOfSquares of a slice": lambda new, m, k, p: ops.HalfSumOfSquares(
        ops.Columns(new.any(m, k), 1, k)
    ),
    "HalfSumOfSquares of an expansion": lambda new, m, k, p: ops.HalfSumOfSquares(
        ops.Matexpand(new.any(), (m, k))
    ),
    "LogSoftmax": lambda new, m, k, p: ops.LogSoftmax(new.any(m, k)),
    "LogSoftmax of a transpose": lambda new, m, k, p: ops.LogSoftmax(ops.Transpose(new.any(k, m))),
    "LogSoftmaxGradient": lambda new, m, k, p: ops.LogSoftmaxGradient(new.any(m, k), new.any(m, k)),
    "Pick": lambda new, m, k, p: ops.Pick(new.any(m, k), new.classes(m, k)),
    "PickGradient": lambda new, m, k, p: ops.PickGradient(new.any(k), new.classes(m, k), m),
    "squared_error": lambda new, m, k, p: ops.squared_error(new.any(m, k), new.any(m, k)),
    "cross_entropy": lambda new, m, k, p: ops.cross_entropy(new.any(m, k), new.classes(m, k)),
}
