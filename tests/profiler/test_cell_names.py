"""Cells are called by the modules that they run, where these are known, else by their state."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autodiff import networks
from autodiff.checkpointing.cells import Cells, find_cells
from autodiff.pytorch import from_pytorch
from profiler.cell_names import cell_name
from profiler.programs import program_of
from profiler.savings import planner_savings, savings_text


class Mixed(nn.Module):
    """A linear layer times a parameter of the block's own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.inner = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.inner(x) * self.scale)


class Block(nn.Module):
    """A residual block: a state is only before and after it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(4), nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp[1](torch.tanh(self.mlp[0](self.norm(x))))


class Net(nn.Module):
    """Two residual blocks and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return torch.as_tensor(self.head(x))


def cells_of(model: nn.Module, *, with_names: bool = True) -> Cells:
    def step(x: torch.Tensor) -> object:
        loss = model(x).square().sum()
        return loss, torch.autograd.grad(loss, list(model.parameters()))

    given = model if with_names else None
    return find_cells(from_pytorch(step, torch.randn(3, 4), model=given))


def names_of(cells: Cells) -> list[str]:
    return [cell_name(cells, k) for k in range(len(cells))]


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (Net(), ["norm to mlp.1 of blocks.0", "norm to mlp.1 of blocks.1", "head"]),
        (nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)), ["module 0", "module 2"]),
        (nn.Sequential(Mixed(), Mixed()), ["module 0", "module 1"]),
    ],
)
def test_a_cell_is_called_by_its_modules(model: nn.Module, names: list[str]) -> None:
    """Several modules go from first to last below the one that has them all."""
    found = names_of(cells_of(model))
    assert [name for name in found if not name.startswith("the cell from")] == names


def test_without_names_a_cell_is_called_by_its_state() -> None:
    """A model that is not given, and the exercise's chain, have no modules."""
    names = names_of(cells_of(Net(), with_names=False))
    assert names[0] == "the first cell"
    assert all(name.startswith("the cell from ") for name in names[1:])
    network = networks.chain(3, 2, 4, values=False)
    cells = find_cells(program_of(network.loss, network.weights))
    assert names_of(cells) == ["the first cell", "the cell from x_2", "the cell from x_3"]


def test_the_advice_names_modules() -> None:
    """No node is named where all cells have modules, and the module is one of the model."""
    cells = cells_of(Net())
    text = savings_text(planner_savings(cells.program))
    assert " of blocks." in text
    assert "the cell from" not in text
