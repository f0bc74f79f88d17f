"""Every op compared with its formula, counting scalars, PyTorch's autograd, finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import sympy
import torch

from autodiff import Cost, Leaf, StoreAll, execute, gradients, linearize, ops
from autodiff.node import ComputationNode
from autodiff.spec import Spec, spec_of
from profiler.audit import AuditError, audit_scalars, audit_storages
from tests.support.op_cases import CASES, Shapes, Values

DIMENSIONS = [(3, 4, 2), (2, 5, 3), (1, 3, 1), (4, 2, 5)]


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> str:
    """The name of each example."""
    return str(request.param)


def build(case: str, dimensions: tuple[int, int, int] = DIMENSIONS[0]) -> ComputationNode:
    """The op of an example, with drawn values."""
    return CASES[case](Values(), *dimensions)


def leaves_of(node: ComputationNode) -> list[Leaf]:
    """The leaves that a node depends on and that can be differentiated."""
    leaves = [leaf for leaf in node.sorted_nodes() if isinstance(leaf, Leaf)]
    return [
        leaf
        for leaf in leaves
        if not isinstance(leaf.value, torch.Tensor) or leaf.value.is_floating_point()
    ]


def by_formula(node: ComputationNode, values: Mapping[ComputationNode, Any] | None = None) -> Any:
    """The value of a node by `compute` alone, with `values` in the place of some leaves."""
    held: dict[ComputationNode, Any] = dict(values or {})
    for below in node.sorted_nodes():
        if below not in held:
            held[below] = (
                below.value
                if isinstance(below, Leaf)
                else below.compute(*[held[each] for each in below.input_nodes])
            )
    return held[node]


def weighted_sum(node: ComputationNode) -> ComputationNode:
    """A loss that depends on each element of a node in its own way."""
    if not node.shape:
        return node
    weights = torch.randn(
        node.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    return ops.Matsum(node * weights)


def close(found: Any, expected: Any, tolerance: float = 1e-9) -> bool:
    """Whether two values, numbers or tensors, are equal to a tolerance relative to the greatest
    element.
    """
    a, b = (torch.as_tensor(value, dtype=torch.float64).detach() for value in (found, expected))
    scale = 1 + float(b.abs().max()) if b.numel() else 1.0
    return a.shape == b.shape and float((a - b).abs().max()) <= tolerance * scale


def check_gradient(node: ComputationNode) -> None:
    """Assert that the gradients of a node's inputs are those of PyTorch's autograd through the
    formula, and of finite differences.
    """
    loss, leaves = weighted_sum(node), leaves_of(node)
    program = linearize([loss, *gradients(loss, leaves)])
    (_, *found), _ = execute(program, StoreAll()(program))
    variables: dict[ComputationNode, torch.Tensor] = {
        leaf: torch.as_tensor(leaf.value, dtype=torch.float64).clone().requires_grad_()
        for leaf in leaves
    }
    value = torch.as_tensor(by_formula(loss, variables))
    by_torch = (
        torch.autograd.grad(value, list(variables.values()), allow_unused=True)
        if value.requires_grad
        else [None] * len(leaves)
    )
    for leaf, gradient, expected in zip(leaves, found, by_torch, strict=True):
        assert close(gradient, torch.zeros_like(variables[leaf]) if expected is None else expected)
        assert close(gradient, differences(loss, variables, leaf), tolerance=1e-7)


def differences(
    loss: ComputationNode,
    values: Mapping[ComputationNode, torch.Tensor],
    leaf: Leaf,
    step: float = 1e-5,
) -> torch.Tensor:
    """The gradient of a leaf by central differences through the formula."""
    with torch.no_grad():
        gradient = torch.zeros_like(values[leaf])
        for at in np.ndindex(*gradient.shape):
            ends = []
            for sign in (1, -1):
                moved = values[leaf].clone()
                moved[at] += sign * step
                ends.append(by_formula(loss, {**values, leaf: moved}))
            gradient[at] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def test_every_op_has_an_example() -> None:
    """No op of the package's list is without an example, and each example's op is the one that its
    name says.
    """
    assert {name.split()[0] for name in CASES} == set(ops.__all__)
    for name in CASES:
        named = getattr(ops, name.split()[0])
        assert not isinstance(named, type) or type(build(name)) is named


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_kernel_spec_and_cost(case: str, dimensions: tuple[int, int, int]) -> None:
    """Kernel and formula agree, specs and workspace are as found, the declared cost is what scalars
    count: forward and backward.
    """
    node = build(case, dimensions)
    loss = weighted_sum(node)
    for targets in ([node], [loss, *gradients(loss, leaves_of(node))]):
        program = linearize(targets)
        schedule = StoreAll()(program)
        audit_storages(program, schedule).raise_if_wrong()
        results, _ = execute(program, schedule)
        audit_scalars(program, schedule, results=results).raise_if_wrong()


def test_gradient(case: str) -> None:
    """The gradient of each input is PyTorch's and that of finite differences."""
    check_gradient(build(case))


def test_one_rule_serves_integers_arrays_and_symbols(case: str) -> None:
    """Cost, shape, bytes and workspace of many shapes at once, and of symbols, are those of each.

    A workspace may be less for a shape that has a 1: a slice of one row has no gaps.
    """
    symbols = sympy.symbols("m k p", positive=True, integer=True)
    many = CASES[case](Shapes(), *np.array(DIMENSIONS).T)
    formula = CASES[case](Shapes(), *symbols)
    for at, dimensions in enumerate(DIMENSIONS):
        *numbers, workspace = numbers_of(CASES[case](Shapes(), *dimensions))
        *one_of_many, its_workspace = [
            int(np.broadcast_to(number, len(DIMENSIONS))[at]) for number in numbers_of(many)
        ]
        assert numbers == one_of_many
        assert [*one_of_many, its_workspace] == [
            sympy.sympify(number).subs(dict(zip(symbols, dimensions, strict=True)))
            for number in numbers_of(formula)
        ]
        assert workspace == its_workspace or (1 in dimensions and workspace < its_workspace)


def numbers_of(node: ComputationNode) -> list[Any]:
    """All that an op declares in numbers.

    Its cost by kind, the dimensions and bytes of its result, its workspace.
    """
    specs = [below.spec for below in node.input_nodes]
    assert node.spec is not None
    cost = node.cost(*specs)
    counts = [
        cost.multiplications,
        cost.additions,
        cost.comparisons,
        cost.elementary,
        cost.matmul_flops,
        cost.total,
    ]
    return [*counts, *node.spec.shape, node.spec.nbytes, node.workspace(*specs)]


@pytest.mark.parametrize("case", [name for name in CASES if build(name).into is not None])
def test_writing_over_an_input(case: str) -> None:
    """Where a kernel can write its result over an input, the result is equal bit for bit."""
    node = build(case)
    values = [by_formula(below) for below in node.input_nodes]
    expected = node.run(*values)
    assert node.into is not None
    for i, value in enumerate(values):
        if isinstance(value, torch.Tensor) and value.shape == expected.shape:
            copies = [each.clone() if isinstance(each, torch.Tensor) else each for each in values]
            found = node.into(*copies, out=copies[i])
            assert found is copies[i]
            assert torch.equal(found, expected)


FUNCTIONS: dict[
    str, tuple[Callable[[Any], ComputationNode], Callable[[torch.Tensor], torch.Tensor], float]
] = {
    "exp": (ops.Exp, torch.exp, 0.0),
    "tanh": (ops.Tanh, torch.tanh, 0.0),
    "sigmoid": (ops.Sigmoid, torch.sigmoid, 0.0),
    "gelu": (ops.Gelu, torch.nn.functional.gelu, 0.0),
    "log": (ops.Log, torch.log, 1.5),
    "1/x": (lambda x: ops.Div(1.0, x), torch.reciprocal, 1.5),
    "log_softmax": (ops.LogSoftmax, lambda x: torch.log_softmax(x, 0), 0.0),
    **{f"x**{k}": (lambda x, k=k: x**k, lambda x, k=k: x**k, 0.0) for k in range(6)},
    **{
        f"x**{k} real": (lambda x, k=k: ops.Pow(x, k), lambda x, k=k: x**k, 0.0)
        for k in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    },
    **{
        f"x**{k}": (lambda x, k=k: ops.Pow(x, k), lambda x, k=k: x**k, 1.5)
        for k in (-1.5, 0.5, 2.5)
    },
    "a chain of products": (lambda x: x.T @ x @ x.T @ x, lambda x: x.T @ x @ x.T @ x, 0.0),
    "a chain of layers": (
        lambda x: ops.Tanh(x.T @ ops.Tanh(x @ (x.T @ x))),
        lambda x: torch.tanh(x.T @ torch.tanh(x @ (x.T @ x))),
        0.0,
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_three_orders(name: str) -> None:
    """The first three derivatives are PyTorch's, at points of either sign and at 0 where the
    function is smooth there.
    """
    ours, theirs, shift = FUNCTIONS[name]
    generator = torch.Generator().manual_seed(2)
    point = torch.tensor([[-1.2, 0.0, 0.7], [0.4, -0.3, 1.1]], dtype=torch.float64) + shift
    x, variable = Leaf(point), point.clone().requires_grad_()
    node, value = ours(x), theirs(variable)
    for _ in range(3):
        weights = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        loss = ops.Matsum(node * weights)
        (node,) = gradients(loss, [x])
        value = derivative((value * weights).sum(), variable)
        program = linearize([loss, node])
        schedule = StoreAll()(program)
        (_, found), _ = execute(program, schedule)
        assert torch.isfinite(found).all()
        assert close(found, value)
        audit_scalars(program, schedule).raise_if_wrong()


def derivative(value: torch.Tensor, variable: torch.Tensor) -> torch.Tensor:
    """PyTorch's gradient, to be differentiated again.

    Zero where it says that the value does not depend on the variable.
    """
    if not value.requires_grad:
        return torch.zeros_like(variable)
    (found,) = torch.autograd.grad(value, variable, create_graph=True, allow_unused=True)
    return torch.zeros_like(variable) if found is None else found


def test_mixed_dtypes() -> None:
    """A product of single and double precision is double, and its gradients are of the precision
    that they come in.
    """
    single, double = Leaf(torch.ones(2, 3)), Leaf(torch.ones(2, 3, dtype=torch.float64))
    node = single * double
    assert node.spec == spec_of(torch.ones(2, 3) * torch.ones(2, 3, dtype=torch.float64))
    program = linearize([node])
    audit_storages(program, StoreAll()(program)).raise_if_wrong()


# Negative controls: each breaks one part of an op.


class WrongGradient(ops.Tanh):
    """tanh with a gradient that reads the input in the place of the result."""

    def backward(self) -> list[Any]:
        return [ops.TanhGradient(self.gradient, self.input_nodes[0])]


class WrongKernel(ops.Tanh):
    """tanh with a kernel that is off by a thousandth."""

    def kernel(self, x: Any) -> Any:
        return torch.tanh(x).mul_(1.001)


class WrongCost(ops.Tanh):
    """tanh that declares a multiplication too many in all."""

    def cost(self, x: Spec) -> Cost:
        return Cost(elementary=x.numel, multiplications=1)


class WrongFlops(ops.Matmul):
    """A product that declares half its flops."""

    def cost(self, a: Spec, b: Spec) -> Cost:
        right = super().cost(a, b)
        return Cost(right.multiplications, right.additions, matmul_flops=right.matmul_flops // 2)


class WrongShape(ops.Tanh):
    """tanh that declares a shape with one row less."""

    def result_spec(self, x: Spec) -> Spec:
        return Spec((x.shape[0] - 1, x.shape[1]), x.dtype)


class WrongLayout(ops.Tanh):
    """tanh that declares its result transposed in memory."""

    def result_spec(self, x: Spec) -> Spec:
        return Spec(x.shape, x.dtype, "dense")


class WrongDtype(ops.Tanh):
    """tanh that declares single precision."""

    def result_spec(self, x: Spec) -> Spec:
        return Spec(x.shape, torch.float32)


class WrongView(ops.Transpose):
    """A transpose that says that its result has a buffer of its own."""

    view_of = None


class WrongBuffer(ops.Tanh):
    """tanh that says that its result lives in its input's buffer."""

    view_of = 0


class HiddenTemporary(ops.Tanh):
    """tanh by a kernel that holds another value while it runs."""

    def kernel(self, x: Any) -> Any:
        again = x + x
        return torch.tanh(again - x)


class TooMuchWorkspace(ops.Tanh):
    """tanh that declares memory which it does not take."""

    def workspace(self, x: Spec) -> Any:
        return x.nbytes


def test_a_wrong_gradient_is_caught() -> None:
    """The check of gradients fails for a gradient that reads the wrong value."""
    check_gradient(ops.Tanh(Values().any(3, 4)))
    with pytest.raises(AssertionError):
        check_gradient(WrongGradient(Values().any(3, 4)))


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (WrongCost, "declared .*multiplications=1.*counted"),
        (WrongKernel, "further from the execution"),
        (WrongShape, "declared shape"),
    ],
)
def test_scalars_catch(wrong: type[ComputationNode], what: str) -> None:
    """A wrong cost, a kernel unlike its formula and a wrong shape are each found by scalars, which
    name the op.
    """
    node = wrong(Values().any(3, 4))
    program = linearize([node])
    schedule = StoreAll()(program)
    results, _ = execute(program, schedule)
    report = audit_scalars(program, schedule, results=results)
    assert not report.ok
    assert wrong.__name__ in str(report.first_mismatch)
    with pytest.raises(AuditError, match=what):
        report.raise_if_wrong()


def test_scalars_catch_wrong_flops() -> None:
    """Flops of products are checked against the multiplications that the products did."""
    program = linearize([WrongFlops(Values().any(3, 4), Values().any(4, 2))])
    report = audit_scalars(program)
    assert "matmul_flops=24)" in str(report.first_mismatch)
    assert "matmul_flops=48)" in str(report.first_mismatch)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (WrongShape, "the ledger holds 64 bytes, 96 are tracked"),
        (WrongLayout, "declared dense, computed contiguous"),
        (WrongDtype, "the ledger holds 48 bytes, 96 are tracked"),
        (WrongView, "the ledger holds 96 bytes, 0 are tracked"),
        (WrongBuffer, "the ledger holds 0 bytes, 96 are tracked"),
        (HiddenTemporary, "0 bytes of workspace are declared, 192 are tracked"),
        (TooMuchWorkspace, "96 bytes of workspace are declared, 0 are tracked"),
    ],
)
def test_storages_catch(wrong: type[ComputationNode], what: str) -> None:
    """A wrong shape, layout, dtype, buffer or workspace is found by the tracked storages, which
    name step, op and bytes.
    """
    program = linearize([wrong(Values().any(3, 4))])
    report = audit_storages(program, StoreAll()(program))
    assert not report.ok
    assert str(report.first_mismatch).startswith(f"step 0, {wrong.__name__} {wrong.__name__}")
    with pytest.raises(AuditError, match=what):
        report.raise_if_wrong()


def test_scalars_where_floating_point_has_no_number() -> None:
    """Scalars give the infinities and not-a-numbers of floating point where Python would raise."""
    x = Leaf(torch.tensor([[0.0, -1.0, 800.0, -0.0]], dtype=torch.float64))
    for node in (
        1.0 / x,
        ops.Log(x),
        ops.Exp(x * x),
        ops.Pow(x, 0.5),
        ops.Div(x, x),
        ops.Div(1, x),
        x**-1,
    ):
        program = linearize([node])
        results, _ = execute(program, StoreAll()(program))
        audit_scalars(program, results=results).raise_if_wrong()
    assert math.isinf(float(results[0][0, 0]))
