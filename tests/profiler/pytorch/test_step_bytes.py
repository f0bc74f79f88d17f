"""`profile_step`: live bytes, against formulas and what PyTorch is known to hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from experiments.theory.pytorch import pytorch_peak_elements
from profiler import profile_step
from tests.support.torch_chain import B, Chain, D, roles, x


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
@pytest.mark.parametrize(("n", "d", "b"), [(2, 3, 7), (5, 8, 6), (4, 8, 2), (9, 3, 8)])
def test_peaks_are_those_of_the_formulas(activation: str, n: int, d: int, b: int) -> None:
    """The peak of every mode is the formula's to the last element."""
    chain = Chain(n, d, b, activation)
    w = chain.weights

    def no_grad() -> torch.Tensor:
        with torch.no_grad():
            return chain.loss()

    found = {
        ("no_grad", None): profile_step(no_grad),
        ("forward", None): profile_step(chain.loss),
        ("full", None): profile_step(chain.step),
        ("w1_only", None): profile_step(lambda: with_gradients_of(chain, w[:1])),
        ("only", n): profile_step(lambda: with_gradients_of(chain, w[-1:])),
    }
    for (mode, wrt), measured in found.items():
        assert measured.peak_bytes == 4 * pytorch_peak_elements(mode, n, d, b, activation, wrt), (
            mode,
            wrt,
        )
        assert sum(measured.peak_by_role.values()) == measured.peak_bytes
    area = b * d
    after = 4 * (((2 * n - 1) if activation == "gelu" else n) * area + 1)
    assert found["forward", None].live_after_bytes == after
    assert found["full", None].live_after_bytes == 4 * n * d**2


def with_gradients_of(chain: Chain, wanted: list[torch.Tensor]) -> Any:
    """A step of a chain in which the other weights are frozen."""
    for weight in chain.weights:
        weight.requires_grad_(any(weight is one for one in wanted))
    try:
        return torch.autograd.grad(chain.loss(), wanted)
    finally:
        for weight in chain.weights:
            weight.requires_grad_()


def test_what_a_variable_holds_counts() -> None:
    """A local variable that holds the last activation through the backward pass costs its bytes:
    the checker sees lifetimes, not ops.
    """
    chain = Chain()

    def step() -> Any:
        h = chain.output()
        return torch.autograd.grad(h.sum(), chain.weights)

    assert profile_step(step).peak_bytes > profile_step(chain.step).peak_bytes
    held = profile_step(step).alive_at_peak()
    assert "because something still holds it, though no op reads it any more" in set(held["why"])


def test_what_existed_before_is_left_out() -> None:
    """Parameters, inputs, buffers and gradients from before are reported by role and are not in the
    peak.
    """
    model = nn.Sequential(nn.Linear(D, D), nn.BatchNorm1d(D))
    batch = x()
    model(batch).sum().backward()
    found = profile_step(lambda: model(batch).sum().backward(), model=model)
    assert found.parameter_bytes == found.given_bytes["parameter"] == 4 * (D * D + 3 * D)
    assert found.given_bytes["buffer"] == 4 * 2 * D + 8
    assert found.input_bytes == 4 * B * D
    assert found.given_bytes["parameter_gradient"] == found.parameter_bytes
    assert found.live_after_bytes == 0
    assert roles(found).keys() <= {"activation", "gradient", "temporary"}


def test_arguments_are_inputs() -> None:
    """A tensor that is passed and never read is an input all the same; a bare leaf that requires
    gradients is a parameter.
    """
    weight, unread = torch.randn(3, 3, requires_grad=True), torch.randn(100)
    found = profile_step(
        lambda w, data: (w @ data["x"]).sum().backward(),
        weight,
        {"x": torch.ones(3, 2), "unread": unread},
    )
    assert (found.parameter_bytes, found.input_bytes) == (36, 24 + 400)
    assert found.peak_by_role["parameter_gradient"] == 36


def test_views_and_in_place_ops_allocate_nothing() -> None:
    """Of a product, its view, and an activation written into it one buffer lives."""
    weight, batch = torch.randn(D, D), torch.randn(D, B)

    def step() -> torch.Tensor:
        h = (weight @ batch).relu_()
        h.t()[1:].add_(1)
        return h.view(-1)

    found = profile_step(step)
    assert found.peak_bytes == found.live_after_bytes == 4 * D * B
    assert found.ops.total == D * B * (2 * D - 1) + D * B + (B - 1) * D


def test_tied_weights_accumulate() -> None:
    """A weight used twice is one parameter; its two shares of gradient are temporaries, their sum
    its gradient.
    """
    weight, batch = torch.randn(D, D, requires_grad=True), torch.randn(D, B)
    found = profile_step(lambda: (weight @ (weight @ batch)).sum().backward())
    assert found.parameter_bytes == 4 * D * D
    assert found.live_after_bytes == 4 * D * D
    last = found.timeline().iloc[-1]
    assert (last["parameter_gradient"], last["live_bytes"]) == (4 * D * D, 4 * D * D)
    assert found.timeline()["temporary"].max() == 2 * 4 * D * D


def test_accumulating_into_a_gradient_makes_a_temporary() -> None:
    """A second backward pass in one step adds to the gradient that the first left; its own is a
    temporary.
    """
    chain = Chain(1)

    def step() -> None:
        chain.loss().backward()
        chain.loss().backward()

    timeline = profile_step(step).timeline()
    assert timeline["parameter_gradient"].max() == timeline["temporary"].max() == 4 * D * D


def test_literals_and_resized_storages() -> None:
    """A tensor made from a literal is born in the step; a result that an op resizes is counted at
    its new size.
    """
    literal = profile_step(lambda: torch.tensor([1.0, 2.0, 3.0]))
    assert (literal.live_after_bytes, literal.input_bytes) == (12, 0)
    with FakeTensorMode():
        literal = profile_step(lambda: torch.tensor([1.0, 2.0, 3.0]))
    assert (literal.live_after_bytes, literal.input_bytes) == (12, 0)

    def step() -> torch.Tensor:
        out = torch.empty(0)
        torch.add(torch.ones(5), 1, out=out)
        return out

    assert profile_step(step).live_after_bytes == 20


def test_a_sparse_gradient_is_its_indices_and_values() -> None:
    """The gradient of a sparse embedding lives in the indices and values of the rows that were
    read, however large the table.
    """
    model = nn.Embedding(1000, 4, sparse=True)
    rows = torch.tensor([3, 1, 4, 1, 5])
    found = profile_step(lambda: model(rows).sum().backward(), model=model)
    assert found.peak_by_role["parameter_gradient"] >= found.live_after_bytes == 5 * 8 + 5 * 4 * 4
    assert found.uncounted == {}
    assert model.weight.grad is not None
    assert model.weight.grad.layout is torch.sparse_coo


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_sparse_arguments_are_inputs() -> None:
    """A sparse matrix that a step reads is an input of its indices and values."""
    places, values = torch.arange(3), torch.ones(3)
    by_place = torch.sparse_coo_tensor(
        torch.stack([places, places]), values, (3, 3), check_invariants=True
    )
    by_row = torch.sparse_csr_tensor(torch.arange(4), places, values, (3, 3), check_invariants=True)
    for matrix, held in ((by_place, 2 * 3 * 8 + 3 * 4), (by_row, 4 * 8 + 3 * 8 + 3 * 4)):
        assert profile_step(lambda m: m @ torch.ones(3, 2), matrix).input_bytes == held
