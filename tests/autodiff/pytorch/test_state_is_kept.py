"""Tracing a step leaves the model, the arguments and the process exactly as they were."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules import module as hooks_of_all_modules
from torch.optim import optimizer as hooks_of_all_optimizers

from autodiff import GraphError
from autodiff.pytorch import from_pytorch
from profiler import planner_savings

F = nn.functional
calls = 0
history: list[Any] = []
average = torch.zeros(8)


class Model(nn.Module):
    """A model with every kind of state: statistics, counters, lists, norms that write, noise."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 8, max_norm=1.0)
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.calls = 0
        self.seen: list[Any] = []
        self.last: torch.Tensor | None = None
        self.register_buffer("average", torch.zeros(8))
        self.generator = torch.Generator().manual_seed(3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the result, and change all state on the way."""
        self.calls += 1
        h = self.drop(self.norm(self.spectral(self.embedding(ids))))
        self.seen.append(h)
        self.last = h
        self.train(False)
        with torch.no_grad():
            self.average.mul_(0.9).add_(h.mean(0), alpha=0.1)
        noise = torch.rand(h.shape, generator=self.generator)
        return h + noise + torch.randn(h.shape)


def step_of(model: Model, end: Callable[[], None]) -> Callable[..., Any]:
    """Return a step that changes everything in reach, and calls `end` before it returns."""
    local = [0]

    def step(ids: torch.Tensor) -> Any:
        global calls, average
        calls += 1
        local[0] += 1
        history.append(calls)
        torch.manual_seed(7)
        np.random.seed(7)
        random.seed(7)
        torch.set_default_dtype(torch.float64)
        loss = model(ids).square().sum()
        average += loss.detach().float()
        model.norm.register_forward_hook(lambda *given: None)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        end()
        return loss, gradients

    step.local = local  # type: ignore[attr-defined]
    return step


def snapshot(model: Model, step: Any) -> dict[str, Any]:
    """Return all state of the model and of the process, tensors as bytes, objects by identity."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), "global": average}
    return {
        "values": {name: one.detach().clone().numpy().tobytes() for name, one in tensors.items()},
        "objects": {name: id(one) for name, one in tensors.items()},
        "versions": {name: one._version for name, one in tensors.items()},
        "gradients": {name: one.grad for name, one in tensors.items()},
        "wants": {name: (one.requires_grad, one.is_leaf) for name, one in tensors.items()},
        "modes": [module.training for module in model.modules()],
        "hooks": [len(module._forward_hooks) for module in model.modules()],
        "attributes": [sorted(module.__dict__) for module in model.modules()],
        "own": (model.calls, list(model.seen), model.last, model.generator.get_state().tolist()),
        "globals": (calls, list(history), list(step.local)),
        "random": (torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())),
        "settings": (
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.is_autocast_cache_enabled(),
            torch.is_anomaly_enabled(),
            torch.are_deterministic_algorithms_enabled(),
        ),
        "hooks of all": (
            len(hooks_of_all_modules._global_forward_pre_hooks),
            len(hooks_of_all_optimizers._global_optimizer_pre_hooks),
        ),
        "modes of dispatch": torch._C._len_torch_dispatch_stack(),
        "modes of functions": torch._C._len_torch_function_stack(),
    }


def fail() -> None:
    """Raise what a step might."""
    raise ValueError("the step fails")


def interrupt() -> None:
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


def go_on() -> None:
    """Let the step return."""


ENDS: dict[str, tuple[Callable[[], None], type[BaseException] | None]] = {
    "returns": (go_on, None),
    "raises": (fail, GraphError),
    "is interrupted": (interrupt, KeyboardInterrupt),
}


@pytest.mark.parametrize("ending", ENDS)
@pytest.mark.parametrize("model_is_named", [True, False])
def test_tracing_leaves_everything_as_it_was(ending: str, model_is_named: bool) -> None:
    """Model, arguments, globals, generators, hooks and settings are what they were before."""
    end, error = ENDS[ending]
    model = Model()
    step = step_of(model, end)
    ids = torch.tensor([1, 2, 3, 4])
    before = snapshot(model, step)
    named = model if model_is_named else None
    if error is None:
        planner_savings(from_pytorch(step, ids, model=named))
    else:
        with pytest.raises(error):
            from_pytorch(step, ids, model=named)
    assert snapshot(model, step) == before


def test_a_second_thread_leaves_everything_as_it_was() -> None:
    """Tracing in a thread of its own changes nothing either, and finds the same program."""
    model = Model()
    step = step_of(model, go_on)
    ids = torch.tensor([1, 2, 3, 4])
    before = snapshot(model, step)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(from_pytorch(step, ids, model=model)))
    thread.start()
    thread.join()
    assert snapshot(model, step) == before
    here = from_pytorch(step, ids, model=model)
    assert [one.op.name for one in found[0].instructions] == [
        one.op.name for one in here.instructions
    ]


def test_the_snapshot_sees_what_a_step_changes() -> None:
    """The same step in eager mode changes nearly every entry of the snapshot."""
    model = Model()
    step = step_of(model, go_on)
    before = snapshot(model, step)
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        step(torch.tensor([1, 2, 3, 4]))
        after = snapshot(model, step)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_rng_state(state[0])
        random.setstate(state[1])
        np.random.set_state(state[2])
    changed = {name for name in before if repr(before[name]) != repr(after[name])}
    assert {"values", "versions", "modes", "hooks", "own", "globals", "random"} <= changed
    assert "settings" in changed


def test_gradients_that_a_step_leaves_are_taken_away() -> None:
    """Gradients stay what they were, whether the step clears them, sets them or differentiates."""
    model = nn.Linear(4, 4)
    model.weight.grad = torch.ones(4, 4)
    kept = model.weight.grad

    def clears(x: torch.Tensor) -> Any:
        model.zero_grad()
        loss = model(x).sum()
        return loss, torch.autograd.grad(loss, list(model.parameters()))

    def calls_backward(x: torch.Tensor) -> Any:
        loss = model(x).sum()
        torch.autograd.backward(loss)
        return loss

    from_pytorch(clears, torch.randn(2, 4))
    with pytest.raises(GraphError, match="expected the gradients as its result"):
        from_pytorch(calls_backward, torch.randn(2, 4))
    assert model.weight.grad is kept
    assert model.bias.grad is None
    assert torch.equal(kept, torch.ones(4, 4))


def test_an_optimizer_within_the_step_keeps_its_state() -> None:
    """The state that an optimizer makes at its first step is gone again."""
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    weight = model.weight.detach().clone()

    def step(x: torch.Tensor) -> Any:
        loss = model(x).sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        for group in optimizer.param_groups:
            group["lr"] *= 0.5
        optimizer.step()
        return loss, gradients

    from_pytorch(step, torch.randn(2, 4))
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert not optimizer.state
    assert torch.equal(model.weight, weight)
