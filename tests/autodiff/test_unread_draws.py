"""Random ops whose results nothing reads: they run all the same, since later draws follow them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from autodiff import (
    Budget,
    Executable,
    Optimal,
    Planner,
    Program,
    RecomputeAll,
    Revolve,
    Schedule,
    ScheduleError,
    Selective,
    StoreAll,
    Uniform,
    check_schedule,
)
from autodiff.checkpointing.sizes import peak
from autodiff.pytorch import from_pytorch

F = nn.functional
WIDTH = 16
REPLAYED, KEPT = 128, 8
"""Rows with which a mask takes more bytes than a generator's state, and fewer."""

Step = Callable[[torch.Tensor], tuple[torch.Tensor, Sequence[torch.Tensor]]]


class NoisyGradient(torch.autograd.Function):
    """The identity, whose backward pass draws numbers that it does not use."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        torch.rand(3, 4)
        return gradient * torch.rand(gradient.shape)


@cache
def made(rows: int) -> tuple[Program, Step, torch.Tensor]:
    """Layers with dropout, and draws in between that nothing reads; forward and backward."""
    torch.manual_seed(0)
    layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def step(x: torch.Tensor) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        h = x
        for k, layer in enumerate(layers):
            h = layer(h).tanh()
            if k % 2:
                F.dropout(h.exp(), 0.5)
                torch.rand(2)
            h = F.dropout(h, 0.3)
        loss = NoisyGradient.apply(h).square().sum()  # type: ignore[no-untyped-call]
        return loss, torch.autograd.grad(loss, list(layers.parameters()))

    x = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(1))
    return from_pytorch(step, x, model=layers), step, x


def unread(program: Program) -> list[int]:
    """The random ops whose results nothing reads."""
    read = {read for step in program.instructions for read in step.reads}
    return [
        i
        for i in np.flatnonzero(program.flat.draws & ~program.flat.keeps_state).tolist()
        if read.isdisjoint(program.instructions[i].writes)
    ]


PLANNERS: list[Callable[[Program, int], Planner]] = [
    lambda program, most: StoreAll(),
    lambda program, most: RecomputeAll(),
    lambda program, most: Uniform(2),
    lambda program, most: Revolve(2),
    lambda program, most: Selective(max_bytes=most),
    lambda program, most: Optimal(max_bytes=most),
    lambda program, most: Budget(max_bytes=most),
]


@pytest.mark.parametrize("rows", [REPLAYED, KEPT])
def test_what_is_drawn_is_what_the_step_draws(rows: int) -> None:
    """Under every planner: gradients bit by bit, and the generator is left in the same state."""
    program, step, x = made(rows)
    assert len(unread(program)) == 5  # two after each other layer, one in backward
    torch.manual_seed(3)
    loss, gradients = step(x)
    expected = [loss, *gradients, torch.default_generator.get_state()]
    most = int(0.9 * peak(program, StoreAll()(program)))
    for planner in PLANNERS:
        schedule = planner(program, most)(program)
        check_schedule(program, schedule)
        torch.manual_seed(3)
        values, _ = Executable(program, schedule).run()
        found = [*values, torch.default_generator.get_state()]
        assert all(map(torch.equal, found, expected))


def test_a_schedule_without_an_unread_draw_is_refused() -> None:
    """Left out, it would give what is drawn later other numbers."""
    program, _, _ = made(KEPT)
    schedule = StoreAll()(program)
    without = schedule.order[schedule.order != unread(program)[0]]
    with pytest.raises(ScheduleError, match=r"random op .* never runs, so what is drawn later"):
        check_schedule(program, replace(schedule, order=without))


def test_a_draw_of_the_backward_part_may_be_replayed() -> None:
    """A second run there reads the state and draws the same numbers, as liveness has it."""
    program, step, x = made(REPLAYED)
    flat = program.flat
    (draw,) = np.flatnonzero(flat.replays & (flat.phases == 2)).tolist()
    plain = StoreAll()(program)
    at = plain.order.tolist().index(draw)
    order = np.concatenate([plain.order[:at], [draw - 1, draw, draw], plain.order[at + 1 :]])
    claims = replace(plain.claims, backward=plain.claims.backward + 2)
    torch.manual_seed(3)
    loss, gradients = step(x)
    torch.manual_seed(3)
    values, _ = Executable(program, Schedule(order, claims)).run()
    assert all(map(torch.equal, values, [loss, *gradients]))


def test_no_state_is_kept_where_nothing_is_replayed() -> None:
    """Plans that run no draw again run no instruction that keeps a generator's state."""
    program, _, _ = made(REPLAYED)
    keeps = program.flat.keeps_state
    assert keeps.any()
    plain = peak(program, StoreAll()(program))
    with_replays = 0
    for share in (1.0, 0.95, 0.8, 0.7):
        for family in (Selective, Optimal, Budget):
            order = family(max_bytes=int(share * plain))(program).order
            times = np.bincount(order, minlength=len(keeps))
            draws = np.flatnonzero(program.flat.replays)
            again = draws[times[draws] > 1]
            with_replays += len(again)
            assert set(np.flatnonzero(keeps & (times > 0))) == set(again - 1)
    assert with_replays
