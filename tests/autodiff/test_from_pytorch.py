"""A PyTorch step as a program: its own numbers to the last bit, memory as the allocator sees it,
and clear refusals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from autodiff import (
    Claims,
    Executable,
    GraphError,
    Schedule,
    ScheduleError,
    StoreAll,
    check_schedule,
)
from autodiff.pytorch import from_pytorch
from profiler import profile
from profiler.audit import audit_storages

F = nn.functional
Step = Callable[..., Any]


def training_step(model: nn.Module, loss_of: Callable[..., torch.Tensor]) -> Step:
    """A step that returns the loss and the gradients of all parameters."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def step(*args: Any) -> Any:
        loss = loss_of(model, *args)
        return loss, torch.autograd.grad(loss, parameters)

    return step


class Tied(nn.Module):
    """A language model in small: the output layer shares the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.layer(self.embedding(ids)) @ self.embedding.weight.T


def in_place(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A loss on the way to which values are written over."""
    h = model(x)
    h.mul_(2).add_(1)
    return torch.tanh_(h).square().sum()


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[..., torch.Tensor], Sequence[Any]]] = {
    "linear": (
        lambda: nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3)),
        lambda model, x, y: F.cross_entropy(model(x), y),
        (torch.randn(5, 4), torch.tensor([0, 1, 2, 1, 0])),
    ),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 2),
        ),
        lambda model, x: model(x).square().mean(),
        (torch.randn(3, 2, 4, 4),),
    ),
    "tied": (
        Tied,
        lambda model, ids: F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()),
        (torch.arange(12).reshape(2, 6) % 11,),
    ),
    "in_place": (lambda: nn.Linear(4, 4), in_place, (torch.randn(3, 4),)),
    "frozen": (
        lambda: nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Tanh(), nn.Linear(4, 2)),
        lambda model, x: model(x).sum(),
        (torch.randn(3, 4),),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_traced_step_gives_its_own_numbers(case: str) -> None:
    """Loss and gradients are equal to the last bit, prediction and tracked storages agree with the
    ledger.
    """
    torch.manual_seed(0)
    make, loss_of, args = CASES[case]
    model = make()
    step = training_step(model, loss_of)
    program = from_pytorch(step, *args, model=model)
    found = profile(program)
    loss, grads = step(*args)
    assert torch.equal(found.loss, loss)
    assert all(
        torch.equal(mine, theirs) for mine, theirs in zip(found.gradients, grads, strict=True)
    )
    audit_storages(program, StoreAll()(program)).raise_if_wrong()
    predicted = profile(program, execute=False)
    assert (predicted.peak_bytes, predicted.peak_by_role, predicted.ops) == (
        found.peak_bytes,
        found.peak_by_role,
        found.ops,
    )
    assert found.parameter_bytes == sum(
        4 * parameter.numel() for parameter in model.parameters() if parameter.requires_grad
    )
    assert found.ops_by_phase["forward"].total > 0
    assert found.ops_by_phase["backward"].total > 0


def test_arguments_may_lie_in_lists_and_dicts() -> None:
    """Tensors are found wherever they lie in the arguments, among what is no tensor; also where
    the step writes in place.
    """
    model = nn.Linear(4, 3)
    step = training_step(
        model, lambda model, parts, scale: in_place(model, scale * parts["x"][0] + parts["bias"])
    )
    args = ({"x": [torch.randn(5, 4)], "bias": torch.ones(4), "name": "unread"}, 2.0)
    program = from_pytorch(step, *args, model=model)
    loss, gradients = step(*args)
    found = profile(program)
    assert torch.equal(found.loss, loss.detach())
    assert all(
        torch.equal(one, other) for one, other in zip(found.gradients, gradients, strict=True)
    )


def test_the_chain_costs_what_the_engine_says() -> None:
    """A chain written in PyTorch has the engine's operations, phase by phase and kind by kind, and
    one element more of peak at most.
    """
    from autodiff import networks

    n, d, b = 3, 5, 7
    network = networks.chain(n, d, b)
    weights = [leaf.value.clone().requires_grad_() for leaf in network.weights]

    def step(x: torch.Tensor) -> Any:
        for weight in weights:
            x = torch.tanh(weight @ x)
        loss = x.sum()
        return loss, torch.autograd.grad(loss, weights)

    traced = profile(from_pytorch(step, network.input.value))
    own = profile(network.loss, network.weights)
    assert traced.ops_by_phase == own.ops_by_phase
    assert traced.matmul_flops == own.matmul_flops
    assert own.peak_bytes <= traced.peak_bytes <= own.peak_bytes + 4
    assert all(
        torch.equal(mine, theirs)
        for mine, theirs in zip(own.gradients, traced.gradients, strict=True)
    )


def test_a_program_runs_on_other_values() -> None:
    """Values of the same shape may be given in the place of the example's."""
    weight = torch.ones(2, 2, requires_grad=True)

    def step(x: torch.Tensor) -> Any:
        loss = (weight @ x).sum()
        return loss, torch.autograd.grad(loss, [weight])

    program = from_pytorch(step, torch.zeros(2, 3))
    x = next(value for value in program.given if program.values[value].role == "input")
    (loss, gradient), _ = Executable(program, StoreAll()(program)).run({x: torch.ones(2, 3)})
    assert loss.item() == 12
    assert gradient.tolist() == [[3, 3], [3, 3]]


def test_a_random_op_without_a_state_is_never_run_again() -> None:
    """A small mask is drawn once: a schedule that would draw it again is refused, and gradients
    fit the loss's own mask.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.5), nn.Linear(16, 16), nn.Dropout(0.5))
    program = from_pytorch(training_step(model, lambda m, x: m(x).sum()), torch.randn(4, 16))
    drawn = [
        i for i, instruction in enumerate(program.instructions) if not instruction.op.repeatable
    ]
    assert len(drawn) == 2
    order = np.array(
        [*range(drawn[0] + 1), drawn[0], *range(drawn[0] + 1, len(program.instructions))]
    )
    with pytest.raises(ScheduleError, match="other numbers"):
        check_schedule(program, Schedule(order, Claims(0, 0, 0)))
    check_schedule(program, StoreAll()(program))


def written_parts(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A value whose parts are written over in several ways."""
    h = x @ weight
    h[:, 0].mul_(2)
    h[1:] += 1
    h[:, 1:3] = x[:, :2].double()
    h[:, ::2].clamp_(max=1.5)
    h.t().add_(1)
    h[0] = 0
    return h.relu_()


def test_writing_over_parts_takes_what_the_allocator_sees() -> None:
    """In-place ops on views give the step's own numbers; the storages that are tracked agree with
    the ledger and with the prediction.
    """
    weight = torch.randn(4, 4, requires_grad=True)

    def step(x: torch.Tensor) -> Any:
        loss = (written_parts(x, weight) @ weight).sum()
        return loss, torch.autograd.grad(loss, [weight])

    x = torch.randn(3, 4)
    program = from_pytorch(step, x)
    loss, (gradient,) = step(x)
    found = profile(program)
    assert torch.equal(found.loss, loss)
    assert torch.equal(found.gradients[0], gradient)
    assert profile(program, execute=False).peak_bytes == found.peak_bytes
    audit_storages(program, StoreAll()(program)).raise_if_wrong()


def branching(x: torch.Tensor) -> Any:
    """A step whose control flow depends on a value."""
    loss = x.sum()
    if loss > 0:
        loss = loss * 2
    return loss


def test_what_cannot_be_traced_is_told_with_its_line() -> None:
    """Branching on values, calling `.backward()`, returning no loss: one line each, with the line
    of the step and the way out.
    """
    weight = torch.ones(3, 3, requires_grad=True)

    def calls_backward(x: torch.Tensor) -> Any:
        loss = (weight @ x).sum()
        loss.backward()
        return loss

    def fails(x: torch.Tensor) -> Any:
        return weight @ x.reshape(2, -1)

    def asks_for_a_number(x: torch.Tensor) -> Any:
        return (weight @ x).sum() * x.max().item()

    def chooses_rows(x: torch.Tensor) -> Any:
        return (weight @ x)[x[:, 0] > 0].sum()

    x = torch.randn(3, 2)
    told = {}
    for step in (
        branching,
        calls_backward,
        fails,
        asks_for_a_number,
        chooses_rows,
        lambda x: weight @ x,
        lambda x: None,
    ):
        with pytest.raises(GraphError) as caught:
            from_pytorch(step, x)
        told[step.__name__] = str(caught.value)
        assert "\n" not in str(caught.value)
        assert "expected" in str(caught.value)
    assert "test_from_pytorch.py" in told["branching"]
    assert "if loss > 0" in told["branching"]
    assert "torch.where" in told["branching"]
    assert "x.max().item()" in told["asks_for_a_number"]
    assert "a number in it, depends on values" in told["asks_for_a_number"]
    assert "x[:, 0] > 0" in told["chooses_rows"]
    assert "a shape in it depends on values" in told["chooses_rows"]
    assert "loss.backward()" in told["calls_backward"]
    assert "torch.autograd.grad" in told["calls_backward"]
    assert "x.reshape(2, -1)" in told["fails"]
    assert weight.grad is None


def test_what_has_no_known_cost_is_listed() -> None:
    """An op that the table lacks is named with its calls, run again or not, and a program of known
    ops lists none.
    """

    def step(x: torch.Tensor) -> Any:
        loss = (
            torch.special.bessel_j1(x.detach()) * torch.special.bessel_j1(x.detach()) * weight
        ).sum()
        return loss, torch.autograd.grad(loss, [weight])

    weight = torch.ones(3, requires_grad=True)
    found = profile(from_pytorch(step, torch.ones(3)))
    assert found.uncounted == {"special_bessel_j1": 2}
    assert "special_bessel_j1, 2 calls" in str(found)
    model = nn.Linear(2, 2)
    assert (
        profile(
            from_pytorch(training_step(model, lambda m, x: m(x).sum()), torch.ones(1, 2))
        ).uncounted
        == {}
    )
