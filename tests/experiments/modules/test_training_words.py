"""`tapemeasure profile` ends with the line that trains the batch within the memory."""

from typing import Any

import pytest
import torch
from torch import nn

from autodiff.checkpointing.budget import Budget
from autodiff.errors import BudgetError
from experiments.modules import planned
from experiments.modules.profiling import measured
from experiments.modules.training import _more, training_words
from profiler.applying.model import checkpointed
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
    assert text.splitlines()[-1].startswith(
        f"The largest batch with a plan is {found.size} instead of {result.search.largest} ("
    )

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
    assert text.splitlines()[-1].startswith("A plan trains a batch of at least 256 instead of ")


def test_no_batch_is_planned_where_the_batch_fits_or_no_plan_is_asked_for() -> None:
    assert words("1GiB")[0].planned is None
    assert words("400KiB", "plans=false")[0].planned is None
