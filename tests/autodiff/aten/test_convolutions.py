"""Additions of convolutions whose stride goes beyond the kernel: some results are no sums."""

from __future__ import annotations

import itertools

import pytest
import torch

from autodiff.aten.call import Call
from autodiff.aten.table import cost_of
from profiler import profile_step


def products_and_sums(sources: int, kernel: int, stride: int, cells: int) -> tuple[int, int]:
    """Return along one dimension, by enumeration, how many products there are, and into how many
    cells they are summed.
    """
    reached = [i * stride + k for i, k in itertools.product(range(sources), range(kernel))]
    return len(reached), len({place for place in reached if place < cells})


def test_the_gradient_of_an_input_that_a_stride_skips() -> None:
    """Conv2d(8, 16, 1, stride=2) reads a quarter of its input; only there are gradients sums."""
    products, sums = products_and_sums(sources=4, kernel=1, stride=2, cells=8)
    batch, inputs, outputs = 2, 8, 16
    expected = batch * inputs * (outputs * products**2 - sums**2)
    assert expected == 3_840
    out, x, weight = torch.Size([2, 16, 4, 4]), torch.Size([2, 8, 8, 8]), torch.Size([16, 8, 1, 1])
    setting = ([2, 2], [0, 0], [1, 1], False, [0, 0], 1)
    cost = cost_of(
        "convolution_backward",
        Call((out, x, weight, None, *setting, (True, False, False)), {}, (x, None, None)),
    )
    assert cost is not None
    assert cost.additions == expected


def test_a_transposed_convolution_that_leaves_gaps() -> None:
    """ConvTranspose2d(8, 2, 1, stride=4) writes one cell of sixteen; the others are zeros."""
    x = torch.randn(1, 8, 4, 4)
    layer = torch.nn.ConvTranspose2d(8, 2, 1, stride=4, bias=False)
    products, sums = products_and_sums(sources=4, kernel=1, stride=4, cells=13)
    expected = 2 * (8 * products**2 - sums**2)
    assert expected == 224
    assert profile_step(lambda: layer(x)).ops.additions == expected


@pytest.mark.parametrize(("kernel", "stride"), [(1, 3), (2, 3), (3, 3), (3, 2), (3, 1)])
def test_additions_are_those_of_an_enumeration(kernel: int, stride: int) -> None:
    """In one dimension, for strides below and beyond the kernel."""
    layer = torch.nn.ConvTranspose1d(5, 2, kernel, stride=stride, bias=False)
    x = torch.randn(3, 5, 7)
    cells = layer(x).shape[-1]
    products, sums = products_and_sums(sources=7, kernel=kernel, stride=stride, cells=cells)
    found = profile_step(lambda: layer(x)).ops.additions
    assert found == 3 * 2 * (5 * products - sums)
