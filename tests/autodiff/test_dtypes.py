"""Dtypes are PyTorch's: what arithmetic promotes, what a sum widens, the dtype of each gradient."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch

from autodiff import (
    ComputationNode,
    Executable,
    GraphError,
    Leaf,
    ShapeError,
    StoreAll,
    gradients,
    linearize,
    networks,
    ops,
)
from autodiff.spec import spec_of
from profiler import profile
from profiler.audit import audit_scalars, audit_storages

DTYPES = (
    torch.bool, torch.uint8, torch.int32, torch.int64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
)  # fmt: skip
FLOATING = tuple(dtype for dtype in DTYPES if dtype.is_floating_point)

Value = torch.Tensor | int | float

NUMBERS: tuple[Value, ...] = (2, 2.5)


def values(dtypes: tuple[torch.dtype, ...] = DTYPES) -> list[Value]:
    """A matrix and a single element of each dtype, and Python numbers."""
    torch.manual_seed(0)
    tensors = [(torch.rand(shape) * 3 + 1).to(dtype) for dtype in dtypes for shape in ((3, 3), ())]
    return [*tensors, *NUMBERS]


Op = tuple[Callable[..., ComputationNode], Callable[..., Any]]

UNARY: dict[str, Op] = {
    "negate": (ops.Negate, lambda x: -x),
    "exp": (ops.Exp, torch.exp),
    "log": (ops.Log, torch.log),
    "tanh": (ops.Tanh, torch.tanh),
    "sigmoid": (ops.Sigmoid, torch.sigmoid),
    "relu": (ops.Relu, torch.relu),
    "gelu": (ops.Gelu, torch.nn.functional.gelu),
    "sum": (ops.Matsum, torch.sum),
    "sum of rows": (lambda x: ops.SumAxis(x, 0), lambda x: x.sum(0)),
    "half the sum of squares": (
        ops.HalfSumOfSquares,
        lambda x: torch.dot(x.flatten(), x.flatten()).mul_(0.5),
    ),
    "log_softmax": (ops.LogSoftmax, lambda x: torch.log_softmax(x, 0)),
    "square": (lambda x: ops.IntPow(x, 2), lambda x: x**2),
    "real square": (lambda x: ops.Pow(x, 2.0), lambda x: x**2.0),
    "root": (lambda x: ops.Pow(x, 0.5), lambda x: x**0.5),
    "reciprocal": (lambda x: ops.IntPow(x, -1), lambda x: x**-1),
    "cast": (lambda x: ops.Cast(x, torch.bfloat16), lambda x: x.to(torch.bfloat16)),
}

BINARY: dict[str, Op] = {
    "add": (ops.Add, lambda a, b: a + b),
    "subtract": (ops.Subtract, lambda a, b: a - b),
    "mul": (ops.Mul, lambda a, b: a * b),
    "div": (ops.Div, lambda a, b: a / b),
    "mean": (ops.Mean, lambda a, b: (a + b) / 2),
    "product": (ops.Matmul, torch.mm),
    "squared error": (
        ops.squared_error,
        lambda a, b: torch.dot((a - b).flatten(), (a - b).flatten()).mul_(0.5),
    ),
}

CALLS = [
    *((name, (value,)) for name in UNARY for value in values()),
    *((name, pair) for name in BINARY for pair in product(values(), repeat=2)),
]


def described(value: Any) -> str:
    """The dtype of a value and whether it has dimensions."""
    return str(spec_of(value))


def attempted(make: Callable[..., Any], given: tuple[Any, ...]) -> Any:
    """What a function gives, or the error that it raises."""
    try:
        return make(*given)
    except (RuntimeError, TypeError, AttributeError, ShapeError) as error:
        return error


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_results_are_promoted_as_by_pytorch(name: str) -> None:
    """What PyTorch computes is predicted with its dtype, and runs so; what it refuses is refused.

    Only what is refused for its shape has no counterpart: single elements and numbers where a
    matrix or an axis is expected, or a tensor.
    """
    ours, theirs = {**UNARY, **BINARY}[name]
    ran = 0
    for given in (given for called, given in CALLS if called == name):
        what = f"{name} of {', '.join(map(described, given))}"
        expected = attempted(theirs, given)
        node = attempted(ours, tuple(map(Leaf, given)))
        if isinstance(node, ShapeError):
            assert "\n" not in str(node)
            of_shape = any(word in str(node) for word in ("matri", "axis", "Python number"))
            assert of_shape or isinstance(expected, Exception), what
            continue
        assert isinstance(node, ComputationNode), what
        program = linearize([node])
        audit_storages(program, StoreAll()(program)).raise_if_wrong()
        ran += 1
        if not isinstance(expected, Exception):
            assert node.spec is not None
            assert described(expected) == str(node.spec), what
    assert ran >= 4


SMOOTH = {
    "add": (lambda a, b: a + b, lambda a, b: a + b),
    "mul": (lambda a, b: a * b, lambda a, b: a * b),
    "div": (ops.Div, lambda a, b: a / b),
    "subtract": (ops.Subtract, lambda a, b: a - b),
    "mean": (ops.Mean, lambda a, b: (a + b) / 2),
    "mul, tanh, mul": (lambda a, b: (a * b).tanh() * a, lambda a, b: (a * b).tanh() * a),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_a_gradient_has_the_dtype_of_its_leaf(name: str) -> None:
    """Gradients of leaves of two dtypes are PyTorch's, in the dtype of each, measured as
    predicted.
    """
    ours, theirs = SMOOTH[name]
    tensors = [value for value in values(FLOATING) if isinstance(value, torch.Tensor)]
    for a, b in product(tensors, repeat=2):
        leaves = [Leaf(a, "a"), Leaf(b, "b")]
        loss = ops.Matsum(ours(*leaves))
        run, predicted = profile(loss, leaves), profile(loss, leaves, execute=False)
        variables = [value.clone().requires_grad_() for value in (a, b)]
        expected = torch.autograd.grad(theirs(*variables).sum(), variables)
        assert [g.dtype for g in run.gradients] == [a.dtype, b.dtype]
        for found, by_torch in zip(run.gradients, expected, strict=True):
            # Reduced precision: the sum over a matrix is rounded in other places.
            tolerance = 8 * max(torch.finfo(one.dtype).eps for one in (a, b))
            torch.testing.assert_close(found, by_torch, rtol=tolerance, atol=tolerance)
        assert run.peak_bytes == predicted.peak_bytes
        program = linearize([loss, *gradients(loss, leaves)])
        audit_storages(program, StoreAll()(program)).raise_if_wrong()


def test_single_precision_scales_a_matrix_of_bfloat16() -> None:
    """A single element does not widen a matrix: 900 elements of two bytes and the sum."""
    scaled = ops.Mul(Leaf(torch.tensor(0.5)), Leaf(torch.randn(30, 30).bfloat16())).sum()
    assert profile(scaled).peak_bytes == profile(scaled, execute=False).peak_bytes == 1802


def test_second_derivatives_keep_the_dtypes() -> None:
    """The derivative of a gradient that was cast has the dtype of its own leaf."""
    a = Leaf(torch.rand(3, 3), "a")
    b = Leaf(torch.rand(3, 3, dtype=torch.float64), "b")
    first = gradients((a * a * b).sum(), [a, b])
    second = gradients(first[0].sum(), [a, b])
    program = linearize([first[0].sum(), *second])
    results, _ = Executable(program, StoreAll()(program)).run()
    assert [result.dtype for result in results[1:]] == [torch.float32, torch.float64]
    torch.testing.assert_close(results[1], (2 * b.value).float())
    torch.testing.assert_close(results[2], 2 * a.value.double())


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32])
def test_integers_have_no_gradient(dtype: torch.dtype) -> None:
    """A leaf of integers is data, and a loss of integers has no derivative: both in one line."""
    x, w = Leaf(torch.ones(3, 3).to(dtype), "x"), Leaf(torch.ones(3, 3), "w")
    run = profile((x * w).sum(), [w])
    assert run.gradients[0].tolist() == [[1.0] * 3] * 3
    with pytest.raises(GraphError, match=f"x is 3×3 {str(dtype)[6:]}; expected floating point"):
        profile((x * w).sum(), [x])
    with pytest.raises(GraphError, match="expected floating point"):
        profile(x.sum(), [x])


def test_whole_numbers_stay_whole_beside_integers() -> None:
    """A whole Python number leaves a tensor of integers whole; a fraction does not."""
    x = Leaf(torch.arange(3))
    for number, dtype in ((2, torch.int64), (2.5, torch.float32)):
        node = x * Leaf(number, "s")
        program = linearize([node])
        assert Executable(program, StoreAll()(program)).run()[0][0].dtype == dtype
        assert node.spec is not None
        assert node.spec.dtype == dtype
    given = {i: 3 for i in program.given if program.values[i].source.name == "s"}
    assert Executable(program, StoreAll()(program)).run(given)[0][0].tolist() == [0.0, 3.0, 6.0]
    whole = linearize([x * Leaf(2, "s")])
    given = {i: 2.5 for i in whole.given if whole.values[i].source.name == "s"}
    with pytest.raises(ShapeError, match="s holds scalar number"):
        Executable(whole, StoreAll()(whole)).run(given)


@pytest.mark.parametrize("loss", networks.LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision_is_audited(dtype: torch.dtype, loss: str) -> None:
    """Both audits take two-byte dtypes, values included."""
    network = networks.chain(3, 4, 4, loss=loss, dtype=dtype)
    program = linearize([network.loss, *gradients(network.loss, network.weights)])
    schedule = StoreAll()(program)
    results, _ = Executable(program, schedule).run()
    audit_storages(program, schedule).raise_if_wrong()
    report = audit_scalars(program, schedule, results=results)
    report.raise_if_wrong()
    assert report.events == len(schedule) + len(results)
    wrong = audit_scalars(program, schedule, results=[results[0] * 2 + 1, *results[1:]])
    assert "further from the execution" in str(wrong.first_mismatch)


@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
def test_autocast_changes_nothing(activation: str) -> None:
    """The dtypes of a program are its own: under autocast it gives the same values and bytes."""
    network = networks.chain(4, 8, 8, activation=activation)
    plain = profile(network.loss, network.weights)
    with torch.autocast("cpu", torch.bfloat16):
        cast = profile(network.loss, network.weights)
        assert torch.is_autocast_enabled("cpu")
        assert (network.weights[0].value @ network.input.value).dtype == torch.bfloat16
    assert cast.peak_bytes == plain.peak_bytes
    assert all(map(torch.equal, cast.gradients, plain.gradients))


def test_functions_of_integers_have_the_default_dtype() -> None:
    """A spec that was remembered under one default dtype is not that of another."""
    x = Leaf(torch.arange(3), "x")
    default = torch.get_default_dtype()
    try:
        for dtype in (torch.float32, torch.float64, torch.float32):
            torch.set_default_dtype(dtype)
            node = x.tanh()
            program = linearize([node])
            assert node.spec is not None
            assert node.spec.dtype == dtype
            audit_storages(program, StoreAll()(program)).raise_if_wrong()
    finally:
        torch.set_default_dtype(default)
