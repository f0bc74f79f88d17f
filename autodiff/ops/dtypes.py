"""Conversion between dtypes."""

from __future__ import annotations

from typing import Any

import torch

from autodiff.cost import FREE, Cost
from autodiff.node import ComputationNode
from autodiff.spec import Spec, a_tensor, elementwise


class Cast(ComputationNode):
    """The same elements in another dtype: a copy.

    The gradient of an input is cast to the input's dtype where arithmetic promoted it.
    """

    def __init__(self, inp: Any, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.parameters = (dtype,)
        super().__init__(inp)

    def kernel(self, a: torch.Tensor) -> torch.Tensor:
        return a.to(self.dtype, copy=True)

    def compute(self, a: Any) -> Any:
        return self.kernel(a) if isinstance(a, torch.Tensor) else a

    def backward(self) -> list[Any]:
        return [self.gradient]

    def result_spec(self, a: Spec) -> Spec:
        packed = elementwise(a_tensor(a))
        return Spec(packed.shape, self.dtype, packed.layout)

    def cost(self, a: Spec) -> Cost:
        return FREE
