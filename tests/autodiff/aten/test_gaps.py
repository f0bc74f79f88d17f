"""Ops in place on elements that lie apart, as ops that return such a tensor."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, strategies as st

from autodiff.aten.gaps import WithGaps, least_strides
from autodiff.instructions import ACTIVATION
from autodiff.pytorch import from_pytorch


@pytest.mark.parametrize(
    ("shape", "strides", "least"),
    [
        ((4, 8), (24, 1), (9, 1)),
        ((8,), (5,), (2,)),
        ((2, 4, 8), (96, 24, 1), (36, 9, 1)),
        ((2, 4, 8), (200, 24, 1), (37, 9, 1)),
        ((8, 4), (1, 24), (1, 9)),
        ((4, 1, 8), (24, 7, 1), (9, 8, 1)),
        ((4, 8), (8, 1), (8, 1)),
    ],
)
def test_gaps_are_one_element(
    shape: tuple[int, ...], strides: tuple[int, ...], least: tuple[int, ...]
) -> None:
    """Where a dimension does not continue the one within it, it begins one element later."""
    assert least_strides(shape, strides) == least


@given(st.permutations(range(3)), st.tuples(*[st.tuples(st.integers(2, 4), st.integers(0, 3))] * 3))
def test_no_two_elements_meet(order: list[int], sizes: tuple[tuple[int, int], ...]) -> None:
    """Each element has a place of its own, within no more places than before."""
    strides, end = [0] * 3, 1
    for dim in order:
        strides[dim] = end + sizes[dim][1]
        end = strides[dim] * sizes[dim][0]
    shape = tuple(size for size, _ in sizes)
    least = least_strides(shape, strides)
    places = torch.arange(10_000).as_strided(shape, least).flatten().tolist()
    assert len(set(places)) == math.prod(shape)
    assert max(places) <= sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    is_continued = [[b == a * n for n, a in zip(shape, s, strict=True) for b in s]
                    for s in (strides, least)]  # fmt: skip
    assert is_continued[0] == is_continued[1]


def test_the_op_is_the_one_in_place() -> None:
    """Only the result is written; it costs what the op costs, may run again and has gaps."""
    weight = torch.rand(4, 8, requires_grad=True)

    def step() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        wide = torch.cat((weight, weight, weight), 1)
        wide[:, 8:16].sigmoid_()
        loss = wide.sum()
        return loss, torch.autograd.grad(loss, [weight])

    program = from_pytorch(step)
    (one,) = (i for i in program.instructions if isinstance(getattr(i.op, "overload", 0), WithGaps))
    value = program.values[one.writes[0]]
    assert (one.op.name, one.op.repeatable, value.role) == ("sigmoid", True, ACTIVATION)
    assert value.spec.nbytes == 4 * (3 * 9 + 8)
    assert one.op.cost(value.spec).elementary == 32
    x = torch.rand(4, 8)
    kept = x.clone()
    assert torch.equal(WithGaps(torch.ops.aten.mul_.Tensor, 0)(x, x), kept * kept)
    assert torch.equal(x, kept)
