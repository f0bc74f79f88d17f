"""What checkpointing would save on a module's step, traced as one program, under every planner.

The program is forward, loss and backward; the gradients are its results, and the optimiser's update
is no part of it. So its peak is not to the byte that of the step as PyTorch runs it, which frees at
other moments; what a plan saves is compared with the same program without one.

Bound: as that of `from_pytorch` and of the planners: one fixed sequence of ops, whose forward part
is a chain of cells.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import pandas as pd
import torch

from autodiff.errors import TapemeasureError
from autodiff.program import Program
from autodiff.pytorch import from_pytorch
from experiments.errors import one_line
from experiments.modules.config import ModuleConfig
from experiments.modules.prediction import FakeModule
from profiler.pytorch.cuda import as_on_cuda
from profiler.savings import planner_savings


@dataclass(frozen=True, eq=False)
class Plans:
    """The table of `planner_savings` and the program, or None and why there is none."""

    savings: pd.DataFrame | None
    reason: str = ""
    program: Program | None = None


def plans_of(fake: FakeModule, config: ModuleConfig) -> Plans | None:
    """Return what each planner would save on a module's step at its batch.

    None where nothing is trained, or plans are not asked for.
    """
    if config.mode != "train" or not config.plans:
        return None
    if config.checkpoint:
        return Plans(None, "the step is checkpointed already")
    if config.step is not None:
        return Plans(None, f"the step is {config.step}, whose loss and gradients are not returned")
    try:
        program = program_of(fake, config, config.batch)
        return Plans(planner_savings(program), program=program)
    except TapemeasureError as error:
        return Plans(None, one_line(error))


def program_of(fake: FakeModule, config: ModuleConfig, size: int) -> Program:
    """Return a training step on a batch of `size` as a program: forward, loss and backward.

    Raises TapemeasureError where the module fails or cannot be traced.
    """
    step, batch = fake.step_and_batch(size)
    trained = [parameter for parameter in fake.module.parameters() if parameter.requires_grad]

    def loss_and_gradients(*tensors: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        loss = step.loss(batch.of(tensors))
        return loss, torch.autograd.grad(loss, trained, allow_unused=True)

    with as_on_cuda(config.attention) if config.device == "cuda" else nullcontext():
        return from_pytorch(loss_and_gradients, *batch.tensors, model=fake.module)
