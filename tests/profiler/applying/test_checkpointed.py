"""A model that trains under a plan: the same numbers, the planned peak, the user's own loop."""

import copy
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tapemeasure
from autodiff import PlannerError, RecomputeAll, Schedule, StoreAll, Uniform
from autodiff.checkpointing.csv_schedule import write_schedule
from autodiff.errors import GraphError, ScheduleError
from autodiff.program import Program
from profiler import profile_step
from profiler.applying import planning
from profiler.applying.model import checkpointed
from profiler.seconds import measured_seconds
from tests.support.planned import (
    Regression,
    chain,
    differing,
    stepped,
    tracked_peak,
    trained,
    twins,
)

ROOT_GRADIENT = 4
"""Bytes of the gradient of the loss itself, which the engine makes for `backward()`."""


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test a cache of plans and a compiler of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()


def batch(size: int = 32, width: int = 16) -> torch.Tensor:
    return torch.randn(size, width)


@pytest.mark.parametrize("kind", ["tanh", "norm", "dropout"])
def test_ten_steps_under_a_plan_give_the_parameters_of_eager_ones(kind: str) -> None:
    """Also with statistics that a norm updates, and with dropout; at the planned peak."""
    planned, eager = twins(chain(kind))
    x = batch(512)  # so that a mask takes more than the state from which it can be drawn again
    checkpointed(planned, planner=RecomputeAll(), quiet=True)
    of_planned, drawn_after = trained(planned, stepped(x)), torch.rand(3)
    assert of_planned == trained(eager, stepped(x))
    assert torch.equal(drawn_after, torch.rand(3))
    assert differing(planned, eager) == []
    assert "layers.0.weight" in differing(planned, chain(kind))
    assert planned.plan.by_module()["again_ops"].sum() > 0
    assert planned.plan.peak_bytes < planned.plan.plain_peak_bytes
    unused = planned.plan.peak_bytes + ROOT_GRADIENT - tracked_peak(planned, stepped(x), x)
    # New statistics of norms count until the end; PyTorch lets go of some earlier.
    assert 0 <= unused <= sum(buffer.nbytes for buffer in planned.buffers())


def test_a_budget_is_met_and_the_fastest_plan_within_it_is_taken() -> None:
    model, x = chain(), batch()
    checkpointed(model, planner=StoreAll(), quiet=True)
    stepped(x)(model)
    most = model.plan.peak_bytes
    checkpointed(model, max_bytes=most, quiet=True)
    stepped(x)(model)
    assert model.plan.operations == model.plan.plain_operations
    checkpointed(model, max_bytes=most - 1, quiet=True)
    stepped(x)(model)
    assert model.plan.peak_bytes < most
    assert model.plan.operations > model.plan.plain_operations
    assert tracked_peak(model, stepped(x), x) == model.plan.peak_bytes + ROOT_GRADIENT


def test_a_budget_below_the_least_is_refused_with_the_least() -> None:
    model, x = chain(), batch()
    checkpointed(model, max_bytes="1KiB", quiet=True)
    with pytest.raises(PlannerError, match=r"1024 bytes for .* the least is \d+"):
        stepped(x)(model)
    checkpointed(model, max_bytes="1KiB", on_infeasible="least", quiet=True)
    stepped(x)(model)
    checkpointed(model, max_bytes=model.plan.peak_bytes - 1, quiet=True)
    with pytest.raises(PlannerError, match="the least"):
        stepped(x)(model)


def test_a_model_is_the_same_module_with_the_same_state() -> None:
    """Without gradients it runs as before; a copy and a loaded pickle plan for themselves."""
    planned, eager = twins(chain("dropout"))
    assert checkpointed(planned, planner=Uniform(segments=2), quiet=True) is planned
    assert list(planned.state_dict()) == list(eager.state_dict())
    x = batch()
    stepped(x)(planned)
    planned.eval(), eager.eval()
    with torch.no_grad():
        assert torch.equal(planned(x), eager(x))
    planned.train()
    copied = copy.deepcopy(planned)
    file = io.BytesIO()
    torch.save(planned, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for twin in (copied, loaded):
        assert len(twin.plan) == 0
        twin.zero_grad()
        stepped(x)(twin)
        assert len(twin.plan) == 1
        assert twin.forward.model is twin
        for one, other in zip(planned.parameters(), twin.parameters(), strict=True):
            assert one is not other
            assert torch.equal(one.grad, other.grad)


def test_another_batch_shape_is_planned_once() -> None:
    model = chain()
    checkpointed(model, planner=Uniform(segments=2), quiet=True)
    for size in (32, 8, 32, 8, 32):
        stepped(batch(size))(model)
    assert len(model.plan) == 2
    assert model.plan.peak_bytes < next(iter(model.plan)).peak_bytes


def test_a_plan_is_written_read_and_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, x = chain(), batch()
    budget = 14_000
    stepped(x)(checkpointed(model, max_bytes=budget))
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        "tapemeasure",
        "tapemeasure",
    ]
    path = model.plan.to_csv(tmp_path / "plan.csv")
    order, planner = model.plan.schedule.order.tolist(), model.plan.planner

    def never(*_: object) -> Schedule:
        raise PlannerError("planned again")

    monkeypatch.setattr(planning, "_fastest", never)
    for request in ({"max_bytes": budget}, {"plan": path}):
        again = checkpointed(copy.deepcopy(model), **request, quiet=True)
        stepped(x)(again)
        assert (again.plan.schedule.order.tolist(), again.plan.planner) == (order, planner)
    with pytest.raises(PlannerError, match="planned again"):
        stepped(batch(8))(checkpointed(model, max_bytes=budget, quiet=True))
    with pytest.raises(ScheduleError, match="instruction"):
        stepped(x)(checkpointed(chain(depth=2), plan=path, quiet=True))


@pytest.mark.slow
def test_a_cached_plan_above_the_bound_is_not_taken(tmp_path: Path) -> None:
    """Though its file is a valid plan of the same program."""
    model, x = chain(), batch()
    stepped(x)(checkpointed(model, max_bytes=14_000, cache=tmp_path, quiet=True))
    order = model.plan.schedule.order.tolist()
    (path,) = tmp_path.iterdir()
    write_schedule(path, model.plan.program, StoreAll()(model.plan.program))
    stepped(x)(checkpointed(model, max_bytes=14_000, cache=tmp_path, quiet=True))
    assert model.plan.peak_bytes <= 14_000
    assert model.plan.schedule.order.tolist() == order


@pytest.mark.slow
def test_a_cost_is_evaluated_once_and_finds_its_cached_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = chain(), batch()
    programs = []

    def cost(program: Program) -> np.ndarray:
        programs.append(program)
        return np.ones(len(program.instructions))

    request = {"max_bytes": 14_000, "cost": cost, "cache": tmp_path, "quiet": True}
    stepped(x)(checkpointed(model, **request))
    assert len(programs) == 1
    monkeypatch.setattr(planning, "_fastest", None)
    stepped(x)(checkpointed(model, **request))
    assert len(programs) == 2


def test_costs_that_cannot_be_had_are_refused() -> None:
    with pytest.raises(GraphError, match="cannot be run"):
        stepped(batch())(checkpointed(chain(), "1GiB", cost=measured_seconds, quiet=True))
    with pytest.raises(PlannerError, match="'checkpoint' with cost = measured_seconds"):
        checkpointed(chain(), "1GiB", cost=measured_seconds, mechanism="checkpoint")


def test_a_plan_says_which_modules_hold_and_run_again() -> None:
    model, x = chain(), batch()
    checkpointed(model, planner=Uniform(segments=2), quiet=True)
    assert str(model.plan) == "no plan yet: the first training call plans"
    with pytest.raises(PlannerError, match="has no plan yet"):
        _ = model.plan.peak_bytes
    stepped(x)(model)
    rows = model.plan.by_module().set_index("module")
    assert set(rows.index[rows["again_ops"] > 0]) == {f"layers.{i}" for i in range(4)}
    assert rows.loc["layers.5", "held_bytes"] == x.nbytes
    assert rows.loc["layers.1", "held_bytes"] == 0
    text = str(model.plan)
    assert "uniform(segments=2): peak" in text
    assert "layers.0" in text


class Branching(nn.Module):
    """A model whose control flow depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.layer(x).sum() > 0:
            x = x + 1
        return self.layer(x).sum()


def test_what_is_not_one_graph_is_refused_with_its_line() -> None:
    with pytest.raises(
        GraphError, match=r"test_checkpointed.py:\d+ \(if self.layer\(x\)"
    ) as refusal:
        checkpointed(Branching(), max_bytes="1GiB", quiet=True)(batch())
    assert "\n" not in str(refusal.value)


def test_nothing_runs_without_its_plan() -> None:
    model, x = chain(), batch()
    checkpointed(model, max_bytes="1GiB", quiet=True)
    with (
        torch.compiler.set_stance("force_eager"),
        pytest.raises(GraphError, match="without its plan"),
    ):
        model(x)


class TwoResults(Regression):
    """A loss, and what it is computed of."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        result = self.layers(x)
        return result.square().mean(), result


def test_only_the_loss_is_differentiated_where_there_is_one() -> None:
    planned, eager = twins(TwoResults(*chain().layers))
    x = batch()
    checkpointed(planned, planner=Uniform(segments=2), quiet=True)
    for model in (planned, eager):
        loss, result = model(x)
        assert result.shape == x.shape
        loss.backward()
    for one, other in zip(planned.parameters(), eager.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    with pytest.raises(GraphError, match="other than its loss"):
        planned(x)[1].sum().backward()


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {"foreach": False}])
def test_memory_counts_parameters_inputs_and_the_state_of_the_optimizer(
    options: dict[str, bool],
) -> None:
    model, x = chain(), batch()
    optimizer = torch.optim.AdamW(model.parameters(), **options)
    parameters = sum(p.nbytes for p in model.parameters())
    counts = len(list(model.parameters()))  # one number of steps each, of four bytes
    checkpointed(model, memory="1MiB", optimizer=optimizer, quiet=True)
    stepped(x)(model)
    assert model.plan.resident_bytes == 3 * parameters + 4 * counts + x.nbytes
    assert model.plan.limit == 2**20 - model.plan.resident_bytes
    optimizer.step()
    checkpointed(model, memory="1MiB", optimizer=optimizer, quiet=True)
    stepped(x)(model)
    assert model.plan.resident_bytes == 3 * parameters + 4 * counts + x.nbytes


@pytest.mark.parametrize("mechanism", ["compile", "checkpoint"])
def test_memory_below_the_update_of_the_optimizer_is_refused(mechanism: str) -> None:
    """AdamW with foreach takes gradients and as much again for a moment, as a real update does."""
    model, x = chain(), batch(1)
    optimizer = torch.optim.AdamW(model.parameters(), foreach=True)
    stepped(x)(model)
    optimizer.step()
    parameters = sum(p.nbytes for p in model.parameters())
    temporary = profile_step(optimizer.step).peak_bytes
    assert temporary >= parameters
    states = 2 * parameters + 4 * len(list(model.parameters()))
    needed = parameters + states + x.nbytes + parameters + temporary

    def planned(memory: int, on_infeasible: str = "raise") -> None:
        checkpointed(
            model, memory=memory, optimizer=optimizer, mechanism=mechanism,
            on_infeasible=on_infeasible, quiet=True,
        )  # fmt: skip
        stepped(x)(model)

    with pytest.raises(PlannerError, match=f"update takes {needed} bytes, of which {temporary}"):
        planned(needed - 1)
    planned(needed - 1, "least")
    planned(needed)


@pytest.mark.parametrize("kind", [torch.optim.LBFGS, torch.optim.Adafactor])
def test_an_optimizer_that_cannot_be_weighed_is_refused(
    kind: type[torch.optim.Optimizer],
) -> None:
    model = chain()
    optimizer = kind(model.parameters())
    with pytest.raises(PlannerError, match=rf"optimizer = {kind.__name__}; expected") as refusal:
        checkpointed(model, memory="1MiB", optimizer=optimizer, quiet=True)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "0 of max_bytes, memory, planner and plan"),
        ({"max_bytes": "8GiB", "memory": "8GiB"}, "2 of max_bytes"),
        ({"max_bytes": "many"}, "max_bytes = 'many'"),
        ({"max_bytes": 0}, "max_bytes = 0"),
        ({"max_bytes": 1, "on_infeasible": "hope"}, "on_infeasible = 'hope'"),
    ],
)
def test_a_request_that_is_none_is_refused(request_: dict[str, object], message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        checkpointed(chain(), **request_)


def test_a_backend_for_torch_compile_has_its_plans() -> None:
    planned, eager = twins(chain())
    x = batch()
    backend = tapemeasure.backend(planner=Uniform(segments=2), quiet=True)
    compiled = torch.compile(planned, backend=backend, fullgraph=True)
    stepped(x)(compiled)
    stepped(x)(eager)
    assert backend.plan.planner == "uniform(segments=2)"
    for one, other in zip(planned.parameters(), eager.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_an_op_may_leave_a_result_undefined() -> None:
    """As the backward pass of a convolution does whose input has no gradient."""
    planned, eager = twins(Regression(nn.Conv1d(2, 4, 3), nn.Tanh(), nn.Conv1d(4, 2, 3)))
    x = torch.randn(4, 2, 16)
    checkpointed(planned, planner=StoreAll(), quiet=True)
    assert trained(planned, stepped(x), steps=2) == trained(eager, stepped(x), steps=2)
    assert differing(planned, eager) == []
