"""A plan holds for one signature of calls: another mode or mechanism has a plan of its own."""

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from autodiff import StoreAll
from autodiff.errors import GraphError
from profiler.applying.model import checkpointed
from profiler.applying.rerunning import Rerun, run_again
from profiler.pytorch.steps import profile_step
from tests.support.planned import chain, differing, stepped, tracked_peak, trained, twins


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()


def planned_and_called(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """A model whose plan keeps everything, after one step."""
    checkpointed(model, planner=StoreAll(), quiet=True, cache=False)
    stepped(x)(model)
    model.zero_grad()
    return model


CHANGES: dict[str, Callable[[nn.Module, torch.Tensor], torch.Tensor]] = {
    "eval": lambda model, x: (model.eval(), x)[1],
    "one layer in eval": lambda model, x: (model.layers[1].eval(), x)[1],
    "unfrozen": lambda model, x: (model.layers[0].requires_grad_(True), x)[1],
    "another batch": lambda model, x: x[:4],
    "an input with a gradient": lambda model, x: x.clone().requires_grad_(),
    "another dtype": lambda model, x: (model.double(), x.double())[1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_under_a_profiler_only_what_was_called_before_runs(change: str) -> None:
    """Anything else is refused; after a call it runs with the gradients of the eager model."""
    model, x = chain("dropout"), torch.randn(16, 16)
    model.layers[0].requires_grad_(False)
    planned_and_called(model, x)
    x = CHANGES[change](model, x)
    step = stepped(x)
    with pytest.raises(GraphError, match="call the model once before it is measured"):
        profile_step(step, model, model=model)
    step(model)
    model.zero_grad()
    profile_step(step, model, model=model)
    eager = copy.deepcopy(model)
    del eager.forward
    eager.zero_grad()
    step(eager)
    for one, other in zip(model.parameters(), eager.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or torch.equal(one.grad, other.grad)


def test_under_a_profiler_the_graph_of_another_call_never_runs() -> None:
    """Of two graphs that of the call is chosen; where it is not, nothing of the other runs."""
    model, x = chain("dropout"), torch.randn(16, 16)
    planned_and_called(model, x)
    step = stepped(x)
    step(model.eval())
    eager = copy.deepcopy(model)
    del eager.forward
    for training in (True, False):
        model.train(training), eager.train(training)
        assert torch.equal(profile_step(step, model, model=model).loss, step(eager))
    numbers = model.forward._compiled_for
    numbers.update(zip(list(numbers), reversed(list(numbers.values())), strict=True))
    with pytest.raises(GraphError, match="call the model once right before"):
        profile_step(step, model, model=model)


@pytest.mark.parametrize("change", ["unfrozen", "train"])
def test_blocks_are_planned_for_each_signature(change: str) -> None:
    """What learns or drops after the first plan is kept within the bound too."""
    model = nn.Sequential(
        *(nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.5), nn.Tanh()) for _ in range(6))
    )
    x = torch.randn(256, 64)

    def step(model: nn.Module) -> torch.Tensor:
        loss = model(x).sum()
        loss.backward()
        return loss.detach()

    most = tracked_peak(copy.deepcopy(model), step, x)
    if change == "unfrozen":
        model[:5].requires_grad_(False)
    else:
        model.eval()
    bound = int(0.96 * most)
    checkpointed(model, max_bytes=bound, mechanism="checkpoint", quiet=True)
    step(model)
    model.requires_grad_(True).train()
    with pytest.raises(GraphError, match="call the model once before"):
        tracked_peak(model, step, x)
    step(model)
    assert tracked_peak(model, step, x) <= bound
    assert len(model.plan) == 2


def test_a_model_changes_its_mechanism_both_ways() -> None:
    """Each plan takes off what the earlier one put on the blocks."""
    blocks = [nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 16)) for _ in range(4)]
    planned, eager = twins(nn.Sequential(*blocks))
    x = torch.randn(512, 16)
    step = stepped(x, loss_of=_loss)
    for mechanism in ("checkpoint", "compile", "checkpoint"):
        checkpointed(
            planned, 1, mechanism=mechanism, on_infeasible="least", quiet=True, cache=False
        )
        assert trained(planned, step, steps=2) == trained(eager, step, steps=2)
        assert differing(planned, eager) == []
        rerun = [one for one in planned.modules() if isinstance(vars(one).get("forward"), Rerun)]
        assert bool(rerun) == (mechanism == "checkpoint")


def _loss(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return model(x).square().mean()


class NormTwice(nn.Module):
    """A block that runs one norm twice and ends in another."""

    def __init__(self, momentum: float | None) -> None:
        super().__init__()
        self.norm, self.last = (nn.BatchNorm1d(16, momentum=momentum) for _ in range(2))
        self.layer = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.layer(self.norm(self.layer(self.norm(x)))))


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(
    "names", [["0"], ["0", "0.norm", "0.last"], ["0", "0.last", "1", "1.layer", "1.last"]]
)
def test_norms_in_blocks_that_run_again_count_each_batch_once(
    names: list[str], momentum: float | None
) -> None:
    """Also in blocks within blocks, and where the norm ends a block that stops early."""
    again, eager = twins(nn.Sequential(NormTwice(momentum), NormTwice(momentum)))
    run_again(again, names)
    x = torch.randn(32, 16)
    step = stepped(x, loss_of=_loss)
    assert trained(again, step, steps=3) == trained(eager, step, steps=3)
    assert differing(again, eager) == []
    assert int(again[0].norm.num_batches_tracked) == 6
    assert int(again[0].last.num_batches_tracked) == 3
