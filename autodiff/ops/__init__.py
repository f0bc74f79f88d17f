"""The ops, each one class: arithmetic, kernel, gradient, result spec and cost together.

Importing this package gives nodes their operators, so nodes are exported from here too.
"""

from autodiff.node import (
    ComputationNode as ComputationNode,
    Leaf as Leaf,
    build_graph as build_graph,
)
from autodiff.ops.arithmetic import Add, Div, IntPow, Mean, Mul, Negate, Pow, Subtract
from autodiff.ops.dtypes import Cast
from autodiff.ops.elementary import (
    Exp,
    Gelu,
    GeluGradient,
    Log,
    Relu,
    ReluGradient,
    Sigmoid,
    SigmoidGradient,
    Tanh,
    TanhGradient,
)
from autodiff.ops.losses import (
    HalfSumOfSquares,
    LogSoftmax,
    LogSoftmaxGradient,
    Pick,
    PickGradient,
    cross_entropy,
    squared_error,
)
from autodiff.ops.matrix import Columns, Matmul, PadColumns, Transpose
from autodiff.ops.operators import bind
from autodiff.ops.reductions import AddBias, ExpandAxis, Fill, Matexpand, Matsum, SumAxis

bind()

__all__ = [
    "Add",
    "AddBias",
    "Cast",
    "Columns",
    "Div",
    "Exp",
    "ExpandAxis",
    "Fill",
    "Gelu",
    "GeluGradient",
    "HalfSumOfSquares",
    "IntPow",
    "Log",
    "LogSoftmax",
    "LogSoftmaxGradient",
    "Matexpand",
    "Matmul",
    "Matsum",
    "Mean",
    "Mul",
    "Negate",
    "PadColumns",
    "Pick",
    "PickGradient",
    "Pow",
    "Relu",
    "ReluGradient",
    "Sigmoid",
    "SigmoidGradient",
    "Subtract",
    "SumAxis",
    "Tanh",
    "TanhGradient",
    "Transpose",
    "cross_entropy",
    "squared_error",
]
