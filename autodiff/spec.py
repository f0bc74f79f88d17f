"""What is known of a value without computing it: shape, dtype, layout, and so its bytes.

A dimension is an integer, a numpy array (many shapes at once) or a sympy expression (a formula).
Numbers are plain arithmetic on dimensions and never branch on the value of one: broadcasting is
declared by an op, not inferred from a 1. (A layout is simplified where a dimension is known to be
1; that changes no number of a larger shape.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
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
EXPANDED_DENSE = "expanded_dense"

_PACKED = {
    CONTIGUOUS: CONTIGUOUS,
    STRIDED: CONTIGUOUS,
    EXPANDED: CONTIGUOUS,
    DENSE: DENSE,
    TURNED: DENSE,
    EXPANDED_DENSE: DENSE,
}
"""The layout of a new buffer that keeps the order of one of this layout."""


class _PythonNumber:
    """The dtype of a plain Python number: eight bytes; a tensor's dtype takes precedence."""

    itemsize = 8

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


NUMBER = _PythonNumber("number")
INTEGER = _PythonNumber("integer")


def is_number(dtype: Any) -> bool:
    """Return whether a dtype is that of Python numbers."""
    return isinstance(dtype, _PythonNumber)


@dataclass(frozen=True, slots=True)
class Spec:
    """Shape, dtype and layout of a value.

    `layout` is `contiguous`, `dense` (without gaps in another order: a transpose), `strided` (with
    gaps: a slice of the columns), `turned` (both: the transpose of a slice), `expanded` (elements
    that repeat: stride 0) or `expanded_dense` (they repeat, and the rest is in another order).
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
        """Return the same spec with each dimension that `values` names substituted."""
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
    """Return the spec of a tensor or a number; None for anything else."""
    if isinstance(value, torch.Tensor):
        return Spec(tuple(value.shape), value.dtype, _layout_of(value))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Spec((), INTEGER if isinstance(value, int) else NUMBER)
    return None


def _layout_of(tensor: torch.Tensor) -> str:
    if tensor.is_contiguous():
        return CONTIGUOUS
    strides = [
        (stride, size)
        for stride, size in zip(tensor.stride(), tensor.shape, strict=True)
        if size != 1 and stride
    ]
    in_order = strides == sorted(strides, reverse=True)
    if 0 in tensor.stride():
        return EXPANDED if in_order else EXPANDED_DENSE
    expected = 1
    for stride, size in sorted(strides):
        if stride != expected:
            return STRIDED if in_order else TURNED
        expected *= size
    return DENSE


def promoted(*specs: Spec) -> Any:
    """Return the dtype of a result of arithmetic between values, as PyTorch promotes dtypes.

    Tensors with dimensions come first, then those of one element, then Python numbers; the dtype of
    a lower class only counts where it is of a higher kind: floating point with integers.
    """
    dtype: Any = None
    with_dimensions = [spec.dtype for spec in specs if spec.shape]
    single = [spec.dtype for spec in specs if not spec.shape and not is_number(spec.dtype)]
    numbers = [spec.dtype for spec in specs if is_number(spec.dtype)]
    for those in (with_dimensions, single):
        if those:
            here = reduce(torch.promote_types, those)
            dtype = here if dtype is None or _kind(here) > _kind(dtype) else dtype
    if dtype is None:
        return NUMBER if NUMBER in numbers else INTEGER
    if NUMBER in numbers:
        return floating(dtype)
    return torch.int64 if numbers and dtype is torch.bool else dtype


def _kind(dtype: torch.dtype) -> int:
    return 3 if dtype.is_complex else 2 if dtype.is_floating_point else dtype is not torch.bool


def floating(dtype: Any) -> Any:
    """Return the dtype of a function that gives no integers: PyTorch's default one for those."""
    if is_number(dtype):
        return NUMBER
    return dtype if is_floating(dtype) else torch.get_default_dtype()


def is_floating(dtype: Any) -> bool:
    """Return whether a dtype has fractions; integers, truth values and whole numbers have none."""
    return dtype is NUMBER or (
        isinstance(dtype, torch.dtype) and (dtype.is_floating_point or dtype.is_complex)
    )


def summed(dtype: Any) -> Any:
    """Return the dtype of a sum: integers and truth values are added in 64 bits."""
    return dtype if is_number(dtype) or is_floating(dtype) else torch.int64


def at_least_0(amount: Dim) -> Dim:
    """Return a difference of dimensions that cannot be negative; symbols are positive integers."""
    if isinstance(amount, int):
        return max(amount, 0)
    return np.maximum(amount, 0) if isinstance(amount, np.ndarray) else amount


def same_shape(one: Shape, other: Shape) -> bool:
    """Return whether two shapes are equal.

    Dimensions are equal where they are the same object, the same number, or arrays equal
    throughout.
    """
    if len(one) != len(other):
        return False
    for a, b in zip(one, other, strict=True):
        if a is not b:
            equal = a == b
            if equal is False or (equal is not True and not np.all(equal)):
                return False
    return True


def at_most_1(numel: Dim) -> Dim:
    """Return 1 where there is an element, else 0; symbols are positive integers."""
    if isinstance(numel, int):
        return min(numel, 1)
    return np.minimum(numel, 1) if isinstance(numel, np.ndarray) else 1


def elementwise(*specs: Spec) -> Spec:
    """Return the spec of an elementwise result.

    All inputs have one shape, or are numbers (shape `()`), which go with any shape. Raises
    ShapeError where two inputs that are not numbers differ in shape.
    """
    first = result = specs[0]
    for spec in specs[1:]:
        if spec is result or not spec.shape:
            continue
        if not result.shape:
            result = spec
        elif not same_shape(spec.shape, result.shape):
            raise ShapeError(
                f"{first} and {spec} differ; expected equal shapes, or a number "
                "(broadcasting is declared: AddBias)"
            )
    if result.layout == CONTIGUOUS and all(spec is first for spec in specs):
        return result
    # The result is packed, in the order of the first input that has one; repeated elements and
    # numbers have none.
    ordered = next(
        (spec.layout for spec in specs if spec.shape and spec.layout != EXPANDED), CONTIGUOUS
    )
    return Spec(result.shape, promoted(*specs), _PACKED[ordered])


def is_one(*dimensions: Dim) -> bool:
    """Return whether all dimensions are known to be 1."""
    return all(isinstance(dimension, int) and dimension == 1 for dimension in dimensions)


def floating_elementwise(*specs: Spec) -> Spec:
    """Return the spec of an elementwise result that is floating point whatever the inputs are."""
    result = elementwise(*specs)
    dtype = floating(result.dtype)
    return result if dtype is result.dtype else Spec(result.shape, dtype, result.layout)


def no_truth_values(spec: Spec) -> Spec:
    """Return a spec; raise ShapeError where it is of truth values, which have no arithmetic."""
    if spec.dtype is torch.bool:
        raise ShapeError(f"{spec} holds truth values; expected numbers; give it as integers")
    return spec


def a_tensor(spec: Spec) -> Spec:
    """Return a spec; raise ShapeError where it is of a Python number, which has no buffer."""
    if is_number(spec.dtype):
        raise ShapeError("given a Python number; expected a tensor; give torch.tensor(number)")
    return spec


def only_floating(spec: Spec) -> Spec:
    """Return a spec; raise ShapeError where it is of integers."""
    if isinstance(spec.dtype, torch.dtype) and not is_floating(spec.dtype):
        raise ShapeError(f"{spec} holds no fractions; expected a floating-point dtype; convert it")
    return spec
