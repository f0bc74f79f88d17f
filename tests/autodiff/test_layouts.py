"""Layouts of results, and shapes with a 0 or a 1: bytes, workspace and operations as they are."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from autodiff import (
    Columns,
    ComputationNode,
    ExpandAxis,
    HalfSumOfSquares,
    Leaf,
    Matexpand,
    Matsum,
    Program,
    StoreAll,
    SumAxis,
    Transpose,
    gradients,
    linearize,
    ops,
)
from autodiff.spec import Spec
from profiler import profile
from profiler.audit import audit_scalars, audit_storages
from tests.support.op_cases import CASES, Values


def checked(node: ComputationNode, values: bool = True) -> Program:
    """The program of a node, audited."""
    program = linearize([node])
    audit_storages(program, StoreAll()(program)).raise_if_wrong()
    if values:
        audit_scalars(program).raise_if_wrong()
    return program


Case = tuple[Callable[[], ComputationNode], int]

PEAKS: dict[str, Case] = {
    # The expansion keeps the order of the transpose, so its tanh has to be packed to be squared.
    "tanh of an expanded transpose": (
        lambda: HalfSumOfSquares(ExpandAxis(Leaf(torch.randn(50, 40).t()), 2, 10).tanh()),
        160_004,
    ),
    "tanh of an expanded matrix": (
        lambda: HalfSumOfSquares(ExpandAxis(Leaf(torch.randn(40, 50)), 2, 10).tanh()),
        80_004,
    ),
    "a slice that takes every column": (
        lambda: HalfSumOfSquares(Columns(Leaf(torch.randn(300, 4)), 0, 4)),
        4,
    ),
    "a slice up to beyond the end": (
        lambda: HalfSumOfSquares(Columns(Leaf(torch.randn(300, 4)), -9, 9)),
        4,
    ),
    "a slice with gaps": (
        lambda: HalfSumOfSquares(Columns(Leaf(torch.randn(300, 4)), 0, 3)),
        3604,
    ),
    "a slice of one row": (lambda: HalfSumOfSquares(Columns(Leaf(torch.randn(1, 9)), 2, 5)), 4),
    "a leaf with gaps": (lambda: HalfSumOfSquares(Leaf(torch.randn(300, 4)[:, :3])), 3604),
    "an expansion to one": (lambda: HalfSumOfSquares(ExpandAxis(Leaf(torch.randn(9)), 0, 1)), 4),
    "an expansion of one element to one": (
        lambda: HalfSumOfSquares(Matexpand(Leaf(torch.tensor(2.0)), (1, 1))),
        4,
    ),
    "a transposed row": (lambda: HalfSumOfSquares(Transpose(Leaf(torch.randn(1, 9)))), 4),
}


@pytest.mark.parametrize("case", PEAKS)
def test_what_has_to_be_packed_is_counted(case: str) -> None:
    """The bytes of a copy that a kernel makes are in the peak where it makes one, and else not."""
    make, peak = PEAKS[case]
    assert profile(make()).peak_bytes == peak
    assert profile(make(), execute=False).peak_bytes == peak
    assert tracked_peak(make()) == peak
    checked(make(), values=peak < 5000)


class Largest(TorchDispatchMode):
    """The greatest sum of bytes of the tensors that ops return, each kept until the block ends."""

    def __init__(self, given: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages = {given.untyped_storage()._cdata: 0}
        self.kept: list[torch.Tensor] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.kept.append(result)
            storage = result.untyped_storage()
            self.storages.setdefault(storage._cdata, storage.nbytes())
        return result


def tracked_peak(node: ComputationNode) -> int:
    """The bytes of all storages that computing a node makes: nothing dies before the last op."""
    (leaf,) = [below for below in node.sorted_nodes() if isinstance(below, Leaf)]
    with Largest(leaf.value) as seen:
        for below in node.sorted_nodes():
            below.forward()
    return sum(seen.storages.values())


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_leaves_in_any_order_of_three_axes(order: tuple[int, ...]) -> None:
    """Elementwise results, sums and squares of a leaf whose axes lie in any order are as
    audited.
    """
    value = torch.randn(2, 3, 4, dtype=torch.float64).permute(order)
    for sliced in (value, value[..., 1:], value[:, :1], value[:1], value[:1, :1]):
        leaf = Leaf(sliced)
        for node in (
            leaf.tanh(),
            leaf * 2.0,
            leaf + leaf.tanh(),
            HalfSumOfSquares(leaf),
            HalfSumOfSquares(leaf.tanh()),
            SumAxis(leaf, 1),
            HalfSumOfSquares(SumAxis(leaf.tanh(), 1)),
            Columns(leaf, 0, 1).tanh(),
        ):
            checked(node)


@pytest.mark.parametrize(("rows", "columns"), list(product((1, 3), (1, 4))))
def test_expansions_of_slices_and_transposes(rows: int, columns: int) -> None:
    """What an expansion makes of a layout is what PyTorch makes of it."""
    whole = Leaf(torch.randn(rows, columns + 2, dtype=torch.float64))
    for base in (whole, Transpose(whole), Columns(whole, 1, columns + 1)):
        for axis, size in product((0, 1, 2), (1, 5)):
            expanded = ExpandAxis(base, axis, size)
            for node in (expanded, expanded.tanh(), HalfSumOfSquares(expanded.tanh())):
                checked(node)


EMPTY = [(0, 3, 2), (3, 0, 2), (0, 0, 0), (2, 3, 0)]


@pytest.mark.parametrize("dimensions", EMPTY)
@pytest.mark.parametrize("case", sorted(CASES))
def test_ops_on_nothing_cost_nothing(case: str, dimensions: tuple[int, int, int]) -> None:
    """On empty inputs no count is below zero, and scalars count what is declared."""
    if not dimensions[0] and ("Pick" in case or case == "cross_entropy"):
        return  # no index can be drawn from no classes
    node = CASES[case](Values(), *dimensions)
    leaves = [
        leaf
        for leaf in node.sorted_nodes()
        if isinstance(leaf, Leaf) and leaf.spec is not None and leaf.spec.dtype != torch.int64
    ]
    loss = node if not node.shape else Matsum(node)
    program = linearize([loss, *gradients(loss, leaves)])
    for instruction in program.instructions:
        cost = instruction.op.cost(*(program.values[read].spec for read in instruction.reads))
        assert min(cost.multiplications, cost.additions, cost.comparisons, cost.elementary) >= 0
    audit_storages(program, StoreAll()(program)).raise_if_wrong()
    audit_scalars(program).raise_if_wrong()


def test_sums_of_nothing() -> None:
    """The sum of no elements takes no addition, nor does a product over no columns."""
    assert profile(Leaf(torch.zeros(0, 3)).sum()).ops.total == 0
    product_of_none = Leaf(torch.zeros(2, 0)) @ Leaf(torch.zeros(0, 3))
    assert profile(product_of_none).ops.total == 0
    assert profile(product_of_none).loss.tolist() == [[0.0] * 3] * 2


BOUNDS = [None, -9, -3, -2, -1, 0, 1, 2, 3, 9]


@pytest.mark.parametrize(("start", "stop"), list(product(BOUNDS[1:], BOUNDS[1:])))
def test_columns_are_those_of_a_slice(start: int, stop: int) -> None:
    """Any bounds mean what they mean to a slice of Python, in value, gradient, bytes and cost."""
    x = torch.arange(9.0).reshape(3, 3)
    leaf = Leaf(x, "x")
    cut = Columns(leaf, start, stop)
    expected = x[:, start:stop]
    assert cut.shape == expected.shape
    found = profile(ops.Mul(cut, cut).sum(), [leaf])
    assert found.loss == (expected * expected).sum()
    variable = x.clone().requires_grad_()
    (variable[:, start:stop] ** 2).sum().backward()
    assert torch.equal(found.gradients[0], variable.grad)  # type: ignore[arg-type]
    assert profile(cut.sum()).ops.total == max(expected.numel() - 1, 0)
    checked(cut.sum())


def test_columns_of_a_leaf_without_values() -> None:
    """Bounds are those of a slice for shapes as well."""
    cut = Columns(Leaf(None, spec=Spec((3, 3), torch.float32)), -2, 3)
    assert cut.shape == (3, 2)
    assert profile(cut.sum(), execute=False).ops.total == 5
