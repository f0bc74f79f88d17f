"""Schedules carried out, weighed, and with one recomputation forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from autodiff import Executable, Program, Schedule
from autodiff.checkpointing.costs import operations_of


def total(program: Program, schedule: Schedule) -> float:
    """The operations of all steps."""
    return float(operations_of(program)[schedule.order].sum())


def run(program: Program, schedule: Schedule) -> list[torch.Tensor]:
    """Loss and gradients, with the random numbers of one seed."""
    torch.manual_seed(3)
    values, _ = Executable(program, schedule).run()
    return values


def forgetful(schedule: Schedule) -> Iterator[Schedule]:
    """The schedule without each of the steps that run again, one after another; there are some."""
    firsts = set(np.unique(schedule.order, return_index=True)[1].tolist())
    again = [at for at in range(len(schedule.order)) if at not in firsts]
    assert again
    for at in again:
        yield replace(schedule, order=np.delete(schedule.order, at))
