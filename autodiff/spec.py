"""What is known of a value without computing it: shape, dtype, layout, and so its bytes.

A dimension is an integer, a numpy array (many shapes at once) or a sympy expression (a formula). Everything here is plain
arithmetic on dimensions and never branches on the value of one: broadcasting is declared by an op, not inferred from a 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from autodiff.errors import ShapeError

Dim = Any
"""An integer, a numpy array or a sympy expression."""

Shape = tuple[Dim, ...]

CONTIGUOUS = "contiguous"
DENSE = "dense"
STRIDED = "strided"
TURNED = "turned"
EXPANDED = "expanded"


class _PythonNumber:
    """The dtype of a plain Python number: it takes eight bytes and gives way to any tensor's dtype."""

    itemsize = 8

    def __repr__(self) -> str:
        return "number"


NUMBER = _PythonNumber()


@dataclass(frozen=True, slots=True)
class Spec:
    """Shape, dtype and layout of a value.

    `layout` is `contiguous`, `dense` (without gaps in another order: a transpose), `strided` (with gaps: a slice of the columns),
    `turned` (both: the transpose of a slice) or `expanded` (elements that repeat: stride 0).
    """

    shape: Shape
    dtype: Any
    layout: str = CONTIGUOUS

    @property
    def numel(self) -> Dim:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> Dim:
        """The bytes of a buffer that holds every element once."""
        return math.prod(self.shape) * self.dtype.itemsize

    def bind(self, values: dict[Any, Any]) -> Spec:
        """The same spec with each dimension that `values` names put in its place."""
        return Spec(tuple(_substitute(dim, values) for dim in self.shape), self.dtype, self.layout)

    def __str__(self) -> str:
        return (
            f"{'×'.join(map(str, self.shape)) or 'scalar'} {str(self.dtype).removeprefix('torch.')}"
        )


def _substitute(dim: Dim, values: dict[Any, Any]) -> Dim:
    if isinstance(dim, int):
        return dim
    if dim in values:
        return values[dim]
    import sympy  # only symbolic programs come here

    names = list(values)
    return sympy.lambdify(names, dim, "numpy")(*values.values())


def spec_of(value: Any) -> Spec | None:
    """The spec of a tensor or a number; None for anything else (a value that only a subclass of its own knows)."""
    if isinstance(value, torch.Tensor):
        return Spec(tuple(value.shape), value.dtype, _layout_of(value))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Spec((), NUMBER)
    return None


def _layout_of(tensor: torch.Tensor) -> str:
    if tensor.is_contiguous():
        return CONTIGUOUS
    if 0 in tensor.stride():
        return EXPANDED
    strides = [
        (stride, size)
        for stride, size in zip(tensor.stride(), tensor.shape, strict=True)
        if size != 1
    ]
    expected = 1
    for stride, size in sorted(strides):
        if stride != expected:
            return STRIDED if strides == sorted(strides, reverse=True) else TURNED
        expected *= size
    return DENSE


def common_dtype(*dtypes: Any) -> Any:
    """The dtype of a result of arithmetic between values of these dtypes."""
    result: Any = NUMBER
    for dtype in dtypes:
        if result is NUMBER or result is dtype:
            result = dtype
        elif dtype is not NUMBER:
            result = torch.promote_types(result, dtype)
    return result


def same_shape(one: Shape, other: Shape) -> bool:
    """Whether two shapes are equal: dimension by dimension the same object, the same number, or arrays equal throughout."""
    if len(one) != len(other):
        return False
    for a, b in zip(one, other, strict=True):
        if a is not b:
            equal = a == b
            if equal is False or (equal is not True and not np.all(equal)):
                return False
    return True


def elementwise(*specs: Spec) -> Spec:
    """The result of an elementwise op: all inputs of one shape, or numbers (shape `()`), which go with any shape.

    Raises ShapeError where two inputs that are no numbers differ in shape.
    """
    result = specs[0]
    plain = result.layout == CONTIGUOUS
    for spec in specs[1:]:
        if spec is result:
            continue
        plain = False
        if not spec.shape:
            continue
        if not result.shape:
            result = spec
        elif not same_shape(spec.shape, result.shape):
            raise ShapeError(
                f"{specs[0]} and {spec} differ; expected equal shapes, or a number (broadcasting is declared: AddBias)"
            )
    if plain:
        return result
    # The result is packed, in the order of the first input that has one; repeated elements and numbers have none.
    ordered = next(
        (spec.layout for spec in specs if spec.shape and spec.layout != EXPANDED), CONTIGUOUS
    )
    layout = DENSE if ordered in (DENSE, TURNED) else CONTIGUOUS
    return Spec(result.shape, common_dtype(*(spec.dtype for spec in specs)), layout)


class KnownSpecs(dict[tuple[Any, ...], tuple[Spec | None, list[Spec | None]]]):
    """The spec that an op's class gives for specs, these by identity: a deep network asks the same over and over.

    An entry holds on to its specs, so that their ids stay theirs.
    """

    most = 4096

    def __init__(self) -> None:
        super().__init__()
        self._one_of_a_kind: dict[Any, Spec] = {}

    def keep(self, op: type, specs: list[Spec | None], result: Spec | None) -> Spec | None:
        """Remember a result; returns the one object that stands for all results that are equal to it."""
        if len(self) >= self.most:
            self.clear()
            self._one_of_a_kind.clear()
        if result is not None:
            try:
                # 8 and np.int64(8) are equal and do not compute alike.
                result = self._one_of_a_kind.setdefault((result, *map(type, result.shape)), result)
            except TypeError:  # arrays for dimensions: equal ones cannot be told
                return result
        self[(op, *map(id, specs))] = result, specs
        return result
