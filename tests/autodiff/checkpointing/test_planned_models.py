"""Planners on traced PyTorch steps: chains, exact gradients, predicted peaks, random ops."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from autodiff import (
    PlannerError,
    Program,
    RecomputeAll,
    Revolve,
    StoreAll,
    Uniform,
    check_schedule,
    find_cells,
)
from autodiff.pytorch import from_pytorch
from profiler import predict, profile, profile_schedule
from profiler.audit import audit_storages
from tests.support.schedules import run
from tests.support.torch_models import MODELS, Block, classified, gpt2, traced, training_step

CELLS = {
    "gpt2": 9, "gpt2 with dropout": 9, "gpt2 with eager attention": 9, "bert": 8,
    "bert with dropout": 8, "vit": 8, "llama": 7, "autoencoder": 4, "resnet": 6, "mlp": 6,
    "mlp with dropout": 6, "normed": 6, "batch_normed": 5,
}  # fmt: skip
LONG = {
    "llama",
    "gpt2 with eager attention",
    "gpt2",
    "bert with dropout",
    "vit",
    "mlp with dropout",
}


def cells_of_parameters(program: Program) -> list[set[str]]:
    """Return the parameters that each cell reads."""
    cells, label = find_cells(program), program.label
    found: list[set[str]] = []
    for cell in cells.forward:
        buffers = {
            program.values[read].buffer for i in cell for read in program.instructions[i].reads
        }
        found.append(
            {label(buffer) for buffer in buffers if program.values[buffer].role == "parameter"}
        )
    return found


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in MODELS],
)
def test_a_traced_model_is_a_chain_that_every_planner_plans(name: str) -> None:
    """Plans are legal, bit-equal to the plain run, as predicted and agree with tracked storages."""
    program, _ = traced(name)
    assert len(find_cells(program)) == CELLS[name]
    plain = run(program, StoreAll()(program))
    for planner in (RecomputeAll(), Uniform(3), Revolve(2)):
        schedule = planner(program)
        check_schedule(program, schedule)
        assert all(
            torch.equal(one, other)
            for one, other in zip(plain, run(program, schedule), strict=True)
        )
        measured, predicted = (
            profile_schedule(program, schedule, execute=execute) for execute in (True, False)
        )
        folded = predict(program, planner=lambda program, schedule=schedule: schedule)
        assert measured.peak_bytes == predicted.peak_bytes == folded.peak_bytes
        assert measured.ops_by_phase == predicted.ops_by_phase == folded.ops_by_phase
    assert (
        profile_schedule(program, RecomputeAll()(program), execute=False)
        .ops_by_phase["recompute"]
        .total
        > 0
    )
    audit_storages(program, Revolve(2)(program)).raise_if_wrong()


def test_a_budget_is_kept_by_a_traced_model() -> None:
    """A budget of half the bytes is kept where activations weigh more than gradients."""
    torch.manual_seed(0)
    model = nn.Sequential(*[Block(8, 0.1) for _ in range(4)], nn.Linear(8, 3))
    program = from_pytorch(
        training_step(model, classified), torch.randn(256, 8), torch.arange(256) % 3, model=model
    )
    plain = profile(program)
    for planner in (Revolve(max_bytes=plain.peak_bytes // 2), Revolve(max_ops_ratio=1.3)):
        found = profile_schedule(program, planner(program))
        assert 2 * found.peak_bytes <= plain.peak_bytes
        assert plain.ops.total < found.ops.total <= 1.3 * plain.ops.total


@pytest.mark.parametrize("name", ["gpt2", "gpt2 with dropout"])
def test_the_blocks_of_gpt2_are_cells(name: str) -> None:
    """A block is two cells, attention and feed-forward; embedding first, norm and head last."""
    program, _ = traced(name)
    found = cells_of_parameters(program)
    for block in range(4):
        attention, forward = found[2 * block : 2 * block + 2]
        mine = f"transformer.h.{block}."
        assert {one for one in attention if one.startswith(mine)} == {
            one for one in attention if "wte" not in one and "wpe" not in one
        }
        assert {
            one.removeprefix(mine).split(".")[0] for one in attention if one.startswith(mine)
        } == {"ln_1", "attn"}
        assert {one.removeprefix(mine).split(".")[0] for one in forward} == {"ln_2", "mlp"}
    assert {"transformer.wte.weight", "transformer.wpe.weight"} < found[0]
    assert found[-1] == {
        "transformer.ln_f.weight",
        "transformer.ln_f.bias",
        "transformer.wte.weight",
    }


def test_a_plan_lowers_the_peak_of_gpt2() -> None:
    """With long sequences, where activations dominate, the peak falls by more than half."""
    torch.manual_seed(0)
    model, loss_of, args = gpt2(seq=64)
    program = from_pytorch(training_step(model, loss_of), *args, model=model)
    plain, planned = (predict(program, planner=planner) for planner in (StoreAll(), Revolve(2)))
    assert 2 * planned.peak_bytes < plain.peak_bytes
    assert planned.ops.total < 1.6 * plain.ops.total


@pytest.mark.parametrize("name", ["gpt2 with dropout", "bert with dropout", "mlp with dropout"])
def test_what_is_drawn_is_drawn_once(name: str) -> None:
    """Each random op runs once, in plain order, under every planner."""
    program, _ = traced(name)
    drawn = [i for i, step in enumerate(program.instructions) if not step.op.repeatable]
    assert drawn
    for planner in (RecomputeAll(), Uniform(3), Revolve(1), Revolve(3)):
        order = planner(program).order.tolist()
        assert [i for i in order if i in set(drawn)] == drawn
    without, _ = traced("gpt2")
    assert all(step.op.repeatable for step in without.instructions)


@pytest.mark.parametrize("name", ["resnet", "batch_normed"])
def test_running_statistics_are_left_alone(name: str) -> None:
    """Recomputed batch norms leave the running statistics alone and give the step's numbers."""
    program, (model, loss_of, args) = traced(name)
    before = copy.deepcopy(dict(model.named_buffers()))
    loss, *gradients = run(program, Revolve(1)(program))
    assert all(torch.equal(before[key], value) for key, value in model.named_buffers())
    own_loss, own_gradients = training_step(model, loss_of)(*args)
    assert torch.equal(loss, own_loss)
    assert all(torch.equal(one, other) for one, other in zip(gradients, own_gradients, strict=True))
    assert any(
        not torch.equal(before[key], value) for key, value in model.named_buffers()
    )  # the step itself does write them
    model.load_state_dict({**model.state_dict(), **before})


def test_masks_are_made_once_for_all_blocks() -> None:
    """The attention mask that all blocks read is computed once and kept under every plan."""
    program, _ = traced("bert")
    shared = find_cells(program).shared
    assert shared
    assert all(
        program.values[value].spec.dtype in (torch.bool, torch.float32, torch.int64)
        for value in shared
    )
    order = RecomputeAll()(program).order.tolist()
    writers = [
        i for i, step in enumerate(program.instructions) if not shared.isdisjoint(step.writes)
    ]
    assert all(order.count(i) == 1 for i in writers)


class Skipping(nn.Module):
    """Blocks of which each result is read by the last layer too."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(4, 0.0) for _ in range(3)])
        self.head = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = []
        for block in self.blocks:
            seen.append(x := block(x))
        return self.head(torch.cat(seen, -1))  # type: ignore[no-any-return]


def test_a_model_that_is_no_chain_is_refused() -> None:
    """Where results bypass later blocks, planners name them in one line; store_all still plans."""
    model: Any = Skipping()
    program = from_pytorch(
        training_step(model, classified), torch.randn(6, 4), torch.arange(6) % 3, model=model
    )
    for planner in (RecomputeAll(), Uniform(2), Revolve(2)):
        with pytest.raises(PlannerError, match="leads past") as refused:
            planner(program)
        assert "\n" not in str(refused.value)
    assert profile(program).peak_bytes > 0
