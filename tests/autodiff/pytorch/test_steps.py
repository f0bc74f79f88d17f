"""Steps of every kind, traced and run: eager's numbers, predicted peaks, tracked
storages, cells.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from autodiff import GraphError, PlannerError, Revolve, StoreAll, Uniform, find_cells
from autodiff.instructions import BACKWARD, FORWARD
from autodiff.pytorch import from_pytorch
from profiler import planner_savings, profile, profile_schedule, savings_text
from profiler.audit import audit_storages

F = nn.functional
Case = tuple[Callable[..., Any], Sequence[Any]]


def step_of(model: nn.Module, loss_of: Callable[..., torch.Tensor], *further: Any) -> Any:
    """Return a step that differentiates by all parameters of a model, and by further tensors."""
    wanted = [*(one for one in model.parameters() if one.requires_grad), *further]

    def step(*args: Any) -> Any:
        loss = loss_of(model, *args)
        return loss, torch.autograd.grad(loss, wanted)

    return step


def layers(n: int = 5, d: int = 8) -> nn.Sequential:
    """Return n layers with tanh."""
    return nn.Sequential(*[one for _ in range(n) for one in (nn.Linear(d, d), nn.Tanh())])


class Masked(torch.autograd.Function):
    """A relu that saves its mask, which only the backward pass reads."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """Save the mask."""
        mask = x > 0
        ctx.save_for_backward(mask)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Read the mask."""
        (mask,) = ctx.saved_tensors
        return gradient * mask


class Fourier(nn.Module):
    """A layer that writes into a part of a complex tensor, as Fourier neural operators do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, dtype=torch.cfloat))
        self.around = nn.Conv1d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's result."""
        modes = torch.fft.rfft(x)
        out = torch.zeros_like(modes)
        out[:, :, :3] = torch.einsum("bix,iox->box", modes[:, :, :3], self.weight)
        return F.gelu(torch.fft.irfft(out, n=x.shape[-1]) + self.around(x))


def autocast() -> Case:
    """Weights that are used three times under autocast are cast once."""

    def loss_of(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(model(model(x))).float().sum()

    return step_of(layers(1), loss_of), (torch.randn(4, 8),)


def masked() -> Case:
    """A custom function whose mask only backward reads."""

    def loss_of(model: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
        for layer in model:
            x = Masked.apply(layer(x))
        return x.sum()

    model = nn.Sequential(*[nn.Linear(8, 8) for _ in range(4)])
    return step_of(model, loss_of), (torch.randn(64, 8),)


def written_over() -> Case:
    """A product in place, of which backward reads the older value."""

    def loss_of(model: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
        h = model[0](x)
        return model[1](h.clone().mul_(torch.sigmoid(h))).square().sum()

    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    return step_of(model, loss_of), (torch.randn(4, 8),)


def spectral(make: Callable[[nn.Module], nn.Module]) -> Case:
    """A layer under a spectral norm, which writes into its buffers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older norm is deprecated
        model = nn.Sequential(make(nn.Linear(8, 8)), nn.Tanh(), nn.Linear(8, 2))
    return step_of(model, lambda model, x: model(x).sum()), (torch.randn(4, 8),)


def moving_average() -> Case:
    """A moving average of the weights, kept within the step."""
    model, average = nn.Linear(8, 8), nn.Linear(8, 8).requires_grad_(False)

    def step(x: torch.Tensor) -> Any:
        loss = model(x).square().sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for kept, new in zip(average.parameters(), model.parameters(), strict=True):
                kept.mul_(0.9).add_(new, alpha=0.1)
        return loss, gradients

    return step, (torch.randn(4, 8),)


def matrix(function: Callable[[torch.Tensor], torch.Tensor]) -> Case:
    """A function of a well-conditioned matrix."""
    weight = (torch.randn(4, 4) + 5 * torch.eye(4)).requires_grad_()

    def step(x: torch.Tensor) -> Any:
        loss = function(weight * x).sum()
        return loss, torch.autograd.grad(loss, [weight])

    return step, (torch.rand(4, 4) + 0.5,)


def folded() -> Case:
    """Windows taken apart and put together; the op's buffer is larger than its result."""
    x = torch.randn(4, 2, 12, 12, requires_grad=True)

    def step() -> Any:
        loss = F.fold(F.unfold(x, 3), (12, 12), 3).sum()
        return loss, torch.autograd.grad(loss, [x])

    return step, ()


def norm(model: nn.Module, *shape: int) -> Case:
    """A norm of a bfloat16 input, with its gradient, with float32 weights."""
    x = torch.randn(shape).bfloat16().requires_grad_()
    return step_of(model, lambda model, x: model(x).float().square().sum(), x), (x,)


def penalty() -> Case:
    """A loss with the gradient by the input in it."""
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))

    def loss_of(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = model(x)
        (slope,) = torch.autograd.grad(y.sum(), [x], create_graph=True)
        return (y.square() + slope.square().sum(1, keepdim=True)).mean()

    return step_of(model, loss_of), (torch.randn(8, 4, requires_grad=True),)


def recurrent(model: nn.Module) -> Case:
    """The outputs of a recurrent layer, whose gates are computed in place on parts of a tensor."""
    step = step_of(model, lambda model, x: model(x)[0].square().sum())
    return step, (torch.randn(3, 4, 6),)


def cells(cell: nn.Module) -> Case:
    """Four steps of a recurrent cell."""

    def loss_of(cell: nn.Module, x: torch.Tensor) -> torch.Tensor:
        state = None
        for one in x:
            state = cell(one, state)
        assert state is not None
        return (state[0] if isinstance(state, tuple) else state).square().sum()

    return step_of(cell, loss_of), (torch.randn(4, 4, 6),)


def plain(model: nn.Module, *args: Any) -> Case:
    """Return the sum of a model's result."""
    return step_of(model, lambda model, *args: model(*args).sum()), args


def column_written(a: torch.Tensor) -> torch.Tensor:
    """Return a matrix with the exponential of a column in place, which backward reads."""
    a = a + 1
    a[:, 1].exp_()
    return a.square()


CASES: dict[str, Callable[[], Case]] = {
    "autocast": autocast,
    "mask for backward": masked,
    "written over": written_over,
    "fourier": lambda: plain(nn.Sequential(Fourier(), Fourier()), torch.randn(2, 4, 16)),
    "spectral norm": lambda: spectral(nn.utils.parametrizations.spectral_norm),
    "older spectral norm": lambda: spectral(nn.utils.spectral_norm),
    "embedding with max_norm": lambda: plain(
        nn.Sequential(nn.Embedding(10, 8, max_norm=1.0), nn.Linear(8, 2)), torch.arange(4)
    ),
    "moving average": moving_average,
    "batch norm first": lambda: plain(
        nn.Sequential(nn.BatchNorm1d(8), *layers(3)), torch.randn(64, 8)
    ),
    "instance norm first": lambda: plain(
        nn.Sequential(nn.InstanceNorm1d(4, affine=True), nn.Conv1d(4, 4, 1)), torch.randn(3, 4, 8)
    ),
    "inverse": lambda: matrix(torch.linalg.inv),
    "cholesky": lambda: matrix(lambda a: torch.linalg.cholesky(a @ a.mT)),
    "solve": lambda: matrix(lambda a: torch.linalg.solve(a, a + 1)),
    "lu_factor": lambda: matrix(lambda a: torch.linalg.lu_factor(a)[0]),
    "fold": folded,
    "bag of embeddings": lambda: plain(
        nn.Sequential(nn.EmbeddingBag(10, 8), nn.Linear(8, 2)), torch.arange(6).view(2, 3)
    ),
    "layer norm": lambda: norm(nn.LayerNorm(8), 64, 8),
    "group norm": lambda: norm(nn.GroupNorm(2, 8), 64, 8),
    "batch norm": lambda: norm(nn.BatchNorm1d(8), 64, 8),
    "batch norm in eval": lambda: norm(nn.BatchNorm1d(8).eval(), 64, 8),
    "instance norm": lambda: norm(nn.InstanceNorm1d(8, affine=True), 4, 8, 16),
    "gradient penalty": penalty,
    "GRU": lambda: recurrent(nn.GRU(6, 8, batch_first=True, bidirectional=True)),
    "LSTM": lambda: recurrent(nn.LSTM(6, 8)),
    "RNN": lambda: recurrent(nn.RNN(6, 8, bias=False)),
    "GRU cells": lambda: cells(nn.GRUCell(6, 6)),
    "LSTM cells": lambda: cells(nn.LSTMCell(6, 6)),
    "column written": lambda: matrix(column_written),
    "silu": lambda: plain(nn.Sequential(nn.Linear(8, 8), nn.SiLU(), nn.Mish()), torch.randn(4, 8)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_step_has_eager_numbers(name: str) -> None:
    """Loss and gradients equal eager's to the last bit; prediction and tracked storages agree."""
    torch.manual_seed(0)
    step, args = CASES[name]()
    program = from_pytorch(step, *args)
    found, predicted = profile(program), profile(program, execute=False)
    loss, gradients = step(*args)
    assert torch.equal(found.loss, loss.detach())
    assert all(
        torch.equal(mine, theirs) for mine, theirs in zip(found.gradients, gradients, strict=True)
    )
    assert found.peak_bytes == predicted.peak_bytes
    audit_storages(program, StoreAll()(program)).raise_if_wrong()


def test_forward_is_what_ran_before_backward_began() -> None:
    """A mask that only backward reads is of the forward pass, and the step is planned."""
    step, args = masked()
    program = from_pytorch(step, *args)
    phases = [one.phase for one in program.instructions]
    assert phases == sorted(phases, key=(FORWARD, BACKWARD).index)
    masks = [one for one in program.instructions if one.op.name == "gt"]
    assert [mask.phase for mask in masks] == [FORWARD] * 4
    assert len(find_cells(program)) == 4
    assert profile_schedule(program, Revolve(1)(program)).peak_bytes < profile(program).peak_bytes


def test_recurrent_cells_are_planned() -> None:
    """Gates written in place, of which only backward reads some, hinder no plan of the cells."""
    step, args = cells(nn.GRUCell(6, 6))
    program = from_pytorch(step, *args)
    assert len(find_cells(program)) == 5
    kept = profile(program)
    found = profile_schedule(program, Revolve(1)(program))
    assert found.peak_bytes < kept.peak_bytes
    assert all(
        torch.equal(one, other) for one, other in zip(kept.gradients, found.gradients, strict=True)
    )


def test_weights_are_cast_once_under_autocast() -> None:
    """Each of two parameters that are used three times is cast to bfloat16 once."""
    step, args = autocast()
    program = from_pytorch(step, *args)
    parameters = {value for value in program.given if program.values[value].role == "parameter"}
    casts = [
        one
        for one in program.instructions
        if one.op.name == "_to_copy" and not parameters.isdisjoint(one.reads)
    ]
    assert len(casts) == 2


def beginning(kind: str) -> Case:
    """Return a step of five layers that starts from something else than plain data."""
    model = layers()
    constant = nn.Parameter(torch.randn(64, 8))
    x = torch.randn(64, 8, requires_grad=True)
    if kind == "drawn, with labels":
        model.append(nn.Linear(8, 1))
        bce = F.binary_cross_entropy_with_logits
        step = step_of(model, lambda model, y: bce(model(torch.randn(64, 8)), y))
        return step, (torch.ones(64, 1),)
    return {
        "data": (step_of(model, lambda model, x: model(x).sum()), (torch.randn(64, 8),)),
        "input with a gradient": (step_of(model, lambda model, x: model(x).sum(), x), (x,)),
        "drawn": (step_of(model, lambda model: model(torch.randn(64, 8)).sum()), ()),
        "constant": (step_of(model, lambda model: model(torch.ones(64, 8)).sum()), ()),
        "learned constant": (step_of(model, lambda model: model(constant).sum(), constant), ()),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("data", 5),
        ("input with a gradient", 5),
        ("drawn", 5),
        ("drawn, with labels", 6),
        ("constant", 5),
        ("learned constant", 5),
    ],
)
def test_a_chain_may_start_from_anything(kind: str, cells: int) -> None:
    """Each layer is a cell, every plan gives equal gradients, and the peak falls."""
    torch.manual_seed(0)
    step, args = beginning(kind)
    program = from_pytorch(step, *args)
    assert len(find_cells(program)) == cells
    torch.manual_seed(1)
    kept = profile(program)
    for planner in (Revolve(1), Revolve(2), Uniform(2)):
        torch.manual_seed(1)
        found = profile_schedule(program, planner(program))
        assert all(
            torch.equal(one, other)
            for one, other in zip(kept.gradients, found.gradients, strict=True)
        )
        assert found.peak_bytes <= kept.peak_bytes
    assert " lowers the peak from " in savings_text(planner_savings(program))


def test_a_model_without_memory_is_traced() -> None:
    """Parameters and inputs that are fake already give the program of real ones."""
    with FakeTensorMode():
        fake, x = nn.Sequential(nn.BatchNorm1d(8), *layers(3)), torch.empty(64, 8)
    real = nn.Sequential(nn.BatchNorm1d(8), *layers(3))
    programs = [
        from_pytorch(step_of(model, lambda model, x: model(x).sum()), given, model=model)
        for model, given in ((fake, x), (real, torch.randn(64, 8)))
    ]
    peaks = [profile(program, execute=False).peak_bytes for program in programs]
    assert peaks[0] == peaks[1]
    assert [one.op.name for one in programs[0].instructions] == [
        one.op.name for one in programs[1].instructions
    ]


def test_what_cannot_be_traced_is_refused_in_one_line() -> None:
    """Sparse tensors, ops with functions, shared memory that is written: each in one clear line."""
    weight = torch.ones(4, 4, requires_grad=True)
    whole = torch.zeros(4, 4)
    part = whole[:2]

    def sparse() -> Any:
        loss = weight.to_sparse().coalesce().values().sum()
        return loss, torch.autograd.grad(loss, [weight])

    def shared() -> Any:
        part.add_(1)
        loss = (weight * whole).sum()
        return loss, torch.autograd.grad(loss, [weight])

    for step, says in ((sparse, "torch.sparse_coo"), (shared, "two tensors from outside")):
        with pytest.raises(GraphError, match=says) as refused:
            from_pytorch(step)
        assert "\n" not in str(refused.value)
        assert "expected" in str(refused.value)
    assert torch.equal(whole, torch.zeros(4, 4))


def test_a_chain_of_empty_tensors_is_planned() -> None:
    """Budgets of operations and of bytes hold on a batch of none, where plans take no
    operations.
    """
    step, args = plain(layers(), torch.randn(0, 8))
    program = from_pytorch(step, *args)
    for planner in (Revolve(max_ops_ratio=1), Revolve(max_ops_ratio=1.3), Revolve(2)):
        found = profile_schedule(program, planner(program))
        assert [gradient.abs().sum().item() for gradient in found.gradients] == [0.0] * 10
    with pytest.raises(PlannerError, match="the least is"):
        Revolve(max_bytes=1)(program)
