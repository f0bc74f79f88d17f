"""`profile_step`: updates and the state of optimisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from profiler import profile_step
from tests.support.torch_chain import D, N, blocks, x

OPTIMIZERS: dict[str, tuple[Callable[[Any], torch.optim.Optimizer], int]] = {
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.1, foreach=False), 0),
    "momentum": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=False), 1),
    "momentum, foreach": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=True), 1),
    "adam": (lambda p: torch.optim.Adam(p, foreach=False), 2),
    "adam, foreach": (lambda p: torch.optim.Adam(p, foreach=True), 2),
    "adamw, fused": (lambda p: torch.optim.AdamW(p, fused=True), 2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizers_state(name: str) -> None:
    """An update is a phase of its own; its state is born in the first step and given in the second;
    nothing is left uncounted.
    """
    make, states = OPTIMIZERS[name]
    model, batch = blocks(), x()
    optimizer = make(model.parameters())

    def step() -> None:
        model(batch).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    first, second = profile_step(step, model=model), profile_step(step, model=model)
    counters = 4 * N if "adam" in name else 0  # the number of steps, a scalar a parameter
    state = states * 4 * N * D * D + counters
    assert first.live_after_bytes == state
    assert first.timeline()["optimizer_state"].max() == state
    assert second.live_after_bytes == 0
    assert second.given_bytes["optimizer_state"] == state
    assert second.ops_by_phase["optimizer"].total >= 2 * N * D * D
    assert second.uncounted == first.uncounted == {}


OTHERS = (
    "Adagrad",
    "Adadelta",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "ASGD",
    "Adafactor",
)


@pytest.mark.parametrize("name", OTHERS)
def test_every_optimizer_of_pytorch_is_counted(name: str) -> None:
    """The optimisers of torch.optim leave no op uncounted; what they keep is their state, and the
    second step finds it.
    """
    model, batch = blocks(), x()
    optimizer = getattr(torch.optim, name)(model.parameters())

    def step() -> None:
        model(batch).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    first, second = profile_step(step, model=model), profile_step(step, model=model)
    kept = [
        tensor
        for state in optimizer.state.values()
        for tensor in state.values()
        if isinstance(tensor, torch.Tensor)
    ]
    state = sum(
        nbytes
        for nbytes in {
            tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in kept
        }.values()
    )
    assert second.given_bytes["optimizer_state"] == state > 0
    assert first.uncounted == second.uncounted == {}


def test_a_scaled_loss_is_counted() -> None:
    """Unscaling gradients and updating the scale, as training in half precision does, leave no op
    uncounted.
    """
    model, batch = blocks(), x()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")

    def step() -> None:
        scaler.scale(model(batch).mean()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    found = profile_step(step, model=model)
    assert found.uncounted == {}
    assert found.ops_by_phase["optimizer"].total == 2 * N * D * D


def test_sgd_counts_its_formula() -> None:
    """u = μu + g, p − ηu: two multiplications and two additions an element after the first step,
    one each in it.
    """
    model, batch = blocks(), x()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=False)

    def step() -> None:
        optimizer.zero_grad()
        model(batch).sum().backward()
        optimizer.step()

    elements = N * D * D
    for times in (1, 2):
        found = profile_step(step, model=model).ops_by_phase["optimizer"]
        assert (found.multiplications, found.additions) == (times * elements, times * elements)
