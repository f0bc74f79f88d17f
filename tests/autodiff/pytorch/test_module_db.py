"""Every module class of PyTorch's own database, traced and run: eager's numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from tests.support.databases import Make, module_samples, modules
from tests.support.traced import fault_of

REFUSED = {
    **dict.fromkeys(
        ("BatchNorm2d", "BatchNorm3d"), "without a momentum it divides by the value of a counter"
    ),
    "CTCLoss": "the lengths of its targets are values",
    "GaussianNLLLoss": "it checks that no variance is negative",
}
"""The modules of which some sample cannot be traced, and why."""

CHUNKS = 16
"""How many tests the database is divided into; it is slow to import, and so to collect."""


def step_of(make: Make) -> Callable[..., Any]:
    """Return a step whose loss is the sum of all that a module returns."""
    module, args, kwargs = make()
    assert isinstance(module, torch.nn.Module)
    leaves = [*tree_leaves((args, kwargs)), *module.parameters()]
    wanted = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.requires_grad]

    def step() -> Any:
        parts = [
            part.double().sum()
            for part in tree_leaves(module(*args, **kwargs))
            if isinstance(part, torch.Tensor)
        ]
        loss = sum(parts, torch.zeros((), dtype=torch.float64))
        reached = loss.requires_grad
        return loss, torch.autograd.grad(loss, wanted, allow_unused=True) if reached else ()

    return step


def faults_of(name: str, samples: Iterable[Make]) -> set[str]:
    """Return what is wrong with the programs of a module's steps, other than is known."""
    known = {"refused"} if name in REFUSED else set()
    return ({fault_of(step_of(make)) for make in samples} - {""}) ^ known


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_module_is_traced_as_it_runs(chunk: int) -> None:
    """Results and gradients are eager's to the last bit, peaks as predicted, or it is refused."""
    names = list(modules())[chunk::CHUNKS]
    faults = {name: faults_of(name, module_samples(name, 2)) for name in names}
    assert not {name: found for name, found in faults.items() if found}
