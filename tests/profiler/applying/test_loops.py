"""Training loops as users write them give the same parameters under a plan, to the last bit."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from autodiff import RecomputeAll, Uniform
from autodiff.errors import BudgetError, GraphError
from profiler.applying.model import checkpointed
from tests.support.planned import differing, stepped, tracked_peak, trained, twins

F = nn.functional


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()


class Block(nn.Module):
    """A residual block with a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Language(nn.Module):
    """Blocks between an embedding and a head, which are one tensor."""

    def __init__(self, width: int = 16, words: int = 19, blocks: int = 4) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Adapted(nn.Module):
    """A frozen layer with a low-rank update that learns."""

    def __init__(self, layer: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(rank, layer.in_features) / 4)
        self.b = nn.Parameter(torch.randn(layer.out_features, rank) / 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + x @ self.a.T @ self.b.T


def ids() -> torch.Tensor:
    return torch.arange(24).reshape(2, 12) % 19


def loss_of(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """The loss of the next word, outside of the model."""
    return F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def both(model: nn.Module, train: Callable[[nn.Module], Any]) -> Any:
    """Train a model under a plan and its copy without; nothing differs, and the plan is one."""
    planned, eager = twins(model)
    checkpointed(planned, planner=Uniform(segments=2), quiet=True, cache=False)
    of_planned, of_eager = train(planned), train(eager)
    assert differing(planned, eager) == []
    assert of_planned == of_eager
    assert planned.plan.by_module()["again_ops"].sum() > 0
    return planned


def test_accumulation_clipping_and_hooks_with_a_tied_embedding_and_the_loss_outside() -> None:
    def train(model: nn.Module) -> Any:
        fired: list[Any] = []
        for parameter in model.parameters():
            parameter.register_hook(lambda gradient: fired.append(gradient.sum().item()))
            parameter.register_post_accumulate_grad_hook(lambda p: fired.append(tuple(p.shape)))
        calls: list[int] = []
        model.register_forward_hook(lambda *_: calls.append(1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, foreach=True)
        losses = []
        for step in range(10):
            for part in ids().chunk(2):
                loss = loss_of(model, part) / 2
                loss.backward()
                losses.append(loss.item())
            losses.append(nn.utils.clip_grad_norm_(model.parameters(), 0.5).item())
            optimizer.step()
            optimizer.zero_grad(set_to_none=step % 2 == 0)
        assert len(fired) == 20 * 2 * len(list(model.parameters()))
        # Under a plan the gradients come together, so their hooks fire in another order.
        return losses, len(calls), sorted(map(str, fired))

    model = both(Language(), train)
    assert model.head.weight is model.words.weight


def test_adapters_on_frozen_layers_under_a_fused_optimizer() -> None:
    def train(model: nn.Module) -> Any:
        learning = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=1e-2, fused=True)
        losses = []
        for _ in range(10):
            loss = loss_of(model, ids())
            loss.backward()
            losses.append(loss.item())
            optimizer.step()
            optimizer.zero_grad()
        return losses

    model = Language().requires_grad_(False)
    for block in model.blocks:
        block.up = Adapted(block.up)
    frozen = model.blocks[0].up.layer.weight
    before = frozen.clone()
    both(model, train)
    assert torch.equal(frozen, before)
    assert frozen.grad is None


def test_mixed_precision_with_a_scaler_of_the_loss() -> None:
    def train(model: nn.Module) -> Any:
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        losses = []
        for _ in range(10):
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(model, ids())
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses, scaler.get_scale()

    both(Language(), train)


def test_evaluation_between_steps_and_a_state_that_is_loaded() -> None:
    """Also gradients in evaluation mode, which are planned by themselves."""

    def train(model: nn.Module) -> Any:
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-1)
        seen = []
        start = {name: value.clone() for name, value in model.state_dict().items()}
        for step in range(4):
            model.train(step % 2 == 0)
            loss_of(model, ids()).backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad() if step % 2 else contextlib.nullcontext():
                seen.append(loss_of(model, ids()).item())
        model.load_state_dict(start)
        loss_of(model, ids()).backward()
        seen += [p.grad.sum().item() for p in model.parameters()]
        return seen

    both(Language(), train)


def test_a_step_that_differentiates_twice_with_respect_to_the_same_graph() -> None:
    """`retain_graph=True` gives the same gradients again."""
    planned, eager = twins(Language())
    checkpointed(planned, planner=RecomputeAll(), quiet=True, cache=False)
    gradients = []
    for model in (planned, eager):
        loss = loss_of(model, ids())
        loss.backward(retain_graph=True)
        loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


class Normed(nn.Module):
    """Blocks with batch norm and dropout."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, width), nn.BatchNorm1d(width), nn.Dropout(0.1), nn.Tanh()
            )
            for _ in range(4)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x.square().mean()


class Halting(Normed):
    """Blocks of which the last runs only where a value says so: no graph can be made of it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks[:3]:
            x = block(x)
        if x.sum().item() > -1e9:
            x = self.blocks[3](x)
        return x.square().mean()


def test_blocks_run_again_without_a_compiler() -> None:
    """Dropout draws the same and statistics are updated once, within the bound, measured."""
    planned, eager = twins(Normed())
    x = torch.randn(64, 16)
    step = stepped(x)
    most = tracked_peak(copy.deepcopy(eager), step, x)
    checkpointed(planned, max_bytes=int(0.7 * most), mechanism="checkpoint", quiet=True)
    assert trained(planned, step) == trained(eager, step)
    assert differing(planned, eager) == []
    assert planned.plan.modules == ("blocks.0", "blocks.1", "blocks.2")
    assert tracked_peak(planned, step, x) <= planned.plan.peak_bytes <= 0.7 * most
    assert planned.plan.operations > planned.plan.plain_operations
    copied = copy.deepcopy(planned)
    step(copied)
    assert copied.plan.modules == planned.plan.modules


def test_the_lines_of_a_plan_of_blocks_do_the_same() -> None:
    model = Normed()
    x = torch.randn(64, 16)
    step = stepped(x)
    planned = copy.deepcopy(model)
    checkpointed(planned, max_bytes=1, mechanism="checkpoint", on_infeasible="least", quiet=True)
    step(planned)
    lines = planned.plan.code()
    assert planned.plan.norms == tuple(f"blocks.{i}.1" for i in range(4))
    assert all(f"#   {name}\n" in lines for name in planned.plan.norms)
    exec(lines, {"model": model})
    step(model)
    for one, other in zip(planned.parameters(), model.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    assert int(model.blocks[0][1].num_batches_tracked) > 1  # as the lines' comment says
    assert int(planned.blocks[0][1].num_batches_tracked) == 1
    assert tracked_peak(model, step, x) == tracked_peak(planned, step, x)
    with pytest.raises(BudgetError, match="the least that checkpointed blocks take"):
        step(checkpointed(planned, max_bytes=1, mechanism="checkpoint", quiet=True))


def test_blocks_of_a_model_whose_flow_depends_on_values_are_refused() -> None:
    """Its line is named by either mechanism; nothing runs without a plan."""
    for mechanism in ("compile", "checkpoint"):
        model = checkpointed(Halting(), "1MiB", mechanism=mechanism, quiet=True, cache=False)
        with pytest.raises(GraphError, match=r"item|values"):
            model(torch.randn(8, 16))
