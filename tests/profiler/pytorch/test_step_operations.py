"""`profile_step`: operations, against our engine and formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from autodiff import networks
from profiler import profile, profile_step
from tests.support.torch_chain import ACTIVATIONS, B, Chain, D, N


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_counts_what_the_engine_counts(activation: str) -> None:
    """A chain run by PyTorch has the operations of the same chain in the engine, kind by kind and
    phase by phase.
    """
    net = networks.chain(N, D, B, activation=activation)
    assert (
        profile_step(Chain(activation=activation).step).ops_by_phase
        == profile(net.loss, net.weights).ops_by_phase
    )


def test_counts_cross_entropy_like_the_engine() -> None:
    """So it has with cross-entropy at its end."""
    net = networks.chain(N, D, B, loss="cross_entropy")
    plain, classes = Chain(), torch.randint(0, D, (B,))

    def step() -> Any:
        loss = functional.cross_entropy(plain.output().t(), classes, reduction="sum")
        return torch.autograd.grad(loss, plain.weights)

    assert profile_step(step).ops_by_phase == profile(net.loss, net.weights).ops_by_phase


def test_an_op_that_the_table_lacks_is_listed() -> None:
    """A sort is counted as nothing, and said so with its number of calls, also in print; a step of
    known ops lists nothing.
    """
    values = torch.randn(7)
    found = profile_step(lambda: (values.sort()[0] + values.sort()[0]).sum())
    assert found.uncounted == {"aten.sort.default": 2}
    assert found.ops.total == 7 + 6
    assert "aten.sort.default, 2 calls" in str(found)
    assert profile_step(Chain().step).uncounted == {}


def test_a_custom_op_is_listed() -> None:
    """An op of another library is listed by its name."""
    with torch.library._scoped_library("tapemeasure_test", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda value: value * 2, "CompositeExplicitAutograd")
        found = profile_step(lambda: torch.ops.tapemeasure_test.twice(torch.ones(3)))
    assert found.uncounted == {"tapemeasure_test.twice.default": 1}
