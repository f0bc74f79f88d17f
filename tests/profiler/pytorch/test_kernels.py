"""The bytes of ops whose kernels differ from PyTorch's rules: real, fake, and by the tracker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from autodiff.aten import kernels
from profiler import profile_step
from tests.support.tracker import tracked_peak

Step = Callable[[], Any]


def leaf(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return a tensor that requires gradients, with values between 0 and 1."""
    return torch.rand(*shape, dtype=dtype, requires_grad=True)


def activation(f: Callable[[torch.Tensor], torch.Tensor]) -> Step:
    """Return a step of an activation over 1,000 numbers."""
    x = leaf(1000)
    return lambda: f(x).sum().backward()


def loss(f: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Step:
    """Return a step of a loss over 1,000 numbers."""
    x, y = leaf(1000), torch.rand(1000)
    return lambda: f(x, y).backward()


def folded() -> Step:
    """Return a step that unfolds and folds."""
    x = leaf(4, 2, 12, 12)
    return lambda: functional.fold(functional.unfold(x, 3), (12, 12), 3).sum().backward()


def normalized(make: Callable[[], nn.Module], *shape: int) -> Step:
    """Return the forward pass of a norm with float32 weights over bfloat16 numbers."""
    norm, x = make(), leaf(*shape, dtype=torch.bfloat16)
    return lambda: norm(x).sum().backward()


def of_data(make: Callable[[], nn.Module], *shape: int) -> Step:
    """Return a step of a norm whose input needs no gradient, as in a first layer."""
    norm, x = make(), torch.randn(*shape)
    return lambda: norm(x).sum().backward()


def lstm(inputs: int, training: bool = True) -> Step:
    """Return a step of two LSTM layers, or their forward pass without gradients."""
    layers, x = nn.LSTM(inputs, 64, 2), torch.randn(8, 2, inputs)
    if training:
        return lambda: layers(x)[0].sum().backward()
    return torch.no_grad()(lambda: layers(x)[0])


def sparse_embedding() -> Step:
    """Return a step of an embedding with sparse gradients."""
    table, rows = nn.Embedding(100, 64, sparse=True), torch.randint(0, 100, (8, 64))
    return lambda: table(rows).sum().backward()


CASES: dict[str, tuple[Callable[[], Step], int]] = {
    "silu": (lambda: activation(functional.silu), 4_008),
    "mish": (lambda: activation(functional.mish), 4_008),
    "mse_loss": (lambda: loss(functional.mse_loss), 8_004),
    "smooth_l1_loss": (lambda: loss(functional.smooth_l1_loss), 8_004),
    "soft_margin_loss": (lambda: loss(functional.soft_margin_loss), 8_004),
    "binary_cross_entropy": (lambda: loss(functional.binary_cross_entropy), 8_004),
    "huber_loss": (lambda: loss(functional.huber_loss), 4_008),
    "fold": (folded, 57_608),
    "sparse embedding": (sparse_embedding, 135_176),
    "lstm": (lambda: lstm(3), 322_568),
    "lstm of wide inputs": (lambda: lstm(300), 723_720),
    "lstm, inference": (lambda: lstm(3, training=False), 12_288),
}
NORMS: dict[str, Callable[[], Step]] = {
    "layer_norm": lambda: normalized(lambda: nn.LayerNorm(8), 64, 8),
    "group_norm": lambda: normalized(lambda: nn.GroupNorm(2, 8), 64, 8),
    "batch_norm": lambda: normalized(lambda: nn.BatchNorm1d(8), 64, 8),
    "batch_norm, inference": lambda: normalized(lambda: nn.BatchNorm1d(8).eval(), 64, 8),
    "instance_norm": lambda: normalized(lambda: nn.InstanceNorm1d(8, affine=True), 8, 8, 8),
    "layer_norm of data": lambda: of_data(lambda: nn.LayerNorm(8), 64, 8),
    "group_norm of data": lambda: of_data(lambda: nn.GroupNorm(2, 8), 64, 8),
    "batch_norm of data": lambda: of_data(lambda: nn.BatchNorm1d(8), 64, 8),
    "batch_norm of data, inference": lambda: of_data(lambda: nn.BatchNorm1d(8).eval(), 64, 8),
    "instance_norm of data": lambda: of_data(lambda: nn.InstanceNorm1d(8, affine=True), 8, 8, 8),
}


def fake_peak(make: Callable[[], Step]) -> int:
    """Return the peak of a step on fake tensors."""
    with FakeTensorMode():
        return profile_step(make()).peak_bytes


@pytest.mark.parametrize("name", CASES)
def test_peaks_are_the_kernels(name: str) -> None:
    """The peak is the number that the kernels' buffers give, measured, tracked and predicted."""
    make, right = CASES[name]
    assert profile_step(make()).peak_bytes == tracked_peak(make()) == fake_peak(make) == right


@pytest.mark.parametrize("name", NORMS)
def test_norms(name: str) -> None:
    """A bfloat16 norm with float32 weights keeps float32 statistics, and data get no gradient,
    measured and predicted.
    """
    make = NORMS[name]
    assert profile_step(make()).peak_bytes == tracked_peak(make()) == fake_peak(make)


@pytest.mark.parametrize(
    "name",
    [
        "mse_loss",
        "fold",
        "sparse embedding",
        "lstm",
        "layer_norm",
        "group_norm",
        "batch_norm of data",
    ],
)
def test_without_its_correction_a_prediction_is_wrong(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's own rules give another peak: the comparison would notice a missing correction."""
    make = NORMS[name] if name in NORMS else CASES[name][0]
    right = fake_peak(make)
    for op in kernels.CORRECTIONS:
        monkeypatch.setitem(kernels.CORRECTIONS, op, lambda args, out: out)
    assert fake_peak(make) != right


@pytest.mark.parametrize("f", [functional.silu, functional.mish, functional.hardswish])
def test_an_op_with_a_kernel_is_not_taken_apart(f: Any) -> None:
    """The step's own kernels run: gradients are equal bit for bit, and each op is one call."""
    x = leaf(1000)
    (plain,) = torch.autograd.grad(f(x).sum(), x)
    found = profile_step(lambda: torch.autograd.grad(f(x).sum(), x))
    assert torch.equal(found.gradients[0], plain)
    assert len(found.ledger.phases) == 4


def ops_of(step: Step) -> int:
    """Return the number of calls that were noted."""
    return len(profile_step(step).ledger.phases)


def test_an_op_without_a_kernel_is_taken_apart() -> None:
    """In inference mode a composite op reaches the recorder whole, and is noted as its parts."""
    x, y = torch.randn(3, 4), torch.randn(4, 5)
    with torch.inference_mode():
        found = profile_step(lambda: functional.linear(x, y.t(), torch.ones(5)) @ torch.ones(5))
    assert found.uncounted == {}
    assert found.matmul_flops == 2 * 3 * 4 * 5 + 2 * 3 * 5


@pytest.mark.parametrize(
    "f",
    [
        lambda m: m.transpose(0, 1),
        lambda m: m.permute(1, 0),
        lambda m: m.unsqueeze(0),
        lambda m: m.select(0, 1),
        lambda m: m.t(),
    ],
    ids=["transpose", "permute", "unsqueeze", "select", "t"],
)
def test_views_of_sparse_tensors_copy(f: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """What is a view of a strided tensor is a copy of a sparse one, by the tracker."""
    matrix = torch.eye(8).to_sparse()
    assert profile_step(lambda: f(matrix)).peak_bytes == tracked_peak(lambda: f(matrix)) > 0


def test_parts_of_sparse_tensors_are_views() -> None:
    """Indices and values of a sparse tensor are views, which allocate nothing."""
    matrix = torch.eye(8).to_sparse()
    found = profile_step(lambda m: (m.indices(), m.values()), matrix)
    assert (found.peak_bytes, found.ops.total, found.uncounted) == (0, 0, {})
