"""`tapemeasure profile` ends with the line that trains the batch within the memory."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autodiff.checkpointing.budget import Budget
from autodiff.errors import BudgetError
from experiments.modules import planned
from experiments.modules.profiling import measured
from experiments.modules.report import write_report
from experiments.modules.step import needed_bytes
from experiments.modules.training import _more, training_words
from profiler.applying.model import checkpointed
from profiler.pytorch.steps import profile_step
from tests.support.module_configs import config_of
from tests.support.planned import tracked_peak

MLP = ("model=mlp", "model.arguments.layers=6", "model.arguments.width=32", "batch=256")


def words(memory: str, *more: str) -> tuple[Any, str]:
    result = measured(config_of(*MLP, f"memory={memory}", *more))
    return result, training_words(result)


def test_a_batch_that_fits_needs_no_plan() -> None:
    assert words("1GiB")[1] == ""
    assert words("100KiB", "plans=false")[1] == ""


def test_the_line_trains_the_batch_within_the_memory() -> None:
    """Run as it is written, on the module that was profiled."""
    result, text = words("400KiB")
    assert result.needed_bytes > 400 * 1024
    assert text.startswith("To train it within 400 KiB: a batch of 256 takes ")
    line = text.splitlines()[1].strip()
    assert line == 'model = tapemeasure.checkpointed(model, memory="400 KiB", optimizer=optimizer)'
    layers: list[nn.Module] = []
    for _ in range(6):
        layers += [nn.Linear(32, 32), nn.GELU()]
    model = nn.Sequential(*layers, nn.Linear(32, 10))
    optimizer = torch.optim.AdamW(model.parameters())
    x, y = torch.randn(256, 32), torch.arange(256) % 10

    def step(model: nn.Module) -> torch.Tensor:
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss.detach()

    checkpointed(model, memory="400 KiB", optimizer=optimizer, quiet=True, cache=False)
    step(model)
    assert tracked_peak(model, step, x, y) + model.plan.resident_bytes <= 400 * 1024
    torch._dynamo.reset()


def test_a_memory_below_every_plan_is_said() -> None:
    text = words("180KiB")[1]
    assert text.startswith("No plan trains a batch of 256 within 180 KiB: the least takes ")


def test_a_cost_that_rounds_to_nothing_is_not_called_nothing() -> None:
    """A few operations more are said to be few; none are none."""
    assert _more(1, 10**6) == "less than 0.1% more operations"
    assert _more(0, 10**6) == "no more operations"
    assert _more(13, 100) == "13% more operations"


def test_the_largest_batch_with_a_plan_fits_and_the_next_does_not() -> None:
    """What exists before the step is taken from profiles of those batches, not scaled from 256."""
    result, text = words("400KiB")
    found = result.planned
    assert found is not None
    assert found.is_largest
    assert found.needed_bytes <= 400 * 1024
    assert found.size > result.search.largest
    line = f"The largest batch with a plan is {found.size} instead of {result.search.largest} ("
    assert f"\n{line}" in text

    def left_for(size: int) -> tuple[Any, int]:
        other = measured(config_of(*MLP, f"batch={size}"))
        return other.plans.program, 400 * 1024 - sum(other.profile.given_bytes.values())

    program, left = left_for(found.size)
    assert Budget(max_bytes=left)(program).cost == found.operations
    program, left = left_for(found.size + 1)
    with pytest.raises(BudgetError):
        Budget(max_bytes=left)(program)


def test_a_search_that_ends_early_does_not_call_its_batch_the_largest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planned, "MOST_BATCHES", 1)
    result, text = words("400KiB")
    assert result.planned.size == 256
    assert not result.planned.is_largest
    assert "\nA plan trains a batch of at least 256 instead of " in text


def test_no_batch_is_planned_where_the_batch_fits_or_no_plan_is_asked_for() -> None:
    assert words("1GiB")[0].planned is None
    assert words("400KiB", "plans=false")[0].planned is None


class Blocks(nn.Module):
    """Blocks of two layers, and a loss inside."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16)) for _ in range(4))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x).square().mean()


BLOCKS = (f"model.path={__name__}.Blocks", "input.shape=[16]", "batch=64", "optimizer=sgd")
OWN_STEP = """
def train_step(model, batch, optimizer):
    for part in batch.chunk(2):
        (model(part) / 2).backward()
    optimizer.step()
    optimizer.zero_grad()
"""


def _run_again(lines: str, model: nn.Module) -> nn.Module:
    exec("\n".join(line.strip("\n")[2:] for line in lines.splitlines()), {"model": model})
    return model


@pytest.mark.parametrize("is_own", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_lines_of_blocks_take_what_they_say(is_own: bool, tmp_path: Path) -> None:
    """Also around a step of the user's own, which accumulates gradients; they are in the page."""
    (tmp_path / "train.py").write_text(OWN_STEP)
    own = (f"step={tmp_path / 'train.py'}:train_step",) if is_own else ()
    memory = "125KiB" if is_own else "120KiB"
    result = measured(config_of(*BLOCKS, f"memory={memory}", *own))
    text = training_words(result)
    found = result.blocks
    assert found is not None
    assert 0 < len(found.modules) < 4
    assert found.needed_bytes <= result.config.memory_bytes < result.needed_bytes
    assert found.operations > found.plain_operations
    model = _run_again(text.partition("operations, by\n  from")[2].join(["  from", ""]), Blocks())
    optimizer, x = torch.optim.SGD(model.parameters(), lr=0.1), torch.randn(64, 16)

    def step(*_: Any) -> None:
        for part in x.chunk(2) if is_own else [x]:
            (model(part) / 2).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    assert abs(needed_bytes(profile_step(step, x, model=model)) - found.needed_bytes) <= 8
    write_report(result, tmp_path / "report", {})
    assert "get_submodule" in (tmp_path / "report" / "report.html").read_text()
    numbers = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert numbers["blocks"]["modules"] == list(found.modules)
    assert (numbers["plan"] is None) == is_own


def test_checkpoints_by_hand_are_compared_with_none_and_with_the_optimum() -> None:
    plain = measured(config_of(*BLOCKS))
    result = measured(config_of(*BLOCKS, 'checkpoint=["blocks.*"]'))
    found = result.by_hand
    assert found.plain_bytes == plain.needed_bytes > result.needed_bytes
    assert found.plain_operations == plain.profile.ops.total < result.profile.ops.total
    assert 1 <= found.optimal_ratio < result.profile.ops.total / found.plain_operations
    assert training_words(result).startswith("checkpoint=[blocks.*]: a batch of 64 takes ")
    assert plain.by_hand is None
