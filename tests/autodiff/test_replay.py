"""Random ops that run again from the state that was kept: the same numbers, by every planner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from autodiff.check import check_schedule
from autodiff.checkpointing.optimal import Optimal
from autodiff.checkpointing.parse import Planner
from autodiff.checkpointing.recompute_all import RecomputeAll
from autodiff.checkpointing.revolve import Revolve
from autodiff.checkpointing.selective import Selective
from autodiff.checkpointing.store_all import StoreAll
from autodiff.checkpointing.uniform import Uniform
from autodiff.errors import ScheduleError
from autodiff.executable import Executable
from autodiff.liveness import lifetimes
from autodiff.program import Program
from autodiff.pytorch.tracing import from_pytorch
from autodiff.schedule import Claims, Schedule
from experiments.measuring import architectures
from profiler.audit import audit_storages
from profiler.graphs import profile_schedule
from tests.support.torch_models import gpt2, training_step

STATE = torch.default_generator.get_state().nbytes
ROWS, WIDTH = 128, 16  # a mask takes 8,192 bytes, more than a state


class OwnNoise(nn.Module):
    """Noise from a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.empty_like(x).uniform_(0.5, 1.5, generator=self.generator)


def network(*extra: type[nn.Module], depth: int = 4) -> nn.Sequential:
    """Linear layers, each with a tanh, dropout and modules of the given kinds."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Dropout(0.3), *(kind() for kind in extra)]
    return nn.Sequential(*layers)


def normed() -> nn.Module:
    """A batch norm of the network's width."""
    return nn.BatchNorm1d(WIDTH)


def step_of(model: nn.Module) -> Any:
    """A step that returns the loss and the gradients."""

    def step(x: torch.Tensor) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        loss = model(x).square().sum()
        return loss, torch.autograd.grad(loss, list(model.parameters()))

    return step


def traced(model: nn.Module, rows: int = ROWS) -> tuple[Program, torch.Tensor]:
    """The program of the step, and its input."""
    x = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(1))
    return from_pytorch(step_of(model), x, model=model), x


def draws(program: Program) -> list[int]:
    """The instructions that draw and can be replayed."""
    return np.flatnonzero(program.flat.replays).tolist()  # type: ignore[no-any-return]


def seeded(model: nn.Module) -> None:
    """Seed the default generator and the model's own."""
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, OwnNoise):
            module.generator.manual_seed(4)


def states(model: nn.Module) -> list[torch.Tensor]:
    """The states of all generators of a step."""
    own = [module.generator for module in model.modules() if isinstance(module, OwnNoise)]
    return [generator.get_state() for generator in (torch.default_generator, *own)]


def ran(model: nn.Module, program: Program, schedule: Schedule) -> list[torch.Tensor]:
    """What a schedule gives, and the states of the generators after it."""
    seeded(model)
    values, _ = Executable(program, schedule).run()
    return [*values, *states(model)]


def stepped(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """The same of the step itself, by PyTorch."""
    seeded(model)
    loss, gradients = step_of(model)(x)
    return [loss, *gradients, *states(model)]


def equal(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    """Whether tensors are equal bit by bit."""
    return len(one) == len(other) and all(map(torch.equal, one, other))


PLANNERS = [RecomputeAll(), Uniform(2), Revolve(2), Selective(max_ops_ratio=1.5)]


@pytest.mark.parametrize("planner", PLANNERS, ids=str)
@pytest.mark.parametrize("extra", [(), (OwnNoise,), (OwnNoise, OwnNoise)], ids=len)
def test_what_is_drawn_again_is_the_same(planner: Planner, extra: Sequence[Any]) -> None:
    """Gradients are PyTorch's bit by bit, and every generator ends where the step leaves it."""
    model = network(*extra)
    program, x = traced(model)
    schedule = planner(program)
    assert len(draws(program)) == 4 * (1 + len(extra))
    assert schedule.order.tolist().count(draws(program)[0]) > 1
    assert equal(ran(model, program, schedule), stepped(model, x))
    measured, predicted = (
        profile_schedule(program, schedule, execute=execute) for execute in (True, False)
    )
    assert measured.peak_bytes == predicted.peak_bytes
    assert measured.peak_bytes < profile_schedule(program, StoreAll()(program)).peak_bytes
    audit_storages(program, schedule).raise_if_wrong()


def test_the_chain_planned_optimally_draws_again() -> None:
    """Within four tenths of the peak masks are drawn again, bit by bit the same."""
    model = network(depth=6)
    program, x = traced(model, 4 * ROWS)
    plain = profile_schedule(program, StoreAll()(program), execute=False).peak_bytes
    schedule = Optimal(max_bytes=2 * plain // 5)(program)
    assert profile_schedule(program, schedule).peak_bytes <= 2 * plain // 5
    assert len(schedule.order) > len(set(schedule.order.tolist()))
    assert any(schedule.order.tolist().count(i) > 1 for i in draws(program))
    assert equal(ran(model, program, schedule), stepped(model, x))


@pytest.mark.slow
def test_gpt2_with_dropout_trains_in_less_memory_bit_by_bit() -> None:
    """A small GPT-2 within half its peak draws masks again, and gives PyTorch's gradients."""
    torch.manual_seed(0)
    model, loss_of, args = gpt2(0.1, layers=2, seq=64)
    step = training_step(model, loss_of)
    program = from_pytorch(step, *args, model=model)
    plain = profile_schedule(program, StoreAll()(program), execute=False).peak_bytes
    schedule = Optimal(max_bytes=plain // 2)(program)
    order = schedule.order.tolist()
    assert any(order.count(i) > 1 for i in draws(program))
    assert profile_schedule(program, schedule).peak_bytes <= plain // 2
    seeded(model)
    loss, gradients = step(*args)
    assert equal(ran(model, program, schedule), [loss, *gradients, *states(model)])


@pytest.mark.slow
def test_gpt2_with_dropout_fits_into_a_fifth_for_a_seventh_more_operations() -> None:
    """Twelve layers, of which masks took half of the least peak while they had to be kept."""
    torch.manual_seed(0)
    program = architectures.gpt2(dropout=0.1).program()
    plain = profile_schedule(program, StoreAll()(program), execute=False)
    schedule = Optimal(max_bytes=plain.peak_bytes // 5)(program)
    found = profile_schedule(program, schedule, execute=False)
    assert found.peak_bytes <= plain.peak_bytes // 5
    assert found.ops.total <= 1.15 * plain.ops.total


def test_a_run_within_fork_rng_leaves_the_outer_numbers() -> None:
    """Within `fork_rng` replays draw the same, and what is drawn after it is as if none had run."""
    model = network()
    program, _ = traced(model)
    plain, replayed = StoreAll()(program), RecomputeAll()(program)
    found = []
    for schedule in (plain, replayed):
        torch.manual_seed(7)
        with torch.random.fork_rng():
            values, _ = Executable(program, schedule).run()
            values.append(torch.rand(3))
        found.append([*values, torch.rand(3)])
    assert equal(*found)
    torch.manual_seed(7)
    assert torch.equal(found[0][-1], torch.rand(3))


def test_running_statistics_are_left_alone() -> None:
    """Batch norms and dropout that run again leave the running statistics as they were."""
    model = network(normed)  # type: ignore[arg-type]  # a function of no argument, as a class is
    program, x = traced(model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    found = ran(model, program, RecomputeAll()(program))
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    assert equal(found, stepped(model, x))


def test_kept_states_are_in_the_ledger() -> None:
    """Each state is a buffer of its bytes, from the first draw to the last replay."""
    program, _ = traced(network())
    schedule = RecomputeAll()(program)
    lives = lifetimes(program, schedule)
    kept = {program.instructions[i - 1].writes[0] for i in draws(program)}
    order = schedule.order.tolist()
    for ledger in (
        profile_schedule(program, schedule, execute=execute).ledger for execute in (True, False)
    ):
        for owner, born, dies, nbytes in zip(
            lives.owner.tolist(), lives.born.tolist(), lives.dies.tolist(), ledger.nbytes,
            strict=True,
        ):  # fmt: skip
            if owner in kept:
                draw = order[born] + 1
                assert nbytes == STATE
                replays = [at for at, i in enumerate(order) if i == draw][1:]
                assert dies == max(replays, default=born)


def test_a_plain_step_keeps_no_state() -> None:
    """Plain backpropagation runs no instruction that keeps a state."""
    program, _ = traced(network())
    order = StoreAll()(program).order.tolist()
    names = [program.instructions[i].op.name for i in order]
    assert "generator_state" not in names
    assert len(order) == len(program.instructions) - 4


def test_a_mask_of_fewer_bytes_than_a_state_is_kept() -> None:
    """Where a mask takes no more than a state would, it is drawn once."""
    model = network()
    for rows, can_be_replayed in ((STATE // 4 // WIDTH, False), (STATE // 4 // WIDTH + 1, True)):
        program = from_pytorch(step_of(model), torch.randn(rows, WIDTH), model=model)
        assert bool(draws(program)) == can_be_replayed


def again(program: Program, instruction: int, order: Sequence[int]) -> Schedule:
    """A schedule that runs one instruction a second time, at the end of the forward part."""
    steps = list(order)
    at = next(at for at, i in enumerate(steps) if program.instructions[i].phase == "backward")
    steps.insert(at, instruction)
    forward = sum(program.instructions[i].phase == "forward" for i in order)
    claims = Claims(forward, 1, len(order) - forward)
    return Schedule(np.array(steps), claims)


def test_a_draw_without_its_state_is_refused() -> None:
    """A random op may run again only where its state was kept."""
    program, _ = traced(network())
    draw, everything = draws(program)[0], range(len(program.instructions))
    reads = program.instructions[draw].first_reads
    makes_reads = [i for i in everything if set(program.instructions[i].writes) & set(reads)]
    assert makes_reads
    check_schedule(program, again(program, draw, everything))
    with pytest.raises(ScheduleError, match=r"from generator_state.*not computed yet"):
        check_schedule(program, again(program, draw, StoreAll()(program).order.tolist()))
    with pytest.raises(ScheduleError, match=r"generator_state again.*other numbers"):
        check_schedule(program, again(program, draw - 1, everything))


def with_state_of(program: Program, draw: int, other: int) -> Program:
    """The program, but one draw is replayed from the state of another."""
    instructions = list(program.instructions)
    state = instructions[other].reads[-1]
    instructions[draw] = instructions[draw]._replace(reads=(*instructions[draw].first_reads, state))
    return replace(program, instructions=tuple(instructions))


def test_the_state_of_another_draw_is_refused_and_would_give_other_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A replay from a state that was kept for another op is illegal; unchecked, it is wrong."""
    model = network()
    program, _ = traced(model)
    first, second = draws(program)[:2]
    wrong = with_state_of(program, second, first)
    schedule = RecomputeAll()(program)
    with pytest.raises(ScheduleError, match="of another random op, and would give other numbers"):
        check_schedule(wrong, schedule)
    monkeypatch.setattr("autodiff.liveness.faults_of_draws", lambda *args: iter(()))
    results = []
    for one in (program, wrong):
        seeded(model)
        results.append(Executable(one, schedule).run()[0])
    assert not equal(*results)


def test_draws_in_another_order_are_refused() -> None:
    """Two random ops whose first runs change places would draw each other's numbers."""

    def step(x: torch.Tensor) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        one, other = torch.rand(ROWS, WIDTH), torch.rand(ROWS, WIDTH)
        loss = (x * one * other).sum()
        return loss, torch.autograd.grad(loss, [x])

    program = from_pytorch(step, torch.randn(ROWS, WIDTH, requires_grad=True))
    order = StoreAll()(program).order.tolist()
    at = [order.index(i) for i in draws(program)]
    plain = StoreAll()(program)
    check_schedule(program, plain)
    swapped = list(order)
    swapped[at[0]], swapped[at[1]] = order[at[1]], order[at[0]]
    schedule = replace(plain, order=np.array(swapped))
    with pytest.raises(ScheduleError, match="drawn later in the program"):
        check_schedule(program, schedule)
