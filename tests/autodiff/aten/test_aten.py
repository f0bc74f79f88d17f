"""The table of PyTorch's ops: every row against its formula on scalars that count themselves, and
each a name that PyTorch has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from autodiff.aten import TABLE, Call, cost_of, family_name, is_view
from autodiff.aten.table import FAMILIES
from autodiff.cost import FREE, Cost
from profiler.audit.counting import CountingScalar, Tally
from tests.support import aten_formulas as f
from tests.support.aten_cases import CASES, Case, aten


def lifted(value: Any, tally: Tally) -> Any:
    """A tensor of floating point as an array of counting scalars, other tensors as plain arrays,
    all else as it is.
    """
    if not isinstance(value, torch.Tensor):
        return value
    if not value.is_floating_point():
        return value.numpy()
    array = np.frompyfunc(lambda e: CountingScalar(float(e), tally), 1, 1)(value.numpy())
    return array if value.ndim else CountingScalar(float(value), tally)


def plain(value: Any) -> np.ndarray:
    """The numbers of an array of counting scalars."""
    if isinstance(value, CountingScalar):
        return np.asarray(value.value)
    return np.array([getattr(e, "value", e) for e in value.flat], dtype=float).reshape(value.shape)


def call_of(case: Case, out: Any) -> Call:
    """The call with shapes for tensors."""

    def noted(value: Any) -> Any:
        return (
            value.shape
            if isinstance(value, torch.Tensor)
            else tuple(value)
            if isinstance(value, list)
            else value
        )

    results = out if isinstance(out, (tuple, list)) else (out,)
    return Call(
        tuple(map(noted, case.args)),
        {k: noted(v) for k, v in case.kwargs.items()},
        tuple(r.shape for r in results if isinstance(r, torch.Tensor)),
    )


def disagreement(case: Case) -> str:
    """How the table's cost or the op's value differs from the formula's; empty where
    neither does.
    """
    copies = tuple(a.clone() if isinstance(a, torch.Tensor) else a for a in case.args)
    out = case.op(*copies, **case.kwargs)
    tally = Tally()
    found = case.formula(
        *[lifted(a, tally) for a in case.args],
        **{k: lifted(v, tally) for k, v in case.kwargs.items()},
    )
    counted = tally.take()
    declared = cost_of(family_name(case.op._schema.name), call_of(case, out))
    if declared is None:
        return "no row"
    if (
        declared.multiplications,
        declared.additions,
        declared.comparisons,
        declared.elementary,
    ) != (
        counted.multiplications,
        counted.additions,
        counted.comparisons,
        counted.elementary,
    ):
        return f"declared {declared}, counted {counted}"
    pairs = (
        zip(found, out, strict=False)
        if isinstance(found, tuple)
        else [(found, out[0] if isinstance(out, tuple) else out)]
    )
    for mine, theirs in pairs:
        if not np.allclose(plain(mine), theirs.numpy(), rtol=1e-6, atol=1e-9):
            return "the formula gives other values than the op"
    return ""


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: case.op._schema.name.removeprefix("aten::")
)
def test_a_row_counts_what_its_formula_does(case: Case) -> None:
    """A row declares what the op's formula does on scalars that count themselves, and that formula
    gives the op's values.
    """
    assert disagreement(case) == ""


def test_a_wrong_row_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that counts one operation too many, and one that is not there, are found."""
    case = next(case for case in CASES if case.op is aten.silu.default)
    monkeypatch.setitem(
        TABLE, "silu", lambda call: Cost(multiplications=call.size + 1, elementary=call.size)
    )
    assert "declared" in disagreement(case)
    monkeypatch.delitem(TABLE, "silu")
    assert disagreement(case) == "no row"


def test_a_wrong_formula_is_caught() -> None:
    """A formula that counts as the row does and gives other values is found."""
    case = next(case for case in CASES if case.op is aten.sub.Tensor)
    assert (
        disagreement(case._replace(formula=lambda a, b: b - a))
        == "the formula gives other values than the op"
    )


def test_the_fused_adam() -> None:
    """The fused update of Adam counts what its formula does, and that formula gives its
    parameter.
    """
    p, g, m, v = (
        torch.linspace(start, 1, 5, dtype=torch.float64) for start in (0.1, 0.2, 0.3, 0.4)
    )
    tally = Tally()
    numbers = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8}
    expected = plain(f.adam(*[lifted(tensor, tally) for tensor in (p, g, m, v)], **numbers))
    lists = tuple((tensor.shape,) for tensor in (p, g, m, v))
    flags: dict[str, Any] = {"weight_decay": 0.0, "amsgrad": False, "maximize": False}
    assert cost_of("_fused_adam", Call(lists, {**numbers, **flags})) == tally.take()
    aten._fused_adam_([p], [g], [m], [v], [], [torch.tensor(1.0)], **numbers, **flags)
    assert np.allclose(p.numpy(), expected)


def test_groups_share_the_products_of_a_convolution() -> None:
    """In two groups each filter meets half of the channels, so a convolution and its gradients do
    half the products.
    """
    x, out = torch.Size([2, 4, 5, 5]), torch.Size([2, 6, 3, 3])
    for groups in (1, 2):
        weight = torch.Size([6, 4 // groups, 3, 3])
        setting = ([1, 1], [0, 0], [1, 1], False, [0, 0], groups)
        forward = cost_of("convolution", Call((x, weight, None, *setting), {}, (out,)))
        backward = cost_of(
            "convolution_backward",
            Call((out, x, weight, [0], *setting, (True, True, False)), {}, (x, weight, None)),
        )
        assert forward is not None
        assert backward is not None
        assert forward.matmul_flops == 2 * 2 * 9 * 6 * 36 // groups
        assert backward.matmul_flops == 2 * forward.matmul_flops


def test_every_row_names_an_op_and_stands_once() -> None:
    """Every name in the table is one of PyTorch's, in place or not, and belongs to one family."""
    names = [name for family in FAMILIES.values() for name in family]
    assert len(names) == len(set(names)) == len(TABLE)
    assert [name for name in names if not (hasattr(aten, name) or hasattr(aten, f"{name}_"))] == []


def test_names_of_rows() -> None:
    """An op that writes in place shares its row with the one that does not; an operator's double
    underscore stays; other libraries keep theirs.
    """
    assert family_name("aten::add_") == family_name("aten::add") == "add"
    assert family_name("aten::__and__") == "__and__"
    assert family_name("mine::add") == "mine::add"


def test_an_op_that_is_not_listed_has_no_cost() -> None:
    """The table says nothing of a sort, which depends on the data, nor of an op of
    another library.
    """
    call = Call((torch.Size([4]),), {}, (torch.Size([4]),))
    assert cost_of("sort", call) is None
    assert cost_of("mine::add", call) is None
    assert cost_of("_foreach_sort", call) is None


def test_views_are_told_by_their_schema() -> None:
    """A transpose is a view; a clone, an addition in place and an op without results are none."""
    assert is_view(aten.t.default)
    assert is_view(aten.split.Tensor)
    assert not any(
        is_view(op) for op in (aten.clone.default, aten.add_.Tensor, aten._fused_adam_.default)
    )


def test_copies_cost_nothing() -> None:
    """Moving, making and drawing elements counts no operation."""
    shape = torch.Size([2, 3])
    for name in (
        "clone",
        "cat",
        "embedding",
        "index_select",
        "randn",
        "zeros",
        "_to_copy",
        "upsample_nearest2d",
    ):
        assert cost_of(name, Call((shape,), {}, (shape,))) == FREE


def test_a_foreach_op_costs_what_its_op_costs_on_each_tensor() -> None:
    """Over two tensors of 6 and 4 elements a list of additions with factors is 10 additions and 10
    multiplications; a norm is each one's norm.
    """
    lists = ((torch.Size([2, 3]), torch.Size([4])), (torch.Size([2, 3]), torch.Size([4])))
    assert cost_of("_foreach_add", Call(lists, {"alpha": 2})) == Cost(
        multiplications=10, additions=10
    )
    assert cost_of("_foreach_mul", Call((lists[0], (0.5, 0.25)))) == Cost(multiplications=10)
    norms = (torch.Size([]), torch.Size([]))
    assert cost_of("_foreach_norm", Call(lists[:1], {}, norms)) == Cost(
        multiplications=10, additions=8, elementary=2
    )


def test_matmul_flops_are_of_products_alone() -> None:
    """A product of 3×4 by 4×5 has 2·60 matmul flops, an addition none."""
    product = cost_of(
        "mm", Call((torch.Size([3, 4]), torch.Size([4, 5])), {}, (torch.Size([3, 5]),))
    )
    assert product == Cost(multiplications=60, additions=45, matmul_flops=120)
    assert cost_of("add", Call((torch.Size([3]), torch.Size([3])), {}, (torch.Size([3]),))) == Cost(
        additions=3
    )
