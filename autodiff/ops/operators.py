"""The operators of a node: `+`, `@`, `.exp()` and the rest make ops.

Ops are nodes, so the operators are bound here, after both are defined.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff.node import ComputationNode
from autodiff.ops.arithmetic import Add, IntPow, Mul, Negate, Pow
from autodiff.ops.elementary import Exp, Gelu, Log, Relu, Sigmoid, Tanh
from autodiff.ops.matrix import Matmul, Transpose
from autodiff.ops.reductions import Matexpand, Matsum


def _power(node: Any, power: Any) -> ComputationNode:
    if isinstance(power, np.number):
        power = power.item()
    return IntPow(node, power) if isinstance(power, int) else Pow(node, power)


def _quotient(node: Any, other: Any) -> ComputationNode:
    # 1 / other, for the integers of arrays and tensors have no negative powers.
    return Mul(node, other**-1 if isinstance(other, ComputationNode) else 1 / other)


_OPERATORS: dict[str, Any] = {
    "__neg__": Negate,
    "__pow__": _power,
    "__add__": Add,
    "__radd__": lambda self, other: Add(other, self),
    "__sub__": lambda self, other: Add(self, -other),
    "__rsub__": lambda self, other: Add(other, -self),
    "__mul__": Mul,
    "__rmul__": lambda self, other: Mul(other, self),
    "__truediv__": _quotient,
    "__rtruediv__": lambda self, other: Mul(other, self**-1),
    "__matmul__": Matmul,
    "__rmatmul__": lambda self, other: Matmul(other, self),
    "T": property(Transpose),
    "t": Transpose,
    "exp": Exp,
    "log": Log,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "relu": Relu,
    "gelu": Gelu,
    "sum": Matsum,
    "expand": Matexpand,
}


def bind() -> None:
    """Give every node its operators."""
    for name, make in _OPERATORS.items():
        # A class called as a method would not be bound to the node; a function is.
        setattr(
            ComputationNode,
            name,
            make if not isinstance(make, type) or name == "T" else _method(make),
        )


def _method(op: type[ComputationNode]) -> Any:
    def method(self: ComputationNode, *others: Any) -> ComputationNode:
        return op(self, *others)

    method.__doc__ = op.__doc__
    return method
