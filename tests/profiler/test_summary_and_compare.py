"""A summary agrees with a real step and with known counts; a comparison with its profiles."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from autodiff.checkpointing.uniform import Uniform
from autodiff.errors import GraphError
from autodiff.networks import chain
from profiler.comparing import compare
from profiler.graphs import profile
from profiler.pytorch.steps import profile_step
from profiler.summarizing import summary


class Tied(nn.Module):
    """An embedding whose weight is the head's too, with a buffer and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.head(self.norm(self.embedding(numbers))))


def test_a_summary_is_the_real_step_and_changes_nothing() -> None:
    """Operations, peak and kept bytes are those of a real step; parameters are counted once."""
    model, numbers = Tied(), torch.arange(600) % 11
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    made = summary(model, numbers)
    assert (made.to_latex().count(r" \\"), made.to_latex().isascii()) == (len(made.frame) + 1, True)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(state, torch.get_rng_state())
    real = profile_step(lambda: model(numbers).sum().backward(), model=model)
    assert made.profile.ops == real.ops
    assert made.profile.peak_bytes == real.peak_bytes
    rows = made.frame.set_index("module")
    assert rows.loc["", "parameters"] == 11 * 4 + 4 + 4
    assert rows.loc["head", "parameters"] == 11 * 4
    assert rows.loc["norm", "output"] == "600×4"
    assert rows.loc["", "output"] == "600×11"
    inside_and_outside = made.profile.by_module()["peak_activation_bytes"].iloc[[0, -1]]
    assert inside_and_outside.sum() == real.peak_by_role["activation"]
    assert rows.loc["", "kept_bytes"] == inside_and_outside.iloc[0] > 0


def test_a_summary_by_shape_prints_every_number_whole() -> None:
    """`input_size` stands for an input; no number of the table is cut short."""
    model = nn.Sequential(nn.Linear(2000, 3000), nn.ReLU(), nn.Linear(3000, 2))
    made = summary(model, input_size=(64, 2000))
    expected = 2000 * 3000 + 3000 + 3000 * 2 + 2
    assert f"{expected:,}" in str(made).replace("\u202f", ",")
    assert "…" not in str(made)
    assert "64×3000" in made._repr_html_()
    several = summary(nn.Bilinear(3, 4, 5), input_size=[(2, 3), (2, 4)])
    assert several.frame["output"].tolist() == ["2×5"]


class Positioned(nn.Module):
    """A module with a tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.positions = nn.Linear(4, 4), torch.ones(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.linear(x + self.positions))


def test_a_summary_of_a_module_with_any_tensors() -> None:
    """Plain tensors of a module are no obstacle; an output without a gradient is one clear line."""
    assert summary(Positioned(), input_size=(2, 4)).frame["output"].tolist() == ["2×4", "2×4"]
    model = nn.Linear(3, 2)
    hook = model.register_forward_hook(lambda module, inputs, output: output.detach())
    with pytest.raises(GraphError, match="no output of the model has a gradient"):
        summary(model, input_size=(2, 3))
    hook.remove()
    with pytest.raises(GraphError, match="both inputs and input_size"):
        summary(model, torch.ones(2, 3), input_size=(2, 3))


@pytest.mark.parametrize(("arguments", "frozen"), [({}, False), ({"input_size": (1, 3)}, True)])
def test_a_summary_without_a_step_is_refused(
    arguments: dict[str, tuple[int, ...]], frozen: bool
) -> None:
    """Neither an input nor a gradient: one line that says what to give."""
    model = nn.Linear(3, 2).requires_grad_(not frozen)
    with pytest.raises(GraphError, match="expected") as caught:
        summary(model, **arguments)
    assert "\n" not in str(caught.value)


def test_a_comparison_has_the_profiles_own_numbers() -> None:
    """Each column is its profile's, and the multiples are of the first."""
    network = chain(6, 4, 5)
    full = profile(network.loss, wrt=network.weights)
    planned = profile(network.loss, wrt=network.weights, planner=Uniform(2))
    made = compare(full, planned, labels=["full", "uniform"])
    rows = made.frame.set_index("quantity")
    for label, one in (("full", full), ("uniform", planned)):
        assert rows.loc["operations", label] == one.ops.total
        assert rows.loc["peak", label] == one.peak_bytes
    ratio = planned.ops.total / full.ops.total
    assert f"({ratio:.3g}×)" in str(made)
    assert made._repr_html_().count('"label":') == 2


@pytest.mark.parametrize(("count", "labels"), [(1, []), (2, ["a"]), (2, ["a", "a"])])
def test_a_comparison_needs_two_names(count: int, labels: list[str]) -> None:
    """One profile, or labels that do not tell two apart, are refused in one line."""
    network = chain(2, 3, 2)
    profiles = [profile(network.loss, wrt=network.weights)] * count
    with pytest.raises(GraphError, match="expected at least two profiles"):
        compare(*profiles, labels=labels)
