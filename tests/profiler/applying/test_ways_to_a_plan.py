"""The lines of a compiled plan, plans for seconds, plans under Inductor, and what is no option."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tapemeasure
from autodiff.errors import GraphError, PlannerError
from profiler.applying import seconds
from profiler.applying.model import checkpointed
from profiler.audit.storages import StorageTracker
from profiler.pytorch.steps import profile_step
from tests.support.planned import chain, differing, stepped, trained
from tests.support.training_models import MODELS

F = nn.functional


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()


def blocks(depth: int = 2) -> nn.Sequential:
    parts = (nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 16)) for _ in range(depth))
    return nn.Sequential(*parts)


def loss_of(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return model(x).square().mean()


def test_the_lines_of_a_compiled_plan_take_what_they_say() -> None:
    """Pasted, they keep within the bound with eager's numbers, and cost more than the plan."""
    model, x = blocks(6), torch.randn(64, 16)
    pasted, eager = copy.deepcopy(model), copy.deepcopy(model)
    step = stepped(x, loss_of=loss_of)
    most = profile_step(step, copy.deepcopy(model)).peak_bytes
    checkpointed(model, int(0.7 * most), quiet=True, cache=False)
    step(model)
    nested = model.plan.blocks.plan(model.plan.limit)
    code = model.plan.code()
    assert code.startswith("# Blocks that run again as a whole: peak ")
    assert "# The plan of single operations: peak " in code
    exec(code, {"model": pasted})
    assert nested.peak_bytes <= model.plan.limit < nested.plain_peak_bytes
    profile = profile_step(step, pasted)
    assert profile.peak_bytes <= nested.peak_bytes
    assert profile.ops.total - nested.operations == profile_step(step, eager).ops.total - (
        nested.plain_operations
    )
    assert model.plan.operations <= nested.operations
    eager.zero_grad()
    pasted.zero_grad()
    assert trained(pasted, step, 2) == trained(eager, step, 2)
    assert differing(pasted, eager) == []


def test_lines_that_miss_the_bound_say_so() -> None:
    model, x = chain(), torch.randn(64, 16)  # its lists hold single layers, which save little
    checkpointed(model, 1, on_infeasible="least", quiet=True, cache=False)
    stepped(x)(model)
    first = model.plan.code().splitlines()[0]
    assert ", above the limit of 1 B" in first


def test_lines_are_of_the_call_that_was_planned() -> None:
    """Its modes and its autocast, not those of the moment when they are asked for."""
    model, x = blocks(), torch.randn(64, 16)
    checkpointed(model, "1GiB", quiet=True, cache=False)
    with torch.autocast("cpu", torch.bfloat16):
        stepped(x, loss_of=loss_of)(model)
    within = model.plan.blocks.plan(2**30).plain_peak_bytes
    stepped(x, loss_of=loss_of)(model)
    assert model.plan.blocks.plan(2**30).plain_peak_bytes != within


def test_a_plan_of_a_backend_has_no_lines() -> None:
    backend = tapemeasure.backend("1GiB", quiet=True, cache=False)
    stepped(torch.randn(8, 16))(torch.compile(chain(), backend=backend, fullgraph=True))
    with pytest.raises(PlannerError, match="no model whose blocks"):
        backend.plan.code()


def test_a_plan_for_seconds_times_each_kind_of_work_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as long for each further op; a second model finds the numbers, and so the plan."""
    timed: list[str] = []

    def fixed(target: object, args: object, kwargs: object) -> int:
        timed.append(str(target))
        return seconds._LONG_NS * len(timed)

    monkeypatch.setattr(seconds, "_timed", fixed)
    model, x = chain("dropout"), torch.randn(64, 16)
    other = copy.deepcopy(model)
    checkpointed(model, "28KiB", cost="seconds", quiet=True, cache=tmp_path)
    stepped(x)(model)
    plan = model.plan.latest
    kinds = plan.program.flat.work_of
    assert len({(kind, cost) for kind, cost in zip(kinds, plan.costs, strict=True)}) == len(
        set(kinds.tolist())
    )
    assert len(timed) == 2 * np.unique(plan.costs[plan.costs > 0]).size  # once to warm up
    assert plan.seconds == pytest.approx(plan.costs[plan.schedule.order].sum())
    assert plan.seconds > plan.plain_seconds
    assert "timed by itself" in str(plan)
    before = len(timed)
    checkpointed(other, "28KiB", cost="seconds", quiet=True, cache=tmp_path)
    stepped(x)(other)
    assert len(timed) == before
    assert np.array_equal(other.plan.schedule.order, plan.schedule.order)
    assert differing(model, other) == []


def test_an_op_that_does_not_run_on_example_values_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> int:
        raise RuntimeError("no such value")

    monkeypatch.setattr(seconds, "_timed", fails)
    model = checkpointed(chain(), "1GiB", cost="seconds", quiet=True, cache=False)
    with pytest.raises(GraphError, match="cannot be timed on example values \\(no such value\\)"):
        stepped(torch.randn(8, 16))(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_op_of_a_model_can_be_timed(name: str) -> None:
    model, loss, args = MODELS[name]()
    checkpointed(model, 1, on_infeasible="least", cost="seconds", quiet=True, cache=False)
    stepped(*args, loss_of=loss)(model)
    assert model.plan.seconds >= model.plan.plain_seconds > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Inductor's own imports
@pytest.mark.parametrize("kind", ["norm", "dropout"])
def test_inductor_runs_the_same_partition(kind: str) -> None:
    """What is kept is the plan's; numbers agree as far as fused kernels round alike."""
    model, x = chain(kind), torch.randn(256, 16)
    step = stepped(x)
    kept = []
    for limit in ("1GiB", 1):
        planned, eager = copy.deepcopy(model), copy.deepcopy(model)
        least = {"on_infeasible": "least", "quiet": True, "cache": False}
        checkpointed(planned, limit, inductor=True, **least)
        torch.testing.assert_close(step(planned), step(eager))
        for mine, other in zip(planned.parameters(), eager.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-6)
        for mine, other in zip(planned.buffers(), eager.buffers(), strict=True):
            torch.testing.assert_close(mine, other)
        kept.append(int(planned.plan.by_module()["held_bytes"].sum()))
    if kind == "norm":  # masks of dropout are kept under every plan
        assert kept[1] < kept[0]


def test_inductor_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(PlannerError, match="inductor=True without a C\\+\\+ compiler"):
        checkpointed(chain(), "1GiB", inductor=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_byte": 1}, "did you mean max_bytes"),
        ({"inductor": True, "mechanism": "checkpoint"}, "which compiles nothing"),
        ({"cost": "seconds", "mechanism": "checkpoint"}, "'checkpoint' with cost = seconds"),
        ({"cost": "hours"}, "cost = 'hours'"),
    ],
)
def test_what_is_no_option_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(PlannerError, match=said):
        checkpointed(chain(), "1GiB", **options)
    with pytest.raises(PlannerError, match="memory=… is no option"):
        tapemeasure.backend(memory="1GiB")


def test_a_size_may_have_a_fraction() -> None:
    model = checkpointed(chain(), "1.2MiB", quiet=True, cache=False)
    assert model.forward.request.max_bytes == 1258291


class Scaled(nn.Module):
    """Blocks whose result is scaled by a number; a large one takes another op."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = blocks(3)

    def forward(self, x: torch.Tensor, by: float) -> torch.Tensor:
        y = self.blocks(x) * by
        return (y.tanh() if by > 2 else y).square().mean()


def test_blocks_are_planned_once_for_calls_of_the_same_ops() -> None:
    """A number that changes no op keeps the plan; one that does is planned by itself."""
    model, x = Scaled(), torch.randn(64, 16)
    eager = copy.deepcopy(model)
    checkpointed(model, "1GiB", mechanism="checkpoint", quiet=True)
    for by, plans in ((0.5, 1), (0.75, 1), (3.0, 2), (4.0, 2), (0.5, 2)):
        stepped(x, by)(model)
        stepped(x, by)(eager)
        assert len(model.plan) == plans
    for one, other in zip(model.parameters(), eager.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    assert "outside of the model (an assumption): 0% of the peak" in str(model.plan)


@pytest.mark.parametrize("mechanism", ["compile", "checkpoint"])
def test_accumulated_gradients_are_counted(mechanism: str) -> None:
    """The second of two batches takes the gradients of the first; all of it is in the memory."""
    model, x = blocks(4), torch.randn(64, 16)
    learning = sum(p.nbytes for p in model.parameters())
    most = profile_step(stepped(x, loss_of=loss_of), copy.deepcopy(model)).peak_bytes
    memory = learning + x.nbytes + learning + most - 1
    plain = copy.deepcopy(model)
    given = {"mechanism": mechanism, "quiet": True, "cache": False}
    checkpointed(plain, memory=memory, **given)
    checkpointed(model, memory=memory, accumulate=True, **given)
    step = stepped(x, loss_of=loss_of)
    step(plain)
    step(model)
    assert model.plan.limit == plain.plan.limit - learning
    with StorageTracker([*model.parameters(), x, *(p.grad for p in model.parameters())]) as tracker:
        step(model)
    assert tracker.peak_bytes + 2 * learning + x.nbytes <= memory
    with pytest.raises(PlannerError, match="accumulate = True without memory"):
        checkpointed(model, "1GiB", accumulate=True)
