"""Costs of kernels that this machine cannot run, of primitives, and of ops of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from autodiff.aten.call import Call
from autodiff.aten.table import TABLE, cost_of, family_name, register_cost
from autodiff.cost import FREE, Cost
from autodiff.errors import GraphError
from profiler import profile_step

aten = torch.ops.aten
S = torch.Size


Q, K = (2, 16, 4, 8), (2, 24, 4, 8)  # batch, rows, heads, width
ROWS, SCORES = 2 * 4 * 16, 2 * 4 * 16 * 24


@pytest.mark.parametrize("name", ["_flash_attention_forward", "_efficient_attention_forward"])
def test_attention_kernels(name: str) -> None:
    """Kernels with heads in the third place cost what the op with heads in the second does."""
    lengths = {"_flash_attention_forward": 5, "_efficient_attention_forward": 6}[name]
    args = (S(Q), S(K), S(K), *[None] * (lengths - 3))
    found = cost_of(name, Call(args, {}, (S(Q),)))
    swapped = tuple(S((b, h, r, w)) for b, r, h, w in (Q, K, K))
    assert found == cost_of("_scaled_dot_product_flash_attention", Call(swapped, {}, (swapped[0],)))
    assert found is not None
    assert found.matmul_flops == 2 * 2 * SCORES * 8


@pytest.mark.parametrize("name", ["_flash_attention_backward", "_efficient_attention_backward"])
def test_attention_kernels_backward(name: str) -> None:
    """Their backward passes take five products."""
    found = cost_of(name, Call((S(Q), S(Q), S(K), S(K)), {}, (S(Q), S(K), S(K))))
    assert found is not None
    assert found.matmul_flops == 5 * 2 * SCORES * 8


def test_a_packed_batch_has_no_cost() -> None:
    """Where the lengths of sequences are values, the kernel is not counted."""
    packed = S((40, 4, 8))
    args = (packed, packed, packed, S((3,)), S((3,)), 16, 16, 0.0)
    assert cost_of("_flash_attention_forward", Call(args, {}, (packed,))) is None


@pytest.mark.parametrize(
    ("x", "y", "out"),
    [
        (S((10, 6)), S((3, 6, 5)), S((10, 5))),
        (S((3, 4, 6)), S((3, 6, 5)), S((3, 4, 5))),
        (S((3, 4, 6)), S((6, 10)), S((4, 10))),
        (S((4, 12)), S((12, 5)), S((3, 4, 5))),
    ],
    ids=["rows in groups", "batch", "columns in groups", "inner dimension in groups"],
)
def test_grouped_products(x: S, y: S, out: S) -> None:
    """Every multiplication counts once; each element of the result is a sum of its own."""
    inner = 12 if len(x) == len(y) == 2 else 6
    multiplications = 4 * 5 * 12 if inner == 12 else out.numel() * 6
    found = cost_of("_grouped_mm", Call((x, y, S((3,))), {}, (out,)))
    assert found == Cost(
        multiplications, multiplications - out.numel(), matmul_flops=2 * multiplications
    )


def test_scaled_products() -> None:
    """A scaled product is the product, times two scales, plus a bias."""
    args = (S((4, 6)), S((6, 5)), S(()), S(()), S((5,)))
    found = cost_of("_scaled_mm", Call(args, {}, (S((4, 5)),)))
    assert found == Cost(20 * 6 + 40, 20 * 5 + 20, matmul_flops=2 * 20 * 6)
    second = (S((4, 6)), S((6, 5)), (S(()),), (0,), (0,), (S(()),), (0,), (0,), S((5,)))
    assert cost_of("_scaled_mm_v2", Call(second, {}, (S((4, 5)),))) == found


def test_scaled_products_of_groups() -> None:
    """So it is with a matrix for each group of rows, of which the result may be scaled as well."""
    rows, weights, out, groups = S((10, 6)), S((3, 6, 5)), S((10, 5)), S((3,))
    plain = cost_of("_grouped_mm", Call((rows, weights, groups), {}, (out,)))
    args = (rows, weights, S((10,)), S((3, 5)), groups, None, S(()))
    found = cost_of("_scaled_grouped_mm", Call(args, {}, (out,)))
    assert plain is not None
    assert found == plain + Cost(multiplications=3 * 50)
    scales = ((S((10,)),), (0,), (0,), (S((3, 5)),), (0,), (0,))
    second = (rows, weights, *scales, groups, S((3, 5)))
    found = cost_of("_scaled_grouped_mm_v2", Call(second, {}, (out,)))
    assert found == plain + Cost(multiplications=2 * 50, additions=50)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_primitives_are_their_ops() -> None:
    """What forward mode is made of costs what the ops of the same meaning cost."""
    assert family_name("prims::sin") == "sin"
    assert family_name("prims::convert_element_type") == "_to_copy"
    x = torch.randn(5)
    found = profile_step(lambda: torch.func.jvp(torch.nn.functional.logsigmoid, (x,), (x,)))
    assert found.uncounted == {}


def test_functional_twins() -> None:
    """An op that returns what another writes in place costs the same."""
    assert family_name("aten::_native_batch_norm_legit_functional") == "_native_batch_norm_legit"
    x, mean, variance = torch.randn(4, 3), torch.zeros(3), torch.ones(3)
    args = (x, None, None, mean, variance, True, 0.1, 1e-5)
    found = [
        profile_step(lambda op=op: op(*args)).ops_by_phase
        for op in (aten._native_batch_norm_legit, aten._native_batch_norm_legit_functional)
    ]
    assert found[0] == found[1]
    assert found[0]["forward"].total > 0


def test_copies_of_views_cost_nothing() -> None:
    """Every op that PyTorch marks as the copying twin of a view is in the table, and free."""
    copies = {
        family_name(schema.name)
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("aten::")
        and not schema.name.startswith("aten::_test_")
        and torch.Tag.view_copy in _tags(schema)
    }
    assert len(copies) > 30
    assert all(cost_of(name, Call((S((2, 3)),), {}, (S((2, 3)),))) == FREE for name in copies)


def _tags(schema: Any) -> list[torch.Tag]:
    packet = getattr(aten, schema.name.removeprefix("aten::"), None)
    overload = getattr(packet, schema.overload_name or "default", None)
    return list(getattr(overload, "tags", []))


@pytest.fixture
def blur() -> Iterator[Any]:
    """Define an op of another library, and forget its cost afterwards."""
    with torch.library._scoped_library("tapemeasure_costs", "DEF") as library:
        library.define("blur(Tensor x) -> Tensor")
        library.impl("blur", lambda x: x * 0.5, "CompositeExplicitAutograd")
        yield torch.ops.tapemeasure_costs.blur
    TABLE.pop("tapemeasure_costs::blur", None)


def test_a_registered_cost(blur: Any) -> None:
    """An op of others is listed until its cost is registered, and then counted."""
    x = torch.ones(2, 3)
    assert profile_step(lambda: blur(x)).uncounted == {"tapemeasure_costs.blur.default": 1}

    @register_cost(blur)
    def cost(call: Call) -> Cost:
        return Cost(multiplications=call.size)

    found = profile_step(lambda: blur(x))
    assert (found.uncounted, found.ops) == ({}, Cost(multiplications=6))
    assert cost(Call((x.shape,), {}, (x.shape,))) == found.ops


def test_what_cannot_be_registered(blur: Any) -> None:
    """Neither what is no op nor what has a cost is registered."""
    with pytest.raises(GraphError, match="expected an op such as"):
        register_cost(3)
    with pytest.raises(GraphError, match="expected an op such as"):
        register_cost("blur")
    with pytest.raises(GraphError, match="aten::exp has a cost"):
        register_cost(aten.exp)
    for op in (blur, blur.default, "tapemeasure_costs::blur"):
        register_cost(op)(lambda call: FREE)
        TABLE.pop("tapemeasure_costs::blur")
