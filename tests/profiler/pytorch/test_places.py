"""Where a call is counted: gradients within checkpoints, updates within backward, deep graphs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from profiler import Profile, profile_step


def totals(found: Profile) -> dict[str, int]:
    """Return the operations of each phase that has any."""
    return {phase: cost.total for phase, cost in found.ops_by_phase.items() if cost.total}


def gradient_in_checkpoint(backward: bool, reentrant: bool = False) -> Callable[[], Any]:
    """Return a step whose checkpointed function takes a gradient, as force fields do."""
    net = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
    points = torch.randn(8, 16, requires_grad=True)

    def force(x: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(net(x).sum(), x, create_graph=True)[0]

    def step() -> None:
        found = checkpoint(force, points, use_reentrant=reentrant)
        if backward:
            found.square().sum().backward()

    return step


# Of one pass over a batch of 8: the layer of 16×16 with its bias, tanh, the layer of 16×1, the sum.
LAYER, TANH, HEAD, SUM = 8 * 16 * 32, 8 * 16, 8 * 32, 7
# The gradients of the head, of tanh, and of the layer, with respect to their inputs.
GRADIENT = 8 * 16 + 3 * 8 * 16 + 8 * 16 * 31


def test_a_gradient_within_a_checkpoint() -> None:
    """The gradient's own pass is backward; what it computes again for that is recompute."""
    found = totals(profile_step(gradient_in_checkpoint(backward=False)))
    assert found == {
        "forward": LAYER + TANH + HEAD + SUM,
        "recompute": LAYER + TANH,
        "backward": GRADIENT,
    }
    assert (found["recompute"], found["backward"]) == (4_224, 4_480)


def test_a_gradient_within_a_checkpoint_that_is_computed_again() -> None:
    """In the outer backward pass all that the function does again is recompute.

    It stops as soon as it has what was saved: before the last product of the inner gradient.
    """
    found = totals(profile_step(gradient_in_checkpoint(backward=True)))
    again = LAYER + TANH + HEAD + SUM + GRADIENT - 8 * 16 * 31
    assert found["recompute"] == LAYER + TANH + again
    assert found["forward"] == LAYER + TANH + HEAD + SUM + 2 * 8 * 16 - 1


def test_updates_within_backward() -> None:
    """What an optimizer does in a post-accumulate hook is its update, not backward."""
    layers, batch = nn.Sequential(*[nn.Linear(16, 16) for _ in range(4)]), torch.randn(8, 16)
    plain = totals(profile_step(lambda: layers(batch).sum().backward()))
    layers.zero_grad()
    optimizers = {p: torch.optim.SGD([p], lr=0.1, momentum=0.9) for p in layers.parameters()}

    def update(parameter: torch.Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in layers.parameters():
        parameter.register_post_accumulate_grad_hook(update)
    layers(batch).sum().backward()
    found = profile_step(lambda: layers(batch).sum().backward(), model=layers)
    assert totals(found) == {**plain, "optimizer": 4 * 4 * (16 * 16 + 16)}
    assert totals(found)["optimizer"] == 4_352
    assert found.timeline()["parameter_gradient"].max() <= 2 * 4 * (16 * 16 + 16)


def test_an_update_that_raises_has_ended() -> None:
    """What runs after an update that an exception ended is not the optimizer's."""
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def fails() -> float:
        raise ZeroDivisionError

    def step() -> None:
        with pytest.raises(ZeroDivisionError):
            optimizer.step(fails)
        with torch.no_grad():
            model(torch.ones(2, 4))

    assert totals(profile_step(step)) == {"forward": 2 * 4 * 8}


def test_a_closure_of_an_optimizer_is_forward_and_backward() -> None:
    """The pass that an optimizer asks for within its update is counted where it belongs."""
    model, batch = nn.Linear(4, 4, bias=False), torch.ones(2, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(batch).sum()
        loss.backward()
        return loss

    found = totals(profile_step(lambda: optimizer.step(closure)))
    assert found == {"forward": 2 * 4 * 7 + 7, "backward": 4 * 4 * 3, "optimizer": 2 * 4 * 4}


DEEP = """
import torch
from profiler import profile_step
weight = torch.randn(2, 2, requires_grad=True)
def step():
    h = torch.ones(2, 2)
    for _ in range(40_000):
        h = torch.sin(h * weight)
    h.sum().backward()
print(len(profile_step(step).ledger.phases))
"""


@pytest.mark.slow
def test_a_deep_graph_is_freed() -> None:
    """80,000 taped ops in a row are measured, and Python lives on."""
    run = subprocess.run([sys.executable, "-c", DEEP], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert int(run.stdout) > 4 * 40_000


def test_nodes_that_are_held_change_no_lifetime() -> None:
    """What a graph of 5,000 nodes saved dies with it, though some of its nodes were held."""
    x = torch.randn(100, requires_grad=True)

    def step() -> torch.Tensor:
        h = x
        for _ in range(5_000):
            h = h.sin()
        (gradient,) = torch.autograd.grad(h.sum(), x, retain_graph=True)
        del h
        return gradient.exp()

    found = profile_step(step)
    timeline = found.timeline()
    assert timeline["live_bytes"].iloc[-1] == found.live_after_bytes == 4 * 100
